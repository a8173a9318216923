// SPDX-License-Identifier: Apache-2.0
// What the AArch64 variants share: the walk over panels, and what follows the sums of a tile.
#ifndef NYB_KERNELS_GEMM_PANEL_NEON_H
#define NYB_KERNELS_GEMM_PANEL_NEON_H

#include "base/packed.h"
#include "kernels/epilogue_neon.h"
#include "kernels/gemm/gemm.h"

enum { NYB_PANEL_NR = 8, NYB_PANEL_KR = 4, NYB_PANEL_STEP_BYTES = 32 };

typedef struct nyb_gemm_panel {
    const uint8_t *weights;
    int32x4_t bias[2];
    int8_t *c; // row 0, the panel's first column
    nyb_panel_output output;
} nyb_gemm_panel;

// `rows` rows of one panel, or one row of `panels` panels; constants.
typedef struct nyb_gemm_tile {
    int rows;
    int panels;
} nyb_gemm_tile;

// The panel of columns n to n + 7.
NYB_INLINE nyb_gemm_panel nyb_gemm_panel_at(const nyb_gemm_args *args, uint32_t n, uint32_t bits) {
    const uint32_t width = args->columns - n < NYB_PANEL_NR ? args->columns - n : NYB_PANEL_NR;
    return (nyb_gemm_panel){
        .weights =
            args->weights + n / NYB_PANEL_NR * nyb_panel_bytes(args->depth, bits, NYB_PANEL_NR, NYB_PANEL_KR),
        .bias = {vld1q_s32(args->bias + n), vld1q_s32(args->bias + n + 4)},
        .c = args->c + n,
        .output = nyb_panel_output_of(args->multiplier + n, args->shift + n, width, &args->output),
    };
}

// Adds the rows' own biases to the accumulators of rows m to m + rows - 1 (rows: a constant, 1 to 8),
// finishes and stores them.
NYB_INLINE void nyb_gemm_put(const nyb_gemm_args *args, const nyb_gemm_panel *panel, uint32_t m,
                             const int rows, int32x4_t (*acc)[2]) {
    if (args->row_bias != NULL) {
        NYB_EACH (i, rows) {
            const int32x4_t row_bias = vdupq_n_s32(args->row_bias[m + (size_t)i]);
            NYB_EACH (q, 2)
                acc[i][q] = nyb_add4(acc[i][q], row_bias);
        }
    }
    nyb_finish_rows(acc, rows, &panel->output, panel->c + m * args->c_stride, args->c_stride);
}

#endif
