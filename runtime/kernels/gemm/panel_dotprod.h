// SPDX-License-Identifier: Apache-2.0
// Dot products of a tile.
#ifndef NYB_KERNELS_GEMM_PANEL_DOTPROD_H
#define NYB_KERNELS_GEMM_PANEL_DOTPROD_H

#include "kernels/gemm/panel_neon.h"

NYB_INLINE int32x4_t nyb_dot_lane(int32x4_t c, int8x16_t w, int8x16_t a, const int lane) {
    switch (lane) {
    case 0:
        return vdotq_laneq_s32(c, w, a, 0);
    case 1:
        return vdotq_laneq_s32(c, w, a, 1);
    case 2:
        return vdotq_laneq_s32(c, w, a, 2);
    default:
        return vdotq_laneq_s32(c, w, a, 3);
    }
}

// Adds the products of 4 * quads activations of each row, `at` bytes into it, with each panel's weights.
NYB_INLINE void nyb_dot_products(int32x4_t (*acc)[2], const uint8_t *const *a, size_t at, const uint8_t *w,
                                 size_t panel_bytes, const nyb_gemm_tile tile, const int bits,
                                 const int quads) {
    const int planes = 8 / bits;
    NYB_EACH (n, tile.panels) {
        int8x16_t v[4][2];
        NYB_EACH (j, quads / planes)
            nyb_panel_unpack(v + planes * j, w + (size_t)n * panel_bytes + NYB_PANEL_STEP_BYTES * j, bits);
        NYB_EACH (i, tile.rows) {
            const int8x16_t x = nyb_panel_read(a[i] + at, quads);
            NYB_EACH (p, quads) {
                NYB_EACH (q, 2)
                    acc[i + n][q] = nyb_dot_lane(acc[i + n][q], v[p][q], x, p);
            }
        }
    }
}

#endif
