// SPDX-License-Identifier: Apache-2.0
// AVX-512 VNNI: vpdpwssd over pairs (a, b) as 16-bit words; masks at the ends of rows.
#include "kernels/elementwise/elementwise.h"

#include <immintrin.h>

enum { STEP = 64, MUL_STEP = 32 };

// The inputs enter as unsigned bytes, x + 128, which unpack to words within their lanes.
typedef struct add_constants {
    __m512i sign_bit;
    __m512i high, low; // slopes of (a, b)
    __m512i fraction;
    __m512i whole;
    __m512i minimum, maximum;
} add_constants;

static inline __m512i pairs(int16_t a, int16_t b) {
    return _mm512_set1_epi32((int32_t)((uint32_t)(uint16_t)b << 16 | (uint16_t)a));
}

static inline add_constants constants_of(const nyb_add_args *args) {
    const int64_t offset = args->offset - 128 * ((int64_t)args->slope_a + args->slope_b);
    const nyb_add_halves h = nyb_add_split(args->slope_a, args->slope_b, offset);
    const add_constants k = {
        .sign_bit = _mm512_set1_epi8(INT8_MIN),
        .high = pairs(h.a_high, h.b_high),
        .low = pairs(h.a_low, h.b_low),
        .fraction = _mm512_set1_epi32(h.fraction),
        .whole = _mm512_set1_epi16(h.whole),
        .minimum = _mm512_set1_epi8((int8_t)args->minimum),
        .maximum = _mm512_set1_epi8((int8_t)args->maximum),
    };
    return k;
}

// Sixteen sums without the whole part of the offset.
static inline __m512i sums(const add_constants *k, __m512i x) {
    const __m512i low = _mm512_srai_epi32(_mm512_dpwssd_epi32(k->fraction, x, k->low), 15);
    return _mm512_srai_epi32(_mm512_dpwssd_epi32(low, x, k->high), NYB_ADD_FRACTION_BITS - 15);
}

// 32 results as words, from bytes a, b, a, b, ...
static inline __m512i words(const add_constants *k, __m512i x) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i y =
        _mm512_packs_epi32(sums(k, _mm512_unpacklo_epi8(x, zero)), sums(k, _mm512_unpackhi_epi8(x, zero)));
    return _mm512_adds_epi16(y, k->whole);
}

static inline __m512i add(const add_constants *k, __m512i a, __m512i b) {
    a = _mm512_xor_si512(a, k->sign_bit);
    b = _mm512_xor_si512(b, k->sign_bit);
    const __m512i y =
        _mm512_packs_epi16(words(k, _mm512_unpacklo_epi8(a, b)), words(k, _mm512_unpackhi_epi8(a, b)));
    return _mm512_min_epi8(_mm512_max_epi8(y, k->minimum), k->maximum);
}

void nyb_add_avx512vnni(const nyb_elements *e, const nyb_add_args *args) {
    const add_constants k = constants_of(args);
    int8_t *c = e->c;
    for (uint32_t i = 0; i < e->rows; i++, c += e->columns) {
        const int8_t *a = e->a + i * e->a_stride;
        const int8_t *b = e->b + i * e->b_stride;
        uint32_t j = 0;
        for (; e->columns - j >= STEP; j += STEP) {
            _mm512_storeu_si512(c + j, add(&k, _mm512_loadu_si512(a + j), _mm512_loadu_si512(b + j)));
        }
        if (j < e->columns) {
            const __mmask64 rest = (UINT64_C(1) << (e->columns - j)) - 1;
            _mm512_mask_storeu_epi8(
                c + j, rest,
                add(&k, _mm512_maskz_loadu_epi8(rest, a + j), _mm512_maskz_loadu_epi8(rest, b + j)));
        }
    }
}

// The high halves of 64-bit lanes, as in kernels/epilogue_avx2.h; shifts of 32 and more.
typedef struct mul_constants {
    __m512i zero_a, zero_b; // words
    __m512i multiplier;
    __m512i add;  // 2^(shift-1) + nudge
    __m512i sign; // 2^31 where the nudge follows the sign, else 0
    __m128i down; // shift - 32
    __m512i zero_point;
    __m256i minimum, maximum;
} mul_constants;

static inline __m512i scale(const mul_constants *k, __m512i x) {
    const __m512i x_odd = _mm512_srli_epi64(x, 32);
    __m512i even = _mm512_add_epi64(_mm512_mul_epi32(x, k->multiplier), k->add);
    __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(x_odd, k->multiplier), k->add);
    even = _mm512_sub_epi64(even, _mm512_and_si512(x, k->sign));
    odd = _mm512_sub_epi64(odd, _mm512_and_si512(x_odd, k->sign));
    const __m512i high = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
    return _mm512_sra_epi32(high, k->down);
}

static inline __m256i mul(const mul_constants *k, __m256i a, __m256i b) {
    const __m512i x = _mm512_sub_epi16(_mm512_cvtepi8_epi16(a), k->zero_a);
    const __m512i y = _mm512_sub_epi16(_mm512_cvtepi8_epi16(b), k->zero_b);
    const __m512i low = _mm512_mullo_epi16(x, y);
    const __m512i high = _mm512_mulhi_epi16(x, y);
    const __m512i words = _mm512_packs_epi32(scale(k, _mm512_unpacklo_epi16(low, high)),
                                             scale(k, _mm512_unpackhi_epi16(low, high)));
    const __m256i bytes = _mm512_cvtsepi16_epi8(_mm512_adds_epi16(words, k->zero_point));
    return _mm256_min_epi8(_mm256_max_epi8(bytes, k->minimum), k->maximum);
}

void nyb_mul_avx512vnni(const nyb_elements *e, const nyb_mul_args *args) {
    if (args->shift < 32) { // a real multiplier of 1/2 or more
        nyb_mul_scalar(e, args);
        return;
    }
    const mul_constants k = {
        .zero_a = _mm512_set1_epi16((int16_t)args->zero_a),
        .zero_b = _mm512_set1_epi16((int16_t)args->zero_b),
        .multiplier = _mm512_set1_epi32(args->multiplier),
        .add = _mm512_set1_epi64((INT64_C(1) << (args->shift - 1)) + args->output.nudge),
        .sign = _mm512_set1_epi64(args->output.nudge == 0 ? 0 : INT64_C(1) << 31),
        .down = _mm_cvtsi32_si128(args->shift - 32),
        .zero_point = _mm512_set1_epi16((int16_t)args->output.zero_point),
        .minimum = _mm256_set1_epi8((int8_t)args->output.minimum),
        .maximum = _mm256_set1_epi8((int8_t)args->output.maximum),
    };
    int8_t *c = e->c;
    for (uint32_t i = 0; i < e->rows; i++, c += e->columns) {
        const int8_t *a = e->a + i * e->a_stride;
        const int8_t *b = e->b + i * e->b_stride;
        uint32_t j = 0;
        for (; e->columns - j >= MUL_STEP; j += MUL_STEP) {
            const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(a + j));
            const __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)(b + j));
            _mm256_storeu_si256((__m256i *)(void *)(c + j), mul(&k, x, y));
        }
        if (j < e->columns) {
            const __mmask32 rest = (UINT32_C(1) << (e->columns - j)) - 1;
            const __m256i x = _mm256_maskz_loadu_epi8(rest, a + j);
            const __m256i y = _mm256_maskz_loadu_epi8(rest, b + j);
            _mm256_mask_storeu_epi8(c + j, rest, mul(&k, x, y));
        }
    }
}
