// SPDX-License-Identifier: Apache-2.0
// AArch64 with 8-bit matrix products (smmla): 8 activations of two rows against those of two channels.
#include "kernels/gemm/panel_neon.h"

// A tile is 8 or 4 rows of one panel. Its sums stand in squares of two rows and two channels.
enum { ROWS = 8, SQUARES = 4 };

NYB_INLINE int8x16_t low_halves(int8x16_t a, int8x16_t b) {
    return vreinterpretq_s8_s64(vzip1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}
NYB_INLINE int8x16_t high_halves(int8x16_t a, int8x16_t b) {
    return vreinterpretq_s8_s64(vzip2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}

// Four k of four channels, and the next four -> eight k of two channels, twice.
NYB_INLINE void join(int8x16_t *to, int8x16_t first, int8x16_t second) {
    const int32x4_t a = vreinterpretq_s32_s8(first), b = vreinterpretq_s32_s8(second);
    to[0] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
    to[1] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
}

// Adds the products of 4 * quads activations, `at` bytes into each row.
NYB_INLINE void add_products(int32x4_t (*acc)[SQUARES], const uint8_t *const *a, size_t at, const uint8_t *w,
                             const int rows, const int bits, const int quads) {
    const int planes = 8 / bits;
    const int halves = (quads + 1) / 2; // of 8 activations
    int8x16_t v[4][2], pairs[2][SQUARES];
    NYB_EACH (j, quads / planes)
        nyb_panel_unpack(v + planes * j, w + NYB_PANEL_STEP_BYTES * j, bits);
    NYB_EACH (h, halves) {
        NYB_EACH (q, 2)
            join(pairs[h] + 2 * q, v[2 * h][q], 2 * h + 1 < quads ? v[2 * h + 1][q] : vdupq_n_s8(0));
    }
    NYB_EACH (i, rows / 2) {
        const int8x16_t x = nyb_panel_read(a[2 * i] + at, quads);
        const int8x16_t y = nyb_panel_read(a[2 * i + 1] + at, quads);
        NYB_EACH (h, halves) {
            const int8x16_t two = h == 0 ? low_halves(x, y) : high_halves(x, y);
            NYB_EACH (j, SQUARES)
                acc[i][j] = vmmlaq_s32(acc[i][j], two, pairs[h][j]);
        }
    }
}

NYB_INLINE void run_tile(const nyb_gemm_args *args, const nyb_gemm_panel *panel, uint32_t m, const int rows,
                         const int bits) {
    const int planes = 8 / bits;
    const uint32_t steps = nyb_packed_steps(args->segment, (uint32_t)bits, NYB_PANEL_KR);
    const size_t gap = args->pitch - (size_t)steps * NYB_PANEL_KR * (size_t)planes;
    int32x4_t acc[ROWS / 2][SQUARES];
    NYB_EACH (i, rows / 2) {
        NYB_EACH (j, SQUARES)
            acc[i][j] = vdupq_n_s32(0);
    }
    const uint8_t *a[ROWS];
    NYB_EACH (i, rows)
        a[i] = args->a[m + (uint32_t)i];
    const uint8_t *w = panel->weights;
    size_t at = 0; // bytes into every row: one offset for all
    for (uint32_t s = 0; s < args->segments; s++, at += gap) {
        uint32_t quads = steps * (uint32_t)planes;
        for (; quads >= 4; quads -= 4, at += 16, w += NYB_PANEL_STEP_BYTES * 4 / planes)
            add_products(acc, a, at, w, rows, bits, 4);
        if (planes <= 2 && quads >= 2) {
            add_products(acc, a, at, w, rows, bits, 2);
            quads -= 2, at += 8, w += NYB_PANEL_STEP_BYTES * 2 / planes;
        }
        if (planes == 1 && quads > 0) {
            add_products(acc, a, at, w, rows, bits, 1);
            at += 4, w += NYB_PANEL_STEP_BYTES;
        }
    }
    __asm__("" : "+r"(panel)); // read what follows the sums now: the loop needs all registers
    int32x4_t sums[ROWS][2];
    NYB_EACH (i, rows / 2) {
        NYB_EACH (q, 2) {
            const int64x2_t x = vreinterpretq_s64_s32(acc[i][2 * q]);
            const int64x2_t y = vreinterpretq_s64_s32(acc[i][2 * q + 1]);
            sums[2 * i][q] = vreinterpretq_s32_s64(vzip1q_s64(x, y));
            sums[2 * i + 1][q] = vreinterpretq_s32_s64(vzip2q_s64(x, y));
        }
    }
    NYB_EACH (i, rows) {
        NYB_EACH (q, 2) {
            const int32x4_t sum = bits == 8   ? sums[i][q]
                                  : bits == 4 ? vshrq_n_s32(sums[i][q], 4)
                                              : vshrq_n_s32(sums[i][q], 6);
            sums[i][q] = nyb_add4(sum, panel->bias[q]);
        }
    }
    nyb_gemm_put(args, panel, m, rows, sums);
}

// rest: takes the rows that fill no tile.
NYB_INLINE void gemm(const nyb_gemm_args *args, const int bits, nyb_gemm_fn rest) {
    const uint32_t tiled = args->rows - args->rows % (ROWS / 2);
    for (uint32_t n = 0; n < args->columns && tiled > 0; n += NYB_PANEL_NR) {
        const nyb_gemm_panel panel = nyb_gemm_panel_at(args, n, (uint32_t)bits);
        uint32_t m = 0;
        for (; tiled - m >= ROWS; m += ROWS)
            run_tile(args, &panel, m, ROWS, bits);
        if (m < tiled)
            run_tile(args, &panel, m, ROWS / 2, bits);
    }
    if (tiled < args->rows) {
        nyb_gemm_args last = *args;
        last.a += tiled;
        last.row_bias = args->row_bias != NULL ? args->row_bias + tiled : NULL;
        last.rows -= tiled;
        last.c += tiled * args->c_stride;
        rest(&last);
    }
}

void nyb_gemm_w8_i8mm(const nyb_gemm_args *args) { gemm(args, 8, nyb_gemm_w8_dotprod); }

void nyb_gemm_w4_i8mm(const nyb_gemm_args *args) {
    if (args->depth > NYB_PANEL_TOP_DEPTH_MAX) {
        nyb_gemm_w4_neon(args);
    } else {
        gemm(args, 4, nyb_gemm_w4_dotprod);
    }
}

void nyb_gemm_w2_i8mm(const nyb_gemm_args *args) {
    if (args->depth > NYB_PANEL_TOP_DEPTH_MAX) {
        nyb_gemm_w2_neon(args);
    } else {
        gemm(args, 2, nyb_gemm_w2_dotprod);
    }
}
