// SPDX-License-Identifier: Apache-2.0
// AVX2: 32, 16 or 8 channels side by side.
#include "kernels/pool/pool.h"
#include "kernels/unroll.h"

#include <immintrin.h>

// The largest of `width` (16 or 8) channels; of 32 below.
NYB_INLINE __m128i largest(const nyb_window_taps *t, const int8_t *a, const int width) {
    __m128i most = _mm_set1_epi8(INT8_MIN);
    for (uint32_t i = 0; i < t->rows; i++, a += t->row_stride) {
        const int8_t *tap = a;
        for (uint32_t j = 0; j < t->columns; j++, tap += t->column_stride) {
            const __m128i x = width == 16 ? _mm_loadu_si128((const __m128i *)(const void *)tap)
                                          : _mm_loadl_epi64((const __m128i *)(const void *)tap);
            most = _mm_max_epi8(most, x);
        }
    }
    return most;
}

NYB_INLINE __m256i largest32(const nyb_window_taps *t, const int8_t *a) {
    __m256i most = _mm256_set1_epi8(INT8_MIN);
    for (uint32_t i = 0; i < t->rows; i++, a += t->row_stride) {
        const int8_t *tap = a;
        for (uint32_t j = 0; j < t->columns; j++, tap += t->column_stride) {
            most = _mm256_max_epi8(most, _mm256_loadu_si256((const __m256i *)(const void *)tap));
        }
    }
    return most;
}

void nyb_max_avx2(const nyb_max_args *args) {
    const nyb_window_taps t = args->taps;
    const __m256i minimum = _mm256_set1_epi8((int8_t)args->minimum);
    const __m256i maximum = _mm256_set1_epi8((int8_t)args->maximum);
    const __m128i low = _mm256_castsi256_si128(minimum);
    const __m128i high = _mm256_castsi256_si128(maximum);
    for (uint32_t p = 0; p < args->pixels; p++) {
        const int8_t *a = t.a + p * args->pixel_stride;
        int8_t *c = args->c + (size_t)p * t.channels;
        uint32_t k = 0;
        for (; t.channels - k >= 32; k += 32) {
            const __m256i y = _mm256_min_epi8(_mm256_max_epi8(largest32(&t, a + k), minimum), maximum);
            _mm256_storeu_si256((__m256i *)(void *)(c + k), y);
        }
        if (t.channels - k >= 16) {
            const __m128i y = _mm_min_epi8(_mm_max_epi8(largest(&t, a + k, 16), low), high);
            _mm_storeu_si128((__m128i *)(void *)(c + k), y);
            k += 16;
        }
        if (t.channels - k >= 8) {
            const __m128i y = _mm_min_epi8(_mm_max_epi8(largest(&t, a + k, 8), low), high);
            _mm_storel_epi64((__m128i *)(void *)(c + k), y);
            k += 8;
        }
        if (k < t.channels) {
            nyb_max_args rest = *args;
            rest.taps = nyb_taps_from(&t, k);
            rest.taps.a += p * args->pixel_stride;
            rest.pixels = 1;
            rest.c = c + k;
            nyb_max_scalar(&rest);
        }
    }
}

static inline void add8(int32_t *sums, __m128i words) {
    __m256i *to = (__m256i *)(void *)sums;
    _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), _mm256_cvtepi16_epi32(words)));
}

// `count` taps of one row, at most NYB_SUM_TAPS, of `vectors` times 16 channels.
NYB_INLINE void sum16(const int8_t *tap, size_t stride, uint32_t count, int32_t *sums, const int vectors) {
    __m256i sum[4];
    NYB_EACH (v, vectors)
        sum[v] = _mm256_setzero_si256();
    for (uint32_t j = 0; j < count; j++, tap += stride) {
        NYB_EACH (v, vectors) {
            const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(tap + 16 * v));
            sum[v] = _mm256_add_epi16(sum[v], _mm256_cvtepi8_epi16(x));
        }
    }
    NYB_EACH (v, vectors) {
        add8(sums + 16 * v, _mm256_castsi256_si128(sum[v]));
        add8(sums + 16 * v + 8, _mm256_extracti128_si256(sum[v], 1));
    }
}

static void sum_taps(const int8_t *tap, size_t stride, uint32_t count, uint32_t channels, int32_t *sums) {
    uint32_t k = 0;
    for (; channels - k >= 64; k += 64) {
        sum16(tap + k, stride, count, sums + k, 4);
    }
    for (; channels - k >= 16; k += 16) {
        sum16(tap + k, stride, count, sums + k, 1);
    }
    if (channels - k >= 8) {
        __m128i sum = _mm_setzero_si128();
        const int8_t *x = tap + k;
        for (uint32_t j = 0; j < count; j++, x += stride) {
            sum = _mm_add_epi16(sum, _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)x)));
        }
        add8(sums + k, sum);
        k += 8;
    }
    if (k < channels) {
        const nyb_window_taps rest = {tap + k, 0, stride, 1, count, channels - k};
        nyb_sum_scalar(&rest, sums + k);
    }
}

void nyb_sum_avx2(const nyb_window_taps *t, int32_t *sums) {
    for (uint32_t i = 0; i < t->rows; i++) {
        const int8_t *a = t->a + i * t->row_stride;
        for (uint32_t j = 0; j < t->columns; j += NYB_SUM_TAPS) {
            const uint32_t count = t->columns - j < NYB_SUM_TAPS ? t->columns - j : NYB_SUM_TAPS;
            sum_taps(a + j * t->column_stride, t->column_stride, count, t->channels, sums);
        }
    }
}
