// SPDX-License-Identifier: Apache-2.0
#include "base/cpu.h"

#include "nybble.h"

const nyb_cpu_feature nyb_cpu_features[] = {
    {"avx2", NYB_CPU_AVX2},
    {"avxvnni", NYB_CPU_AVXVNNI},
    {"avx512vnni", NYB_CPU_AVX512VNNI},
    {"avx512vbmi", NYB_CPU_AVX512VBMI},
    {"amx", NYB_CPU_AMX},
    {"armv6simd", NYB_CPU_ARMV6_SIMD},
    {"neon", NYB_CPU_NEON},
    {"dotprod", NYB_CPU_DOTPROD},
    {"i8mm", NYB_CPU_I8MM},
    {NULL, 0},
};
