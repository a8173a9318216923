// SPDX-License-Identifier: Apache-2.0
// AArch64: 8 or 16 channels of up to 4 pixels. Two int8 products fit int16 unless all four factors are -128,
// so weights of -127 to 127 are summed in pairs (smull, smlal) before they are widened (saddw); others, which
// a zero point makes, are widened first (sxtl, smlal).
#include "kernels/depthwise/depthwise.h"
#include "kernels/edge.h"
#include "kernels/epilogue_neon.h"

// Taps whose weights are kept on the stack. Larger windows are rare.
enum { NR = NYB_DEPTHWISE_NR, PIXELS = 4, PANELS = 2, TAPS = 128 };

// What stays the same over the pixels of neighbouring panels.
typedef struct depthwise_block {
    union {
        int8x8_t narrow[TAPS][PANELS];
        int16x8_t wide[TAPS][PANELS];
    } weights;
    size_t offset[TAPS]; // of a tap from the first
    uint32_t taps;
    const int32_t *bias;
    nyb_panel_output output[PANELS];
    uint32_t first; // channel
} depthwise_block;

// False where the window is too large. *narrow: whether all weights are within -127 to 127.
NYB_INLINE bool read_weights(depthwise_block *b, const nyb_depthwise_args *args, const int panels,
                             bool *narrow) {
    const size_t taps = (size_t)args->window_height * args->window_width;
    const int8_t *w = args->weights + b->first * taps;
    const int16x8_t zero_point = vdupq_n_s16((int16_t)args->weight_zero_point);
    int16x8_t largest = vdupq_n_s16(0);
    if (taps > TAPS) {
        return false;
    }
    b->taps = (uint32_t)taps;
    for (size_t t = 0; t < taps; t++) {
        b->offset[t] = t / args->window_width * args->tap_line + t % args->window_width * args->tap_pixel;
        NYB_EACH (q, panels) {
            const int16x8_t x = vsubq_s16(vmovl_s8(vld1_s8(w + ((size_t)q * taps + t) * NR)), zero_point);
            largest = vmaxq_s16(largest, vabsq_s16(x));
            b->weights.wide[t][q] = x;
        }
    }
    if (taps % 2 != 0) { // a weight of 0, so that all taps are pairs
        b->offset[taps] = b->offset[taps - 1];
        NYB_EACH (q, panels)
            b->weights.wide[taps][q] = vdupq_n_s16(0);
        b->taps++;
    }
    *narrow = vmaxvq_s16(largest) <= INT8_MAX;
    for (uint32_t t = 0; t < b->taps && *narrow; t++) {
        NYB_EACH (q, panels)
            b->weights.narrow[t][q] = vmovn_s16(b->weights.wide[t][q]); // behind what is still to be read
    }
    return true;
}

// The channels of one tap of one pixel. edge: the pixel ends within them.
NYB_INLINE void load(int8x8_t x[PANELS], const int8_t *tap, const depthwise_block *b, uint32_t channels,
                     const int panels, const bool edge) {
    if (panels == 2) {
        const int8x16_t both = vld1q_s8(tap);
        x[0] = vget_low_s8(both);
        x[1] = vget_high_s8(both);
    } else {
        x[0] = edge ? vcreate_s8(nyb_read8(tap - b->first, b->first, channels)) : vld1_s8(tap);
    }
}

NYB_INLINE void widen(int32x4_t acc[2], const int32x4_t sum[2], int16x8_t pair) {
    acc[0] = vaddw_s16(sum[0], vget_low_s16(pair));
    acc[1] = vaddw_high_s16(sum[1], pair);
}

// 3 x 3 taps of neighbouring pixels, whose columns are `stride` (1 or 2) apart: each column is loaded once.
NYB_INLINE void sum_3x3(int32x4_t (*acc)[PIXELS][2], const depthwise_block *b, const nyb_depthwise_args *args,
                        const int8_t *x, const int pixels, const int panels, const int stride) {
    int8x8_t in[3][2 * PIXELS + 1][PANELS];
    int32x4_t bias[PANELS][2];
    NYB_EACH (q, panels) {
        bias[q][0] = vld1q_s32(b->bias + NR * q);
        bias[q][1] = vld1q_s32(b->bias + NR * q + 4);
    }
    NYB_EACH (t, 9) {
        if (t % 3 == 0) {
            NYB_EACH (k, (pixels - 1) * stride + 3)
                load(in[t / 3][k], x + (size_t)k * args->tap_pixel, b, args->channels, panels, false);
            x += args->tap_line;
        }
        if (t % 2 == 0 && t < 8) {
            continue; // with the next
        }
        const int first = t == 8 ? t : t - 1;
        NYB_EACH (i, pixels) {
            NYB_EACH (q, panels) {
                const int column = i * stride;
                int16x8_t s = vmull_s8(in[first / 3][column + first % 3][q], b->weights.narrow[first][q]);
                if (t < 8) {
                    s = vmlal_s8(s, in[t / 3][column + t % 3][q], b->weights.narrow[t][q]);
                }
                widen(acc[q][i], t == 1 ? bias[q] : acc[q][i], s);
            }
        }
    }
}

// Taps of any window, pair by pair.
NYB_INLINE void sum_pairs(int32x4_t (*acc)[PIXELS][2], const depthwise_block *b,
                          const nyb_depthwise_args *args, const int8_t *x, const int pixels, const int panels,
                          const bool edge) {
    for (uint32_t t = 0; t < b->taps; t += 2) {
        int8x8_t in[2][PIXELS][PANELS];
        NYB_EACH (i, pixels) {
            NYB_EACH (u, 2)
                load(in[u][i], x + b->offset[t + (uint32_t)u] + (size_t)i * args->x_pixel, b, args->channels,
                     panels, edge);
        }
        NYB_EACH (i, pixels) {
            NYB_EACH (q, panels) {
                const int16x8_t s = vmull_s8(in[0][i][q], b->weights.narrow[t][q]);
                widen(acc[q][i], acc[q][i], vmlal_s8(s, in[1][i][q], b->weights.narrow[t + 1][q]));
            }
        }
    }
}

NYB_INLINE void sum_wide(int32x4_t (*acc)[PIXELS][2], const depthwise_block *b,
                         const nyb_depthwise_args *args, const int8_t *x, const int pixels, const int panels,
                         const bool edge) {
    for (uint32_t t = 0; t < b->taps; t++) {
        int8x8_t in[PIXELS][PANELS];
        NYB_EACH (i, pixels)
            load(in[i], x + b->offset[t] + (size_t)i * args->x_pixel, b, args->channels, panels, edge);
        NYB_EACH (i, pixels) {
            NYB_EACH (q, panels) {
                const int16x8_t v = vmovl_s8(in[i][q]);
                const int16x8_t w = b->weights.wide[t][q];
                acc[q][i][0] = vmlal_s16(acc[q][i][0], vget_low_s16(v), vget_low_s16(w));
                acc[q][i][1] = vmlal_high_s16(acc[q][i][1], v, w);
            }
        }
    }
}

typedef enum sum_kind { SUM_3X3, SUM_3X3_STRIDE_2, SUM_PAIRS, SUM_WIDE } sum_kind;

// Neighbouring pixels, which share the loads of constants.
NYB_INLINE void block(const depthwise_block *b, const nyb_depthwise_args *args, const int8_t *x, int8_t *c,
                      const int pixels, const int panels, const bool edge, const sum_kind kind) {
    int32x4_t acc[PANELS][PIXELS][2];
    if (kind == SUM_3X3 || kind == SUM_3X3_STRIDE_2) {
        sum_3x3(acc, b, args, x, pixels, panels, kind == SUM_3X3 ? 1 : 2);
    } else {
        NYB_EACH (i, pixels) {
            NYB_EACH (q, panels) {
                acc[q][i][0] = vld1q_s32(b->bias + NR * q);
                acc[q][i][1] = vld1q_s32(b->bias + NR * q + 4);
            }
        }
        if (kind == SUM_PAIRS) {
            sum_pairs(acc, b, args, x, pixels, panels, edge);
        } else {
            sum_wide(acc, b, args, x, pixels, panels, edge);
        }
    }
    if (panels == 2) {
        nyb_finish_two_panels(acc[0], acc[1], pixels, b->output, c, args->c_pixel);
    } else {
        nyb_finish_rows(acc[0], pixels, &b->output[0], c, args->c_pixel);
    }
}

NYB_INLINE void all_lines(const depthwise_block *b, const nyb_depthwise_args *args, const int panels,
                          const bool edge, const sum_kind kind) {
    for (uint32_t y = 0; y < args->lines; y++) {
        const int8_t *x = args->x + y * args->x_line + b->first;
        int8_t *c = args->c + y * args->c_line + b->first;
        uint32_t left = args->pixels;
        for (; left >= PIXELS; left -= PIXELS, x += PIXELS * args->x_pixel, c += PIXELS * args->c_pixel) {
            block(b, args, x, c, PIXELS, panels, edge, kind);
        }
        for (; left > 0; left--, x += args->x_pixel, c += args->c_pixel) {
            block(b, args, x, c, 1, panels, edge, kind);
        }
    }
}

// All pixels of `panels` (1 or 2) panels. edge: the panel is not complete. False where the window is too
// large.
NYB_INLINE bool run(const nyb_depthwise_args *args, uint32_t first, const int panels, const bool edge) {
    depthwise_block b;
    bool narrow;
    b.bias = args->bias + first;
    b.first = first;
    if (!read_weights(&b, args, panels, &narrow)) {
        return false;
    }
    NYB_EACH (q, panels) {
        const uint32_t n = first + NR * (uint32_t)q;
        const uint32_t width = edge ? args->channels - n : NR;
        b.output[q] = nyb_panel_output_of(args->multiplier + n, args->shift + n, width, &args->output);
    }
    const bool is_3x3 = args->window_height == 3 && args->window_width == 3;
    if (!narrow) {
        all_lines(&b, args, panels, edge, SUM_WIDE);
    } else if (!edge && is_3x3 && args->x_pixel == args->tap_pixel) {
        all_lines(&b, args, panels, edge, SUM_3X3);
    } else if (!edge && is_3x3 && args->x_pixel == 2 * args->tap_pixel) {
        all_lines(&b, args, panels, edge, SUM_3X3_STRIDE_2);
    } else {
        all_lines(&b, args, panels, edge, SUM_PAIRS);
    }
    return true;
}

void nyb_depthwise_neon(const nyb_depthwise_args *args) {
    uint32_t first = 0;
    bool fits = true;
    for (; fits && args->channels - first >= PANELS * NR; first += PANELS * NR) {
        fits = run(args, first, PANELS, false);
    }
    if (fits && args->channels - first >= NR) {
        fits = run(args, first, 1, false);
        first += NR;
    }
    if (fits && first < args->channels) {
        fits = run(args, first, 1, true);
    }
    if (!fits) {
        nyb_depthwise_scalar(args);
    }
}
