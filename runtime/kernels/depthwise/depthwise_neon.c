// SPDX-License-Identifier: Apache-2.0
// AArch64: 8 or 16 channels side by side, int16 products accumulated in int32 (smlal).
#include "kernels/depthwise/depthwise.h"
#include "kernels/edge.h"
#include "kernels/epilogue_neon.h"

enum { NR = NYB_DEPTHWISE_NR, PIXELS = 4, PANELS = 2 };

// What stays the same over the pixels of neighbouring panels.
typedef struct depthwise_panels {
    const int16_t *weights[PANELS];
    const int32_t *bias;
    nyb_panel_output output[PANELS];
    uint32_t first; // channel
} depthwise_panels;

// Channels `first` to first + 7 of a tap, or first + 15 of two panels. edge: the row ends within them.
NYB_INLINE void load(int16x8_t *x, const int8_t *tap, uint32_t first, uint32_t channels, const int panels,
                     const bool edge) {
    if (panels == 2) {
        const int8x16_t both = vld1q_s8(tap + first);
        x[0] = vmovl_s8(vget_low_s8(both));
        x[1] = vmovl_high_s8(both);
    } else {
        x[0] = vmovl_s8(edge ? vcreate_s8(nyb_read8(tap, first, channels)) : vld1_s8(tap + first));
    }
}

// Pixels p to p + pixels - 1, which share the loads of weights.
NYB_INLINE void block(const nyb_depthwise_args *args, const depthwise_panels *d, uint32_t p, const int pixels,
                      const int panels, const bool edge) {
    const uint32_t tap_count = args->tap_count;
    const int8_t *const *tap[PIXELS];
    int32x4_t acc[PANELS][PIXELS][2];
    NYB_EACH (i, pixels) {
        tap[i] = args->taps + (size_t)(p + (uint32_t)i) * tap_count;
        NYB_EACH (q, panels) {
            acc[q][i][0] = vld1q_s32(d->bias + NR * q);
            acc[q][i][1] = vld1q_s32(d->bias + NR * q + 4);
        }
    }
    for (uint32_t t = 0; t < tap_count; t++) {
        int16x8_t w[PANELS];
        NYB_EACH (q, panels)
            w[q] = vld1q_s16(d->weights[q] + (size_t)NR * t);
        int16x8_t x[PIXELS][PANELS]; // all loads before the first product: in-order cores wait for each
        NYB_EACH (i, pixels)
            load(x[i], tap[i][t], d->first, args->channels, panels, edge);
        NYB_EACH (i, pixels) {
            NYB_EACH (q, panels) {
                acc[q][i][0] = vmlal_s16(acc[q][i][0], vget_low_s16(x[i][q]), vget_low_s16(w[q]));
                acc[q][i][1] = vmlal_high_s16(acc[q][i][1], x[i][q], w[q]);
            }
        }
    }
    NYB_EACH (q, panels) {
        int8_t *c = args->c + p * args->c_stride + d->first + NR * q;
        nyb_finish_rows(acc[q], pixels, &d->output[q], c, args->c_stride);
    }
}

// All pixels of `panels` (1 or 2) panels. edge: the panel is not complete.
NYB_INLINE void run(const nyb_depthwise_args *args, uint32_t first, const int panels, const bool edge) {
    depthwise_panels d = {.bias = args->bias + first, .first = first};
    NYB_EACH (q, panels) {
        const uint32_t n = first + NR * (uint32_t)q;
        const uint32_t width = edge ? args->channels - n : NR;
        d.weights[q] = args->weights + (size_t)n * args->tap_count;
        d.output[q] = nyb_panel_output_of(args->multiplier + n, args->shift + n, width, &args->output);
    }
    uint32_t p = 0;
    for (; args->pixels - p >= PIXELS; p += PIXELS) {
        block(args, &d, p, PIXELS, panels, edge);
    }
    for (; p < args->pixels; p++) {
        block(args, &d, p, 1, panels, edge);
    }
}

void nyb_depthwise_neon(const nyb_depthwise_args *args) {
    uint32_t first = 0;
    for (; args->channels - first >= PANELS * NR; first += PANELS * NR) {
        run(args, first, PANELS, false);
    }
    if (args->channels - first >= NR) {
        run(args, first, 1, false);
        first += NR;
    }
    if (first < args->channels) {
        run(args, first, 1, true);
    }
}
