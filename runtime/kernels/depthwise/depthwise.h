// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution of a run of output pixels.
//
//   c[p][j] = finish(sum over t of taps[p * tap_count + t][j] * w[t][j] + bias[j])     p < pixels, j <
//   channels
//
// taps: for each pixel and tap a pointer to `channels` int8 (the input there, or a row of the padding value).
// weights: int16 in panels of 8 channels, [panel][tap][8], the last panel padded; zero points subtracted.
// bias, multiplier, shift: one int32 per channel, readable up to a multiple of 8.
// c: `channels` int8 per pixel, `c_stride` bytes apart. Must not overlap the inputs.
#ifndef NYB_KERNELS_DEPTHWISE_H
#define NYB_KERNELS_DEPTHWISE_H

#include "base/fixedpoint.h"
#include "nybble.h"

#include <stddef.h>

enum { NYB_DEPTHWISE_NR = 8 };

typedef struct nyb_depthwise_args {
    const int8_t *const *taps;
    const int16_t *weights;
    const int32_t *bias;
    const int32_t *multiplier;
    const int32_t *shift;
    uint32_t pixels;
    uint32_t tap_count;
    uint32_t channels;
    nyb_requantize output;
    int8_t *c;
    size_t c_stride;
} nyb_depthwise_args;

typedef void (*nyb_depthwise_fn)(const nyb_depthwise_args *args);

typedef struct nyb_depthwise_variant {
    const char *name;
    uint32_t needs;
    nyb_depthwise_fn run;
} nyb_depthwise_variant;

#define NYB_DEPTHWISE(name, needs) void nyb_depthwise_##name(const nyb_depthwise_args *args);
#include "kernels/depthwise/variants.inc"
#undef NYB_DEPTHWISE

// All variants of this build, best first, ended by a row without a name.
extern const nyb_depthwise_variant nyb_depthwise_variants[];

// The best variant on a CPU with these features; there always is one.
const nyb_depthwise_variant *nyb_depthwise_pick(uint32_t cpu);

#endif
