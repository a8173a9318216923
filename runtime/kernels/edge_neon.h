// SPDX-License-Identifier: Apache-2.0
// Reading 16 bytes at the edge of rows.
#ifndef NYB_KERNELS_EDGE_NEON_H
#define NYB_KERNELS_EDGE_NEON_H

#include "kernels/edge.h"
#include "kernels/unroll.h"

#include <arm_neon.h>

// a[i] = bytes `at` to `at` + 15 of row i, those behind its `length` bytes 0, for `rows` (a constant) rows
// `stride` bytes apart. at: a multiple of 8 below length.
NYB_INLINE void nyb_read16(int8x16_t *a, const int8_t *row, size_t stride, const int rows, uint32_t at,
                           uint32_t length) {
    if (length >= 16) {
        // The vector that ends with the row, moved down; tbl gives 0 for an index beyond 15.
        static const uint8_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        const uint32_t over = length - at < 16 ? 16 - (length - at) : 0;
        const uint8x16_t from = vaddq_u8(vld1q_u8(lane), vdupq_n_u8((uint8_t)over));
        NYB_EACH (i, rows)
            a[i] = vqtbl1q_s8(vld1q_s8(row + (size_t)i * stride + at - over), from);
    } else if (length - at > 8) {
        NYB_EACH (i, rows) {
            const int8_t *r = row + (size_t)i * stride;
            a[i] = vcombine_s8(vcreate_s8(nyb_read8(r, 0, length)), vcreate_s8(nyb_read8(r, 8, length)));
        }
    } else {
        NYB_EACH (i, rows) {
            a[i] = vcombine_s8(vcreate_s8(nyb_read8(row + (size_t)i * stride, at, length)), vdup_n_s8(0));
        }
    }
}

#endif
