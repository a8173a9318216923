// SPDX-License-Identifier: Apache-2.0
// nyb_finish16 for eight channels at a time, where accumulators and results fit int32.
#ifndef NYB_KERNELS_EPILOGUE16_AVX2_H
#define NYB_KERNELS_EPILOGUE16_AVX2_H

#include "kernels/epilogue_avx2.h"

typedef struct nyb_epilogue16 {
    nyb_scale8 scale;
    nyb_scaling scaling;
    __m256i bias;
    nyb_requantize output;
} nyb_epilogue16;

// Multipliers of 15 bits get 16 more zeros, and their shifts as many: the same result, and mostly shifts of
// 32 and more, which are cheaper. A nudge asks for the shift as it is.
static inline nyb_epilogue16 nyb_epilogue16_load(const int32_t *bias, const int32_t *multiplier,
                                                 const int32_t *shift, const nyb_requantize *output) {
    __m256i m = nyb_load256(multiplier), s = nyb_load256(shift);
    if (output->nudge == 0) {
        const __m256i small = _mm256_and_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(1 << 15), m),
                                               _mm256_cmpgt_epi32(_mm256_set1_epi32(47), s));
        m = _mm256_blendv_epi8(m, _mm256_slli_epi32(m, 16), small);
        s = _mm256_blendv_epi8(s, _mm256_add_epi32(s, _mm256_set1_epi32(16)), small);
    }
    nyb_epilogue16 e = {.bias = nyb_load256(bias), .output = *output};
    e.scale = nyb_scale8_of(m, s, output);
    e.scaling = nyb_scaling_of(&e.scale, output);
    return e;
}

// Eight sums -> eight int16.
static inline __attribute__((always_inline)) __m128i nyb_epilogue16_apply(const nyb_epilogue16 *e,
                                                                          __m256i sums) {
    __m256i x = nyb_scale8_apply(&e->scale, _mm256_add_epi32(sums, e->bias), e->scaling, &e->output);
    x = _mm256_max_epi32(x, _mm256_set1_epi32(e->output.minimum));
    x = _mm256_min_epi32(x, _mm256_set1_epi32(e->output.maximum));
    return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}

// Stores the first `width` (1 to 8) results.
static inline void nyb_epilogue16_store(void *c, __m128i results, uint32_t width) {
    if (width == 8) {
        _mm_storeu_si128((__m128i *)c, results);
        return;
    }
    int16_t words[8];
    _mm_storeu_si128((__m128i *)(void *)words, results);
    memcpy(c, words, width * sizeof words[0]);
}

#endif
