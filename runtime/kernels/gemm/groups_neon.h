// SPDX-License-Identifier: Apache-2.0
// Weights of 4 and 2 bits whose scale groups along k have factors: what the NEON variants share. A variant
// sums the products of a part of a group; here are the walk over the parts, and their sums times the factors.
#ifndef NYB_KERNELS_GEMM_GROUPS_NEON_H
#define NYB_KERNELS_GEMM_GROUPS_NEON_H

#include "kernels/gemm/panel_neon.h"

// Rows of a panel, or panels of a row, that keep their sums in the registers: there are 32 or 16.
#if defined(__aarch64__)
enum { NYB_GROUPS_TILE = 4 };
#else
enum { NYB_GROUPS_TILE = 2 };
#endif

// sums: of 8 channels, over `steps` steps from weights w and `at` bytes into the rows.
typedef void (*nyb_group_fn)(int32x4_t (*sums)[2], const uint8_t *const *a, size_t at, const uint8_t *w,
                             size_t panel_bytes, const nyb_gemm_tile tile, uint32_t steps, const int bits);

// c + a * b in lanes that wrap.
NYB_INLINE int32x4_t nyb_multiply_add4(int32x4_t c, int32x4_t a, int32x4_t b) {
    return vreinterpretq_s32_u32(
        vmlaq_u32(vreinterpretq_u32_s32(c), vreinterpretq_u32_s32(a), vreinterpretq_u32_s32(b)));
}

NYB_INLINE void nyb_groups_tile(const nyb_gemm_args *args, const nyb_gemm_panel *panels, uint32_t m,
                                uint32_t n, const nyb_gemm_tile tile, const int bits, const uint32_t run,
                                const nyb_group_fn sum) {
    const uint32_t step = NYB_PANEL_KR * (8 / (uint32_t)bits);
    const uint32_t group = args->scale_group / step;
    const uint32_t groups = (args->depth + args->scale_group - 1) / args->scale_group;
    const size_t panel_bytes =
        (size_t)nyb_panel_bytes(args->depth, (uint32_t)bits, NYB_PANEL_NR, NYB_PANEL_KR);
    const size_t panel_factors = (size_t)groups * NYB_PANEL_NR;
    const int8_t *factors = args->factors + n / NYB_PANEL_NR * panel_factors;
    const uint8_t *w = panels->weights;
    const uint8_t *a[NYB_GROUPS_TILE];
    int32x4_t acc[NYB_GROUPS_TILE][2];
    NYB_EACH (i, tile.rows)
        a[i] = args->a[m + (uint32_t)i];
    NYB_EACH (i, tile.rows + tile.panels - 1) {
        NYB_EACH (q, 2)
            acc[i][q] = panels[i % tile.panels].bias[q];
    }
    uint32_t room = group; // steps that are left of the group
    for (uint32_t stretch = 0; stretch < args->segments; stretch++) {
        size_t at = stretch * args->pitch;
        uint32_t left = nyb_packed_steps(args->segment, (uint32_t)bits, NYB_PANEL_KR);
        while (left > 0) {
            uint32_t steps = left < room ? left : room;
            steps = steps < run ? steps : run;
            int32x4_t sums[NYB_GROUPS_TILE][2];
            sum(sums, a, at, w, panel_bytes, tile, steps, bits);
            NYB_EACH (j, tile.panels) {
                const int16x8_t factor = vmovl_s8(vld1_s8(factors + (size_t)j * panel_factors));
                const int32x4_t low = vmovl_s16(vget_low_s16(factor));
                const int32x4_t high = vmovl_s16(vget_high_s16(factor));
                NYB_EACH (i, tile.rows) {
                    acc[i + j][0] = nyb_multiply_add4(acc[i + j][0], sums[i + j][0], low);
                    acc[i + j][1] = nyb_multiply_add4(acc[i + j][1], sums[i + j][1], high);
                }
            }
            w += (size_t)steps * NYB_PANEL_STEP_BYTES;
            at += (size_t)steps * step;
            left -= steps;
            room -= steps;
            if (room == 0) {
                room = group;
                factors += NYB_PANEL_NR;
            }
        }
    }
    NYB_EACH (j, tile.panels)
        nyb_gemm_put(args, &panels[j], m, tile.rows, acc + j);
}

// Row m against `count` (a constant) panels from column n on.
NYB_INLINE void nyb_groups_row(const nyb_gemm_args *args, uint32_t m, uint32_t n, const int count,
                               const int bits, const uint32_t run, const nyb_group_fn sum) {
    nyb_gemm_panel panels[NYB_GROUPS_TILE];
    NYB_EACH (i, count)
        panels[i] = nyb_gemm_panel_at(args, n + NYB_PANEL_NR * (uint32_t)i, (uint32_t)bits);
    nyb_groups_tile(args, panels, m, n, (nyb_gemm_tile){1, count}, bits, run, sum);
}

NYB_INLINE void nyb_groups_gemm(const nyb_gemm_args *args, const int bits, const uint32_t run,
                                const nyb_group_fn sum) {
    const uint32_t tiled = args->rows - args->rows % NYB_GROUPS_TILE, wide = NYB_GROUPS_TILE * NYB_PANEL_NR;
    for (uint32_t n = 0; n < args->columns && tiled > 0; n += NYB_PANEL_NR) {
        const nyb_gemm_panel panel = nyb_gemm_panel_at(args, n, (uint32_t)bits);
        for (uint32_t m = 0; m < tiled; m += NYB_GROUPS_TILE)
            nyb_groups_tile(args, &panel, m, n, (nyb_gemm_tile){NYB_GROUPS_TILE, 1}, bits, run, sum);
    }
    for (uint32_t m = tiled; m < args->rows; m++) {
        uint32_t n = 0;
        for (; n + wide <= args->columns; n += wide)
            nyb_groups_row(args, m, n, NYB_GROUPS_TILE, bits, run, sum);
        for (; n < args->columns; n += NYB_PANEL_NR)
            nyb_groups_row(args, m, n, 1, bits, run, sum);
    }
}

// The variant of a CPU level whose file defines `sum`, a nyb_group_fn. run: the most steps that it takes at
// once.
#define NYB_GROUPS_GEMM(level, bits, run)                                                                    \
    void nyb_gemm_w##bits##_##level##_groups(const nyb_gemm_args *args) {                                    \
        if (args->scale_group == 0) {                                                                        \
            nyb_gemm_w##bits##_##level(args);                                                                \
        } else {                                                                                             \
            nyb_groups_gemm(args, bits, run, sum);                                                           \
        }                                                                                                    \
    }

#endif
