// SPDX-License-Identifier: Apache-2.0
// nyb_finish for 8 channels at a time: equal to it for every accumulator, multiplier from 0 to 2^31 - 1 and shift
// from 1 to 62, with a nudge of 0 or 2^30.
//
// With p = acc * multiplier, shift = 31 + e and e >= 1, 32-bit instructions suffice:
// - nudge 0: (p + 2^(shift-1)) >> shift = (x + 2^(e-1)) >> e with x = p >> 31, because nested floors are one floor:
//   sqdmulh, srshl.
// - nudge 2^30: with x = (p + 2^30) >> 31 it is (x + 2^(e-1) - (acc < 0)) >> e, for a negative accumulator because
//   p - 2^30 = p + 2^30 - 2^31. An x of 0 or more takes no -1, also where acc < 0: then x = 0, and
//   2^(e-1) - 1 and 2^(e-1) both are 0 after the shift. So: sqrdmulh, ssra of the sign, srshl.
// Neither multiplication saturates, as only -2^31 * -2^31 would. A panel with a shift below 32 (real multipliers of
// 1/2 and more) goes through 64-bit products.
#ifndef NYB_KERNELS_EPILOGUE_NEON_H
#define NYB_KERNELS_EPILOGUE_NEON_H

#include "base/fixedpoint.h"
#include "kernels/unroll.h"

#include <arm_neon.h>
#include <stddef.h>

typedef enum nyb_scaling { NYB_SCALING_SINGLE, NYB_SCALING_DOUBLE, NYB_SCALING_WIDE } nyb_scaling;

// What follows the accumulators of a panel of 8 channels, of which `width` exist.
typedef struct nyb_panel_output {
    const int32_t *multiplier; // 8 of each
    const int32_t *shift;
    const nyb_requantize *output;
    uint32_t width;
    nyb_scaling scaling;
} nyb_panel_output;

static inline nyb_panel_output nyb_panel_output_of(const int32_t *multiplier, const int32_t *shift, uint32_t width,
                                                   const nyb_requantize *output) {
    static const uint32_t lane[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    uint32x4_t low[2];
    NYB_EACH (i, 2) {
        const uint32x4_t exists = vcltq_u32(vld1q_u32(lane + 4 * i), vdupq_n_u32(width));
        low[i] = vandq_u32(vcltq_s32(vld1q_s32(shift + 4 * i), vdupq_n_s32(32)), exists);
    }
    const nyb_scaling narrow = output->nudge == 0 ? NYB_SCALING_SINGLE : NYB_SCALING_DOUBLE;
    const nyb_scaling scaling = vmaxvq_u32(vorrq_u32(low[0], low[1])) != 0 ? NYB_SCALING_WIDE : narrow;
    return (nyb_panel_output){multiplier, shift, output, width, scaling};
}

// nyb_scale and the zero point by 64-bit products, in place. Rare, so it is not inlined into every tile.
static __attribute__((noinline, unused)) void nyb_scale_wide(int32_t (*acc)[8], int rows,
                                                             const nyb_panel_output *panel) {
    for (int q = 0; q < 8; q += 4) {
        const int32x4_t multiplier = vld1q_s32(panel->multiplier + q);
        const int32x4_t shift = vandq_s32(vld1q_s32(panel->shift + q), vdupq_n_s32(63));
        const int32x4_t nudge = vandq_s32(vreinterpretq_s32_u32(vcgtq_s32(shift, vdupq_n_s32(31))),
                                          vdupq_n_s32(panel->output->nudge));
        const int64x2_t down_low = vnegq_s64(vmovl_s32(vget_low_s32(shift)));
        const int64x2_t down_high = vnegq_s64(vmovl_high_s32(shift));
        for (int i = 0; i < rows; i++) {
            const int32x4_t x = vld1q_s32(acc[i] + q);
            const int32x4_t sign = vshrq_n_s32(x, 31);
            const int32x4_t d = vsubq_s32(veorq_s32(nudge, sign), sign);
            const int64x2_t low = vaddw_s32(vmull_s32(vget_low_s32(x), vget_low_s32(multiplier)), vget_low_s32(d));
            const int64x2_t high = vaddw_high_s32(vmull_high_s32(x, multiplier), d);
            const int32x4_t scaled = vuzp1q_s32(vreinterpretq_s32_s64(vrshlq_s64(low, down_low)),
                                                vreinterpretq_s32_s64(vrshlq_s64(high, down_high)));
            vst1q_s32(acc[i] + q, vaddq_s32(scaled, vdupq_n_s32(panel->output->zero_point)));
        }
    }
}

NYB_INLINE void nyb_store_channels(int8_t *c, int8x8_t x, uint32_t width) {
    if (width == 8) {
        vst1_s8(c, x);
        return;
    }
    int8_t bytes[8];
    vst1_s8(bytes, x);
    for (uint32_t j = 0; j < width; j++) {
        c[j] = bytes[j];
    }
}

NYB_INLINE void nyb_finish_as(int32x4_t (*acc)[2], const int rows, const nyb_scaling scaling,
                              const nyb_panel_output *panel, int8_t *c, size_t c_stride) {
    const nyb_requantize *output = panel->output;
    const int8x16_t minimum = vdupq_n_s8((int8_t)output->minimum);
    const int8x16_t maximum = vdupq_n_s8((int8_t)output->maximum);
    const int16x8_t zero_point = vdupq_n_s16((int16_t)output->zero_point);
    int32x4_t multiplier[2], down[2];
    NYB_EACH (q, 2) {
        multiplier[q] = vld1q_s32(panel->multiplier + 4 * q);
        down[q] = vsubq_s32(vdupq_n_s32(31), vld1q_s32(panel->shift + 4 * q));
    }
    NYB_EACH (h, (rows + 1) / 2) {
        int8x8_t x[2] = {vdup_n_s8(0), vdup_n_s8(0)};
        const int two = rows - 2 * h < 2 ? 1 : 2;
        NYB_EACH (i, two) {
            int32x4_t v[2];
            NYB_EACH (q, 2) {
                v[q] = acc[2 * h + i][q];
                if (scaling == NYB_SCALING_SINGLE) {
                    v[q] = vrshlq_s32(vqdmulhq_s32(v[q], multiplier[q]), down[q]);
                } else if (scaling == NYB_SCALING_DOUBLE) {
                    v[q] = vqrdmulhq_s32(v[q], multiplier[q]);
                    v[q] = vrshlq_s32(vsraq_n_s32(v[q], v[q], 31), down[q]);
                }
            }
            // Saturating to 16 and to 8 bits before the clamp changes nothing: the clamp lies within int8.
            int16x8_t narrow = vqmovn_high_s32(vqmovn_s32(v[0]), v[1]);
            if (scaling != NYB_SCALING_WIDE) {
                narrow = vqaddq_s16(narrow, zero_point);
            }
            x[i] = vqmovn_s16(narrow);
        }
        const int8x16_t both = vmaxq_s8(vminq_s8(vcombine_s8(x[0], x[1]), maximum), minimum);
        nyb_store_channels(c + (size_t)(2 * h) * c_stride, vget_low_s8(both), panel->width);
        if (two == 2) {
            nyb_store_channels(c + (size_t)(2 * h + 1) * c_stride, vget_high_s8(both), panel->width);
        }
    }
}

// Finishes `rows` (a constant, 1 to 8) rows of accumulators of one panel; c: of the panel's first channel.
NYB_INLINE void nyb_finish_rows(int32x4_t (*acc)[2], const int rows, const nyb_panel_output *panel, int8_t *c,
                                size_t c_stride) {
    if (panel->scaling == NYB_SCALING_SINGLE) {
        nyb_finish_as(acc, rows, NYB_SCALING_SINGLE, panel, c, c_stride);
    } else if (panel->scaling == NYB_SCALING_DOUBLE) {
        nyb_finish_as(acc, rows, NYB_SCALING_DOUBLE, panel, c, c_stride);
    } else {
        int32_t sums[8][8];
        NYB_EACH (i, rows) { NYB_EACH (q, 2) vst1q_s32(sums[i] + 4 * q, acc[i][q]); }
        nyb_scale_wide(sums, rows, panel);
        int32x4_t scaled[8][2];
        NYB_EACH (i, rows) { NYB_EACH (q, 2) scaled[i][q] = vld1q_s32(sums[i] + 4 * q); }
        nyb_finish_as(scaled, rows, NYB_SCALING_WIDE, panel, c, c_stride);
    }
}

#endif
