// SPDX-License-Identifier: Apache-2.0
// The loops that all x86 gemms share. Activations are rewritten once per tile of rows into a strip on the
// stack, in the form that the products want and padded to whole steps of k, so that tiles neither know tails
// nor read beyond a row.
#ifndef NYB_KERNELS_GEMM_X86_H
#define NYB_KERNELS_GEMM_X86_H

#include "base/packed.h"
#include "kernels/epilogue_avx2.h"
#include "kernels/gemm/gemm.h"

#define NYB_INLINE static inline __attribute__((always_inline))
// Accumulators stay in registers only where the loops over them are gone.
#if defined(__clang__)
#define NYB_EACH(i, count) _Pragma("clang loop unroll(full)") for (int i = 0; i < (count); i++)
#else
#define NYB_EACH(i, count) _Pragma("GCC unroll 16") for (int i = 0; i < (count); i++)
#endif

// k of one strip, a multiple of every step; rows and panels of the largest tile.
enum { NYB_STRIP_K = 1024, NYB_TILE_ROWS = 8, NYB_TILE_PANELS = 2 };

// Rewrites k activations as `padded` elements (bytes or int16, as the products want them), zeros behind.
typedef void (*nyb_fill_fn)(void *strip, const int8_t *a, uint32_t k, uint32_t padded);
// acc[row][panel] += products of rows in the strip and panels; `steps` of 32 bytes a panel, panels
// `panel_bytes` apart.
typedef void (*nyb_tile_fn)(__m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS], const void *strip, const uint8_t *w,
                            size_t panel_bytes, uint32_t steps, int rows, int panels);

// How one variant works. All constants: the compiler folds them.
typedef struct nyb_x86_gemm {
    nyb_fill_fn fill;
    nyb_tile_fn tile;
    uint32_t bits;
    uint32_t element; // bytes of a strip's element
    bool shifted;     // activations are 128 larger in the strip: 128 * weight_sum goes off the bias
    int rows;
    int panels;
} nyb_x86_gemm;

NYB_INLINE int32_t nyb_load32(const void *p) {
    int32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

// One tile: `rows` rows and `panels` panels of 8 columns, `width` columns in the last.
NYB_INLINE void nyb_x86_tile(const nyb_gemm_args *args, const nyb_x86_gemm g, uint8_t *strip, uint32_t m,
                             uint32_t n, const int rows, const int panels, uint32_t width) {
    const uint32_t step = 32 / g.bits;
    const size_t panel_bytes = (size_t)nyb_panel_bytes(args->depth, g.bits, 8, 4);
    const uint8_t *w = args->weights + n / 8 * panel_bytes;
    const int8_t *a = args->a + (size_t)m * args->a_stride;
    __m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS];
    NYB_EACH (p, panels) {
        __m256i bias = _mm256_loadu_si256((const __m256i *)(const void *)(args->bias + n + 8 * p));
        if (g.shifted) {
            const __m256i sum =
                _mm256_loadu_si256((const __m256i *)(const void *)(args->weight_sum + n + 8 * p));
            bias = _mm256_sub_epi32(bias, _mm256_slli_epi32(sum, 7));
        }
        NYB_EACH (i, rows) {
            acc[i][p] = bias;
        }
    }
    if (args->depth <= NYB_STRIP_K) {
        g.tile(acc, strip, w, panel_bytes, (args->depth + step - 1) / step, rows, panels);
    } else {
        for (uint32_t k = 0; k < args->depth; k += NYB_STRIP_K) {
            const uint32_t count = args->depth - k < NYB_STRIP_K ? args->depth - k : NYB_STRIP_K;
            const uint32_t steps = (count + step - 1) / step;
            for (int i = 0; i < rows; i++) {
                g.fill(strip + (size_t)i * NYB_STRIP_K * g.element, a + (size_t)i * args->a_stride + k, count,
                       steps * step);
            }
            g.tile(acc, strip, w + (size_t)(k / step) * 32, panel_bytes, steps, rows, panels);
        }
    }
    NYB_EACH (p, panels) {
        const nyb_epilogue e =
            nyb_epilogue_load(args->multiplier + n + 8 * p, args->shift + n + 8 * p, &args->output);
        NYB_EACH (i, rows) {
            __m256i sum = acc[i][p];
            if (args->row_bias != NULL) {
                sum = _mm256_add_epi32(sum, _mm256_set1_epi32(args->row_bias[m + (uint32_t)i]));
            }
            nyb_epilogue_store(args->c + (size_t)(m + (uint32_t)i) * args->c_stride + n + 8 * p,
                               nyb_epilogue_apply(&e, sum), p + 1 == panels ? width : 8);
        }
    }
}

// All columns of `rows` rows.
NYB_INLINE void nyb_x86_rows(const nyb_gemm_args *args, const nyb_x86_gemm g, uint8_t *strip, uint32_t m,
                             const int rows) {
    const uint32_t step = 32 / g.bits;
    if (args->depth <= NYB_STRIP_K) {
        for (int i = 0; i < rows; i++) {
            g.fill(strip + (size_t)i * NYB_STRIP_K * g.element,
                   args->a + (size_t)(m + (uint32_t)i) * args->a_stride, args->depth,
                   (args->depth + step - 1) / step * step);
        }
    }
    uint32_t n = 0;
    if (g.panels == 2) {
        for (; n + 8 < args->columns; n += 16) {
            const uint32_t left = args->columns - n - 8;
            nyb_x86_tile(args, g, strip, m, n, rows, 2, left < 8 ? left : 8);
        }
    }
    for (; n < args->columns; n += 8) {
        const uint32_t left = args->columns - n;
        nyb_x86_tile(args, g, strip, m, n, rows, 1, left < 8 ? left : 8);
    }
}

NYB_INLINE void nyb_x86_run(const nyb_gemm_args *args, const nyb_x86_gemm g) {
    _Alignas(64) uint8_t strip[NYB_TILE_ROWS * NYB_STRIP_K * 2];
    uint32_t m = 0;
    for (; m + (uint32_t)g.rows <= args->rows; m += (uint32_t)g.rows) {
        nyb_x86_rows(args, g, strip, m, g.rows);
    }
    for (; m + 2 <= args->rows; m += 2) {
        nyb_x86_rows(args, g, strip, m, 2);
    }
    for (; m < args->rows; m++) {
        nyb_x86_rows(args, g, strip, m, 1);
    }
}

// Activations as u8: 128 larger. What pads the row meets weights that are zero.
NYB_INLINE void nyb_fill_shifted(void *strip, const int8_t *a, uint32_t k, uint32_t padded) {
    uint8_t *to = strip;
    const __m256i flip = _mm256_set1_epi8(INT8_MIN);
    uint32_t i = 0;
    for (; i + 32 <= k; i += 32) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(a + i));
        _mm256_storeu_si256((__m256i *)(void *)(to + i), _mm256_xor_si256(x, flip));
    }
    for (; i < k; i++) {
        to[i] = (uint8_t)(a[i] ^ INT8_MIN);
    }
    memset(to + k, 0, padded - k);
}

#endif
