// SPDX-License-Identifier: Apache-2.0
// nyb_finish for sixteen channels at a time. What epilogue_avx2.h says of its scalings holds here, but that
// sums may be raised (below); 64-bit lanes shift right arithmetically, so the wide one needs no more than
// they.
#ifndef NYB_KERNELS_EPILOGUE_AVX512_H
#define NYB_KERNELS_EPILOGUE_AVX512_H

#include "kernels/epilogue_avx2.h"

// The constants of sixteen channels. Lanes 0, 2, .. are even, 1, 3, .. odd.
typedef struct nyb_scale16 {
    __m512i multiplier, multiplier_odd; // doubled, but for the wide scaling
    __m512i add_even, add_odd;          // 64 bits each
    __m512i down;                       // shift - 31
    __m512i shift, shift_odd;           // of the wide scaling
    __m512i sign_even, sign_odd;        // likewise: 2^31 where the nudge counts and has a sign
} nyb_scale16;

// What all channels share.
typedef struct nyb_narrow64 {
    __m512i minimum, maximum;
} nyb_narrow64;

static inline __m512i nyb_odd_lanes16(__m512i x) { return _mm512_srli_epi64(x, 32); }

// 2^(shift-1), and the nudge where shift > 31, in 64-bit lanes.
static inline __m512i nyb_add_lanes16(__m512i shift, __mmask8 nudged, int64_t nudge) {
    const __m512i one = _mm512_set1_epi64(1);
    const __m512i half = _mm512_sllv_epi64(one, _mm512_sub_epi64(shift, one));
    return _mm512_mask_add_epi64(half, nudged, half, _mm512_set1_epi64(nudge));
}

// The sums that all but the wide scaling take, as they are stored: 2^31 larger, so that unsigned products of
// doubled multipliers leave (p + c) >> 31 in the high halves of 64-bit lanes. There a nudge's sign is one
// less for a negative sum. Exact for sums of at most 3 * 2^29 in magnitude and shifts from 32 to 52.
enum { NYB_RAISED_SHIFT_MAX = 52 };
static inline __m512i nyb_raised16(__m512i sums) {
    return _mm512_xor_si512(sums, _mm512_set1_epi32(INT32_MIN));
}

// Shifts of 32 where the multiplier is 0, whose results do not depend on them.
static inline __m512i nyb_shifts16(const int32_t *multiplier, const int32_t *shift, __mmask16 channels) {
    const __m512i m = _mm512_maskz_loadu_epi32(channels, multiplier);
    const __m512i s = _mm512_maskz_loadu_epi32(channels, shift);
    return _mm512_mask_and_epi32(_mm512_set1_epi32(32), _mm512_test_epi32_mask(m, m), s,
                                 _mm512_set1_epi32(63));
}

// Of sums of at most 3 * 2^29 where `small`.
static inline nyb_scaling nyb_scaling16(__m512i shift, bool small, const nyb_requantize *output) {
    if (!small || _mm512_cmplt_epi32_mask(shift, _mm512_set1_epi32(32)) != 0 ||
        _mm512_cmpgt_epi32_mask(shift, _mm512_set1_epi32(NYB_RAISED_SHIFT_MAX)) != 0) {
        return NYB_SCALING_WIDE;
    }
    return nyb_scaling_unsigned(output) ? NYB_SCALING_PLAIN : NYB_SCALING_SIGNED;
}

// multiplier: of `channels` (a mask); others get multiplier 0. shift: of nyb_shifts16, and `up` more, where
// sums come 2^up times as large. scaling: of all channels that are scaled together.
static inline nyb_scale16 nyb_scale16_load(const int32_t *multiplier, __m512i shift, uint32_t up,
                                           __mmask16 channels, const nyb_scaling scaling,
                                           const nyb_requantize *output) {
    const __m512i even = _mm512_maskz_mov_epi32(0x5555, shift);
    const __m512i odd = nyb_odd_lanes16(shift);
    const __m512i limit = _mm512_set1_epi64(31 + (int64_t)up);
    const __mmask8 nudged_even = _mm512_cmpgt_epi64_mask(even, limit);
    const __mmask8 nudged_odd = _mm512_cmpgt_epi64_mask(odd, limit);
    const __m512i sign = _mm512_set1_epi64(output->nudge != 0 ? INT64_C(1) << 31 : 0);
    const __m512i m = _mm512_maskz_loadu_epi32(channels, multiplier);
    nyb_scale16 scale;
    scale.multiplier = m; // _mm512_mul_epi32 reads the low half of each lane, signed
    scale.multiplier_odd = nyb_odd_lanes16(m);
    const int64_t nudge = (int64_t)output->nudge << up;
    scale.add_even = nyb_add_lanes16(even, nudged_even, nudge);
    scale.add_odd = nyb_add_lanes16(odd, nudged_odd, nudge);
    scale.down = _mm512_sub_epi32(shift, _mm512_set1_epi32(31));
    scale.shift = even;
    scale.shift_odd = odd;
    scale.sign_even = _mm512_maskz_mov_epi64(nudged_even, sign);
    scale.sign_odd = _mm512_maskz_mov_epi64(nudged_odd, sign);
    if (scaling != NYB_SCALING_WIDE) {
        const __m512i zero_point = _mm512_set1_epi64(output->zero_point);
        const __m512i less = _mm512_set1_epi64(scaling == NYB_SCALING_SIGNED ? INT64_C(1) << 32 : 0);
        __m512i *const add[2] = {&scale.add_even, &scale.add_odd};
        for (int i = 0; i < 2; i++) {
            const __m512i s = i ? odd : even;
            const __m512i raised = _mm512_slli_epi64(i ? scale.multiplier_odd : scale.multiplier, 32);
            const __m512i c = _mm512_add_epi64(*add[i], _mm512_sllv_epi64(zero_point, s));
            *add[i] = _mm512_sub_epi64(_mm512_sub_epi64(_mm512_add_epi64(c, c), raised), less);
        }
        scale.multiplier = _mm512_slli_epi32(m, 1);
        scale.multiplier_odd = nyb_odd_lanes16(scale.multiplier);
    }
    return scale;
}

static inline __m512i nyb_clamp16(__m512i x, const nyb_requantize *output) {
    x = _mm512_add_epi32(x, _mm512_set1_epi32(output->zero_point));
    x = _mm512_max_epi32(x, _mm512_set1_epi32(output->minimum));
    return _mm512_min_epi32(x, _mm512_set1_epi32(output->maximum));
}

// Sixteen sums in memory, raised unless the scaling is wide -> results that may lack their clamp.
static inline __attribute__((always_inline)) __m512i nyb_scale16_apply(const nyb_scale16 *scale,
                                                                       const __m512i *sums,
                                                                       const nyb_scaling scaling,
                                                                       const nyb_requantize *output) {
    const __m512i acc = *sums;
    if (scaling != NYB_SCALING_WIDE) {
        const __m512i acc_odd = _mm512_castps_si512(_mm512_movehdup_ps(_mm512_load_ps((const float *)sums)));
        const __m512i even = _mm512_add_epi64(_mm512_mul_epu32(acc, scale->multiplier), scale->add_even);
        const __m512i odd =
            _mm512_add_epi64(_mm512_mul_epu32(acc_odd, scale->multiplier_odd), scale->add_odd);
        __m512i high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
        if (scaling == NYB_SCALING_SIGNED) {
            high = _mm512_sub_epi32(high, _mm512_srai_epi32(acc, 31)); // its highest bit: not negative
        }
        return _mm512_srav_epi32(high, scale->down);
    }
    const __m512i acc_odd = nyb_odd_lanes16(acc);
    __m512i even = _mm512_add_epi64(_mm512_mul_epi32(acc, scale->multiplier), scale->add_even);
    __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(acc_odd, scale->multiplier_odd), scale->add_odd);
    // A nudge of 2^30 becomes -2^30.
    even = _mm512_sub_epi64(even, _mm512_and_si512(acc, scale->sign_even));
    odd = _mm512_sub_epi64(odd, _mm512_and_si512(acc_odd, scale->sign_odd));
    even = _mm512_srav_epi64(even, scale->shift);
    odd = _mm512_srav_epi64(odd, scale->shift_odd);
    return nyb_clamp16(_mm512_mask_shuffle_epi32(even, 0xAAAA, odd, _MM_PERM_CCAA), output);
}

// The same of sums as they are and constants that are used once, with shifts of 1 or more where the
// multiplier is not 0, and of 32 or more but for the wide scaling. The half is added last: (p + 2^(shift-1))
// >> shift is
// ((p >> (shift-1)) + 1) >> 1, for |p| < 2^62 within 32 bits where shift > 31.
static inline __attribute__((always_inline)) __m512i nyb_scale16_once(__m512i acc, __m512i multiplier,
                                                                      __m512i shift,
                                                                      const nyb_scaling scaling,
                                                                      const nyb_requantize *output) {
    const __m512i one = _mm512_set1_epi32(1);
    const __m512i sign = _mm512_set1_epi64(INT64_C(1) << 31);
    const __m512i nudge = _mm512_set1_epi64(output->nudge);
    const __m512i down = _mm512_sub_epi32(shift, one);
    __m512i y[2];
    for (int odd = 0; odd < 2; odd++) {
        const __m512i a = odd ? nyb_odd_lanes16(acc) : acc;
        const __m512i m = odd ? nyb_odd_lanes16(multiplier) : multiplier;
        const __m512i d = odd ? nyb_odd_lanes16(down) : _mm512_maskz_mov_epi32(0x5555, down);
        __m512i c = nudge;
        if (scaling != NYB_SCALING_PLAIN && output->nudge != 0) {
            c = _mm512_sub_epi64(c, _mm512_and_si512(a, sign)); // a nudge of 2^30 becomes -2^30
        }
        if (scaling == NYB_SCALING_WIDE) {
            c = _mm512_maskz_mov_epi64(_mm512_cmpgt_epi64_mask(d, _mm512_set1_epi64(30)), c);
        }
        y[odd] = _mm512_srav_epi64(_mm512_add_epi64(_mm512_mul_epi32(a, m), c), d);
        if (scaling == NYB_SCALING_WIDE) {
            y[odd] = _mm512_srai_epi64(_mm512_add_epi64(y[odd], _mm512_set1_epi64(1)), 1);
        }
    }
    const __m512i x = _mm512_mask_shuffle_epi32(y[0], 0xAAAA, y[1], _MM_PERM_CCAA);
    return scaling == NYB_SCALING_WIDE ? nyb_clamp16(x, output)
                                       : _mm512_add_epi32(_mm512_srai_epi32(_mm512_add_epi32(x, one), 1),
                                                          _mm512_set1_epi32(output->zero_point));
}

static inline nyb_narrow64 nyb_narrow64_of(const nyb_requantize *output) {
    return (nyb_narrow64){
        .minimum = _mm512_set1_epi8((char)output->minimum),
        .maximum = _mm512_set1_epi8((char)output->maximum),
    };
}

// Four times sixteen results -> int8, in order, with their clamp.
static inline __m512i nyb_narrow64_apply(const nyb_narrow64 *narrow, const __m512i x[4]) {
    const __m512i bytes = // of each quarter: 4 of each x
        _mm512_packs_epi16(_mm512_packs_epi32(x[0], x[1]), _mm512_packs_epi32(x[2], x[3]));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(
        order, _mm512_min_epi8(_mm512_max_epi8(bytes, narrow->minimum), narrow->maximum));
}

#endif
