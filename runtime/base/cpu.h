// SPDX-License-Identifier: Apache-2.0
// Names of CPU features (cpu_levels.inc). Detection belongs to the platform; the core is told.
#ifndef NYB_BASE_CPU_H
#define NYB_BASE_CPU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nyb_cpu_feature {
    const char *name;
    uint32_t bit;
} nyb_cpu_feature;

// Features from weakest to strongest of each architecture, ended by a row without a name.
extern const nyb_cpu_feature nyb_cpu_features[];

#ifdef __cplusplus
}
#endif
#endif
