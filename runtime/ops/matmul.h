// SPDX-License-Identifier: Apache-2.0
// What conv2d and fully_connected share: rows in, packed weights, one gemm variant.
#ifndef NYB_OPS_MATMUL_H
#define NYB_OPS_MATMUL_H

#include "kernels/gemm/gemm.h"
#include "ops/weights.h"

typedef struct nyb_matmul {
    nyb_weights weights;
    nyb_requantize output;
    const nyb_gemm_variant *gemm;
} nyb_matmul;

// Rows that one gemm call gets: as many as keep them within the first-level cache beside the weights.
enum { NYB_BLOCK_BYTES = 16384, NYB_BLOCK_ROWS_MAX = 64 };
static inline uint32_t nyb_block_rows(uint32_t depth) {
    uint32_t rows = NYB_BLOCK_BYTES / (depth + 1);
    rows = rows / 4 * 4;
    return rows < 4 ? 4 : (rows > NYB_BLOCK_ROWS_MAX ? NYB_BLOCK_ROWS_MAX : rows);
}

// Reads weights and requantization; refuses layouts for which this build has no gemm.
nyb_status nyb_matmul_read(const nyb_node *node, uint32_t weights_slot, uint32_t output_slot, uint32_t groups,
                           uint32_t cpu, nyb_matmul *matmul, nyb_error *why);

// c[rows][columns first..first+count) of one group. row_sums: space for `rows` int32, used for asymmetric
// weights.
typedef struct nyb_matmul_part {
    const int8_t *a;
    size_t a_stride;
    uint32_t rows;
    uint32_t group;
    uint32_t first; // a multiple of nr
    uint32_t count;
    int8_t *c; // of column `first`
    size_t c_stride;
    int32_t *row_sums;
} nyb_matmul_part;
void nyb_matmul_run(const nyb_matmul *matmul, const nyb_matmul_part *part);

#endif
