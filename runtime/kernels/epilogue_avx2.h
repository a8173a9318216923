// SPDX-License-Identifier: Apache-2.0
// nyb_finish for eight channels at a time: equal to it for every accumulator, multiplier from 0 to 2^31 - 1
// and shift from 1 to 62, with a nudge of 0 or 2^30.
//
// With p = acc * multiplier and shift >= 32 only the high halves of 64-bit lanes matter, because nested
// floors are one floor: (p + c) >> shift = ((p + c) >> 32) >> (shift - 32).
// - nudge 0: c = 2^(shift-1).
// - nudge 2^30: c = 2^(shift-1) + 2^30, less 2^31 for a negative accumulator: the bit of its own sign.
// - nudge 2^30 and a clamp that begins at the zero point or above (relu): c needs no sign. For a negative
//   accumulator p <= 0 and 2^(shift-1) + 2^30 < 2^32 <= 2^shift (shift 32; the more so beyond), so the scaled
//   value is at most 0 either way, and the clamp makes both the minimum.
// Eight channels of which one has a shift below 32 (a real multiplier of 1/2 or more) take whole 64-bit
// lanes.
#ifndef NYB_KERNELS_EPILOGUE_AVX2_H
#define NYB_KERNELS_EPILOGUE_AVX2_H

#include "base/fixedpoint.h"

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef enum nyb_scaling { NYB_SCALING_PLAIN, NYB_SCALING_SIGNED, NYB_SCALING_WIDE } nyb_scaling;

// The constants of eight channels. Lanes 0, 2, 4, 6 are even, 1, 3, 5, 7 odd.
typedef struct nyb_scale8 {
    __m256i multiplier, multiplier_odd;
    __m256i add_even, add_odd; // c without its sign, 64 bits each
    __m256i down;              // shift - 32
    __m256i shift;
} nyb_scale8;

// What all channels share.
typedef struct nyb_narrow {
    __m256i zero_point; // int16
    __m256i minimum, maximum;
    nyb_requantize output;
} nyb_narrow;

// What eight channels share over all rows.
typedef struct nyb_epilogue {
    nyb_scale8 scale;
    nyb_narrow narrow;
    nyb_scaling scaling;
} nyb_epilogue;

static inline __m256i nyb_load256(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline __m256i nyb_even_lanes(__m256i x) { return _mm256_srli_epi64(_mm256_slli_epi64(x, 32), 32); }
static inline __m256i nyb_odd_lanes(__m256i x) { return _mm256_srli_epi64(x, 32); }

// 2^(shift-1) + nudge in 64-bit lanes.
static inline __m256i nyb_add_lanes(__m256i shift, int32_t nudge) {
    const __m256i one = _mm256_set1_epi64x(1);
    return _mm256_add_epi64(_mm256_sllv_epi64(one, _mm256_sub_epi64(shift, one)), _mm256_set1_epi64x(nudge));
}

// Multiplier 0, as in the padding of a panel, gives 0 whatever the shift is: 32 keeps such a lane out of the
// way.
static inline nyb_scale8 nyb_scale8_of(__m256i multiplier, __m256i shift, const nyb_requantize *output) {
    const __m256i zero = _mm256_cmpeq_epi32(multiplier, _mm256_setzero_si256());
    const __m256i s =
        _mm256_blendv_epi8(_mm256_and_si256(shift, _mm256_set1_epi32(63)), _mm256_set1_epi32(32), zero);
    nyb_scale8 scale;
    scale.multiplier = multiplier; // _mm256_mul_epi32 reads the low half of each lane, signed
    scale.multiplier_odd = nyb_odd_lanes(multiplier);
    scale.add_even = nyb_add_lanes(nyb_even_lanes(s), output->nudge);
    scale.add_odd = nyb_add_lanes(nyb_odd_lanes(s), output->nudge);
    scale.down = _mm256_sub_epi32(s, _mm256_set1_epi32(32));
    scale.shift = s;
    return scale;
}

// Whether the nudge needs no sign.
static inline bool nyb_scaling_unsigned(const nyb_requantize *output) {
    return output->nudge == 0 || output->minimum >= output->zero_point;
}

// The cheapest scaling that is exact for these channels.
static inline nyb_scaling nyb_scaling_of(const nyb_scale8 *scale, const nyb_requantize *output) {
    if (_mm256_movemask_epi8(_mm256_cmpgt_epi32(_mm256_setzero_si256(), scale->down)) != 0) {
        return NYB_SCALING_WIDE;
    }
    return nyb_scaling_unsigned(output) ? NYB_SCALING_PLAIN : NYB_SCALING_SIGNED;
}

// Any shift. AVX2 shifts 64-bit lanes right logically only: 2^62 is added first, which makes every product
// positive, and 2^62 >> shift is taken off again. The result has its clamp and lacks its zero point, so that
// nyb_narrow8 leaves it as it is.
static inline __attribute__((always_inline)) __m256i nyb_scale8_wide(const nyb_scale8 *scale, __m256i acc,
                                                                     const nyb_requantize *output) {
    const __m256i high = _mm256_set1_epi64x(INT64_C(1) << 62);
    const __m256i sign = _mm256_srai_epi32(acc, 31);
    __m256i y[2];
    for (int odd = 0; odd < 2; odd++) {
        const __m256i shift = odd ? nyb_odd_lanes(scale->shift) : nyb_even_lanes(scale->shift);
        const __m256i a = odd ? nyb_odd_lanes(acc) : acc;
        const __m256i m = odd ? scale->multiplier_odd : scale->multiplier;
        const __m256i s = odd ? _mm256_shuffle_epi32(sign, 0xF5) : _mm256_shuffle_epi32(sign, 0xA0);
        const __m256i double_rounding = _mm256_cmpgt_epi64(shift, _mm256_set1_epi64x(31));
        const __m256i nudge = _mm256_and_si256(double_rounding, _mm256_set1_epi64x(output->nudge));
        // (nudge ^ sign) - sign is -nudge for negative accumulators.
        const __m256i c =
            _mm256_add_epi64(nyb_add_lanes(shift, 0), _mm256_sub_epi64(_mm256_xor_si256(nudge, s), s));
        const __m256i sum = _mm256_add_epi64(_mm256_add_epi64(_mm256_mul_epi32(a, m), c), high);
        y[odd] = _mm256_sub_epi64(_mm256_srlv_epi64(sum, shift), _mm256_srlv_epi64(high, shift));
    }
    const __m256i zero_point = _mm256_set1_epi32(output->zero_point);
    __m256i x = _mm256_blend_epi32(y[0], _mm256_slli_epi64(y[1], 32), 0xAA);
    x = _mm256_add_epi32(x, zero_point);
    x = _mm256_max_epi32(x, _mm256_set1_epi32(output->minimum));
    x = _mm256_min_epi32(x, _mm256_set1_epi32(output->maximum));
    return _mm256_sub_epi32(x, zero_point);
}

// Scales eight accumulators. scaling: of nyb_scaling_of; cheapest where it is a constant.
static inline __attribute__((always_inline)) __m256i nyb_scale8_apply(const nyb_scale8 *scale, __m256i acc,
                                                                      const nyb_scaling scaling,
                                                                      const nyb_requantize *output) {
    if (scaling == NYB_SCALING_WIDE) {
        return nyb_scale8_wide(scale, acc, output);
    }
    const __m256i acc_odd = nyb_odd_lanes(acc);
    __m256i even = _mm256_add_epi64(_mm256_mul_epi32(acc, scale->multiplier), scale->add_even);
    __m256i odd = _mm256_add_epi64(_mm256_mul_epi32(acc_odd, scale->multiplier_odd), scale->add_odd);
    if (scaling == NYB_SCALING_SIGNED) {
        const __m256i sign = _mm256_set1_epi64x(INT64_C(1) << 31);
        even = _mm256_sub_epi64(even, _mm256_and_si256(acc, sign));
        odd = _mm256_sub_epi64(odd, _mm256_and_si256(acc_odd, sign));
    }
    return _mm256_srav_epi32(_mm256_blend_epi32(nyb_odd_lanes(even), odd, 0xAA), scale->down);
}

// Sums that come as two registers of neighbouring lanes still to be added: channels 0 to 3, then 4 to 7. What
// neighbours add up to stands in a 64-bit lane, as the multiplication wants it. The order of the eight
// results, and of shift and down: channels 0, 1, 4, 5, 2, 3, 6, 7.
static inline nyb_scale8 nyb_scale_pairs_of(__m256i multiplier, __m256i shift, const nyb_requantize *output) {
    nyb_scale8 scale = nyb_scale8_of(multiplier, shift, output);
    const __m128i m = _mm256_castsi256_si128(multiplier), s = _mm256_castsi256_si128(scale.shift);
    const __m256i s_high = _mm256_cvtepu32_epi64(_mm256_extracti128_si256(scale.shift, 1));
    scale.multiplier = _mm256_cvtepu32_epi64(m);
    scale.multiplier_odd = _mm256_cvtepu32_epi64(_mm256_extracti128_si256(multiplier, 1));
    scale.add_even = nyb_add_lanes(_mm256_cvtepu32_epi64(s), output->nudge);
    scale.add_odd = nyb_add_lanes(s_high, output->nudge);
    scale.down = _mm256_permute4x64_epi64(scale.down, 0xD8);
    scale.shift = _mm256_permute4x64_epi64(scale.shift, 0xD8);
    return scale;
}

// The low or high halves of the 64-bit lanes of x, then y, within each half of the register.
static inline __m256i nyb_low_halves(__m256i x, __m256i y) {
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(x), _mm256_castsi256_ps(y), 0x88));
}
static inline __m256i nyb_high_halves(__m256i x, __m256i y) {
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(x), _mm256_castsi256_ps(y), 0xDD));
}

// nyb_scale8_apply for such sums. scale: of nyb_scale_pairs_of.
static inline __attribute__((always_inline)) __m256i nyb_scale_pairs_apply(const nyb_scale8 *scale,
                                                                           __m256i first, __m256i second,
                                                                           const nyb_scaling scaling,
                                                                           const nyb_requantize *output) {
    first = _mm256_add_epi32(first, nyb_odd_lanes(first));
    second = _mm256_add_epi32(second, nyb_odd_lanes(second));
    if (scaling == NYB_SCALING_WIDE) {
        nyb_scale8 wide = *scale;
        wide.multiplier = nyb_low_halves(scale->multiplier, scale->multiplier_odd);
        wide.multiplier_odd = nyb_odd_lanes(wide.multiplier);
        return nyb_scale8_wide(&wide, nyb_low_halves(first, second), output);
    }
    __m256i x = _mm256_add_epi64(_mm256_mul_epi32(first, scale->multiplier), scale->add_even);
    __m256i y = _mm256_add_epi64(_mm256_mul_epi32(second, scale->multiplier_odd), scale->add_odd);
    if (scaling == NYB_SCALING_SIGNED) {
        const __m256i sign = _mm256_set1_epi64x(INT64_C(1) << 31);
        x = _mm256_sub_epi64(x, _mm256_and_si256(first, sign));
        y = _mm256_sub_epi64(y, _mm256_and_si256(second, sign));
    }
    return _mm256_srav_epi32(nyb_high_halves(x, y), scale->down);
}

static inline nyb_narrow nyb_narrow_of(const nyb_requantize *output) {
    return (nyb_narrow){
        .zero_point = _mm256_set1_epi16((int16_t)output->zero_point),
        .minimum = _mm256_set1_epi8((char)output->minimum),
        .maximum = _mm256_set1_epi8((char)output->maximum),
        .output = *output,
    };
}

// Scaled values -> int8. Saturating to 16 and to 8 bits before the clamp changes nothing: the clamp lies
// within int8. In each half of the results: 4 of x[0], 4 of x[1], 4 of x[2], 4 of x[3].
static inline __m256i nyb_narrow32(const nyb_narrow *narrow, const __m256i x[4]) {
    const __m256i low = _mm256_adds_epi16(_mm256_packs_epi32(x[0], x[1]), narrow->zero_point);
    const __m256i high = _mm256_adds_epi16(_mm256_packs_epi32(x[2], x[3]), narrow->zero_point);
    return _mm256_min_epi8(_mm256_max_epi8(_mm256_packs_epi16(low, high), narrow->minimum), narrow->maximum);
}

// Eight results, in the low half.
static inline __m128i nyb_narrow8(const nyb_narrow *narrow, __m256i x) {
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    words = _mm_adds_epi16(words, _mm256_castsi256_si128(narrow->zero_point));
    const __m128i bytes = _mm_packs_epi16(words, words);
    return _mm_min_epi8(_mm_max_epi8(bytes, _mm256_castsi256_si128(narrow->minimum)),
                        _mm256_castsi256_si128(narrow->maximum));
}

static inline nyb_epilogue nyb_epilogue_load(const int32_t *multiplier, const int32_t *shift,
                                             const nyb_requantize *output) {
    nyb_epilogue e;
    e.scale = nyb_scale8_of(nyb_load256(multiplier), nyb_load256(shift), output);
    e.narrow = nyb_narrow_of(output);
    e.scaling = nyb_scaling_of(&e.scale, output);
    return e;
}

// Eight accumulators -> eight int8 in the low half of the result.
static inline __attribute__((always_inline)) __m128i nyb_epilogue_apply(const nyb_epilogue *e, __m256i acc) {
    return nyb_narrow8(&e->narrow, nyb_scale8_apply(&e->scale, acc, e->scaling, &e->narrow.output));
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
