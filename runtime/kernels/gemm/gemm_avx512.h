// SPDX-License-Identifier: Apache-2.0
// What the gemms of 512-bit registers share: strips of one or two registers of columns, and the epilogue of
// their sums.
#ifndef NYB_KERNELS_GEMM_AVX512_H
#define NYB_KERNELS_GEMM_AVX512_H

#include "base/packed.h"
#include "kernels/epilogue_avx512.h"
#include "kernels/gemm/gemm.h"
#include "kernels/unroll.h"

enum { NYB_LANES16 = 16, NYB_STRIP_VECTORS = 2 };

// What all rows of neighbouring columns share.
typedef struct nyb_strip16 {
    const uint8_t *panel[2 * NYB_STRIP_VECTORS];
    uint32_t columns;
    __m512i start[NYB_STRIP_VECTORS]; // of the sums
    nyb_scale16 scale[NYB_STRIP_VECTORS];
    nyb_narrow64 narrow;
} nyb_strip16;

// The panels from column n on; the last there is stands for those behind it.
static inline void nyb_strip16_panels(const nyb_gemm_args *args, uint32_t n, size_t panel_bytes,
                                      const uint8_t **panel, uint32_t count) {
    const uint32_t left = args->columns - n;
    for (uint32_t p = 0; p < count; p++) {
        panel[p] = args->weights + (n / 8 + (8 * p < left ? p : (left - 1) / 8)) * panel_bytes;
    }
}

// shifted: activations are 128 larger in the products than they are.
static inline nyb_strip16 nyb_strip16_load(const nyb_gemm_args *args, uint32_t n, uint32_t vectors,
                                           const uint32_t bits, const bool shifted) {
    nyb_strip16 s;
    s.columns = args->columns - n < NYB_LANES16 * vectors ? args->columns - n : NYB_LANES16 * vectors;
    s.narrow = nyb_narrow64_of(&args->output);
    nyb_strip16_panels(args, n, (size_t)nyb_panel_bytes(args->depth, bits, 8, 4), s.panel, 2 * vectors);
    for (uint32_t v = 0; v < vectors; v++, n += NYB_LANES16) {
        const uint32_t left = args->columns - n;
        const __mmask16 mask = (__mmask16)(left < NYB_LANES16 ? (1u << left) - 1 : 0xFFFF);
        s.start[v] = _mm512_maskz_loadu_epi32(mask, args->bias + n);
        if (shifted) {
            const __m512i sum = _mm512_maskz_loadu_epi32(mask, args->weight_sum + n);
            s.start[v] = _mm512_sub_epi32(s.start[v], _mm512_slli_epi32(sum, 7));
        }
        s.scale[v] = nyb_scale16_load(args->multiplier + n, args->shift + n, mask, &args->output);
    }
    return s;
}

// Bytes of two panels side by side.
NYB_INLINE __m512i nyb_load_panels(const uint8_t *low, const uint8_t *high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(nyb_load256(low)), nyb_load256(high), 1);
}

// Up to four rows of sums, `stride` registers from row to row -> as many rows of `columns` results. The last
// of the `count` rows is computed again in place of those that are not there.
NYB_INLINE void nyb_strip16_finish4(const nyb_gemm_args *args, const nyb_scale16 *scale,
                                    const nyb_narrow64 *narrow, const __m512i *sums, size_t stride, int8_t *c,
                                    size_t c_stride, uint32_t columns, uint32_t count,
                                    const nyb_scaling scaling) {
    __m512i x[4];
    int8_t *to[4];
    NYB_EACH (j, 4) {
        const size_t row = (uint32_t)j < count ? (uint32_t)j : count - 1;
        x[j] = nyb_scale16_apply(scale, sums[row * stride], scaling, &args->output);
        to[j] = c + row * c_stride;
    }
    const __m512i results = nyb_narrow64_apply(narrow, x);
    const __m128i row[4] = {_mm512_castsi512_si128(results), _mm512_extracti32x4_epi32(results, 1),
                            _mm512_extracti32x4_epi32(results, 2), _mm512_extracti32x4_epi32(results, 3)};
    NYB_EACH (j, 4) {
        if (columns == NYB_LANES16) {
            _mm_storeu_si128((__m128i *)(void *)to[j], row[j]);
        } else if (columns == NYB_LANES16 / 2) {
            _mm_storel_epi64((__m128i *)(void *)to[j], row[j]);
        } else {
            _mm_mask_storeu_epi8(to[j], (__mmask16)((1u << columns) - 1), row[j]);
        }
    }
}

// Constants are copied: results may lie anywhere.
NYB_INLINE void nyb_strip16_finish(const nyb_gemm_args *args, const nyb_strip16 *strip, uint32_t v,
                                   const __m512i *sums, size_t stride, uint32_t count, int8_t *c,
                                   const nyb_scaling scaling) {
    const nyb_scale16 scale = strip->scale[v];
    const nyb_narrow64 narrow = strip->narrow;
    const size_t c_stride = args->c_stride;
    const uint32_t left = strip->columns - NYB_LANES16 * v;
    for (; left >= NYB_LANES16 && count >= 4; count -= 4, sums += 4 * stride, c += 4 * c_stride) {
        nyb_strip16_finish4(args, &scale, &narrow, sums, stride, c, c_stride, NYB_LANES16, 4, scaling);
    }
    for (; left == NYB_LANES16 / 2 && count >= 4; count -= 4, sums += 4 * stride, c += 4 * c_stride) {
        nyb_strip16_finish4(args, &scale, &narrow, sums, stride, c, c_stride, NYB_LANES16 / 2, 4, scaling);
    }
    const uint32_t columns = left < NYB_LANES16 ? left : NYB_LANES16;
    for (uint32_t part; count > 0; count -= part, sums += 4 * stride, c += 4 * c_stride) {
        part = count < 4 ? count : 4;
        nyb_strip16_finish4(args, &scale, &narrow, sums, stride, c, c_stride, columns, part, scaling);
    }
}

// The epilogue of register v of the columns over `count` rows from `row` on. sums: of v, `stride` registers
// from row to row. c: of v and `row`.
static void nyb_strip16_epilogue(const nyb_gemm_args *args, const nyb_strip16 *strip, uint32_t v,
                                 __m512i *sums, size_t stride, uint32_t row, uint32_t count, int8_t *c) {
    for (uint32_t i = 0; args->row_bias != NULL && i < count; i++) {
        sums[i * stride] = _mm512_add_epi32(sums[i * stride], _mm512_set1_epi32(args->row_bias[row + i]));
    }
    switch (strip->scale[v].scaling) {
    case NYB_SCALING_PLAIN:
        nyb_strip16_finish(args, strip, v, sums, stride, count, c, NYB_SCALING_PLAIN);
        break;
    case NYB_SCALING_SIGNED:
        nyb_strip16_finish(args, strip, v, sums, stride, count, c, NYB_SCALING_SIGNED);
        break;
    default:
        nyb_strip16_finish(args, strip, v, sums, stride, count, c, NYB_SCALING_WIDE);
    }
}

#endif
