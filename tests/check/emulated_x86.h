// SPDX-License-Identifier: Apache-2.0
// The intrinsics of AVX-VNNI, AVX-512 and AMX that the kernels use, in plain C, so that those kernels can be
// proven on a CPU that has only AVX2: a build with NYB_EMULATE includes this file before everything else.
// Each does what Intel's Intrinsics Guide says of the instruction; what it leaves undefined is filled with a
// pattern.
#ifndef NYB_CHECK_EMULATED_X86_H
#define NYB_CHECK_EMULATED_X86_H

#include <immintrin.h>

#include <stdint.h>
#include <string.h>

// Not inlined: kernels have hundreds of each, unrolled.
#define EMULATED static __attribute__((noinline, unused))

typedef union emulated_lanes {
    __m512i v;
    __m256i half[2];
    __m128i quarter[4];
    int8_t i8[64];
    uint8_t u8[64];
    int16_t i16[32];
    int32_t i32[16];
    uint32_t u32[16];
    int64_t i64[8];
    uint64_t u64[8];
} emulated_lanes;

EMULATED int32_t emulated_saturate(int32_t x, int32_t minimum, int32_t maximum) {
    return x < minimum ? minimum : (x > maximum ? maximum : x);
}

// Functions of whole registers, by the value of lane i of the result.
#define EMULATED_2(name, lane, lanes, value)                                                                 \
    EMULATED __m512i emulated_##name(__m512i x, __m512i y) {                                                 \
        const emulated_lanes a = {x}, b = {y};                                                               \
        emulated_lanes r;                                                                                    \
        for (int i = 0; i < (lanes); i++)                                                                    \
            r.lane[i] = value;                                                                               \
        return r.v;                                                                                          \
    }
#define EMULATED_SHIFT(name, lane, lanes, value)                                                             \
    EMULATED __m512i emulated_##name(__m512i x, unsigned n) {                                                \
        const emulated_lanes a = {x};                                                                        \
        emulated_lanes r;                                                                                    \
        for (int i = 0; i < (lanes); i++)                                                                    \
            r.lane[i] = value;                                                                               \
        return r.v;                                                                                          \
    }
#define EMULATED_SET1(name, type, lane, lanes)                                                               \
    EMULATED __m512i emulated_##name(type x) {                                                               \
        emulated_lanes r;                                                                                    \
        for (int i = 0; i < (lanes); i++)                                                                    \
            r.lane[i] = x;                                                                                   \
        return r.v;                                                                                          \
    }
#define EMULATED_COMPARE(name, mask, lane, lanes, condition)                                                 \
    EMULATED mask emulated_##name(__m512i x, __m512i y) {                                                    \
        const emulated_lanes a = {x}, b = {y};                                                               \
        uint32_t r = 0;                                                                                      \
        for (int i = 0; i < (lanes); i++)                                                                    \
            r |= (uint32_t)(condition) << i;                                                                 \
        return (mask)r;                                                                                      \
    }
#define EMULATED_BIT(mask) ((uint32_t)((uint64_t)(mask) >> i) & 1u)

// No register holds 512 bits (kernels/unroll.h).
#define NYB_IN_ORDER(x) ((void)(x))

// Macros of some compilers.
#undef _mm512_setr_epi32
#undef _mm256_dpbusd_epi32

// Constants, parts.
EMULATED_SET1(set1_epi8, int8_t, i8, 64)
EMULATED_SET1(set1_epi16, int16_t, i16, 32)
EMULATED_SET1(set1_epi32, int32_t, i32, 16)
EMULATED_SET1(set1_epi64, int64_t, i64, 8)
#define _mm512_set1_epi8(x) emulated_set1_epi8((int8_t)(x))
#define _mm512_set1_epi16(x) emulated_set1_epi16((int16_t)(x))
#define _mm512_set1_epi32 emulated_set1_epi32
#define _mm512_set1_epi64 emulated_set1_epi64
#define _mm512_setzero_si512() emulated_set1_epi32(0)
#define _mm512_setr_epi32(...) (((emulated_lanes){.i32 = {__VA_ARGS__}}).v)

EMULATED __m512i emulated_widen(__m256i x) {
    emulated_lanes r;
    memset(&r, 0xa5, sizeof r);
    r.half[0] = x;
    return r.v;
}
EMULATED __m512i emulated_insert_half(__m512i x, __m256i y, int at) {
    emulated_lanes r = {x};
    r.half[at & 1] = y;
    return r.v;
}
EMULATED __m512i emulated_broadcast_quarter(__m128i x) { return (emulated_lanes){.quarter = {x, x, x, x}}.v; }
#define _mm512_broadcast_i32x4 emulated_broadcast_quarter
#define _mm512_castsi256_si512 emulated_widen
#define _mm512_zextsi256_si512(x) emulated_insert_half(_mm512_setzero_si512(), (x), 0)
#define _mm512_inserti64x4 emulated_insert_half
#define _mm512_castsi512_si256(x) (((emulated_lanes){(x)}).half[0])
#define _mm512_castsi512_si128(x) (((emulated_lanes){(x)}).quarter[0])
#define _mm512_extracti64x4_epi64(x, at) (((emulated_lanes){(x)}).half[at])
#define _mm512_extracti32x4_epi32(x, at) (((emulated_lanes){(x)}).quarter[at])

// Memory. Lanes that a mask leaves out are not touched.
EMULATED __m512i emulated_loadu(const void *from) {
    emulated_lanes r;
    memcpy(&r, from, sizeof r);
    return r.v;
}
EMULATED void emulated_storeu(void *to, __m512i x) { memcpy(to, &x, sizeof x); }
EMULATED __m512i emulated_load_masked_epi8(__m512i other, __mmask64 mask, const void *from) {
    emulated_lanes r = {other};
    for (int i = 0; i < 64; i++) {
        if (EMULATED_BIT(mask))
            r.i8[i] = ((const int8_t *)from)[i];
    }
    return r.v;
}
EMULATED __m512i emulated_load_masked_epi32(__m512i other, __mmask16 mask, const void *from) {
    emulated_lanes r = {other};
    for (int i = 0; i < 16; i++) {
        if (EMULATED_BIT(mask))
            memcpy(&r.i32[i], (const int8_t *)from + 4 * i, 4);
    }
    return r.v;
}
EMULATED void emulated_store_masked_epi8(void *to, uint64_t mask, const int8_t *x, int lanes) {
    for (int i = 0; i < lanes; i++) {
        if (EMULATED_BIT(mask))
            ((int8_t *)to)[i] = x[i];
    }
}
#define _mm512_loadu_si512 emulated_loadu
// Floats that are only moved: integers here.
EMULATED __m512i emulated_movehdup(__m512i x) {
    const emulated_lanes a = {x};
    emulated_lanes r;
    for (int i = 0; i < 16; i++)
        r.u32[i] = a.u32[i | 1];
    return r.v;
}
#define _mm512_load_ps emulated_loadu
#define _mm512_movehdup_ps emulated_movehdup
#define _mm512_castps_si512(x) (x)
#define _mm512_storeu_si512 emulated_storeu
#define _mm512_maskz_loadu_epi8(mask, from) emulated_load_masked_epi8(_mm512_setzero_si512(), mask, from)
#define _mm512_maskz_loadu_epi32(mask, from) emulated_load_masked_epi32(_mm512_setzero_si512(), mask, from)
#define _mm512_mask_loadu_epi32 emulated_load_masked_epi32
#define _mm512_mask_storeu_epi8(to, mask, x)                                                                 \
    emulated_store_masked_epi8(to, mask, ((emulated_lanes){(x)}).i8, 64)
#define _mm256_mask_storeu_epi8(to, mask, x)                                                                 \
    emulated_store_masked_epi8(to, mask, ((emulated_lanes){.half = {(x)}}).i8, 32)
#define _mm_mask_storeu_epi8(to, mask, x)                                                                    \
    emulated_store_masked_epi8(to, mask, ((emulated_lanes){.quarter = {(x)}}).i8, 16)

// Arithmetic. Additions wrap.
EMULATED_2(xor, u64, 8, a.u64[i] ^ b.u64[i])
EMULATED_2(and, u64, 8, a.u64[i] & b.u64[i])
EMULATED_2(add_epi32, u32, 16, a.u32[i] + b.u32[i])
EMULATED_2(sub_epi32, u32, 16, a.u32[i] - b.u32[i])
EMULATED_2(add_epi64, u64, 8, a.u64[i] + b.u64[i])
EMULATED_2(sub_epi64, u64, 8, a.u64[i] - b.u64[i])
EMULATED_2(adds_epi16, i16, 32, (int16_t)emulated_saturate(a.i16[i] + b.i16[i], INT16_MIN, INT16_MAX))
EMULATED_2(mul_epu32, u64, 8, (uint64_t)a.u32[2 * i] * b.u32[2 * i])
EMULATED_2(mul_epi32, i64, 8, (int64_t)a.i32[2 * i] * b.i32[2 * i])
EMULATED_2(min_epi8, i8, 64, a.i8[i] < b.i8[i] ? a.i8[i] : b.i8[i])
EMULATED_2(max_epi8, i8, 64, a.i8[i] > b.i8[i] ? a.i8[i] : b.i8[i])
EMULATED_2(min_epi32, i32, 16, a.i32[i] < b.i32[i] ? a.i32[i] : b.i32[i])
EMULATED __m512i emulated_abs_epi32(__m512i x) {
    const emulated_lanes a = {x};
    emulated_lanes r;
    for (int i = 0; i < 16; i++)
        r.u32[i] = a.i32[i] < 0 ? 0u - a.u32[i] : a.u32[i];
    return r.v;
}
EMULATED_2(max_epi32, i32, 16, a.i32[i] > b.i32[i] ? a.i32[i] : b.i32[i])
#define _mm512_xor_si512 emulated_xor
#define _mm512_and_si512 emulated_and
#define _mm512_add_epi32 emulated_add_epi32
#define _mm512_sub_epi32 emulated_sub_epi32
#define _mm512_add_epi64 emulated_add_epi64
#define _mm512_sub_epi64 emulated_sub_epi64
#define _mm512_adds_epi16 emulated_adds_epi16
#define _mm512_mul_epi32 emulated_mul_epi32
#define _mm512_mul_epu32 emulated_mul_epu32
#define _mm512_min_epi8 emulated_min_epi8
#define _mm512_max_epi8 emulated_max_epi8
#define _mm512_min_epi32 emulated_min_epi32
#define _mm512_abs_epi32 emulated_abs_epi32
#define _mm512_max_epi32 emulated_max_epi32

// Shifts; from the width of a lane on they leave 0, or the sign.
EMULATED_SHIFT(slli_epi32, u32, 16, n > 31 ? 0 : a.u32[i] << n)
EMULATED_SHIFT(slli_epi64, u64, 8, n > 63 ? 0 : a.u64[i] << n)
EMULATED_SHIFT(srli_epi32, u32, 16, n > 31 ? 0 : a.u32[i] >> n)
EMULATED_SHIFT(srli_epi64, u64, 8, n > 63 ? 0 : a.u64[i] >> n)
EMULATED_SHIFT(srai_epi32, i32, 16, a.i32[i] >> (n > 31 ? 31 : n))
EMULATED_SHIFT(srai_epi64, i64, 8, a.i64[i] >> (n > 63 ? 63 : n))
EMULATED_2(sllv_epi32, u32, 16, b.u32[i] > 31 ? 0 : a.u32[i] << b.u32[i])
EMULATED_2(sllv_epi64, u64, 8, b.u64[i] > 63 ? 0 : a.u64[i] << b.u64[i])
EMULATED_2(srav_epi16, i16, 32, (int16_t)(a.i16[i] >> ((uint16_t)b.i16[i] > 15 ? 15 : b.i16[i])))
EMULATED_2(srav_epi32, i32, 16, a.i32[i] >> (b.u32[i] > 31 ? 31 : b.u32[i]))
EMULATED_2(srav_epi64, i64, 8, a.i64[i] >> (b.u64[i] > 63 ? 63 : b.u64[i]))
#define _mm512_slli_epi32 emulated_slli_epi32
#define _mm512_slli_epi64 emulated_slli_epi64
#define _mm512_srli_epi32 emulated_srli_epi32
#define _mm512_srli_epi64 emulated_srli_epi64
#define _mm512_srai_epi32 emulated_srai_epi32
#define _mm512_srai_epi64 emulated_srai_epi64
#define _mm512_sllv_epi32 emulated_sllv_epi32
#define _mm512_sllv_epi64 emulated_sllv_epi64
#define _mm512_srav_epi16 emulated_srav_epi16
#define _mm512_srav_epi32 emulated_srav_epi32
#define _mm512_srav_epi64 emulated_srav_epi64

// Within quarters of 16 bytes.
EMULATED_2(unpacklo_epi8, i8, 64, (i % 2 ? b : a).i8[i / 16 * 16 + i % 16 / 2])
EMULATED_2(unpackhi_epi8, i8, 64, (i % 2 ? b : a).i8[i / 16 * 16 + 8 + i % 16 / 2])
EMULATED_2(unpacklo_epi16, i16, 32, (i % 2 ? b : a).i16[i / 8 * 8 + i % 8 / 2])
EMULATED_2(unpackhi_epi16, i16, 32, (i % 2 ? b : a).i16[i / 8 * 8 + 4 + i % 8 / 2])
EMULATED_2(unpacklo_epi32, i32, 16, (i % 2 ? b : a).i32[i / 4 * 4 + i % 4 / 2])
EMULATED_2(unpackhi_epi32, i32, 16, (i % 2 ? b : a).i32[i / 4 * 4 + 2 + i % 4 / 2])
EMULATED_2(unpacklo_epi64, i64, 8, (i % 2 ? b : a).i64[i / 2 * 2])
EMULATED_2(unpackhi_epi64, i64, 8, (i % 2 ? b : a).i64[i / 2 * 2 + 1])
EMULATED_2(packs_epi32, i16, 32,
           (int16_t)emulated_saturate((i % 8 < 4 ? a : b).i32[i / 8 * 4 + i % 4], INT16_MIN, INT16_MAX))
EMULATED_2(packs_epi16, i8, 64,
           (int8_t)emulated_saturate((i % 16 < 8 ? a : b).i16[i / 16 * 8 + i % 8], INT8_MIN, INT8_MAX))
EMULATED_2(shuffle_epi8, i8, 64, b.i8[i] < 0 ? 0 : a.i8[i / 16 * 16 + (b.i8[i] & 15)])
#define _mm512_shuffle_epi8 emulated_shuffle_epi8
#define _mm512_unpacklo_epi8 emulated_unpacklo_epi8
#define _mm512_unpackhi_epi8 emulated_unpackhi_epi8
#define _mm512_unpacklo_epi16 emulated_unpacklo_epi16
#define _mm512_unpackhi_epi16 emulated_unpackhi_epi16
#define _mm512_unpacklo_epi32 emulated_unpacklo_epi32
#define _mm512_unpackhi_epi32 emulated_unpackhi_epi32
#define _mm512_unpacklo_epi64 emulated_unpacklo_epi64
#define _mm512_unpackhi_epi64 emulated_unpackhi_epi64
#define _mm512_packs_epi32 emulated_packs_epi32
#define _mm512_packs_epi16 emulated_packs_epi16

EMULATED __m512i emulated_mask_shuffle_epi32(__m512i other, __mmask16 mask, __m512i x, int order) {
    const emulated_lanes a = {x};
    emulated_lanes r = {other};
    for (int i = 0; i < 16; i++) {
        if (EMULATED_BIT(mask))
            r.i32[i] = a.i32[i / 4 * 4 + (order >> i % 4 * 2 & 3)];
    }
    return r.v;
}
#define _mm512_mask_shuffle_epi32 emulated_mask_shuffle_epi32

// Across the register.
EMULATED_2(permutexvar_epi32, i32, 16, b.i32[a.i32[i] & 15])
#define _mm512_permutexvar_epi32 emulated_permutexvar_epi32
EMULATED __m512i emulated_permutex2var_epi8(__m512i low, __m512i index, __m512i high) {
    const emulated_lanes a = {low}, n = {index}, b = {high};
    emulated_lanes r;
    for (int i = 0; i < 64; i++)
        r.i8[i] = (n.u8[i] & 64 ? b : a).i8[n.u8[i] & 63];
    return r.v;
}
#define _mm512_permutex2var_epi8 emulated_permutex2var_epi8
EMULATED __m512i emulated_permutex2var_epi32(__m512i low, __m512i index, __m512i high) {
    const emulated_lanes a = {low}, n = {index}, b = {high};
    emulated_lanes r;
    for (int i = 0; i < 16; i++)
        r.i32[i] = (n.u32[i] & 16 ? b : a).i32[n.u32[i] & 15];
    return r.v;
}
#define _mm512_permutex2var_epi32 emulated_permutex2var_epi32
EMULATED __m512i emulated_shuffle_quarters(__m512i low, __m512i high, int order) {
    const emulated_lanes a = {low}, b = {high};
    return (emulated_lanes){.quarter = {a.quarter[order & 3], a.quarter[order >> 2 & 3],
                                        b.quarter[order >> 4 & 3], b.quarter[order >> 6 & 3]}}
        .v;
}
#define _mm512_shuffle_i64x2 emulated_shuffle_quarters

// Masks.
EMULATED_COMPARE(test_epi32_mask, __mmask16, i32, 16, (a.i32[i] & b.i32[i]) != 0)
EMULATED_COMPARE(cmpgt_epu32_mask, __mmask16, u32, 16, a.u32[i] > b.u32[i])
EMULATED_COMPARE(cmplt_epi32_mask, __mmask16, i32, 16, a.i32[i] < b.i32[i])
EMULATED_COMPARE(cmpgt_epi32_mask, __mmask16, i32, 16, a.i32[i] > b.i32[i])
EMULATED_COMPARE(cmpgt_epi64_mask, __mmask8, i64, 8, a.i64[i] > b.i64[i])
#define _mm512_test_epi32_mask emulated_test_epi32_mask
#define _mm512_cmpgt_epu32_mask emulated_cmpgt_epu32_mask
#define _mm512_cmplt_epi32_mask emulated_cmplt_epi32_mask
#define _mm512_cmpgt_epi32_mask emulated_cmpgt_epi32_mask
#define _mm512_cmpgt_epi64_mask emulated_cmpgt_epi64_mask
EMULATED __mmask64 emulated_movepi8_mask(__m512i x) {
    const emulated_lanes a = {x};
    uint64_t r = 0;
    for (int i = 0; i < 64; i++)
        r |= (uint64_t)(a.i8[i] < 0) << i;
    return r;
}
#define _mm512_movepi8_mask emulated_movepi8_mask
EMULATED __m512i emulated_mask_set1_epi32(__m512i other, __mmask16 mask, int32_t x) {
    emulated_lanes r = {other};
    for (int i = 0; i < 16; i++) {
        if (EMULATED_BIT(mask))
            r.i32[i] = x;
    }
    return r.v;
}
#define _mm512_mask_set1_epi32 emulated_mask_set1_epi32

// y where the mask says so, x elsewhere.
EMULATED __m512i emulated_blend_epi8(__mmask64 mask, __m512i x, __m512i y) {
    const emulated_lanes a = {x}, b = {y};
    emulated_lanes r;
    for (int i = 0; i < 64; i++)
        r.i8[i] = (EMULATED_BIT(mask) ? b : a).i8[i];
    return r.v;
}
EMULATED __m512i emulated_blend_epi32(__mmask16 mask, __m512i x, __m512i y) {
    const emulated_lanes a = {x}, b = {y};
    emulated_lanes r;
    for (int i = 0; i < 16; i++)
        r.i32[i] = (EMULATED_BIT(mask) ? b : a).i32[i];
    return r.v;
}
EMULATED __m512i emulated_blend_epi64(__mmask8 mask, __m512i x, __m512i y) {
    const emulated_lanes a = {x}, b = {y};
    emulated_lanes r;
    for (int i = 0; i < 8; i++)
        r.i64[i] = (EMULATED_BIT(mask) ? b : a).i64[i];
    return r.v;
}
#define _mm512_mask_blend_epi8 emulated_blend_epi8
#define _mm512_maskz_mov_epi32(mask, x) emulated_blend_epi32(mask, _mm512_setzero_si512(), x)
#define _mm512_maskz_mov_epi64(mask, x) emulated_blend_epi64(mask, _mm512_setzero_si512(), x)
#define _mm512_mask_and_epi32(other, mask, x, y) emulated_blend_epi32(mask, other, emulated_and(x, y))
#define _mm512_mask_add_epi64(other, mask, x, y) emulated_blend_epi64(mask, other, emulated_add_epi64(x, y))
#define _mm512_mask_sub_epi64(other, mask, x, y) emulated_blend_epi64(mask, other, _mm512_sub_epi64(x, y))

// Dot products: of unsigned and signed bytes (vpdpbusd), of 16 bits (vpdpwssd). Sums wrap.
EMULATED __m512i emulated_dpbusd(__m512i sum, __m512i x, __m512i y) {
    const emulated_lanes a = {x}, b = {y};
    emulated_lanes r = {sum};
    for (int i = 0; i < 16; i++) {
        for (int k = 4 * i; k < 4 * i + 4; k++)
            r.u32[i] += (uint32_t)(a.u8[k] * b.i8[k]);
    }
    return r.v;
}
EMULATED __m512i emulated_dpwssd(__m512i sum, __m512i x, __m512i y) {
    const emulated_lanes a = {x}, b = {y};
    emulated_lanes r = {sum};
    for (int i = 0; i < 16; i++)
        r.u32[i] += (uint32_t)(a.i16[2 * i] * b.i16[2 * i]) + (uint32_t)(a.i16[2 * i + 1] * b.i16[2 * i + 1]);
    return r.v;
}
EMULATED __m256i emulated_dpbusd_half(__m256i sum, __m256i x, __m256i y) {
    return _mm512_castsi512_si256(emulated_dpbusd(emulated_widen(sum), emulated_widen(x), emulated_widen(y)));
}
#define _mm512_dpbusd_epi32 emulated_dpbusd
#define _mm512_dpwssd_epi32 emulated_dpwssd
#define _mm256_dpbusd_epi32 emulated_dpbusd_half
#define _mm256_dpbusd_avx_epi32 emulated_dpbusd_half

// Tiles of up to 16 rows of 64 bytes, as configured. A CPU refuses products of tiles that do not fit.
typedef struct emulated_tile {
    int8_t i8[16][64];
} emulated_tile;
typedef struct emulated_tiles {
    emulated_tile tile[8];
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} emulated_tiles;
static _Thread_local emulated_tiles emulated_amx __attribute__((unused));

EMULATED void emulated_loadconfig(const void *config) {
    memset(&emulated_amx, 0, sizeof emulated_amx);
    memcpy(&emulated_amx.palette, config, 64);
}
EMULATED void emulated_release(void) { memset(&emulated_amx, 0, sizeof emulated_amx); }
EMULATED void emulated_loadd(int tile, const void *from, size_t stride) {
    if (emulated_amx.palette != 1)
        __builtin_trap();
    memset(&emulated_amx.tile[tile], 0, sizeof emulated_amx.tile[tile]);
    for (size_t i = 0; i < emulated_amx.rows[tile]; i++)
        memcpy(emulated_amx.tile[tile].i8[i], (const int8_t *)from + i * stride, emulated_amx.bytes[tile]);
}
EMULATED void emulated_stored(int tile, void *to, size_t stride) {
    if (emulated_amx.palette != 1)
        __builtin_trap();
    for (size_t i = 0; i < emulated_amx.rows[tile]; i++)
        memcpy((int8_t *)to + i * stride, emulated_amx.tile[tile].i8[i], emulated_amx.bytes[tile]);
}
EMULATED void emulated_dpbssd(int sums, int x, int y) {
    const emulated_tiles *t = &emulated_amx;
    if (t->palette != 1 || t->rows[sums] != t->rows[x] || t->bytes[sums] != t->bytes[y] ||
        t->bytes[x] != 4 * t->rows[y])
        __builtin_trap();
    for (int i = 0; i < t->rows[sums]; i++) {
        for (int j = 0; j < t->bytes[sums] / 4; j++) {
            uint32_t sum;
            memcpy(&sum, &t->tile[sums].i8[i][4 * j], 4);
            for (int k = 0; k < t->bytes[x]; k++)
                sum += (uint32_t)(t->tile[x].i8[i][k] * t->tile[y].i8[k / 4][4 * j + k % 4]);
            memcpy(&emulated_amx.tile[sums].i8[i][4 * j], &sum, 4);
        }
    }
}
#undef _tile_loadconfig
#undef _tile_release
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#define _tile_loadconfig emulated_loadconfig
#define _tile_release emulated_release
#define _tile_loadd emulated_loadd
#define _tile_stored emulated_stored
#define _tile_dpbssd emulated_dpbssd

#endif
