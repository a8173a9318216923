// SPDX-License-Identifier: Apache-2.0
// The loops that all x86 gemms share: panels outside, so that one or two of them stay in the first-level
// cache while the rows pass.
#ifndef NYB_KERNELS_GEMM_X86_H
#define NYB_KERNELS_GEMM_X86_H

#include "base/packed.h"
#include "kernels/epilogue_avx2.h"
#include "kernels/gemm/gemm.h"
#include "kernels/unroll.h"

// Rows and panels of the largest tile.
enum { NYB_TILE_ROWS = 8, NYB_TILE_PANELS = 2 };

// The operands of one tile: rows and neighbouring panels.
typedef struct nyb_operands {
    const uint8_t *row[NYB_TILE_ROWS];
    uint32_t segments;
    uint32_t steps; // of a segment
    size_t pitch;
    const uint8_t *weights;
    size_t panel_bytes;
} nyb_operands;

// acc[row][panel] += products.
typedef void (*nyb_tile_fn)(__m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS], const nyb_operands *operands,
                            int rows, int panels);

// How one variant works. All constants: the compiler folds them.
typedef struct nyb_x86_gemm {
    nyb_tile_fn tile;
    uint32_t bits;
    bool shifted; // activations are 128 larger: 128 * weight_sum goes off the bias
    int rows;
    int panels;
} nyb_x86_gemm;

NYB_INLINE int32_t nyb_load32(const void *p) {
    int32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

// One tile: `rows` rows and `panels` panels of 8 columns, `width` columns in the last.
NYB_INLINE void nyb_x86_tile(const nyb_gemm_args *args, const nyb_x86_gemm g, nyb_operands *operands,
                             uint32_t m, uint32_t n, const int rows, const int panels, uint32_t width) {
    __m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS];
    NYB_EACH (i, rows) {
        operands->row[i] = args->a[m + (uint32_t)i];
    }
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
    g.tile(acc, operands, rows, panels);
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

// All rows of `panels` panels.
NYB_INLINE void nyb_x86_panels(const nyb_gemm_args *args, const nyb_x86_gemm g, uint32_t n, const int panels,
                               uint32_t width) {
    const size_t panel_bytes = (size_t)nyb_panel_bytes(args->depth, g.bits, 8, 4);
    nyb_operands operands = {
        .segments = args->segments,
        .steps = nyb_packed_steps(args->segment, g.bits, 4),
        .pitch = args->pitch,
        .weights = args->weights + n / 8 * panel_bytes,
        .panel_bytes = panel_bytes,
    };
    uint32_t m = 0;
    for (; args->rows - m >= (uint32_t)g.rows; m += (uint32_t)g.rows) {
        nyb_x86_tile(args, g, &operands, m, n, g.rows, panels, width);
    }
    for (; args->rows - m >= 2; m += 2) {
        nyb_x86_tile(args, g, &operands, m, n, 2, panels, width);
    }
    for (; m < args->rows; m++) {
        nyb_x86_tile(args, g, &operands, m, n, 1, panels, width);
    }
}

NYB_INLINE void nyb_x86_run(const nyb_gemm_args *args, const nyb_x86_gemm g) {
    uint32_t n = 0;
    if (g.panels == 2) {
        for (; args->columns - n > 8; n += args->columns - n < 16 ? args->columns - n : 16) {
            const uint32_t left = args->columns - n - 8;
            nyb_x86_panels(args, g, n, 2, left < 8 ? left : 8);
        }
    }
    for (; n < args->columns; n += args->columns - n < 8 ? args->columns - n : 8) {
        const uint32_t left = args->columns - n;
        nyb_x86_panels(args, g, n, 1, left < 8 ? left : 8);
    }
}

#endif
