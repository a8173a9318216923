// SPDX-License-Identifier: Apache-2.0
// What the NEON variants share: panels of weights, and what follows the sums of a tile.
#ifndef NYB_KERNELS_GEMM_PANEL_NEON_H
#define NYB_KERNELS_GEMM_PANEL_NEON_H

#include "base/packed.h"
#include "kernels/epilogue_neon.h"
#include "kernels/gemm/gemm.h"

#include <string.h>

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

// Plane p of a vector of 4-bit or 2-bit weights, shifted to the top of each byte; planes below it stay.
NYB_INLINE int8x16_t nyb_panel_raise(int8x16_t x, const int bits, const int p) {
    switch (8 - bits - bits * p) {
    case 2:
        return vshlq_n_s8(x, 2);
    case 4:
        return vshlq_n_s8(x, 4);
    case 6:
        return vshlq_n_s8(x, 6);
    default:
        return x;
    }
}

// Plane p of a vector of weights, at the top of each byte: 16 or 64 times the value of 4 or 2 bits.
NYB_INLINE int8x16_t nyb_panel_plane(int8x16_t x, const int bits, const int p) {
    if (bits == 8) {
        return x;
    }
    const int8x16_t raised = nyb_panel_raise(x, bits, p);
    return p == 0 ? raised : vandq_s8(raised, vdupq_n_s8(bits == 4 ? -16 : -64));
}

// One step of weights: a vector of 4 channels and one of the next 4 for each lane of activations.
NYB_INLINE void nyb_panel_unpack(int8x16_t (*v)[2], const uint8_t *w, const int bits) {
    int8x16_t x[2] = {vreinterpretq_s8_u8(vld1q_u8(w)), vreinterpretq_s8_u8(vld1q_u8(w + 16))};
    __asm__("" : "+w"(x[0]), "+w"(x[1])); // loaded side by side, by one instruction
    NYB_EACH (q, 2) {
        NYB_EACH (p, 8 / bits)
            v[p][q] = nyb_panel_plane(x[q], bits, p);
    }
}

// 4, 8 or 16 activations, at the lower end of a vector.
NYB_INLINE int8x16_t nyb_panel_read(const uint8_t *a, const int quads) {
    if (quads == 4) {
        return vreinterpretq_s8_u8(vld1q_u8(a));
    }
    uint64_t low = 0;
    memcpy(&low, a, 4 * (size_t)quads);
    return vcombine_s8(vcreate_s8(low), vdup_n_s8(0));
}

// Sums of products 16 or 64 times too large leave 32 bits beyond this depth: 2^16 * 128 * 128 = 2^30.
enum { NYB_PANEL_TOP_DEPTH_MAX = 65536 };

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
