// SPDX-License-Identifier: Apache-2.0
// What conv2d and fully_connected share: rows in, packed weights, one gemm variant.
#ifndef NYB_OPS_MATMUL_H
#define NYB_OPS_MATMUL_H

#include "kernels/gemm/gemm.h"
#include "ops/weights.h"
#include "ops/windows.h"

typedef struct nyb_matmul {
    nyb_weights weights;
    nyb_requantize output;
    const nyb_gemm_variant *gemm;
    uint32_t bytes;           // of an activation, in and out: 1 or 2
    const uint8_t *prepacked; // of all groups, in the gemm's own form; NULL: none
    size_t prepacked_bytes;   // of one group
} nyb_matmul;

// Bytes of activations that one gemm call gets: what the first-level cache holds beside a panel of weights;
// more where every call fetches many weights anew, or prepares them.
enum { NYB_BLOCK_BYTES = 24576, NYB_BLOCK_BYTES_MAX = 131072 };

// Reads the types of input and output, weights and requantization; refuses layouts for which this build has
// no gemm.
nyb_status nyb_matmul_read(const nyb_node *node, uint32_t weights_slot, uint32_t output_slot, uint32_t groups,
                           uint32_t cpu, nyb_matmul *matmul, nyb_error *why);

// Rewrites the weights for the gemm where the options ask for it, it has a form of its own, and `rows` are
// worth it. segment: in bytes of the tensor.
void nyb_matmul_prepack(nyb_matmul *matmul, const nyb_setup *setup, uint32_t groups, uint32_t segments,
                        uint32_t segment, uint64_t rows);

// What a row, or a stretch of it, must be readable to a multiple of, in bytes of the tensor.
static inline uint32_t nyb_matmul_step(const nyb_matmul *matmul) {
    return matmul->weights.kr * (8 / matmul->weights.bits) * matmul->bytes;
}

static inline size_t nyb_matmul_block_bytes(const nyb_matmul *matmul) {
    const size_t bytes = matmul->gemm->tiled ? NYB_BLOCK_BYTES_MAX : matmul->weights.group_bytes / 4;
    return bytes < NYB_BLOCK_BYTES ? NYB_BLOCK_BYTES
                                   : (bytes < NYB_BLOCK_BYTES_MAX ? bytes : NYB_BLOCK_BYTES_MAX);
}

// Nanoseconds that c[rows][outputs] takes on one thread, roughly. A kernel computes all rows of a tile;
// to requantize an output takes vectors about as long as 16 products.
static inline uint64_t nyb_matmul_ns(const nyb_matmul *matmul, uint64_t rows, uint64_t outputs) {
    const uint32_t needs = matmul->gemm->needs;
    const uint64_t computed = rows < matmul->gemm->mr ? matmul->gemm->mr : rows;
    return nyb_macs_ns(computed * outputs * matmul->weights.depth, needs) +
           nyb_macs_ns(16 * rows * outputs, needs & NYB_CPU_AMX ? NYB_CPU_AVX512VNNI : needs);
}

// c[rows][columns first..first+count) of one group. row_sums: space for `rows` int32, used for asymmetric
// weights.
typedef struct nyb_matmul_part {
    nyb_rows rows; // a segment counts bytes of the tensor
    uint32_t group;
    uint32_t first; // a multiple of nr, and of NYB_PREPACKED_COLUMNS where weights are prepacked
    uint32_t count;
    int8_t *c;       // of column `first`
    size_t c_stride; // in bytes
    int32_t *row_sums;
} nyb_matmul_part;
void nyb_matmul_run(const nyb_matmul *matmul, const nyb_matmul_part *part);

#endif
