// SPDX-License-Identifier: Apache-2.0
// A function of one byte: c[i] = table[a[i]] for i < count. c may be a; apart from that it overlaps neither.
#ifndef NYB_KERNELS_LOOKUP_H
#define NYB_KERNELS_LOOKUP_H

#include "nybble.h"

#include <stddef.h>

typedef struct nyb_lookup_args {
    const uint8_t *table; // 256 bytes
    const uint8_t *a;
    uint8_t *c;
    size_t count;
} nyb_lookup_args;

typedef void (*nyb_lookup_fn)(const nyb_lookup_args *args);

typedef struct nyb_lookup_variant {
    const char *name;
    uint32_t needs;
    nyb_lookup_fn run;
} nyb_lookup_variant;

#define NYB_LOOKUP(name, needs) void nyb_lookup_##name(const nyb_lookup_args *args);
#include "kernels/lookup/variants.inc"
#undef NYB_LOOKUP

// All variants of this build, best first, ended by a row without a name.
extern const nyb_lookup_variant nyb_lookup_variants[];

// The best variant on a CPU with these features; there always is one.
const nyb_lookup_variant *nyb_lookup_pick(uint32_t cpu);

#endif
