// SPDX-License-Identifier: Apache-2.0
// AVX-512 VNNI: vpdpwssd over pairs (a, b) as 16-bit words; masks at the ends of rows.
#include "kernels/elementwise/elementwise.h"

#include <immintrin.h>

enum { STEP = 64 };

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

// The scaling's 64-bit products are no faster in 512 bits, and rows of channels are short.
void nyb_mul_avx512vnni(const nyb_elements *e, const nyb_mul_args *args) { nyb_mul_avx2(e, args); }
