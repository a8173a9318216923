// SPDX-License-Identifier: Apache-2.0
// AVX2: 8 channels side by side in 32 bits.
#include "kernels/resize/resize.h"

#include <immintrin.h>
#include <string.h>

static inline __m256i words(const int8_t *x) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)x));
}

static inline __m256i load256(const int32_t *x) {
    return _mm256_loadu_si256((const __m256i *)(const void *)x);
}

static void mix_rows(const nyb_resize_args *args, size_t count) {
    const __m256i above = _mm256_set1_epi32(args->above_weight);
    const __m256i below = _mm256_set1_epi32(args->below_weight);
    size_t i = 0;
    for (; count - i >= 8; i += 8) {
        const __m256i sum = _mm256_add_epi32(_mm256_mullo_epi32(words(args->above + i), above),
                                             _mm256_mullo_epi32(words(args->below + i), below));
        _mm256_storeu_si256((__m256i *)(void *)(args->row + i), sum);
    }
    for (; i < count; i++) {
        args->row[i] = args->above[i] * args->above_weight + args->below[i] * args->below_weight;
    }
}

void nyb_resize_avx2(const nyb_resize_args *args) {
    const uint32_t channels = args->channels;
    const __m256i half = _mm256_set1_epi32(NYB_RESIZE_HALF);
    const __m256i away = _mm256_set1_epi32(args->away ? -1 : 0);
    int8_t *c = args->c;
    mix_rows(args, (size_t)args->width * channels);
    for (uint32_t x = 0; x < args->out_width; x++, c += channels) {
        const int32_t *left = args->row + (size_t)args->lower[x] * channels;
        const int32_t *right = args->row + (size_t)args->upper[x] * channels;
        const __m256i lower = _mm256_set1_epi32(args->lower_weight[x]);
        const __m256i upper = _mm256_set1_epi32(args->upper_weight[x]);
        for (uint32_t j = 0; j < channels; j += 8) {
            __m256i sum = _mm256_add_epi32(_mm256_mullo_epi32(load256(left + j), lower),
                                           _mm256_mullo_epi32(load256(right + j), upper));
            const __m256i less = _mm256_and_si256(_mm256_srai_epi32(sum, 31), away);
            sum = _mm256_srai_epi32(_mm256_add_epi32(_mm256_add_epi32(sum, half), less), NYB_RESIZE_SHIFT);
            const __m128i y = _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
            const int64_t bytes = _mm_cvtsi128_si64(_mm_packs_epi16(y, y));
            memcpy(c + j, &bytes, channels - j < 8 ? channels - j : 8);
        }
    }
}
