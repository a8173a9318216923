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
    const int32_t *bias;
    int8_t *c; // row 0, the panel's first column
    nyb_panel_output output;
} nyb_gemm_panel;

// The panel of columns n to n + 7.
NYB_INLINE nyb_gemm_panel nyb_gemm_panel_at(const nyb_gemm_args *args, uint32_t n, uint32_t bits) {
    const uint32_t width = args->columns - n < NYB_PANEL_NR ? args->columns - n : NYB_PANEL_NR;
    return (nyb_gemm_panel){
        .weights = args->weights + n / NYB_PANEL_NR * nyb_panel_bytes(args->depth, bits, NYB_PANEL_NR, NYB_PANEL_KR),
        .bias = args->bias + n,
        .c = args->c + n,
        .output = nyb_panel_output_of(args->multiplier + n, args->shift + n, width, &args->output),
    };
}

// Adds the biases to the sums of rows m to m + rows - 1 (rows: a constant, 1 to 8) and finishes them.
NYB_INLINE void nyb_gemm_put(const nyb_gemm_args *args, const nyb_gemm_panel *panel, uint32_t m, const int rows,
                             int32x4_t (*acc)[2]) {
    const int32x4_t bias[2] = {vld1q_s32(panel->bias), vld1q_s32(panel->bias + 4)};
    NYB_EACH (i, rows) {
        NYB_EACH (q, 2) acc[i][q] = vaddq_s32(acc[i][q], bias[q]);
    }
    if (args->row_bias != NULL) {
        NYB_EACH (i, rows) {
            const int32x4_t row_bias = vdupq_n_s32(args->row_bias[m + (uint32_t)i]);
            NYB_EACH (q, 2) acc[i][q] = vaddq_s32(acc[i][q], row_bias);
        }
    }
    nyb_finish_rows(acc, rows, &panel->output, panel->c + m * args->c_stride, args->c_stride);
}

#endif
