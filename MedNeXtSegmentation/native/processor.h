// Find the kernels that this processor can run.
#pragma once

#include "network_jobs.h"

// The kernels of this name, or without a name the best float32 ones; null if this processor cannot run them.
const Kernels* find_kernels(const char* name);
