// SPDX-License-Identifier: Apache-2.0
// AVX2 with 16-bit activations: vpmaddwd of activations and weights in 32-bit lanes, the upper halves of the
// weights 0, where all sums fit 32 bits.
#include "kernels/depthwise/depthwise.h"
#include "kernels/epilogue16_avx2.h"
#include "kernels/unroll.h"

enum { NR = NYB_DEPTHWISE_NR, PIXELS = 4 };

// Eight channels of `pixels` output pixels, x of the first tap of the first.
NYB_INLINE void tile(const nyb_depthwise_args *args, const int8_t *x, const int8_t *w, __m256i *sums,
                     const int pixels) {
    NYB_EACH (i, pixels) {
        sums[i] = _mm256_setzero_si256();
    }
    for (uint32_t i = 0; i < args->window_height; i++) {
        const int8_t *tap = x + i * args->tap_line;
        for (uint32_t k = 0; k < args->window_width; k++, w += NR, tap += args->tap_pixel) {
            const __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)w));
            const __m256i weight = _mm256_and_si256(wide, _mm256_set1_epi32(0xffff));
            NYB_EACH (p, pixels) {
                const void *at = tap + (size_t)p * args->x_pixel;
                const __m256i a = _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)at));
                sums[p] = _mm256_add_epi32(sums[p], _mm256_madd_epi16(a, weight));
            }
        }
    }
}

static void panel(const nyb_depthwise_args *args, const int8_t *w, uint32_t first) {
    const nyb_epilogue16 e =
        nyb_epilogue16_load(args->bias + first, args->multiplier + first, args->shift + first, &args->output);
    for (uint32_t y = 0; y < args->lines; y++) {
        const int8_t *x = args->x + y * args->x_line + first * sizeof(int16_t);
        int8_t *c = args->c + y * args->c_line + first * sizeof(int16_t);
        for (uint32_t p = 0; p < args->pixels;) {
            __m256i sums[PIXELS];
            const uint32_t count = args->pixels - p >= PIXELS ? PIXELS : 1;
            if (count == PIXELS) {
                tile(args, x, w, sums, PIXELS);
            } else {
                tile(args, x, w, sums, 1);
            }
            for (uint32_t i = 0; i < count; i++, p++, x += args->x_pixel, c += args->c_pixel) {
                nyb_epilogue16_store(c, nyb_epilogue16_apply(&e, sums[i]), NR);
            }
        }
    }
}

// Where sums may pass 32 bits, and in a last panel of fewer channels, the portable one takes over.
void nyb_depthwise_x16_avx2(const nyb_depthwise_args *args) {
    const size_t panel_bytes = (size_t)args->window_height * args->window_width * NR;
    uint32_t first = 0;
    for (; args->narrow && args->channels - first >= NR; first += NR) {
        panel(args, args->weights + first / NR * panel_bytes, first);
    }
    if (first < args->channels) {
        const nyb_depthwise_args rest = nyb_depthwise16_from(args, first);
        nyb_depthwise_x16_scalar(&rest);
    }
}
