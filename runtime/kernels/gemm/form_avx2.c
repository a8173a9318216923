// SPDX-License-Identifier: Apache-2.0
// The forms that x86 multiplies.
#include "kernels/gemm/form.h"

#include <immintrin.h>
#include <string.h>

static void stage_u8(void *to, const int8_t *from, size_t count, size_t padded) {
    uint8_t *u = to;
    const __m256i flip = _mm256_set1_epi8(INT8_MIN);
    size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(from + i));
        _mm256_storeu_si256((__m256i *)(void *)(u + i), _mm256_xor_si256(x, flip));
    }
    for (; i + 8 <= count; i += 8) {
        const __m128i x = _mm_loadl_epi64((const __m128i *)(const void *)(from + i));
        _mm_storel_epi64((__m128i *)(void *)(u + i), _mm_xor_si128(x, _mm256_castsi256_si128(flip)));
    }
    for (; i < count; i++) {
        u[i] = (uint8_t)(from[i] ^ INT8_MIN);
    }
    if (padded > count) {
        memset(u + count, 0, padded - count);
    }
}

static int32_t sum_u8(const void *elements, size_t count) {
    const uint8_t *u = elements;
    int32_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += u[i];
    }
    return sum - (int32_t)(128 * (int64_t)count);
}

// Rows in this form may begin at any byte.
static void stage_s16(void *to, const int8_t *from, size_t count, size_t padded) {
    uint8_t *s = to;
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(from + i));
        _mm256_storeu_si256((__m256i *)(void *)(s + 2 * i), _mm256_cvtepi8_epi16(x));
    }
    for (; i + 4 <= count; i += 4) {
        int32_t quad;
        memcpy(&quad, from + i, sizeof quad);
        _mm_storel_epi64((__m128i *)(void *)(s + 2 * i), _mm_cvtepi8_epi16(_mm_cvtsi32_si128(quad)));
    }
    for (; i < count; i++) {
        const int16_t one = from[i];
        memcpy(s + 2 * i, &one, sizeof one);
    }
    memset(s + 2 * i, 0, 2 * (padded - i));
}

static int32_t sum_s16(const void *elements, size_t count) {
    const uint8_t *s = elements;
    int32_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        int16_t one;
        memcpy(&one, s + 2 * i, sizeof one);
        sum += one;
    }
    return sum;
}

const nyb_form nyb_form_u8 = {"u8", 1, stage_u8, sum_u8};
const nyb_form nyb_form_s16 = {"s16", 2, stage_s16, sum_s16};
