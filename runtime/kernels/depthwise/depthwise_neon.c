// SPDX-License-Identifier: Apache-2.0
// AArch64: 8 or 16 channels side by side, int16 products accumulated in int32 (smlal).
#include "kernels/depthwise/depthwise.h"
#include "kernels/edge.h"
#include "kernels/epilogue_neon.h"

enum { NR = NYB_DEPTHWISE_NR };

// Channels first to first + 7 of a tap.
NYB_INLINE int16x8_t load(const int8_t *tap, uint32_t first, uint32_t channels, const bool edge) {
    const int8x8_t x = edge ? vcreate_s8(nyb_read8(tap, first, channels)) : vld1_s8(tap + first);
    return vmovl_s8(x);
}

NYB_INLINE void add_tap(int32x4_t *acc, int16x8_t x, int16x8_t w) {
    acc[0] = vmlal_s16(acc[0], vget_low_s16(x), vget_low_s16(w));
    acc[1] = vmlal_high_s16(acc[1], x, w);
}

// All pixels of `panels` (1 or 2) panels of channels. taps: their number where it is a constant, whose weights
// then stay in registers; 0 otherwise. edge: the last channels of the panel are missing.
NYB_INLINE void run(const nyb_depthwise_args *args, uint32_t first, const int panels, const uint32_t taps,
                    const bool edge) {
    const uint32_t tap_count = taps != 0 ? taps : args->tap_count;
    const int16_t *weights[2];
    nyb_panel_output output[2];
    int16x8_t w[2][16];
    NYB_EACH (q, panels) {
        const uint32_t n = first + NR * (uint32_t)q;
        weights[q] = args->weights + (size_t)n * tap_count;
        output[q] = nyb_panel_output_of(args->multiplier + n, args->shift + n, edge ? args->channels - n : NR,
                                        &args->output);
        NYB_EACH (t, (int)taps) w[q][t] = vld1q_s16(weights[q] + NR * t);
    }
    for (uint32_t p = 0; p < args->pixels; p++) {
        const int8_t *const *tap = args->taps + (size_t)p * tap_count;
        int32x4_t acc[2][1][2];
        NYB_EACH (q, panels) {
            acc[q][0][0] = vld1q_s32(args->bias + first + NR * q);
            acc[q][0][1] = vld1q_s32(args->bias + first + NR * q + 4);
        }
        if (taps != 0) {
            NYB_EACH (t, (int)taps) {
                NYB_EACH (q, panels) {
                    add_tap(acc[q][0], load(tap[t], first + NR * (uint32_t)q, args->channels, edge), w[q][t]);
                }
            }
        } else {
            for (uint32_t t = 0; t < tap_count; t++) {
                NYB_EACH (q, panels) {
                    add_tap(acc[q][0], load(tap[t], first + NR * (uint32_t)q, args->channels, edge),
                            vld1q_s16(weights[q] + NR * t));
                }
            }
        }
        NYB_EACH (q, panels) {
            nyb_finish_rows(acc[q], 1, &output[q], args->c + p * args->c_stride + first + NR * (uint32_t)q,
                            args->c_stride);
        }
    }
}

NYB_INLINE void depthwise(const nyb_depthwise_args *args, const uint32_t taps) {
    uint32_t first = 0;
    for (; args->channels - first >= 2 * NR; first += 2 * NR) {
        run(args, first, 2, taps, false);
    }
    if (args->channels - first >= NR) {
        run(args, first, 1, taps, false);
        first += NR;
    }
    if (first < args->channels) {
        run(args, first, 1, 0, true);
    }
}

void nyb_depthwise_neon(const nyb_depthwise_args *args) {
    if (args->tap_count == 9) { // 3x3
        depthwise(args, 9);
    } else {
        depthwise(args, 0);
    }
}
