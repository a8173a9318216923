// SPDX-License-Identifier: Apache-2.0
// AArch64 with 8-bit dot products: scale groups with factors. Products are 16 or 64 times too large, as in
// gemm_dotprod.c, until the end of each group.
#include "kernels/gemm/groups_neon.h"
#include "kernels/gemm/panel_dotprod.h"

NYB_INLINE void sum(int32x4_t (*sums)[2], const uint8_t *const *a, size_t at, const uint8_t *w,
                    size_t panel_bytes, const nyb_gemm_tile tile, uint32_t steps, const int bits) {
    const int planes = 8 / bits;
    NYB_EACH (i, tile.rows + tile.panels - 1)
        sums[i][0] = sums[i][1] = vdupq_n_s32(0);
    uint32_t quads = steps * (uint32_t)planes;
    for (; quads >= 4; quads -= 4, at += 16, w += NYB_PANEL_STEP_BYTES * 4 / planes)
        nyb_dot_products(sums, a, at, w, panel_bytes, tile, bits, 4);
    if (planes == 2 && quads > 0) {
        nyb_dot_products(sums, a, at, w, panel_bytes, tile, bits, 2);
    }
    NYB_EACH (i, tile.rows + tile.panels - 1) {
        NYB_EACH (q, 2)
            sums[i][q] = bits == 4 ? vshrq_n_s32(sums[i][q], 4) : vshrq_n_s32(sums[i][q], 6);
    }
}

NYB_GROUPS_GEMM(dotprod, 4, NYB_PANEL_TOP_DEPTH_MAX / 8)
NYB_GROUPS_GEMM(dotprod, 2, NYB_PANEL_TOP_DEPTH_MAX / 16)
