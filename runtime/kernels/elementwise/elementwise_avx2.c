// SPDX-License-Identifier: Apache-2.0
// AVX2: vpmaddwd over pairs (a, b) as 16-bit words.
#include "kernels/elementwise/elementwise.h"
#include "kernels/epilogue_avx2.h"
#include "kernels/unroll.h"

#include <immintrin.h>
#include <string.h>

enum { STEP = 32 };

// The inputs enter as unsigned bytes, x + 128, which unpack to words within their lanes.
typedef struct add_constants {
    __m256i sign_bit;
    __m256i high, low; // slopes of (a, b)
    __m256i fraction;
    __m256i whole;
    __m256i minimum, maximum;
} add_constants;

static inline __m256i pairs(int16_t a, int16_t b) {
    return _mm256_set1_epi32((int32_t)((uint32_t)(uint16_t)b << 16 | (uint16_t)a));
}

static inline add_constants constants_of(const nyb_add_args *args) {
    const int64_t offset = args->offset - 128 * ((int64_t)args->slope_a + args->slope_b);
    const nyb_add_halves h = nyb_add_split(args->slope_a, args->slope_b, offset);
    const add_constants k = {
        .sign_bit = _mm256_set1_epi8(INT8_MIN),
        .high = pairs(h.a_high, h.b_high),
        .low = pairs(h.a_low, h.b_low),
        .fraction = _mm256_set1_epi32(h.fraction),
        .whole = _mm256_set1_epi16(h.whole),
        .minimum = _mm256_set1_epi8((int8_t)args->minimum),
        .maximum = _mm256_set1_epi8((int8_t)args->maximum),
    };
    return k;
}

// Eight sums without the whole part of the offset.
static inline __m256i sums(const add_constants *k, __m256i x) {
    const __m256i low = _mm256_add_epi32(_mm256_madd_epi16(x, k->low), k->fraction);
    const __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(x, k->high), _mm256_srai_epi32(low, 15));
    return _mm256_srai_epi32(sum, NYB_ADD_FRACTION_BITS - 15);
}

// Sixteen results as words, from bytes a, b, a, b, ...
static inline __m256i words(const add_constants *k, __m256i x) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i y =
        _mm256_packs_epi32(sums(k, _mm256_unpacklo_epi8(x, zero)), sums(k, _mm256_unpackhi_epi8(x, zero)));
    return _mm256_adds_epi16(y, k->whole);
}

static inline void add(const add_constants *k, const int8_t *pa, const int8_t *pb, int8_t *c) {
    const __m256i a = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)pa), k->sign_bit);
    const __m256i b = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)pb), k->sign_bit);
    const __m256i y =
        _mm256_packs_epi16(words(k, _mm256_unpacklo_epi8(a, b)), words(k, _mm256_unpackhi_epi8(a, b)));
    _mm256_storeu_si256((__m256i *)(void *)c, _mm256_min_epi8(_mm256_max_epi8(y, k->minimum), k->maximum));
}

void nyb_add_avx2(const nyb_elements *e, const nyb_add_args *args) {
    const add_constants k = constants_of(args);
    int8_t *c = e->c;
    for (uint32_t i = 0; i < e->rows; i++, c += e->columns) {
        const int8_t *a = e->a + i * e->a_stride;
        const int8_t *b = e->b + i * e->b_stride;
        uint32_t j = 0;
        for (; e->columns - j >= STEP; j += STEP) {
            add(&k, a + j, b + j, c + j);
        }
        if (j < e->columns) {
            int8_t rest[3][STEP] = {{0}};
            memcpy(rest[0], a + j, e->columns - j);
            memcpy(rest[1], b + j, e->columns - j);
            add(&k, rest[0], rest[1], rest[2]);
            memcpy(c + j, rest[2], e->columns - j);
        }
    }
}

typedef struct mul_constants {
    __m256i zero_a, zero_b; // words
    nyb_scale8 scale;
    nyb_narrow narrow;
} mul_constants;

// Sixteen products, scaled and narrowed.
NYB_INLINE __m128i mul16(const mul_constants *k, __m128i a, __m128i b, const nyb_scaling scaling) {
    const __m256i x = _mm256_sub_epi16(_mm256_cvtepi8_epi16(a), k->zero_a);
    const __m256i y = _mm256_sub_epi16(_mm256_cvtepi8_epi16(b), k->zero_b);
    const __m256i low = _mm256_mullo_epi16(x, y);
    const __m256i high = _mm256_mulhi_epi16(x, y);
    const __m256i p =
        nyb_scale8_apply(&k->scale, _mm256_unpacklo_epi16(low, high), scaling, &k->narrow.output);
    const __m256i q =
        nyb_scale8_apply(&k->scale, _mm256_unpackhi_epi16(low, high), scaling, &k->narrow.output);
    const __m256i words = _mm256_adds_epi16(_mm256_packs_epi32(p, q), k->narrow.zero_point);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    return _mm_min_epi8(_mm_max_epi8(bytes, _mm256_castsi256_si128(k->narrow.minimum)),
                        _mm256_castsi256_si128(k->narrow.maximum));
}

NYB_INLINE void mul_rows(const nyb_elements *e, const mul_constants *k, const nyb_scaling scaling) {
    int8_t *c = e->c;
    for (uint32_t i = 0; i < e->rows; i++, c += e->columns) {
        const int8_t *a = e->a + i * e->a_stride;
        const int8_t *b = e->b + i * e->b_stride;
        uint32_t j = 0;
        for (; e->columns - j >= 16; j += 16) {
            const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(a + j));
            const __m128i y = _mm_loadu_si128((const __m128i *)(const void *)(b + j));
            _mm_storeu_si128((__m128i *)(void *)(c + j), mul16(k, x, y, scaling));
        }
        if (e->columns - j >= 8) {
            const __m128i x = _mm_loadl_epi64((const __m128i *)(const void *)(a + j));
            const __m128i y = _mm_loadl_epi64((const __m128i *)(const void *)(b + j));
            _mm_storel_epi64((__m128i *)(void *)(c + j), mul16(k, x, y, scaling));
            j += 8;
        }
        if (j < e->columns) {
            int64_t rest[2] = {0, 0};
            memcpy(&rest[0], a + j, e->columns - j);
            memcpy(&rest[1], b + j, e->columns - j);
            rest[0] =
                _mm_cvtsi128_si64(mul16(k, _mm_cvtsi64_si128(rest[0]), _mm_cvtsi64_si128(rest[1]), scaling));
            memcpy(c + j, &rest[0], e->columns - j);
        }
    }
}

void nyb_mul_avx2(const nyb_elements *e, const nyb_mul_args *args) {
    if (args->shift < 32) { // a real multiplier of 1/2 or more
        nyb_mul_scalar(e, args);
        return;
    }
    const mul_constants k = {
        .zero_a = _mm256_set1_epi16((int16_t)args->zero_a),
        .zero_b = _mm256_set1_epi16((int16_t)args->zero_b),
        .scale =
            nyb_scale8_of(_mm256_set1_epi32(args->multiplier), _mm256_set1_epi32(args->shift), &args->output),
        .narrow = nyb_narrow_of(&args->output),
    };
    if (nyb_scaling_of(&k.scale, &args->output) == NYB_SCALING_PLAIN) {
        mul_rows(e, &k, NYB_SCALING_PLAIN);
    } else {
        mul_rows(e, &k, NYB_SCALING_SIGNED);
    }
}
