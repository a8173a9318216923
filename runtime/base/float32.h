// SPDX-License-Identifier: Apache-2.0
// The sums and products of IEEE 754 float32 that one contract needs (FLOAT32 in ops/resize.c), in
// integers: rounded to nearest, ties to even. Signs are kept apart; there are no infinities, NaNs or
// subnormal numbers.
#ifndef NYB_BASE_FLOAT32_H
#define NYB_BASE_FLOAT32_H

#include <stdbool.h>
#include <stdint.h>

// mantissa * 2^exponent, the mantissa 0 or in [2^23, 2^24]: rounding up may reach the end.
typedef struct nyb_float32 {
    uint32_t mantissa;
    int32_t exponent;
} nyb_float32;

// The magnitude of a float32 given by its bits, 0 or a normal number.
static inline nyb_float32 nyb_float32_read(uint32_t bits) {
    if (bits << 1 == 0) {
        return (nyb_float32){0, 0};
    }
    return (nyb_float32){(bits & 0x7FFFFF) | 0x800000, (int32_t)(bits >> 23 & 0xFF) - 150};
}

// m * 2^exponent rounded to 24 bits, m below 2^63.
static inline nyb_float32 nyb_float32_round(uint64_t m, int32_t exponent) {
    if (m == 0) {
        return (nyb_float32){0, 0};
    }
    while (m < UINT64_C(1) << 23) {
        m <<= 1;
        exponent--;
    }
    uint32_t shift = m >> 46 ? 23 : 0; // of a product it is 23 or 24
    while (m >> shift >= UINT64_C(1) << 24) {
        shift++;
    }
    if (shift > 0) {
        const uint64_t odd = m >> shift & 1;
        m = (m + (UINT64_C(1) << (shift - 1)) - 1 + odd) >> shift;
    }
    return (nyb_float32){(uint32_t)m, exponent + (int32_t)shift};
}

static inline nyb_float32 nyb_float32_mul(nyb_float32 a, nyb_float32 b) {
    return nyb_float32_round((uint64_t)a.mantissa * b.mantissa, a.exponent + b.exponent);
}

// a + b, or a - b where `negative`; 0 where that is below 0.
static inline nyb_float32 nyb_float32_add(nyb_float32 a, nyb_float32 b, bool negative) {
    if (b.mantissa == 0) {
        return a;
    }
    const int32_t gap = a.exponent - b.exponent;
    // So far apart, the smaller number is less than a quarter of the larger one's last place.
    if (a.mantissa == 0 || gap < -32) {
        return negative ? (nyb_float32){0, 0} : b;
    }
    if (gap > 32) {
        return a;
    }
    const uint64_t x = (uint64_t)a.mantissa << (gap > 0 ? gap : 0);
    const uint64_t y = (uint64_t)b.mantissa << (gap < 0 ? -gap : 0);
    const int32_t exponent = gap > 0 ? b.exponent : a.exponent;
    if (!negative) {
        return nyb_float32_round(x + y, exponent);
    }
    return nyb_float32_round(x > y ? x - y : 0, exponent);
}

#endif
