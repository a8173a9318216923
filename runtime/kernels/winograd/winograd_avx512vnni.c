// SPDX-License-Identifier: Apache-2.0
#include "kernels/winograd/winograd_x86.h"

// `rows` is a constant of 1 to 8, one vector of sums each.
NYB_INLINE void tile(const int16_t *v, const int16_t *weights, size_t channels, int32_t *sums,
                     const int rows) {
    __m512i acc[8];
    NYB_EACH (r, rows) {
        acc[r] = _mm512_setzero_si512();
    }
    for (size_t k = 0; k < channels; k += 2, weights += 2 * NYB_WINOGRAD_NR) {
        _mm_prefetch((const char *)(weights + NYB_WINOGRAD_NR * channels), _MM_HINT_T0);
        const __m512i w = _mm512_loadu_si512(weights);
        NYB_EACH (r, rows) {
            int32_t pair;
            memcpy(&pair, v + (size_t)r * channels + k, sizeof pair);
            acc[r] = _mm512_dpwssd_epi32(acc[r], w, _mm512_set1_epi32(pair));
        }
    }
    NYB_EACH (r, rows) {
        _mm512_storeu_si512(sums + r * NYB_WINOGRAD_NR, acc[r]);
    }
}

static void products(const int16_t *v, const int16_t *weights, uint32_t channels, int32_t *sums,
                     uint32_t rows) {
    for (; rows >= 8; rows -= 8, v += 8 * (size_t)channels, sums += 8 * NYB_WINOGRAD_NR) {
        tile(v, weights, channels, sums, 8);
    }
    for (; rows >= 4; rows -= 4, v += 4 * (size_t)channels, sums += 4 * NYB_WINOGRAD_NR) {
        tile(v, weights, channels, sums, 4);
    }
    for (; rows > 0; rows--, v += channels, sums += NYB_WINOGRAD_NR) {
        tile(v, weights, channels, sums, 1);
    }
}

void nyb_winograd_f4x4_avx512vnni(const nyb_winograd_args *args) { nyb_winograd_x86(args, products); }
