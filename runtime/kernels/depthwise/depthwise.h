// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution of lines of output pixels whose taps all lie within the input; who needs padding
// pads.
//
//   c[y][p][j] = finish(bias[j] + sum over i < window_height, k < window_width of
//                       x[y * x_line + i * tap_line + p * x_pixel + k * tap_pixel + j] *
//                       (w[i * window_width + k][j] - weight_zero_point))
//   y < lines, p < pixels, j < channels; the output is at c[y * c_line + p * c_pixel + j]
//
// x: int8; nothing but what the sum names is read. Strides in bytes: x_line, x_pixel from one output to the
// next, tap_line, tap_pixel from one tap to the next.
// weights: int8 in panels of 8 channels, [panel][tap][8], the last panel padded.
// bias, multiplier, shift: one int32 per channel, readable up to a multiple of 8.
// c must not overlap the inputs.
//
// The variants for 16-bit activations (variants16.inc) take int16 and write int16, both aligned to 2 bytes,
// with strides in bytes; weight_zero_point is 0. Sums are of 64 bits; `narrow` says that all fit 32.
#ifndef NYB_KERNELS_DEPTHWISE_H
#define NYB_KERNELS_DEPTHWISE_H

#include "base/fixedpoint.h"
#include "nybble.h"

#include <stddef.h>

enum { NYB_DEPTHWISE_NR = 8 };

typedef struct nyb_depthwise_args {
    const int8_t *x;
    size_t x_line;
    size_t x_pixel;
    size_t tap_line;
    size_t tap_pixel;
    uint32_t window_height;
    uint32_t window_width;
    const int8_t *weights;
    int32_t weight_zero_point;
    const int32_t *bias;
    const int32_t *multiplier;
    const int32_t *shift;
    uint32_t lines;
    uint32_t pixels;
    uint32_t channels;
    bool narrow;
    nyb_requantize output;
    int8_t *c;
    size_t c_line;
    size_t c_pixel;
} nyb_depthwise_args;

typedef void (*nyb_depthwise_fn)(const nyb_depthwise_args *args);

typedef struct nyb_depthwise_variant {
    const char *name;
    uint32_t needs;
    nyb_depthwise_fn run;
} nyb_depthwise_variant;

#define NYB_DEPTHWISE(name, needs) void nyb_depthwise_##name(const nyb_depthwise_args *args);
#include "kernels/depthwise/variants.inc"
#include "kernels/depthwise/variants16.inc"
#undef NYB_DEPTHWISE

// All variants of this build for activations of 8 and of 16 bits, best first, ended by a row without a name.
extern const nyb_depthwise_variant nyb_depthwise_variants[];
extern const nyb_depthwise_variant nyb_depthwise16_variants[];

// The best variant for activations of so many bytes (1 or 2) on a CPU with these features; there always is
// one.
const nyb_depthwise_variant *nyb_depthwise_pick(uint32_t cpu, uint32_t bytes);

// The channels from `first` on, a multiple of 8, of 16-bit activations.
static inline nyb_depthwise_args nyb_depthwise16_from(const nyb_depthwise_args *args, uint32_t first) {
    nyb_depthwise_args rest = *args;
    rest.x += first * sizeof(int16_t);
    rest.weights += (size_t)args->window_height * args->window_width * first;
    rest.bias += first;
    rest.multiplier += first;
    rest.shift += first;
    rest.channels -= first;
    rest.c += first * sizeof(int16_t);
    return rest;
}

#endif
