// SPDX-License-Identifier: Apache-2.0
// What pooling and reductions gather over a window of rows x columns taps, each of them `channels` int8 side
// by side. Tap (i, j) of pixel p begins at a + p * pixel_stride + i * row_stride + j * column_stride.
#ifndef NYB_KERNELS_POOL_H
#define NYB_KERNELS_POOL_H

#include "nybble.h"

#include <stddef.h>

typedef struct nyb_window_taps {
    const int8_t *a;
    size_t row_stride;
    size_t column_stride;
    uint32_t rows;
    uint32_t columns;
    uint32_t channels;
} nyb_window_taps;

// c[p * channels + j] = clamp(the largest tap, -128 without taps) for p < pixels. The clamp lies within int8;
// c does not overlap the taps.
typedef struct nyb_max_args {
    nyb_window_taps taps;
    size_t pixel_stride;
    uint32_t pixels;
    int32_t minimum;
    int32_t maximum;
    int8_t *c;
} nyb_max_args;
typedef void (*nyb_max_fn)(const nyb_max_args *args);

// sums[j] += the sum of the taps of one pixel, at most 2^23 of them, for j < channels.
typedef void (*nyb_sum_fn)(const nyb_window_taps *taps, int32_t *sums);

typedef struct nyb_pool_variant {
    const char *name;
    uint32_t needs;
    nyb_max_fn max;
    nyb_sum_fn sum;
} nyb_pool_variant;

#define NYB_POOL(name, needs)                                                                                \
    void nyb_max_##name(const nyb_max_args *args);                                                           \
    void nyb_sum_##name(const nyb_window_taps *taps, int32_t *sums);
#include "kernels/pool/variants.inc"
#undef NYB_POOL

// All variants of this build, best first, ended by a row without a name.
extern const nyb_pool_variant nyb_pool_variants[];

// The best variant on a CPU with these features; there always is one.
const nyb_pool_variant *nyb_pool_pick(uint32_t cpu);

// For int16: strides still count bytes, c of max holds int16, without taps it is clamp(-32768), and a sum has
// at most 2^15 taps.
extern const nyb_pool_variant nyb_pool16;

// The taps from channel `first` on.
static inline nyb_window_taps nyb_taps_from(const nyb_window_taps *taps, uint32_t first) {
    nyb_window_taps rest = *taps;
    rest.a += first;
    rest.channels -= first;
    return rest;
}

// Byte sums that a 16-bit lane holds.
enum { NYB_SUM_TAPS = 256 };

#endif
