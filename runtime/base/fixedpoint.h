// SPDX-License-Identifier: Apache-2.0
// The one rounding, in the one place. docs/adr/0002 derives the formula.
#ifndef NYB_BASE_FIXEDPOINT_H
#define NYB_BASE_FIXEDPOINT_H

#include <stdbool.h>
#include <stdint.h>

// C leaves the right shift of a negative number to the implementation; every target here floors.
_Static_assert((-3 >> 1) == -2, "expected an arithmetic right shift");

// What follows an accumulator. nudge: 2^30 for TFLite's double rounding, 0 for single rounding.
typedef struct nyb_requantize {
    int32_t zero_point;
    int32_t minimum;
    int32_t maximum;
    int32_t nudge;
} nyb_requantize;

// (acc * multiplier + 2^(shift-1) + (acc < 0 ? -nudge : nudge)) >> shift, the nudge only where shift > 31.
// shift: 1 to 62. Total: other shifts (of a hostile file) give some value and no undefined behaviour.
static inline int32_t nyb_scale(int32_t acc, int32_t multiplier, int32_t shift, int32_t nudge) {
    const uint32_t s = (uint32_t)shift & 63u;
    uint64_t product = (uint64_t)((int64_t)acc * multiplier);
    product += UINT64_C(1) << ((s - 1u) & 63u);
    if (s > 31) {
        product += (uint64_t)(int64_t)(acc < 0 ? -nudge : nudge);
    }
    return (int32_t)((int64_t)product >> s);
}

// Beyond these shifts the kernels are safe too, but need not agree.
static inline bool nyb_shift_valid(int32_t shift) { return shift >= 1 && shift <= 62; }

static inline int32_t nyb_clamp(int32_t x, int32_t minimum, int32_t maximum) {
    return x < minimum ? minimum : (x > maximum ? maximum : x);
}

// Sum that wraps instead of being undefined, for sums that a hostile file can drive out of range.
static inline int32_t nyb_add(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }
static inline int32_t nyb_sub(int32_t a, int32_t b) { return (int32_t)((uint32_t)a - (uint32_t)b); }
static inline int32_t nyb_mul(int32_t a, int32_t b) { return (int32_t)((uint32_t)a * (uint32_t)b); }

// Scale, add the zero point, clamp: from an accumulator to an int8 output.
static inline int8_t nyb_finish(int32_t acc, int32_t multiplier, int32_t shift,
                                const nyb_requantize *output) {
    const int32_t scaled = nyb_scale(acc, multiplier, shift, output->nudge);
    return (int8_t)nyb_clamp(nyb_add(scaled, output->zero_point), output->minimum, output->maximum);
}

// The same on 64 bits: sums of 16-bit activations, whose product with the multiplier fits 63 bits by the
// compiler's proof. Without one it wraps.
static inline int64_t nyb_scale64(int64_t acc, int32_t multiplier, int32_t shift, int32_t nudge) {
    const uint32_t s = (uint32_t)shift & 63u;
    uint64_t product = (uint64_t)acc * (uint64_t)(int64_t)multiplier;
    product += UINT64_C(1) << ((s - 1u) & 63u);
    if (s > 31) {
        product += (uint64_t)(int64_t)(acc < 0 ? -nudge : nudge);
    }
    return (int64_t)product >> s;
}

// The same with 31 more bits behind the multiplier's, single rounding: nested floors are one floor.
static inline int64_t nyb_scale_long(int64_t acc, int32_t multiplier, int32_t low, int32_t shift) {
    const uint32_t s = (uint32_t)shift & 63u;
    const int64_t below = (int64_t)((uint64_t)acc * (uint64_t)(int64_t)low) >> 31;
    const uint64_t product = (uint64_t)acc * (uint64_t)(int64_t)multiplier + (uint64_t)below;
    return (int64_t)(product + (UINT64_C(1) << ((s - 1u) & 63u))) >> s;
}

static inline int16_t nyb_clamp_long(int64_t x, const nyb_requantize *output) {
    return (int16_t)(x < output->minimum ? output->minimum : (x > output->maximum ? output->maximum : x));
}

// From an accumulator of 64 bits to an int16 output. Their zero point is 0.
static inline int16_t nyb_finish16(int64_t acc, int32_t multiplier, int32_t shift,
                                   const nyb_requantize *output) {
    return nyb_clamp_long(nyb_scale64(acc, multiplier, shift, output->nudge), output);
}

// Between the entries of a table of 513 for int16, which stand 128 steps apart: a straight line, rounded to
// nearest, ties up.
static inline int16_t nyb_interpolate(const int16_t *table, int32_t x) {
    const int16_t *entry = table + 256 + (x >> 7);
    return (int16_t)(entry[0] + (((entry[1] - entry[0]) * (x & 127) + 64) >> 7));
}

#endif
