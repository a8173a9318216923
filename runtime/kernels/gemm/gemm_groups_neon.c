// SPDX-License-Identifier: Apache-2.0
// NEON: scale groups with factors. 16-bit sums of 4-bit and 2-bit products as in gemm_neon.c, of 15 and 31
// steps.
#include "kernels/gemm/groups_neon.h"

// Adds the products of one step: to each 16-bit sum two for each plane, of two channels' k % 4.
NYB_INLINE void multiply(int16x8_t (*s)[4], const uint8_t *const *a, size_t at, const uint8_t *w,
                         size_t panel_bytes, const nyb_gemm_tile tile, const int bits) {
    NYB_EACH (n, tile.panels) {
        int8x16_t v[4][2];
        nyb_panel_unpack(v, w + (size_t)n * panel_bytes, bits);
        NYB_EACH (p, 8 / bits) {
            NYB_EACH (q, 2)
                v[p][q] = bits == 4 ? vshrq_n_s8(v[p][q], 4) : vshrq_n_s8(v[p][q], 6);
            NYB_EACH (i, tile.rows) {
                const void *four = a[i] + at + NYB_PANEL_KR * (size_t)p;
                const int8x16_t x = vreinterpretq_s8_s32(vld1q_dup_s32((const int32_t *)four)); // any address
                NYB_EACH (q, 2) {
                    int16x8_t *const sum = &s[i + n][2 * q];
                    sum[0] = vmlal_s8(sum[0], vget_low_s8(v[p][q]), vget_low_s8(x));
                    sum[1] = vmlal_high_s8(sum[1], v[p][q], x);
                }
            }
        }
    }
}

NYB_INLINE void sum(int32x4_t (*sums)[2], const uint8_t *const *a, size_t at, const uint8_t *w,
                    size_t panel_bytes, const nyb_gemm_tile tile, uint32_t steps, const int bits) {
    int16x8_t s[NYB_GROUPS_TILE][4];
    NYB_EACH (i, tile.rows + tile.panels - 1) {
        NYB_EACH (j, 4)
            s[i][j] = vdupq_n_s16(0);
    }
    for (; steps > 0; steps--, w += NYB_PANEL_STEP_BYTES, at += NYB_PANEL_KR * (8 / (size_t)bits))
        multiply(s, a, at, w, panel_bytes, tile, bits);
    NYB_EACH (i, tile.rows + tile.panels - 1) {
        NYB_EACH (q, 2)
            sums[i][q] = vpaddq_s32(vpaddlq_s16(s[i][2 * q]), vpaddlq_s16(s[i][2 * q + 1]));
    }
}

NYB_GROUPS_GEMM(neon, 4, 15)
NYB_GROUPS_GEMM(neon, 2, 31)
