// SPDX-License-Identifier: Apache-2.0
// AArch64: products of 16-bit halves (smlal). The inputs enter times 8, which puts the result into the upper
// half of each sum: 13 + 3 bits, and addhn keeps that half.
#include "kernels/elementwise/elementwise.h"
#include "kernels/epilogue_neon.h"

#include <string.h>

enum { STEP = 16, UP = 3 };

typedef struct add_constants {
    int16x8_t slopes; // a_high, a_low, b_high, b_low
    int32x4_t fraction;
    int16x8_t whole;
    int8x16_t minimum, maximum;
} add_constants;

NYB_INLINE add_constants constants_of(const nyb_add_args *args) {
    const nyb_add_halves h = nyb_add_split(args->slope_a, args->slope_b, args->offset);
    const int16_t slopes[8] = {h.a_high, h.a_low, h.b_high, h.b_low};
    const add_constants k = {
        .slopes = vld1q_s16(slopes),
        .fraction = vdupq_n_s32(h.fraction * (1 << UP)),
        .whole = vdupq_n_s16(h.whole),
        .minimum = vdupq_n_s8((int8_t)args->minimum),
        .maximum = vdupq_n_s8((int8_t)args->maximum),
    };
    return k;
}

// Eight results as words, from inputs times 8.
NYB_INLINE int16x8_t words(const add_constants *k, int16x8_t a, int16x8_t b) {
    int32x4_t low[2] = {k->fraction, k->fraction};
    low[0] = vmlal_laneq_s16(low[0], vget_low_s16(a), k->slopes, 1);
    low[1] = vmlal_high_laneq_s16(low[1], a, k->slopes, 1);
    low[0] = vmlal_laneq_s16(low[0], vget_low_s16(b), k->slopes, 3);
    low[1] = vmlal_high_laneq_s16(low[1], b, k->slopes, 3);
    int32x4_t high[2];
    high[0] = vmull_laneq_s16(vget_low_s16(a), k->slopes, 0);
    high[1] = vmull_high_laneq_s16(a, k->slopes, 0);
    high[0] = vmlal_laneq_s16(high[0], vget_low_s16(b), k->slopes, 2);
    high[1] = vmlal_high_laneq_s16(high[1], b, k->slopes, 2);
    const int16x4_t first = vaddhn_s32(high[0], vshrq_n_s32(low[0], 15));
    return vqaddq_s16(vaddhn_high_s32(first, high[1], vshrq_n_s32(low[1], 15)), k->whole);
}

NYB_INLINE int8x16_t add(const add_constants *k, int8x16_t a, int8x16_t b) {
    const int16x8_t y[2] = {
        words(k, vshll_n_s8(vget_low_s8(a), UP), vshll_n_s8(vget_low_s8(b), UP)),
        words(k, vshll_high_n_s8(a, UP), vshll_high_n_s8(b, UP)),
    };
    return vmaxq_s8(vminq_s8(vqmovn_high_s16(vqmovn_s16(y[0]), y[1]), k->maximum), k->minimum);
}

void nyb_add_neon(const nyb_elements *e, const nyb_add_args *args) {
    const add_constants k = constants_of(args);
    int8_t *c = e->c;
    for (uint32_t i = 0; i < e->rows; i++, c += e->columns) {
        const int8_t *a = e->a + i * e->a_stride;
        const int8_t *b = e->b + i * e->b_stride;
        uint32_t j = 0;
        for (; e->columns - j >= STEP; j += STEP) {
            vst1q_s8(c + j, add(&k, vld1q_s8(a + j), vld1q_s8(b + j)));
        }
        for (; e->columns - j >= 8; j += 8) {
            const int8x16_t y =
                add(&k, vcombine_s8(vld1_s8(a + j), vdup_n_s8(0)), vcombine_s8(vld1_s8(b + j), vdup_n_s8(0)));
            vst1_s8(c + j, vget_low_s8(y));
        }
        if (j < e->columns) {
            int8_t rest[3][STEP] = {{0}};
            memcpy(rest[0], a + j, e->columns - j);
            memcpy(rest[1], b + j, e->columns - j);
            vst1q_s8(rest[2], add(&k, vld1q_s8(rest[0]), vld1q_s8(rest[1])));
            memcpy(c + j, rest[2], e->columns - j);
        }
    }
}

typedef struct mul_constants {
    int8x16_t zero_a, zero_b;
    int32x4_t multiplier;
    int32x4_t down; // 31 - shift
    int16x8_t zero_point;
    int8x16_t minimum, maximum;
} mul_constants;

// Four products scaled, as in kernels/epilogue_neon.h. twice: TFLite's double rounding.
NYB_INLINE int16x4_t scale(const mul_constants *k, int32x4_t product, const bool twice) {
    int32x4_t x;
    if (twice) {
        x = vqrdmulhq_s32(product, k->multiplier);
        x = vsraq_n_s32(x, x, 31);
    } else {
        x = vqdmulhq_s32(product, k->multiplier);
    }
    return vqmovn_s32(vrshlq_s32(x, k->down));
}

NYB_INLINE int16x8_t mul8(const mul_constants *k, int16x8_t a, int16x8_t b, const bool twice) {
    const int16x4_t low = scale(k, vmull_s16(vget_low_s16(a), vget_low_s16(b)), twice);
    const int16x4_t high = scale(k, vmull_high_s16(a, b), twice);
    return vqaddq_s16(vcombine_s16(low, high), k->zero_point);
}

NYB_INLINE int8x16_t mul(const mul_constants *k, int8x16_t a, int8x16_t b, const bool twice) {
    const int16x8_t low = mul8(k, vsubl_s8(vget_low_s8(a), vget_low_s8(k->zero_a)),
                               vsubl_s8(vget_low_s8(b), vget_low_s8(k->zero_b)), twice);
    const int16x8_t high = mul8(k, vsubl_high_s8(a, k->zero_a), vsubl_high_s8(b, k->zero_b), twice);
    return vmaxq_s8(vminq_s8(vqmovn_high_s16(vqmovn_s16(low), high), k->maximum), k->minimum);
}

NYB_INLINE void mul_rows(const nyb_elements *e, const mul_constants *k, const bool twice) {
    int8_t *c = e->c;
    for (uint32_t i = 0; i < e->rows; i++, c += e->columns) {
        const int8_t *a = e->a + i * e->a_stride;
        const int8_t *b = e->b + i * e->b_stride;
        uint32_t j = 0;
        for (; e->columns - j >= STEP; j += STEP) {
            vst1q_s8(c + j, mul(k, vld1q_s8(a + j), vld1q_s8(b + j), twice));
        }
        for (; e->columns - j >= 8; j += 8) {
            const int8x16_t y = mul(k, vcombine_s8(vld1_s8(a + j), vdup_n_s8(0)),
                                    vcombine_s8(vld1_s8(b + j), vdup_n_s8(0)), twice);
            vst1_s8(c + j, vget_low_s8(y));
        }
        if (j < e->columns) {
            int8_t rest[3][STEP] = {{0}};
            memcpy(rest[0], a + j, e->columns - j);
            memcpy(rest[1], b + j, e->columns - j);
            vst1q_s8(rest[2], mul(k, vld1q_s8(rest[0]), vld1q_s8(rest[1]), twice));
            memcpy(c + j, rest[2], e->columns - j);
        }
    }
}

void nyb_mul_neon(const nyb_elements *e, const nyb_mul_args *args) {
    if (args->shift < 32) { // a real multiplier of 1/2 or more
        nyb_mul_scalar(e, args);
        return;
    }
    const mul_constants k = {
        .zero_a = vdupq_n_s8((int8_t)args->zero_a),
        .zero_b = vdupq_n_s8((int8_t)args->zero_b),
        .multiplier = vdupq_n_s32(args->multiplier),
        .down = vdupq_n_s32(31 - args->shift),
        .zero_point = vdupq_n_s16((int16_t)args->output.zero_point),
        .minimum = vdupq_n_s8((int8_t)args->output.minimum),
        .maximum = vdupq_n_s8((int8_t)args->output.maximum),
    };
    if (args->output.nudge != 0) {
        mul_rows(e, &k, true);
    } else {
        mul_rows(e, &k, false);
    }
}
