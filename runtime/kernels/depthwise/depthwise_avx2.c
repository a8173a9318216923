// SPDX-License-Identifier: Apache-2.0
// AVX2 depthwise: two taps of eight channels side by side, multiplied and added by vpmaddwd.
#include "kernels/depthwise/depthwise.h"
#include "kernels/epilogue_avx2.h"

// `width` (1 to 8) channels as int16, the rest zero.
static inline __m128i channels(const int8_t *p, uint32_t width) {
    if (width == NYB_DEPTHWISE_NR) {
        return _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)p));
    }
    int8_t bytes[8] = {0};
    memcpy(bytes, p, width);
    return _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)bytes));
}

// Channels of two taps, interleaved: c0 of both, c1 of both, ...
static inline __m256i interleave(__m128i a, __m128i b) {
    return _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b));
}

static inline __m128i weights(const int16_t *w) { return _mm_loadu_si128((const __m128i *)(const void *)w); }

// One panel of channels over all pixels.
static inline __attribute__((always_inline)) void panel(const nyb_depthwise_args *args, uint32_t first, uint32_t width) {
    enum { NR = NYB_DEPTHWISE_NR };
    const nyb_epilogue e = nyb_epilogue_load(args->multiplier + first, args->shift + first, &args->output);
    const int16_t *w = args->weights + (size_t)first * args->tap_count;
    const __m256i bias = _mm256_loadu_si256((const __m256i *)(const void *)(args->bias + first));
    const __m128i zero = _mm_setzero_si128();
    for (uint32_t p = 0; p < args->pixels; p++) {
        const int8_t *const *taps = args->taps + (size_t)p * args->tap_count;
        __m256i acc = bias;
        uint32_t t = 0;
        for (; t + 2 <= args->tap_count; t += 2) {
            const __m256i x = interleave(channels(taps[t] + first, width), channels(taps[t + 1] + first, width));
            const __m256i v = interleave(weights(w + (size_t)t * NR), weights(w + (size_t)(t + 1) * NR));
            acc = _mm256_add_epi32(acc, _mm256_madd_epi16(x, v));
        }
        if (t < args->tap_count) {
            const __m256i x = interleave(channels(taps[t] + first, width), zero);
            const __m256i v = interleave(weights(w + (size_t)t * NR), zero);
            acc = _mm256_add_epi32(acc, _mm256_madd_epi16(x, v));
        }
        nyb_epilogue_store(args->c + p * args->c_stride + first, nyb_epilogue_apply(&e, acc), width);
    }
}

void nyb_depthwise_avx2(const nyb_depthwise_args *args) {
    uint32_t first = 0;
    for (; first + NYB_DEPTHWISE_NR <= args->channels; first += NYB_DEPTHWISE_NR) {
        panel(args, first, NYB_DEPTHWISE_NR);
    }
    if (first < args->channels) {
        panel(args, first, args->channels - first);
    }
}
