// SPDX-License-Identifier: Apache-2.0
// AArch64 with 8-bit dot products (sdot): a lane of 4 activations against the 4 bytes of each of 4 channels.
#include "kernels/gemm/panel_dotprod.h"

// A tile is 8 rows of one panel, or one row of 4 panels.
enum { ROWS = 8, PANELS = 4, ACCUMULATORS = 8 };

NYB_INLINE void run_tile(const nyb_gemm_args *args, const nyb_gemm_panel *panels, uint32_t m,
                         const nyb_gemm_tile tile, const int bits) {
    const int planes = 8 / bits;
    const int count = tile.rows + tile.panels - 1;
    const size_t panel_bytes =
        (size_t)nyb_panel_bytes(args->depth, (uint32_t)bits, NYB_PANEL_NR, NYB_PANEL_KR);
    const uint32_t steps = nyb_packed_steps(args->segment, (uint32_t)bits, NYB_PANEL_KR);
    const size_t gap = args->pitch - (size_t)steps * NYB_PANEL_KR * (size_t)planes;
    int32x4_t acc[ACCUMULATORS][2];
    NYB_EACH (i, count) {
        NYB_EACH (q, 2)
            acc[i][q] = bits == 8 ? panels[i % tile.panels].bias[q] : vdupq_n_s32(0);
    }
    const uint8_t *a[ACCUMULATORS];
    NYB_EACH (i, tile.rows)
        a[i] = args->a[m + (uint32_t)i];
    const uint8_t *w = panels->weights;
    size_t at = 0; // bytes into every row: one offset for all
    for (uint32_t s = 0; s < args->segments; s++, at += gap) {
        uint32_t quads = steps * (uint32_t)planes;
        for (; quads >= 4; quads -= 4, at += 16, w += NYB_PANEL_STEP_BYTES * 4 / planes)
            nyb_dot_products(acc, a, at, w, panel_bytes, tile, bits, 4);
        if (planes <= 2 && quads >= 2) {
            nyb_dot_products(acc, a, at, w, panel_bytes, tile, bits, 2);
            quads -= 2, at += 8, w += NYB_PANEL_STEP_BYTES * 2 / planes;
        }
        if (planes == 1 && quads > 0) {
            nyb_dot_products(acc, a, at, w, panel_bytes, tile, bits, 1);
            at += 4, w += NYB_PANEL_STEP_BYTES;
        }
    }
    if (tile.panels == 1) {
        __asm__("" : "+r"(panels)); // read what follows the sums now: the loop needs all registers
    }
    if (bits < 8) {
        NYB_EACH (i, count) {
            NYB_EACH (q, 2) {
                const int32x4_t sums = bits == 4 ? vshrq_n_s32(acc[i][q], 4) : vshrq_n_s32(acc[i][q], 6);
                acc[i][q] = nyb_add4(sums, panels[i % tile.panels].bias[q]);
            }
        }
    }
    NYB_EACH (n, tile.panels)
        nyb_gemm_put(args, &panels[n], m, tile.rows, acc + n);
}

// Row m against `count` (a constant) panels from column n on.
NYB_INLINE void row_panels(const nyb_gemm_args *args, uint32_t m, uint32_t n, const int count,
                           const int bits) {
    nyb_gemm_panel panels[PANELS];
    NYB_EACH (i, count)
        panels[i] = nyb_gemm_panel_at(args, n + NYB_PANEL_NR * (uint32_t)i, (uint32_t)bits);
    run_tile(args, panels, m, (nyb_gemm_tile){1, count}, bits);
}

NYB_INLINE void gemm(const nyb_gemm_args *args, const int bits) {
    const uint32_t tiled = args->rows - args->rows % (ROWS / 2);
    for (uint32_t n = 0; n < args->columns && tiled > 0; n += NYB_PANEL_NR) {
        const nyb_gemm_panel panel = nyb_gemm_panel_at(args, n, (uint32_t)bits);
        uint32_t m = 0;
        for (; tiled - m >= ROWS; m += ROWS)
            run_tile(args, &panel, m, (nyb_gemm_tile){ROWS, 1}, bits);
        if (m < tiled)
            run_tile(args, &panel, m, (nyb_gemm_tile){ROWS / 2, 1}, bits);
    }
    for (uint32_t m = tiled; m < args->rows; m++) {
        uint32_t n = 0;
        for (; n + PANELS * NYB_PANEL_NR <= args->columns; n += PANELS * NYB_PANEL_NR)
            row_panels(args, m, n, PANELS, bits);
        for (; n < args->columns; n += NYB_PANEL_NR)
            row_panels(args, m, n, 1, bits);
    }
}

void nyb_gemm_w8_dotprod(const nyb_gemm_args *args) { gemm(args, 8); }

void nyb_gemm_w4_dotprod(const nyb_gemm_args *args) {
    if (args->depth > NYB_PANEL_TOP_DEPTH_MAX) {
        nyb_gemm_w4_neon(args);
    } else {
        gemm(args, 4);
    }
}

void nyb_gemm_w2_dotprod(const nyb_gemm_args *args) {
    if (args->depth > NYB_PANEL_TOP_DEPTH_MAX) {
        nyb_gemm_w2_neon(args);
    } else {
        gemm(args, 2);
    }
}
