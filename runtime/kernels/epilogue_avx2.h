// SPDX-License-Identifier: Apache-2.0
// nyb_finish for eight channels at a time.
//
// AVX2 shifts 64-bit lanes right logically only: 2^62 is added first, which makes every product positive, and
// 2^62 >> shift is taken off again. |acc * multiplier| < 2^62, so nothing overflows.
#ifndef NYB_KERNELS_EPILOGUE_AVX2_H
#define NYB_KERNELS_EPILOGUE_AVX2_H

#include "base/fixedpoint.h"

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

// What eight channels share over all rows. Lanes 0, 2, 4, 6 are even, 1, 3, 5, 7 odd; 64 bits each.
typedef struct nyb_epilogue {
    __m256i multiplier_even, multiplier_odd;
    __m256i shift_even, shift_odd;
    __m256i round_even, round_odd; // 2^62 + 2^(shift-1)
    __m256i nudge_even, nudge_odd; // 0 where shift <= 31
    __m256i offset;                // zero point - (2^62 >> shift), 32 bits
    __m256i minimum, maximum;
} nyb_epilogue;

static inline __m256i nyb_even_lanes(__m256i x) { return _mm256_srli_epi64(_mm256_slli_epi64(x, 32), 32); }
static inline __m256i nyb_odd_lanes(__m256i x) { return _mm256_srli_epi64(x, 32); }

static inline __m256i nyb_round_lanes(__m256i shift) {
    const __m256i one = _mm256_set1_epi64x(1);
    const __m256i half = _mm256_sllv_epi64(one, _mm256_sub_epi64(shift, one));
    return _mm256_add_epi64(half, _mm256_set1_epi64x(INT64_C(1) << 62));
}

static inline __m256i nyb_nudge_lanes(__m256i shift, int32_t nudge) {
    return _mm256_and_si256(_mm256_cmpgt_epi64(shift, _mm256_set1_epi64x(31)), _mm256_set1_epi64x(nudge));
}

static inline nyb_epilogue nyb_epilogue_load(const int32_t *multiplier, const int32_t *shift,
                                             const nyb_requantize *output) {
    const __m256i m = _mm256_loadu_si256((const __m256i *)(const void *)multiplier);
    const __m256i s =
        _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(const void *)shift), _mm256_set1_epi32(63));
    const __m256i high = _mm256_set1_epi64x(INT64_C(1) << 62);
    nyb_epilogue e;
    e.multiplier_even = m; // _mm256_mul_epi32 reads the low half of each lane, signed
    e.multiplier_odd = nyb_odd_lanes(m);
    e.shift_even = nyb_even_lanes(s);
    e.shift_odd = nyb_odd_lanes(s);
    e.round_even = nyb_round_lanes(e.shift_even);
    e.round_odd = nyb_round_lanes(e.shift_odd);
    e.nudge_even = nyb_nudge_lanes(e.shift_even, output->nudge);
    e.nudge_odd = nyb_nudge_lanes(e.shift_odd, output->nudge);
    const __m256i even = nyb_even_lanes(_mm256_srlv_epi64(high, e.shift_even));
    const __m256i odd = _mm256_slli_epi64(_mm256_srlv_epi64(high, e.shift_odd), 32);
    e.offset = _mm256_sub_epi32(_mm256_set1_epi32(output->zero_point), _mm256_or_si256(even, odd));
    e.minimum = _mm256_set1_epi32(output->minimum);
    e.maximum = _mm256_set1_epi32(output->maximum);
    return e;
}

// Eight accumulators -> eight int8 in the low half of the result.
static inline __m128i nyb_epilogue_apply(const nyb_epilogue *e, __m256i acc) {
    const __m256i sign = _mm256_srai_epi32(acc, 31);
    const __m256i sign_even = _mm256_shuffle_epi32(sign, 0xA0);
    const __m256i sign_odd = _mm256_shuffle_epi32(sign, 0xF5);
    // (nudge ^ sign) - sign is -nudge for negative accumulators.
    const __m256i nudge_even = _mm256_sub_epi64(_mm256_xor_si256(e->nudge_even, sign_even), sign_even);
    const __m256i nudge_odd = _mm256_sub_epi64(_mm256_xor_si256(e->nudge_odd, sign_odd), sign_odd);
    __m256i even = _mm256_mul_epi32(acc, e->multiplier_even);
    __m256i odd = _mm256_mul_epi32(nyb_odd_lanes(acc), e->multiplier_odd);
    even = _mm256_add_epi64(even, _mm256_add_epi64(e->round_even, nudge_even));
    odd = _mm256_add_epi64(odd, _mm256_add_epi64(e->round_odd, nudge_odd));
    even = _mm256_srlv_epi64(even, e->shift_even);
    odd = _mm256_slli_epi64(_mm256_srlv_epi64(odd, e->shift_odd), 32);
    __m256i y = _mm256_add_epi32(_mm256_blend_epi32(even, odd, 0xAA), e->offset);
    y = _mm256_min_epi32(_mm256_max_epi32(y, e->minimum), e->maximum);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
    return _mm_packs_epi16(words, words);
}

// Stores the first `width` (1 to 8) results.
static inline void nyb_epilogue_store(int8_t *c, __m128i results, uint32_t width) {
    if (width == 8) {
        _mm_storel_epi64((__m128i *)(void *)c, results);
        return;
    }
    int8_t bytes[16];
    _mm_storeu_si128((__m128i *)(void *)bytes, results);
    memcpy(c, bytes, width);
}

#endif
