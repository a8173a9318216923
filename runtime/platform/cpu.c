// SPDX-License-Identifier: Apache-2.0
#include "platform/platform.h"

#include "base/cpu.h"

#include <string.h>

bool nyb_cpu_parse(const char *name, uint32_t *cpu) {
    const uint32_t has = nyb_cpu_detect();
    uint32_t bits = 0;
    if (strcmp(name, "scalar") == 0) {
        *cpu = 0;
        return true;
    }
    for (const nyb_cpu_feature *f = nyb_cpu_features; f->name != NULL; f++) {
        bits |= f->bit;
        if (strcmp(f->name, name) == 0) {
            *cpu = bits & has;
            return (has & f->bit) != 0;
        }
    }
    return false;
}
