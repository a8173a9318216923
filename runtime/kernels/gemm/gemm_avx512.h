// SPDX-License-Identifier: Apache-2.0
// What the gemms of 512-bit registers share: strips of one or two registers of columns, and the epilogue of
// their sums.
#ifndef NYB_KERNELS_GEMM_AVX512_H
#define NYB_KERNELS_GEMM_AVX512_H

#include "base/packed.h"
#include "kernels/epilogue_avx512.h"
#include "kernels/gemm/gemm.h"
#include "kernels/unroll.h"

enum { NYB_LANES16 = 16, NYB_STRIP_VECTORS = 4 };

// What all rows of neighbouring columns share.
typedef struct nyb_strip16 {
    const uint8_t *panel[2 * NYB_STRIP_VECTORS];
    uint32_t columns;
    __m512i start[NYB_STRIP_VECTORS]; // of the sums
    __m512i down;                     // by which sums that come too large are shifted before
    nyb_scale16 scale[NYB_STRIP_VECTORS];
    nyb_scaling scaling;
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

// The cheapest scaling for all channels of a strip.
static inline nyb_scaling nyb_strip16_scaling(const __m512i *shift, uint32_t vectors, bool small,
                                              const nyb_requantize *output) {
    nyb_scaling all = NYB_SCALING_PLAIN;
    for (uint32_t v = 0; v < vectors; v++) {
        const nyb_scaling scaling = nyb_scaling16(shift[v], small, output);
        all = scaling > all ? scaling : all;
    }
    return all;
}

// shifted: activations are 128 larger in the products than they are. top: sums come 2^top times too large,
// and stay so where that makes shifts of 32 and more of smaller ones, for a scaling that is not wide.
static inline nyb_strip16 nyb_strip16_load(const nyb_gemm_args *args, uint32_t n, uint32_t vectors,
                                           const uint32_t bits, const bool shifted, const uint32_t top) {
    nyb_strip16 s;
    s.columns = args->columns - n < NYB_LANES16 * vectors ? args->columns - n : NYB_LANES16 * vectors;
    s.narrow = nyb_narrow64_of(&args->output);
    nyb_strip16_panels(args, n, (size_t)nyb_panel_bytes(args->depth, bits, 8, 4), s.panel, 2 * vectors);
    // |sum| <= 2^14 * depth + |bias|
    bool small = args->depth <= 1u << 15 && args->row_bias == NULL;
    __m512i shift[NYB_STRIP_VECTORS];
    __mmask16 mask[NYB_STRIP_VECTORS];
    for (uint32_t v = 0; v < vectors; v++) {
        const uint32_t at = n + NYB_LANES16 * v, left = args->columns - at;
        mask[v] = (__mmask16)(left < NYB_LANES16 ? (1u << left) - 1 : 0xFFFF);
        shift[v] = nyb_shifts16(args->multiplier + at, args->shift + at, mask[v]);
        s.start[v] = _mm512_maskz_loadu_epi32(mask[v], args->bias + at);
        small =
            small && _mm512_cmpgt_epu32_mask(_mm512_abs_epi32(s.start[v]), _mm512_set1_epi32(1 << 30)) == 0;
        if (shifted) {
            const __m512i sum = _mm512_maskz_loadu_epi32(mask[v], args->weight_sum + at);
            s.start[v] = _mm512_sub_epi32(s.start[v], _mm512_slli_epi32(sum, 7));
        }
    }
    s.scaling = nyb_strip16_scaling(shift, vectors, small, &args->output);
    uint32_t up = 0;
    if (top > 0 && s.scaling == NYB_SCALING_WIDE && nyb_scaling_unsigned(&args->output)) {
        // Without a sign, some shifts may count a nudge and others not. Products at the top of a byte are
        // those of 8 bits, as is their bound.
        __m512i higher[NYB_STRIP_VECTORS];
        for (uint32_t v = 0; v < vectors; v++) {
            const __m512i bias = _mm512_maskz_loadu_epi32(mask[v], args->bias + n + NYB_LANES16 * v);
            small = small &&
                    _mm512_cmpgt_epu32_mask(_mm512_abs_epi32(bias), _mm512_set1_epi32(1 << (30 - top))) == 0;
            higher[v] = _mm512_add_epi32(shift[v], _mm512_set1_epi32((int32_t)top));
        }
        if (nyb_strip16_scaling(higher, vectors, small, &args->output) != NYB_SCALING_WIDE) {
            up = top;
            s.scaling = NYB_SCALING_PLAIN;
        }
    }
    s.down = _mm512_set1_epi32((int32_t)(top - up));
    for (uint32_t v = 0; v < vectors; v++) {
        const __m512i by = _mm512_set1_epi32((int32_t)up);
        s.start[v] = _mm512_sllv_epi32(s.start[v], by);
        s.scale[v] = nyb_scale16_load(args->multiplier + n + NYB_LANES16 * v, _mm512_add_epi32(shift[v], by),
                                      up, mask[v], s.scaling, &args->output);
        if (s.scaling != NYB_SCALING_WIDE) {
            s.start[v] = nyb_raised16(s.start[v]);
        }
    }
    return s;
}

// Bytes of two panels side by side.
NYB_INLINE __m512i nyb_load_panels(const uint8_t *low, const uint8_t *high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(nyb_load256(low)), nyb_load256(high), 1);
}

// Sums of `rows` * vectors registers, row by row -> as many rows of the strip's columns: four registers at a
// time are the 64 bytes of one row, two or four. The last row is computed again in place of those that are
// not there.
NYB_INLINE void nyb_strip16_finish(const nyb_gemm_args *args, const nyb_strip16 *strip, const __m512i *sums,
                                   uint32_t rows, int8_t *c, const int vectors, const bool whole,
                                   const nyb_scaling scaling) {
    const uint32_t together = 4 / (uint32_t)vectors;
    const nyb_narrow64 narrow = strip->narrow; // Constants are copied: results may lie anywhere.
    nyb_scale16 scale[NYB_STRIP_VECTORS];
    NYB_EACH (v, vectors) {
        scale[v] = strip->scale[v];
    }
    const size_t c_stride = args->c_stride;
    const uint64_t mask = UINT64_MAX >> (64 - strip->columns);
    for (uint32_t row = 0; row < rows; row += together, c += together * c_stride) {
        const __m512i *from = sums + row * (size_t)vectors;
        __m512i x[4];
        int8_t *to[4];
        NYB_EACH (j, (int)together) {
            const uint32_t at = row + (uint32_t)j < rows ? (uint32_t)j : rows - 1 - row;
            to[j] = c + at * c_stride;
            NYB_EACH (v, vectors) {
                x[j * vectors + v] =
                    nyb_scale16_apply(&scale[v], from + at * (uint32_t)vectors + v, scaling, &args->output);
            }
        }
        const __m512i results = nyb_narrow64_apply(&narrow, x);
        if (vectors == 4) {
            if (whole) {
                _mm512_storeu_si512(to[0], results);
            } else {
                _mm512_mask_storeu_epi8(to[0], mask, results);
            }
        } else if (vectors == 2) {
            const __m256i row_of[2] = {_mm512_castsi512_si256(results),
                                       _mm512_extracti64x4_epi64(results, 1)};
            NYB_EACH (j, 2) {
                if (whole) {
                    _mm256_storeu_si256((__m256i *)(void *)to[j], row_of[j]);
                } else {
                    _mm256_mask_storeu_epi8(to[j], (__mmask32)mask, row_of[j]);
                }
            }
        } else {
            const __m128i row_of[4] = {_mm512_castsi512_si128(results), _mm512_extracti32x4_epi32(results, 1),
                                       _mm512_extracti32x4_epi32(results, 2),
                                       _mm512_extracti32x4_epi32(results, 3)};
            NYB_EACH (j, 4) {
                if (whole) {
                    _mm_storeu_si128((__m128i *)(void *)to[j], row_of[j]);
                } else {
                    _mm_mask_storeu_epi8(to[j], (__mmask16)mask, row_of[j]);
                }
            }
        }
    }
}

NYB_INLINE void nyb_strip16_scaled(const nyb_gemm_args *args, const nyb_strip16 *strip, const __m512i *sums,
                                   uint32_t rows, int8_t *c, const int vectors, const nyb_scaling scaling) {
    if (strip->columns == NYB_LANES16 * (uint32_t)vectors) {
        nyb_strip16_finish(args, strip, sums, rows, c, vectors, true, scaling);
    } else {
        nyb_strip16_finish(args, strip, sums, rows, c, vectors, false, scaling);
    }
}

// The epilogue of a strip's columns over `rows` rows from `first` on. sums: vectors registers a row. c: of
// `first`.
NYB_INLINE void nyb_strip16_epilogue(const nyb_gemm_args *args, const nyb_strip16 *strip, __m512i *sums,
                                     uint32_t first, uint32_t rows, int8_t *c, const int vectors) {
    for (uint32_t i = 0; args->row_bias != NULL && i < rows * (uint32_t)vectors; i++) {
        sums[i] = _mm512_add_epi32(sums[i], _mm512_set1_epi32(args->row_bias[first + i / (uint32_t)vectors]));
    }
    switch (strip->scaling) {
    case NYB_SCALING_PLAIN:
        nyb_strip16_scaled(args, strip, sums, rows, c, vectors, NYB_SCALING_PLAIN);
        break;
    case NYB_SCALING_SIGNED:
        nyb_strip16_scaled(args, strip, sums, rows, c, vectors, NYB_SCALING_SIGNED);
        break;
    default:
        nyb_strip16_scaled(args, strip, sums, rows, c, vectors, NYB_SCALING_WIDE);
    }
}

#endif
