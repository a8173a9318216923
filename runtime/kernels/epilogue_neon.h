// SPDX-License-Identifier: Apache-2.0
// nyb_finish for 8 channels at a time: equal to it for every accumulator, multiplier from 0 to 2^31 - 1 and
// shift from 1 to 62, with a nudge of 0 or 2^30.
//
// With p = acc * multiplier, shift = 31 + e and e >= 1, 32-bit instructions suffice:
// - nudge 0: (p + 2^(shift-1)) >> shift = (x + 2^(e-1)) >> e with x = p >> 31, because nested floors are one
// floor:
//   sqdmulh, srshl.
// - nudge 2^30: with x = (p + 2^30) >> 31 it is (x + 2^(e-1) - (acc < 0)) >> e, for a negative accumulator
// because
//   p - 2^30 = p + 2^30 - 2^31. An x of 0 or more takes no -1, also where acc < 0: then x = 0, and
//   2^(e-1) - 1 and 2^(e-1) both are 0 after the shift. So: sqrdmulh, ssra of the sign, srshl.
// - nudge 2^30 and a clamp that begins at the zero point or above (relu): without the -1 a negative
// accumulator
//   still gives x <= 0 and a result of at most 0, which the clamp makes the minimum. So: sqrdmulh, srshl. For
//   a shift of 31, which has no nudge, x is the result, which may reach the ends of 32 bits.
// Neither multiplication saturates, as only -2^31 * -2^31 would. A panel with a smaller shift (real
// multipliers of 1/2 and more, with relu 1 and more) goes through 64-bit products.
#ifndef NYB_KERNELS_EPILOGUE_NEON_H
#define NYB_KERNELS_EPILOGUE_NEON_H

#include "base/fixedpoint.h"
#include "kernels/neon.h"

#include <stdbool.h>
#include <stddef.h>

// nyb_add and nyb_sub of four lanes: gcc's vaddq_s32 is an addition of C, whose overflow is undefined.
NYB_INLINE int32x4_t nyb_add4(int32x4_t a, int32x4_t b) {
    return vreinterpretq_s32_u32(vaddq_u32(vreinterpretq_u32_s32(a), vreinterpretq_u32_s32(b)));
}
NYB_INLINE int32x4_t nyb_sub4(int32x4_t a, int32x4_t b) {
    return vreinterpretq_s32_u32(vsubq_u32(vreinterpretq_u32_s32(a), vreinterpretq_u32_s32(b)));
}

typedef enum nyb_scaling {
    NYB_SCALING_SINGLE,
    NYB_SCALING_RELU,
    NYB_SCALING_DOUBLE,
    NYB_SCALING_WIDE
} nyb_scaling;

// What follows the accumulators of a panel of 8 channels, of which `width` exist.
typedef struct nyb_panel_output {
    const int32_t *multipliers; // 8 of each, for NYB_SCALING_WIDE
    const int32_t *shifts;
    const nyb_requantize *output;
    uint32_t width;
    nyb_scaling scaling;
    int32x4_t multiplier[2];
    int32x4_t down[2]; // -e
    int16x8_t zero_point;
    int8x16_t minimum;
    int8x16_t maximum;
} nyb_panel_output;

NYB_INLINE nyb_panel_output nyb_panel_output_of(const int32_t *multipliers, const int32_t *shifts,
                                                uint32_t width, const nyb_requantize *output) {
    static const uint32_t lane[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    nyb_panel_output panel = {
        .multipliers = multipliers,
        .shifts = shifts,
        .output = output,
        .width = width,
        .scaling = output->nudge == 0                      ? NYB_SCALING_SINGLE
                   : output->minimum >= output->zero_point ? NYB_SCALING_RELU
                                                           : NYB_SCALING_DOUBLE,
        .zero_point = vdupq_n_s16((int16_t)output->zero_point),
        .minimum = vdupq_n_s8((int8_t)output->minimum),
        .maximum = vdupq_n_s8((int8_t)output->maximum),
    };
    uint32x4_t low[2]; // existing channels whose shift is too small
    NYB_EACH (q, 2) {
        const uint32x4_t exists = vcltq_u32(vld1q_u32(lane + 4 * q), vdupq_n_u32(width));
        panel.multiplier[q] = vld1q_s32(multipliers + 4 * q);
        panel.down[q] = nyb_sub4(vdupq_n_s32(31), vld1q_s32(shifts + 4 * q));
        const uint32x4_t wide = panel.scaling == NYB_SCALING_RELU ? vcgtq_s32(panel.down[q], vdupq_n_s32(0))
                                                                  : vcgezq_s32(panel.down[q]);
        low[q] = vandq_u32(wide, exists);
    }
    if (vmaxvq_u32(vorrq_u32(low[0], low[1])) != 0) {
        panel.scaling = NYB_SCALING_WIDE;
    }
    return panel;
}

// The first `width` of 8 channels of each row.
static __attribute__((noinline, unused)) void nyb_store_some(int8_t *c, size_t c_stride, const int8_t (*x)[8],
                                                             int rows, uint32_t width) {
    for (int i = 0; i < rows; i++) {
        for (uint32_t j = 0; j < width; j++) {
            c[(size_t)i * c_stride + j] = x[i][j];
        }
    }
}

// x[h]: rows 2h and 2h + 1.
NYB_INLINE void nyb_store_rows(int8_t *c, size_t c_stride, const int8x16_t *x, const int rows,
                               uint32_t width) {
    if (width == 8) {
        NYB_EACH (i, rows) {
            vst1_s8(c + (size_t)i * c_stride, i % 2 == 0 ? vget_low_s8(x[i / 2]) : vget_high_s8(x[i / 2]));
        }
    } else {
        int8_t bytes[8][8];
        NYB_EACH (h, (rows + 1) / 2)
            vst1q_s8(bytes[2 * h], x[h]);
        nyb_store_some(c, c_stride, (const int8_t(*)[8])bytes, rows, width);
    }
}

// nyb_finish by 64-bit products. Rare, so it is not inlined into every tile.
static __attribute__((noinline, unused)) void
nyb_finish_wide(const int32_t (*acc)[8], int rows, const int32_t *multipliers, const int32_t *shifts,
                const nyb_requantize *output, int8_t *c, size_t c_stride, uint32_t width) {
    for (int i = 0; i < rows; i++) {
        int16x4_t x[2];
        NYB_EACH (q, 2) {
            const int32x4_t sum = vld1q_s32(acc[i] + 4 * q);
            const int32x4_t multiplier = vld1q_s32(multipliers + 4 * q);
            const int32x4_t shift = vandq_s32(vld1q_s32(shifts + 4 * q), vdupq_n_s32(63));
            const int32x4_t nudge = vandq_s32(vreinterpretq_s32_u32(vcgtq_s32(shift, vdupq_n_s32(31))),
                                              vdupq_n_s32(output->nudge));
            const int32x4_t sign = vshrq_n_s32(sum, 31);
            const int32x4_t d = nyb_sub4(veorq_s32(nudge, sign), sign);
            const int64x2_t low =
                vaddw_s32(vmull_s32(vget_low_s32(sum), vget_low_s32(multiplier)), vget_low_s32(d));
            const int64x2_t high = vaddw_high_s32(vmull_high_s32(sum, multiplier), d);
            const int64x2_t y[2] = {vrshlq_s64(low, vnegq_s64(vmovl_s32(vget_low_s32(shift)))),
                                    vrshlq_s64(high, vnegq_s64(vmovl_high_s32(shift)))};
            const int32x4_t scaled = vuzp1q_s32(vreinterpretq_s32_s64(y[0]), vreinterpretq_s32_s64(y[1]));
            x[q] = vqmovn_s32(nyb_add4(scaled, vdupq_n_s32(output->zero_point)));
        }
        const int8x16_t narrow = vcombine_s8(vqmovn_s16(vcombine_s16(x[0], x[1])), vdup_n_s8(0));
        const int8x16_t clamped = vmaxq_s8(vminq_s8(narrow, vdupq_n_s8((int8_t)output->maximum)),
                                           vdupq_n_s8((int8_t)output->minimum));
        nyb_store_rows(c + (size_t)i * c_stride, c_stride, &clamped, 1, width);
    }
}

// Rows of eight accumulators -> results with their zero point; not for NYB_SCALING_WIDE. Each step for all
// rows before the next step: in-order cores wait for each result.
NYB_INLINE void nyb_scale_rows(int16x8_t *to, int32x4_t (*acc)[2], const int rows,
                               const nyb_panel_output *panel, const nyb_scaling scaling) {
    int32x4_t x[8][2];
    NYB_EACH (i, rows) {
        NYB_EACH (q, 2)
            x[i][q] = scaling == NYB_SCALING_SINGLE ? vqdmulhq_s32(acc[i][q], panel->multiplier[q])
                                                    : vqrdmulhq_s32(acc[i][q], panel->multiplier[q]);
    }
    if (scaling == NYB_SCALING_DOUBLE) {
        NYB_EACH (i, rows) {
            NYB_EACH (q, 2)
                x[i][q] = vsraq_n_s32(x[i][q], x[i][q], 31);
        }
    }
    NYB_EACH (i, rows) {
        NYB_EACH (q, 2)
            x[i][q] = vrshlq_s32(x[i][q], panel->down[q]);
    }
    // With a shift of 31 the sum with the zero point may wrap, as nyb_finish does; with a larger one it
    // cannot.
    if (scaling == NYB_SCALING_RELU) {
        const int32x4_t zero_point = vdupq_n_s32(panel->output->zero_point);
        NYB_EACH (i, rows) {
            NYB_EACH (q, 2)
                x[i][q] = nyb_add4(x[i][q], zero_point);
        }
    }
    // Saturating to 16 and to 8 bits before the clamp changes nothing: the clamp lies within int8.
    int16x4_t low[8];
    NYB_EACH (i, rows)
        low[i] = vqmovn_s32(x[i][0]);
    NYB_EACH (i, rows)
        to[i] = vqmovn_high_s32(low[i], x[i][1]);
    if (scaling != NYB_SCALING_RELU) {
        NYB_EACH (i, rows)
            to[i] = vqaddq_s16(to[i], panel->zero_point);
    }
}

NYB_INLINE int8x16_t nyb_clamp16(int8x16_t x, const nyb_panel_output *panel) {
    return vmaxq_s8(vminq_s8(x, panel->maximum), panel->minimum);
}

NYB_INLINE void nyb_finish_narrow(int32x4_t (*acc)[2], const int rows, const nyb_scaling scaling,
                                  const nyb_panel_output *panel, int8_t *c, size_t c_stride) {
    int16x8_t wide[8];
    int8x16_t x[4];
    nyb_scale_rows(wide, acc, rows, panel, scaling);
    NYB_EACH (h, (rows + 1) / 2) {
        const int8x8_t even = vqmovn_s16(wide[2 * h]);
        x[h] = 2 * h + 1 < rows ? vqmovn_high_s16(even, wide[2 * h + 1]) : vcombine_s8(even, vdup_n_s8(0));
    }
    NYB_EACH (h, (rows + 1) / 2)
        x[h] = nyb_clamp16(x[h], panel);
    nyb_store_rows(c, c_stride, x, rows, panel->width);
}

// Finishes `rows` (a constant, 1 to 8) rows of accumulators of one panel; c: of the panel's first channel.
// scaling: of the panel, or NYB_SCALING_WIDE, which serves all.
NYB_INLINE void nyb_finish_rows_by(int32x4_t (*acc)[2], const int rows, const nyb_panel_output *panel,
                                   const nyb_scaling scaling, int8_t *c, size_t c_stride) {
    if (scaling == NYB_SCALING_RELU) {
        nyb_finish_narrow(acc, rows, NYB_SCALING_RELU, panel, c, c_stride);
    } else if (scaling == NYB_SCALING_DOUBLE) {
        nyb_finish_narrow(acc, rows, NYB_SCALING_DOUBLE, panel, c, c_stride);
    } else if (scaling == NYB_SCALING_SINGLE) {
        nyb_finish_narrow(acc, rows, NYB_SCALING_SINGLE, panel, c, c_stride);
    } else {
        int32_t sums[8][8];
        NYB_EACH (i, rows) {
            NYB_EACH (q, 2)
                vst1q_s32(sums[i] + 4 * q, acc[i][q]);
        }
        nyb_finish_wide((const int32_t(*)[8])sums, rows, panel->multipliers, panel->shifts, panel->output, c,
                        c_stride, panel->width);
    }
}

NYB_INLINE void nyb_finish_rows(int32x4_t (*acc)[2], const int rows, const nyb_panel_output *panel, int8_t *c,
                                size_t c_stride) {
    nyb_finish_rows_by(acc, rows, panel, panel->scaling, c, c_stride);
}

NYB_INLINE void nyb_finish_both(int32x4_t (*acc)[2][2], const int rows, const nyb_panel_output panels[2],
                                const nyb_scaling scaling, int8_t *c, size_t c_stride) {
    int16x8_t wide[2][8];
    NYB_EACH (q, 2) {
        int32x4_t one[8][2];
        NYB_EACH (i, rows) {
            one[i][0] = acc[i][q][0];
            one[i][1] = acc[i][q][1];
        }
        nyb_scale_rows(wide[q], one, rows, &panels[q], scaling);
    }
    NYB_EACH (i, rows) {
        const int8x16_t x = vqmovn_high_s16(vqmovn_s16(wide[0][i]), wide[1][i]);
        vst1q_s8(c + (size_t)i * c_stride, nyb_clamp16(x, &panels[0]));
    }
}

// Finishes rows of two complete neighbouring panels. scaling: of both, or NYB_SCALING_WIDE, which serves all.
NYB_INLINE void nyb_finish_two_panels(int32x4_t (*acc)[2][2], const int rows,
                                      const nyb_panel_output panels[2], const nyb_scaling scaling, int8_t *c,
                                      size_t c_stride) {
    if (scaling == NYB_SCALING_RELU) {
        nyb_finish_both(acc, rows, panels, NYB_SCALING_RELU, c, c_stride);
    } else if (scaling == NYB_SCALING_DOUBLE) {
        nyb_finish_both(acc, rows, panels, NYB_SCALING_DOUBLE, c, c_stride);
    } else if (scaling == NYB_SCALING_SINGLE) {
        nyb_finish_both(acc, rows, panels, NYB_SCALING_SINGLE, c, c_stride);
    } else {
        NYB_EACH (i, rows) {
            NYB_EACH (q, 2)
                nyb_finish_rows_by(&acc[i][q], 1, &panels[q], NYB_SCALING_WIDE,
                                   c + (size_t)i * c_stride + 8 * q, c_stride);
        }
    }
}

#endif
