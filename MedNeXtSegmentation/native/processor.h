// Which kernels this processor can run.
#pragma once

#include "network_jobs.h"

// The best float32 kernels for this processor, or null if there are none; with a name those kernels, or null.
const Kernels* find_kernels(const char* name);
