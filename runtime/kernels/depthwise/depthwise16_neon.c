// SPDX-License-Identifier: Apache-2.0
// NEON with 16-bit activations: smlal of eight channels, where all sums fit 32 bits.
#include "kernels/depthwise/depthwise.h"
#include "kernels/epilogue16_neon.h"

enum { NR = NYB_DEPTHWISE_NR, PIXELS = 4 };

// Eight channels of `pixels` output pixels, x of the first tap of the first.
NYB_INLINE void tile(const nyb_depthwise_args *args, const int8_t *x, const int8_t *w, int32x4_t (*sums)[2],
                     const int pixels) {
    NYB_EACH (i, pixels)
        sums[i][0] = sums[i][1] = vdupq_n_s32(0);
    for (uint32_t i = 0; i < args->window_height; i++) {
        const int8_t *tap = x + i * args->tap_line;
        for (uint32_t k = 0; k < args->window_width; k++, w += NR, tap += args->tap_pixel) {
            const int16x8_t weight = vmovl_s8(vld1_s8(w));
            NYB_EACH (p, pixels) {
                const int16x8_t a =
                    vld1q_s16((const int16_t *)(const void *)(tap + (size_t)p * args->x_pixel));
                sums[p][0] = vmlal_s16(sums[p][0], vget_low_s16(a), vget_low_s16(weight));
                sums[p][1] = vmlal_high_s16(sums[p][1], a, weight);
            }
        }
    }
}

static void panel_at(const nyb_depthwise_args *args, const int8_t *w, uint32_t first) {
    nyb_panel16 panel;
    nyb_panel16_init(&panel, args->bias + first, args->multiplier + first, args->shift + first, NR,
                     &args->output);
    for (uint32_t y = 0; y < args->lines; y++) {
        const int8_t *x = args->x + y * args->x_line + first * sizeof(int16_t);
        int8_t *c = args->c + y * args->c_line + first * sizeof(int16_t);
        for (uint32_t p = 0; p < args->pixels;) {
            int32x4_t sums[PIXELS][2];
            const uint32_t count = args->pixels - p >= PIXELS ? PIXELS : 1;
            if (count == PIXELS) {
                tile(args, x, w, sums, PIXELS);
                nyb_finish16_rows(sums, PIXELS, &panel, c, args->c_pixel);
            } else {
                tile(args, x, w, sums, 1);
                nyb_finish16_rows(sums, 1, &panel, c, args->c_pixel);
            }
            p += count;
            x += count * args->x_pixel;
            c += count * args->c_pixel;
        }
    }
}

// Where sums may pass 32 bits, and in a last panel of fewer channels, the portable one takes over.
void nyb_depthwise_x16_neon(const nyb_depthwise_args *args) {
    const size_t panel_bytes = (size_t)args->window_height * args->window_width * NR;
    uint32_t first = 0;
    for (; args->narrow && args->channels - first >= NR; first += NR) {
        panel_at(args, args->weights + first / NR * panel_bytes, first);
    }
    if (first < args->channels) {
        const nyb_depthwise_args rest = nyb_depthwise16_from(args, first);
        nyb_depthwise_x16_scalar(&rest);
    }
}
