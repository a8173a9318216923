// SPDX-License-Identifier: Apache-2.0
#include "base/cpu.h"

#include "nybble.h"

const nyb_cpu_feature nyb_cpu_features[] = {
#define NYB_CPU_LEVEL(name, bit, ...) {#name, bit},
#include "base/cpu_levels.inc"
#undef NYB_CPU_LEVEL
    {NULL, 0},
};
