// Which kernels this processor can run.
#pragma once

#include "jobs.h"

// The best kernels for this processor, or null if there are none; with a name the kernels of that name, or null.
const Kernels* find_kernels(const char* name);
