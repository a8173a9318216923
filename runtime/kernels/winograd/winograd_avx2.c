// SPDX-License-Identifier: Apache-2.0
#include "kernels/winograd/winograd_x86.h"

// `rows` is a constant of 1 to 6: twelve vectors of sums, two of weights, one of inputs.
NYB_INLINE void tile(const int16_t *v, const int16_t *weights, size_t channels, int32_t *sums,
                     const int rows) {
    __m256i acc[6][2];
    NYB_EACH (r, rows) {
        acc[r][0] = acc[r][1] = _mm256_setzero_si256();
    }
    for (size_t k = 0; k < channels; k += 2, weights += 2 * NYB_WINOGRAD_NR) {
        _mm_prefetch((const char *)(weights + NYB_WINOGRAD_NR * channels), _MM_HINT_T0);
        const __m256i w0 = nyb_load256(weights), w1 = nyb_load256(weights + NYB_WINOGRAD_NR);
        NYB_EACH (r, rows) {
            int32_t pair;
            memcpy(&pair, v + (size_t)r * channels + k, sizeof pair);
            const __m256i x = _mm256_set1_epi32(pair);
            acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(x, w0));
            acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(x, w1));
        }
    }
    NYB_EACH (r, rows) {
        _mm256_store_si256((__m256i *)(void *)(sums + r * NYB_WINOGRAD_NR), acc[r][0]);
        _mm256_store_si256((__m256i *)(void *)(sums + r * NYB_WINOGRAD_NR + 8), acc[r][1]);
    }
}

static void products(const int16_t *v, const int16_t *weights, uint32_t channels, int32_t *sums,
                     uint32_t rows) {
    for (; rows >= 6; rows -= 6, v += 6 * (size_t)channels, sums += 6 * NYB_WINOGRAD_NR) {
        tile(v, weights, channels, sums, 6);
    }
    switch (rows) {
    case 5:
        tile(v, weights, channels, sums, 5);
        break;
    case 4:
        tile(v, weights, channels, sums, 4);
        break;
    case 3:
        tile(v, weights, channels, sums, 3);
        break;
    case 2:
        tile(v, weights, channels, sums, 2);
        break;
    case 1:
        tile(v, weights, channels, sums, 1);
        break;
    default:
        break;
    }
}

void nyb_winograd_f4x4_avx2(const nyb_winograd_args *args) { nyb_winograd_x86(args, products); }
