// SPDX-License-Identifier: Apache-2.0
// nyb_finish16 for eight channels at a time, where accumulators and results fit int32.
#ifndef NYB_KERNELS_EPILOGUE16_NEON_H
#define NYB_KERNELS_EPILOGUE16_NEON_H

#include "kernels/epilogue_neon.h"

// What follows the sums of a panel of 8 channels, of which `width` exist.
typedef struct nyb_panel16 {
    int32_t multiplier[8], shift[8];
    nyb_panel_output output;
    int16x8_t minimum, maximum;
    int32x4_t bias[2];
} nyb_panel16;

// Multipliers of 15 bits get 16 more zeros, and their shifts as many: the same result, and mostly shifts
// above 31, which 32-bit instructions do. A nudge asks for the shift as it is.
static inline void nyb_panel16_init(nyb_panel16 *panel, const int32_t *bias, const int32_t *multiplier,
                                    const int32_t *shift, uint32_t width, const nyb_requantize *output) {
    for (uint32_t j = 0; j < 8; j++) {
        const bool exists = j < width; // the padding may be anything
        const bool small = exists && output->nudge == 0 && multiplier[j] < INT32_C(1) << 15 && shift[j] <= 46;
        panel->multiplier[j] = exists ? (small ? multiplier[j] * (1 << 16) : multiplier[j]) : 0;
        panel->shift[j] = exists ? shift[j] + (small ? 16 : 0) : 62;
    }
    panel->output = nyb_panel_output_of(panel->multiplier, panel->shift, width, output);
    panel->minimum = vdupq_n_s16((int16_t)output->minimum);
    panel->maximum = vdupq_n_s16((int16_t)output->maximum);
    panel->bias[0] = vld1q_s32(bias);
    panel->bias[1] = vld1q_s32(bias + 4);
}

static __attribute__((noinline, unused)) void nyb_finish16_each(const nyb_panel16 *panel, int32x4_t low,
                                                                int32x4_t high, int16_t *c) {
    int32_t sums[8];
    vst1q_s32(sums, low);
    vst1q_s32(sums + 4, high);
    for (uint32_t j = 0; j < panel->output.width; j++) {
        c[j] = nyb_finish16(sums[j], panel->multiplier[j], panel->shift[j], panel->output.output);
    }
}

// Finishes `rows` (a constant, 1 to 8) rows of sums, `c_stride` bytes apart.
NYB_INLINE void nyb_finish16_rows(int32x4_t (*acc)[2], const int rows, const nyb_panel16 *panel, int8_t *c,
                                  size_t c_stride) {
    int16x8_t y[8];
    NYB_EACH (i, rows) {
        NYB_EACH (q, 2)
            acc[i][q] = nyb_add4(acc[i][q], panel->bias[q]);
    }
    switch (panel->output.scaling) {
    case NYB_SCALING_SINGLE:
        nyb_scale_rows(y, acc, rows, &panel->output, NYB_SCALING_SINGLE);
        break;
    case NYB_SCALING_RELU:
        nyb_scale_rows(y, acc, rows, &panel->output, NYB_SCALING_RELU);
        break;
    case NYB_SCALING_DOUBLE:
        nyb_scale_rows(y, acc, rows, &panel->output, NYB_SCALING_DOUBLE);
        break;
    default:
        NYB_EACH (i, rows)
            nyb_finish16_each(panel, acc[i][0], acc[i][1], (int16_t *)(void *)(c + (size_t)i * c_stride));
        return;
    }
    NYB_EACH (i, rows) {
        int16_t *to = (int16_t *)(void *)(c + (size_t)i * c_stride);
        const int16x8_t clamped = vmaxq_s16(vminq_s16(y[i], panel->maximum), panel->minimum);
        if (panel->output.width == 8) {
            vst1q_s16(to, clamped);
        } else {
            int16_t words[8];
            vst1q_s16(words, clamped);
            for (uint32_t j = 0; j < panel->output.width; j++) {
                to[j] = words[j];
            }
        }
    }
}

#endif
