// SPDX-License-Identifier: Apache-2.0
// The loops that all x86 depthwise kernels share: two taps of eight channels side by side, so that one
// multiply-add of int16 pairs serves both.
#ifndef NYB_KERNELS_DEPTHWISE_X86_H
#define NYB_KERNELS_DEPTHWISE_X86_H

#include "kernels/depthwise/depthwise.h"
#include "kernels/epilogue_avx2.h"

// Pairs of taps whose weights are kept interleaved on the stack; windows beyond are summed in parts.
enum { NYB_TAP_PAIRS = 32 };

// acc + the products of 16 int16 pairs, summed pair by pair.
typedef __m256i (*nyb_pairs_fn)(__m256i acc, __m256i x, __m256i w);

// The first `width` of eight channels.
static inline __m128i nyb_channels(const int8_t *p, uint32_t width) {
    if (width == NYB_DEPTHWISE_NR) {
        return _mm_loadl_epi64((const __m128i *)(const void *)p);
    }
    int8_t bytes[NYB_DEPTHWISE_NR] = {0};
    memcpy(bytes, p, width);
    return _mm_loadl_epi64((const __m128i *)(const void *)bytes);
}

// Weights of taps t and t + 1 (zero where there is none): channel 0 of both, channel 1 of both, ...
static inline __m256i nyb_weight_pair(const int16_t *w, bool both) {
    const __m128i a = _mm_loadu_si128((const __m128i *)(const void *)w);
    const __m128i b =
        both ? _mm_loadu_si128((const __m128i *)(const void *)(w + NYB_DEPTHWISE_NR)) : _mm_setzero_si128();
    return _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b));
}

// One panel of channels over all pixels.
static inline __attribute__((always_inline)) void
nyb_depthwise_panel(const nyb_depthwise_args *args, uint32_t first, uint32_t width, nyb_pairs_fn pairs) {
    const nyb_epilogue e = nyb_epilogue_load(args->multiplier + first, args->shift + first, &args->output);
    const int16_t *w = args->weights + (size_t)first * args->tap_count;
    const __m256i bias = _mm256_loadu_si256((const __m256i *)(const void *)(args->bias + first));
    const uint32_t kept = args->tap_count < 2 * NYB_TAP_PAIRS ? args->tap_count : 2 * NYB_TAP_PAIRS;
    __m256i weights[NYB_TAP_PAIRS];
    for (uint32_t t = 0; t < kept; t += 2) {
        weights[t / 2] = nyb_weight_pair(w + (size_t)t * NYB_DEPTHWISE_NR, t + 1 < args->tap_count);
    }
    for (uint32_t p = 0; p < args->pixels; p++) {
        const int8_t *const *taps = args->taps + (size_t)p * args->tap_count;
        __m256i acc = bias;
        for (uint32_t t = 0; t < args->tap_count; t += 2) {
            const bool both = t + 1 < args->tap_count;
            const __m128i a = nyb_channels(taps[t] + first, width);
            const __m128i b = both ? nyb_channels(taps[t + 1] + first, width) : _mm_setzero_si128();
            const __m256i x = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b));
            const __m256i v =
                t < kept ? weights[t / 2] : nyb_weight_pair(w + (size_t)t * NYB_DEPTHWISE_NR, both);
            acc = pairs(acc, x, v);
        }
        nyb_epilogue_store(args->c + p * args->c_stride + first, nyb_epilogue_apply(&e, acc), width);
    }
}

static inline __attribute__((always_inline)) void nyb_depthwise_x86(const nyb_depthwise_args *args,
                                                                    nyb_pairs_fn pairs) {
    uint32_t first = 0;
    for (; first + NYB_DEPTHWISE_NR <= args->channels; first += NYB_DEPTHWISE_NR) {
        nyb_depthwise_panel(args, first, NYB_DEPTHWISE_NR, pairs);
    }
    if (first < args->channels) {
        nyb_depthwise_panel(args, first, args->channels - first, pairs);
    }
}

#endif
