// SPDX-License-Identifier: Apache-2.0
// Copies of blocks whose elements lie apart: what movement, padding and concatenation come down to.
#ifndef NYB_OPS_STRIDED_H
#define NYB_OPS_STRIDED_H

#include "ops/op.h"

// Element (i0, i1, ...) goes from byte i0 * from[0] + i1 * from[1] + ... of the source to byte
// i0 * to[0] + ... of the destination; outermost dimension first.
typedef struct nyb_strided {
    uint32_t bytes; // of an element: 1, 2, 4 or 8
    uint32_t rank;  // 0: a single element
    uint32_t shape[NYB_MAX_RANK];
    int64_t from[NYB_MAX_RANK];
    int64_t to[NYB_MAX_RANK];
} nyb_strided;

// Byte strides of a tensor whose elements lie one after the other.
void nyb_strides_of(const nyb_tensor_info *tensor, int64_t *strides);

// Leaves out dimensions of size 1 and merges those that both sides step through evenly.
void nyb_strided_merge(nyb_strided *copy);

// Source and destination must not overlap; a block without elements is left alone.
void nyb_strided_copy(const nyb_strided *copy, const uint8_t *from, uint8_t *to);

#endif
