// SPDX-License-Identifier: Apache-2.0
// Elementwise operators on two matrices of int8. Row i of `a` begins at a + i * a_stride, that of b at
// b + i * b_stride (a stride of 0 repeats one row), the rows of c follow each other without gaps.
// c may be a or b itself where they have no gaps either; apart from that it overlaps neither.
#ifndef NYB_KERNELS_ELEMENTWISE_H
#define NYB_KERNELS_ELEMENTWISE_H

#include "base/fixedpoint.h"
#include "nybble.h"

#include <stddef.h>

typedef struct nyb_elements {
    const int8_t *a;
    const int8_t *b;
    int8_t *c;
    size_t a_stride;
    size_t b_stride;
    uint32_t rows;
    uint32_t columns;
} nyb_elements;

// c = clamp((a * slope_a + b * slope_b + offset) >> 28, the sum in 64 bits.
// -2^30 <= slope < 2^30, |offset| < 2^40; the clamp lies within int8.
typedef struct nyb_add_args {
    int32_t slope_a;
    int32_t slope_b;
    int64_t offset;
    int32_t minimum;
    int32_t maximum;
} nyb_add_args;
enum { NYB_ADD_FRACTION_BITS = 28 };

typedef void (*nyb_add_fn)(const nyb_elements *elements, const nyb_add_args *args);

// c = finish((a - zero_a) * (b - zero_b)). Zero points within int8, multiplier at least 0, shift 1 to 62.
typedef struct nyb_mul_args {
    int32_t zero_a;
    int32_t zero_b;
    int32_t multiplier;
    int32_t shift;
    nyb_requantize output;
} nyb_mul_args;
typedef void (*nyb_mul_fn)(const nyb_elements *elements, const nyb_mul_args *args);

typedef struct nyb_elementwise_variant {
    const char *name;
    uint32_t needs;
    nyb_add_fn add;
    nyb_mul_fn mul;
} nyb_elementwise_variant;

#define NYB_ELEMENTWISE(name, needs)                                                                         \
    void nyb_add_##name(const nyb_elements *elements, const nyb_add_args *args);                             \
    void nyb_mul_##name(const nyb_elements *elements, const nyb_mul_args *args);
#include "kernels/elementwise/variants.inc"
#undef NYB_ELEMENTWISE

// All variants of this build, best first, ended by a row without a name.
extern const nyb_elementwise_variant nyb_elementwise_variants[];

// The best variant on a CPU with these features; there always is one.
const nyb_elementwise_variant *nyb_elementwise_pick(uint32_t cpu);

// The sum in two steps of 32 bits, for products of 16-bit halves: with slope = 2^15 * high + low it is
//
//   ((a * a_high + b * b_high + ((a * a_low + b * b_low + fraction) >> 15)) >> 13) + whole
//
// because nested floors are one floor.
typedef struct nyb_add_halves {
    int16_t a_high, a_low;
    int16_t b_high, b_low;
    int32_t fraction; // -2^27 to 2^27 - 1
    int16_t whole;
} nyb_add_halves;

static inline nyb_add_halves nyb_add_split(int32_t slope_a, int32_t slope_b, int64_t offset) {
    const int64_t one = INT64_C(1) << NYB_ADD_FRACTION_BITS;
    const int64_t whole = (offset + one / 2) >> NYB_ADD_FRACTION_BITS;
    const nyb_add_halves h = {
        .a_high = (int16_t)(slope_a >> 15),
        .a_low = (int16_t)(slope_a & 0x7fff),
        .b_high = (int16_t)(slope_b >> 15),
        .b_low = (int16_t)(slope_b & 0x7fff),
        .fraction = (int32_t)(offset - whole * one),
        .whole = (int16_t)whole,
    };
    return h;
}

#endif
