// SPDX-License-Identifier: Apache-2.0
// One output line of a bilinear resize in fixed point:
//
//   row[i]             = above[i] * above_weight + below[i] * below_weight          i < width * channels
//   sum                = row[lower[x] * channels + j] * lower_weight[x] + row[upper[x] * channels + j] *
//   upper_weight[x] c[x * channels + j] = sum / 2^20, rounded to nearest, ties up or away from zero      x <
//   out_width, j < channels
//
// The weights are such that no sum leaves int32 and no result int8. c overlaps nothing else.
#ifndef NYB_KERNELS_RESIZE_H
#define NYB_KERNELS_RESIZE_H

#include "nybble.h"

#include <stddef.h>

// Readable behind the last element of `row`.
enum { NYB_RESIZE_PADDING = 8, NYB_RESIZE_SHIFT = 20, NYB_RESIZE_HALF = 1 << 19 };

typedef struct nyb_resize_args {
    const int8_t *above;
    const int8_t *below;
    int32_t above_weight;
    int32_t below_weight;
    uint32_t width;
    uint32_t channels;
    uint32_t out_width;
    const uint32_t *lower;
    const uint32_t *upper;
    const int32_t *lower_weight;
    const int32_t *upper_weight;
    bool away;    // how ties are rounded
    int32_t *row; // width * channels + NYB_RESIZE_PADDING
    int8_t *c;
} nyb_resize_args;

typedef void (*nyb_resize_fn)(const nyb_resize_args *args);

typedef struct nyb_resize_variant {
    const char *name;
    uint32_t needs;
    nyb_resize_fn run;
} nyb_resize_variant;

#define NYB_RESIZE(name, needs) void nyb_resize_##name(const nyb_resize_args *args);
#include "kernels/resize/variants.inc"
#undef NYB_RESIZE

// All variants of this build, best first, ended by a row without a name.
extern const nyb_resize_variant nyb_resize_variants[];

// The best variant on a CPU with these features; there always is one.
const nyb_resize_variant *nyb_resize_pick(uint32_t cpu);

// A tie away from zero: a trace less than half a step is added to a negative sum.
static inline int8_t nyb_resize_round(int32_t sum, bool away) {
    return (int8_t)((sum + NYB_RESIZE_HALF - (away && sum < 0)) >> NYB_RESIZE_SHIFT);
}

#endif
