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
        int8x16_t narrow[TAPS]; // of a single panel in the low half
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
    for (uint32_t t = 0; t < b->taps && *narrow; t++) { // in place: before what is still to be read
        b->weights.narrow[t] = vcombine_s8(vmovn_s16(b->weights.wide[t][0]),
                                           panels == 2 ? vmovn_s16(b->weights.wide[t][1]) : vdup_n_s8(0));
    }
    return true;
}

// The channels of one tap of one pixel, those of a single panel in the low half. edge: the pixel ends within
// them.
NYB_INLINE int8x16_t load(const int8_t *tap, const depthwise_block *b, uint32_t channels, const int panels,
                          const bool edge) {
    if (panels == 2) {
        return vld1q_s8(tap);
    }
    const int8x8_t x = edge ? vcreate_s8(nyb_read8(tap - b->first, b->first, channels)) : vld1_s8(tap);
    return vcombine_s8(x, vdup_n_s8(0));
}

// s = or += x * w, each panel by itself.
NYB_INLINE void multiply(int16x8_t s[PANELS], const bool add, int8x16_t x, int8x16_t w, const int panels) {
    const int8x8_t x_low = vget_low_s8(x), w_low = vget_low_s8(w);
    s[0] = add ? vmlal_s8(s[0], x_low, w_low) : vmull_s8(x_low, w_low);
    if (panels == 2) {
        s[1] = add ? vmlal_high_s8(s[1], x, w) : vmull_high_s8(x, w);
    }
}

NYB_INLINE void add_sums(int32x4_t to[PANELS][2], int32x4_t acc[PANELS][2], const int16x8_t s[PANELS],
                         const int panels) {
    NYB_EACH (q, panels) {
        to[q][0] = vaddw_s16(acc[q][0], vget_low_s16(s[q]));
        to[q][1] = vaddw_high_s16(acc[q][1], s[q]);
    }
}

NYB_INLINE void read_bias(int32x4_t acc[PANELS][2], const depthwise_block *b, const int panels) {
    NYB_EACH (q, panels) {
        acc[q][0] = vld1q_s32(b->bias + NR * q);
        acc[q][1] = vld1q_s32(b->bias + NR * q + 4);
    }
}

// 3 x 3 taps of neighbouring pixels, whose columns are `stride` (1 or 2) apart: each column is loaded once.
NYB_INLINE void sum_3x3(int32x4_t (*acc)[PANELS][2], const depthwise_block *b, const nyb_depthwise_args *args,
                        const int8_t *x, const int pixels, const int panels, const int stride) {
    int8x16_t in[2 * PIXELS + 1];
    int16x8_t s[PIXELS][PANELS];
    int32x4_t bias[PANELS][2];
    read_bias(bias, b, panels);
    NYB_EACH (t, 9) {
        if (t % 3 == 0) {
            NYB_EACH (k, (pixels - 1) * stride + 3)
                in[k] = load(x + (size_t)k * args->tap_pixel, b, args->channels, panels, false);
            x += args->tap_line;
        }
        // All pixels of a step before the next step: in-order cores wait for each result.
        NYB_EACH (i, pixels)
            multiply(s[i], t % 2 != 0, in[i * stride + t % 3], b->weights.narrow[t], panels);
        if (t % 2 != 0 || t == 8) {
            NYB_EACH (i, pixels)
                add_sums(acc[i], t == 1 ? bias : acc[i], s[i], panels);
        }
    }
}

// Taps of any window, pair by pair.
NYB_INLINE void sum_pairs(int32x4_t (*acc)[PANELS][2], const depthwise_block *b,
                          const nyb_depthwise_args *args, const int8_t *x, const int pixels, const int panels,
                          const bool edge) {
    for (uint32_t t = 0; t < b->taps; t += 2) {
        int8x16_t in[2][PIXELS];
        int16x8_t s[PIXELS][PANELS];
        NYB_EACH (u, 2) {
            const int8_t *tap = x + b->offset[t + (uint32_t)u];
            NYB_EACH (i, pixels)
                in[u][i] = load(tap + (size_t)i * args->x_pixel, b, args->channels, panels, edge);
        }
        NYB_EACH (u, 2) {
            NYB_EACH (i, pixels)
                multiply(s[i], u == 1, in[u][i], b->weights.narrow[t + (uint32_t)u], panels);
        }
        NYB_EACH (i, pixels)
            add_sums(acc[i], acc[i], s[i], panels);
    }
}

// acc + x * w of one panel.
NYB_INLINE void multiply_wide(int32x4_t acc[2], int16x8_t x, int16x8_t w) {
    acc[0] = vmlal_s16(acc[0], vget_low_s16(x), vget_low_s16(w));
    acc[1] = vmlal_high_s16(acc[1], x, w);
}

NYB_INLINE void widen(int16x8_t to[PANELS], int8x16_t x, const int panels) {
    to[0] = vmovl_s8(vget_low_s8(x));
    if (panels == 2) {
        to[1] = vmovl_high_s8(x);
    }
}

// Like sum_3x3: each column is widened once.
NYB_INLINE void sum_3x3_wide(int32x4_t (*acc)[PANELS][2], const depthwise_block *b,
                             const nyb_depthwise_args *args, const int8_t *x, const int pixels,
                             const int panels, const int stride) {
    int16x8_t in[2 * PIXELS + 1][PANELS];
    NYB_EACH (t, 9) {
        if (t % 3 == 0) {
            NYB_EACH (k, (pixels - 1) * stride + 3)
                widen(in[k], load(x + (size_t)k * args->tap_pixel, b, args->channels, panels, false), panels);
            x += args->tap_line;
        }
        NYB_EACH (i, pixels) {
            NYB_EACH (q, panels)
                multiply_wide(acc[i][q], in[i * stride + t % 3][q], b->weights.wide[t][q]);
        }
    }
}

NYB_INLINE void sum_wide(int32x4_t (*acc)[PANELS][2], const depthwise_block *b,
                         const nyb_depthwise_args *args, const int8_t *x, const int pixels, const int panels,
                         const bool edge) {
    for (uint32_t t = 0; t < b->taps; t++) {
        int16x8_t in[PIXELS][PANELS];
        NYB_EACH (i, pixels) {
            const int8_t *tap = x + b->offset[t] + (size_t)i * args->x_pixel;
            widen(in[i], load(tap, b, args->channels, panels, edge), panels);
        }
        NYB_EACH (i, pixels) {
            NYB_EACH (q, panels)
                multiply_wide(acc[i][q], in[i][q], b->weights.wide[t][q]);
        }
    }
}

// How a block sums. stride: 1 or 2 pixels of a 3 x 3 window, 0 for any other.
typedef struct depthwise_sum {
    bool wide;
    int stride;
} depthwise_sum;

// Neighbouring pixels, which share the loads of constants.
NYB_INLINE void block(const depthwise_block *b, const nyb_depthwise_args *args, const int8_t *x, int8_t *c,
                      const int pixels, const int panels, const bool edge, const depthwise_sum sum,
                      const nyb_scaling scaling) {
    int32x4_t acc[PIXELS][PANELS][2];
    if (sum.stride > 0 && !sum.wide) {
        sum_3x3(acc, b, args, x, pixels, panels, sum.stride);
    } else {
        NYB_EACH (i, pixels)
            read_bias(acc[i], b, panels);
        if (sum.stride > 0) {
            sum_3x3_wide(acc, b, args, x, pixels, panels, sum.stride);
        } else if (sum.wide) {
            sum_wide(acc, b, args, x, pixels, panels, edge);
        } else {
            sum_pairs(acc, b, args, x, pixels, panels, edge);
        }
    }
    if (panels == 2) {
        nyb_finish_two_panels(acc, pixels, b->output, scaling, c, args->c_pixel);
    } else {
        int32x4_t rows[PIXELS][2];
        NYB_EACH (i, pixels) {
            rows[i][0] = acc[i][0][0];
            rows[i][1] = acc[i][0][1];
        }
        nyb_finish_rows_by(rows, pixels, &b->output[0], scaling, c, args->c_pixel);
    }
}

NYB_INLINE void all_lines(const depthwise_block *b, const nyb_depthwise_args *args, const int panels,
                          const bool edge, const depthwise_sum sum, const nyb_scaling scaling) {
    const int pixels = edge ? 1 : panels == 2 || sum.stride == 2 ? 2 : PIXELS; // as many as registers allow
    for (uint32_t y = 0; y < args->lines; y++) {
        const int8_t *x = args->x + y * args->x_line + b->first;
        int8_t *c = args->c + y * args->c_line + b->first;
        uint32_t left = args->pixels;
        for (; left >= (uint32_t)pixels; left -= (uint32_t)pixels) {
            block(b, args, x, c, pixels, panels, edge, sum, scaling);
            x += (uint32_t)pixels * args->x_pixel;
            c += (uint32_t)pixels * args->c_pixel;
        }
        for (; left > 0; left--, x += args->x_pixel, c += args->c_pixel) {
            block(b, args, x, c, 1, panels, edge, sum, scaling);
        }
    }
}

// Inner loops of their own for the usual windows and scalings.
NYB_INLINE void all_sums(const depthwise_block *b, const nyb_depthwise_args *args, const int panels,
                         const bool edge, const bool wide, const nyb_scaling scaling) {
    const bool small = args->window_height == 3 && args->window_width == 3 && !edge;
    const depthwise_sum any = {wide, 0}, next = {wide, 1}, second = {wide, 2};
    const bool at_once = args->x_pixel == args->tap_pixel, apart = args->x_pixel == 2 * args->tap_pixel;
    if (small && at_once && scaling == NYB_SCALING_RELU) {
        all_lines(b, args, panels, false, next, NYB_SCALING_RELU);
    } else if (small && at_once && scaling == NYB_SCALING_DOUBLE) {
        all_lines(b, args, panels, false, next, NYB_SCALING_DOUBLE);
    } else if (small && apart && scaling == NYB_SCALING_RELU) {
        all_lines(b, args, panels, false, second, NYB_SCALING_RELU);
    } else if (small && apart && scaling == NYB_SCALING_DOUBLE) {
        all_lines(b, args, panels, false, second, NYB_SCALING_DOUBLE);
    } else {
        all_lines(b, args, panels, edge, any, scaling);
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
    nyb_scaling scaling = b.output[0].scaling;
    if (panels == 2 && b.output[1].scaling > scaling) {
        scaling = NYB_SCALING_WIDE; // panels differ only where one of them is wide
    }
    if (narrow) {
        all_sums(&b, args, panels, edge, false, scaling);
    } else {
        all_sums(&b, args, panels, edge, true, scaling);
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
