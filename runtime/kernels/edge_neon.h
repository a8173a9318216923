// SPDX-License-Identifier: Apache-2.0
#ifndef NYB_KERNELS_EDGE_NEON_H
#define NYB_KERNELS_EDGE_NEON_H

#include "kernels/edge.h"
#include "kernels/unroll.h"

#include <arm_neon.h>

// Bytes `at` to `at` + 15 of a row of `length` bytes, those behind its end 0; at < length.
NYB_INLINE int8x16_t nyb_read16(const int8_t *row, uint32_t at, uint32_t length) {
    static const uint8_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    if (length < 16) {
        return vcombine_s8(vcreate_s8(nyb_read8(row, at, length)), vcreate_s8(nyb_read8(row, at + 8, length)));
    }
    // The last 16 bytes of the row, moved down; tbl gives 0 for an index beyond 15.
    const uint32_t over = length - at < 16 ? 16 - (length - at) : 0;
    return vqtbl1q_s8(vld1q_s8(row + length - 16), vaddq_u8(vld1q_u8(lane), vdupq_n_u8((uint8_t)over)));
}

#endif
