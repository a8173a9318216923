// SPDX-License-Identifier: Apache-2.0
// AArch64 without dot products: 8 x 8 -> 16 bit multiplications (smull, smlal), widened by sadalp.
#include "kernels/gemm/panel_neon.h"

// Rows of a panel, or panels of a row, that keep their sums in the registers: there are 32 or 16. TURNS: rows
// whose products alternate, so that none waits for the one before it; a Cortex-A53's smlal and sadalp take
// six cycles.
#if defined(__aarch64__)
enum { TILE = 4, TURNS = 2 };
#else
enum { TILE = 2, TURNS = 1 };
#endif

NYB_INLINE int8x16_t load(const uint8_t *weights) { return vreinterpretq_s8_u8(vld1q_u8(weights)); }
NYB_INLINE void load2(int8x16_t *x, const uint8_t *weights) {
    x[0] = load(weights);
    x[1] = load(weights + 16);
    __asm__("" : "+w"(x[0]), "+w"(x[1])); // side by side, which one instruction does
}

// 4 bytes of a vector of weights belong to one channel, so 4 activations go into every lane of 32 bits
// (ld1r; ld2r and ld4r: 2 and 4 such vectors; all take any address).
NYB_INLINE int8x16_t spread4(const uint8_t *row) {
    return vreinterpretq_s8_s32(vld1q_dup_s32((const int32_t *)(const void *)row));
}
#if defined(__aarch64__)
NYB_INLINE int32x4x2_t spread8(const uint8_t *row) {
    return vld2q_dup_s32((const int32_t *)(const void *)row);
}
NYB_INLINE int32x4x4_t spread16(const uint8_t *row) {
    return vld4q_dup_s32((const int32_t *)(const void *)row);
}
#else
NYB_INLINE int32x4x2_t spread8(const uint8_t *row) {
    const int32x2_t v = vreinterpret_s32_u8(vld1_u8(row));
    return (int32x4x2_t){{vdupq_lane_s32(v, 0), vdupq_lane_s32(v, 1)}};
}
NYB_INLINE int32x4x4_t spread16(const uint8_t *row) {
    const int32x4x2_t low = spread8(row), high = spread8(row + 8);
    return (int32x4x4_t){{low.val[0], low.val[1], high.val[0], high.val[1]}};
}
#endif

// 16-bit sums: s[0] to s[3] hold two channels each, a lane for each k % 4.
NYB_INLINE void multiply(int16x8_t *s, const int8x16_t *w, int8x16_t a) {
    NYB_EACH (q, 2) {
        s[2 * q] = vmull_s8(vget_low_s8(w[q]), vget_low_s8(a));
        s[2 * q + 1] = vmull_high_s8(w[q], a);
    }
}
NYB_INLINE void multiply_add(int16x8_t *s, const int8x16_t *w, int8x16_t a) {
    NYB_EACH (q, 2) {
        s[2 * q] = vmlal_s8(s[2 * q], vget_low_s8(w[q]), vget_low_s8(a));
        s[2 * q + 1] = vmlal_high_s8(s[2 * q + 1], w[q], a);
    }
}
NYB_INLINE void widen_add(int32x4_t *c, const int16x8_t *s) {
    NYB_EACH (j, 4)
        c[j] = vpadalq_s16(c[j], s[j]);
}

// Sums of a tile. pairs: no weight is -128. Two products then fit 16 bits: 2 * 128 * 127 = 32512.
NYB_INLINE void sum_w8(int32x4_t (*acc)[2], const nyb_gemm_args *args, uint32_t m, const uint8_t *w,
                       size_t panel_bytes, const nyb_gemm_tile tile, const bool pairs) {
    int32x4_t c[TILE][4];
    NYB_EACH (i, tile.rows + tile.panels - 1) {
        NYB_EACH (j, 4)
            c[i][j] = vdupq_n_s32(0);
    }
    for (uint32_t stretch = 0; stretch < args->segments; stretch++) {
        const uint8_t *row[TILE];
        NYB_EACH (i, tile.rows)
            row[i] = args->a[m + (uint32_t)i] + stretch * args->pitch;
        uint32_t steps = nyb_packed_steps(args->segment, 8, NYB_PANEL_KR);
        for (; steps >= 2; steps -= 2, w += 2 * NYB_PANEL_STEP_BYTES) {
            NYB_EACH (n, tile.panels) {
                int8x16_t x[2], y[2];
                load2(x, w + (size_t)n * panel_bytes);
                load2(y, w + (size_t)n * panel_bytes + NYB_PANEL_STEP_BYTES);
                NYB_EACH (turn, (tile.rows + TURNS - 1) / TURNS) {
                    const int i = TURNS * turn, rows = tile.rows - i < TURNS ? 1 : TURNS;
                    const int32x4x2_t a = spread8(row[i]), b = rows == 2 ? spread8(row[i + 1]) : a;
                    int16x8_t s[TURNS][4];
                    NYB_EACH (r, rows)
                        multiply(s[r], x, vreinterpretq_s8_s32((r == 0 ? a : b).val[0]));
                    NYB_EACH (r, rows) {
                        const int8x16_t second = vreinterpretq_s8_s32((r == 0 ? a : b).val[1]);
                        if (pairs) {
                            multiply_add(s[r], y, second);
                        } else {
                            widen_add(c[i + r + n], s[r]);
                            multiply(s[r], y, second);
                        }
                    }
                    NYB_EACH (r, rows)
                        widen_add(c[i + r + n], s[r]);
                }
            }
            NYB_EACH (i, tile.rows)
                row[i] += 8;
        }
        if (steps > 0) {
            NYB_EACH (n, tile.panels) {
                int8x16_t x[2];
                load2(x, w + (size_t)n * panel_bytes);
                NYB_EACH (i, tile.rows) {
                    int16x8_t s[4];
                    multiply(s, x, spread4(row[i]));
                    widen_add(c[i + n], s);
                }
            }
            w += NYB_PANEL_STEP_BYTES;
        }
    }
    NYB_EACH (i, tile.rows + tile.panels - 1) {
        NYB_EACH (q, 2)
            acc[i][q] = vpaddq_s32(c[i][2 * q], c[i][2 * q + 1]);
    }
}

// Plane p of a vector of 4-bit or 2-bit weights.
NYB_INLINE int8x16_t plane(int8x16_t x, const int bits, const int p) {
    const int8x16_t raised = nyb_panel_raise(x, bits, p);
    return bits == 4 ? vshrq_n_s8(raised, 4) : vshrq_n_s8(raised, 6);
}

// 16-bit sums begin at -1, so that they take one product of the largest more: 32 * 8 * 128 = 2^15. Four make
// a channel.
enum { START = -1, LANES = 4 };

// The 16-bit sums of a row as sums of eight channels.
NYB_INLINE void widen(int32x4_t *to, const int16x8_t *s) {
    NYB_EACH (q, 2)
        to[q] = vpaddq_s32(vpaddlq_s16(s[2 * q]), vpaddlq_s16(s[2 * q + 1]));
}
NYB_INLINE void begin(int16x8_t (*s)[4], const int count) {
    NYB_EACH (i, count) {
        NYB_EACH (j, 4)
            s[i][j] = vdupq_n_s16(START);
    }
}

// Weights of 4 and 2 bits. A 16-bit sum takes 16 steps of two products of 4 bits, 18 where no weight is -8
// (36 * 7 * 128 = 32256), or 32 of four of 2 bits (128 * 2 * 128 = 2^15).
NYB_INLINE void sum_low_bits(int32x4_t (*acc)[2], const nyb_gemm_args *args, uint32_t m, const uint8_t *w,
                             size_t panel_bytes, const nyb_gemm_tile tile, const int bits) {
    const int planes = 8 / bits;
    const int count = tile.rows + tile.panels - 1;
    const uint32_t run = bits == 2 ? 32 : args->weight_minimum > -8 ? 18 : 16;
    int32_t full[TILE][8]; // sums that had to leave 16 bits; in memory, since the loop needs all registers
    bool any = false;
    __asm__("" : : "r"(full) : "memory");
    int16x8_t s[TILE][4];
    begin(s, count);
    uint32_t room = run; // steps that the 16-bit sums still take
    for (uint32_t stretch = 0; stretch < args->segments; stretch++) {
        const uint8_t *row[TILE];
        NYB_EACH (i, tile.rows)
            row[i] = args->a[m + (uint32_t)i] + stretch * args->pitch;
        uint32_t left = nyb_packed_steps(args->segment, (uint32_t)bits, NYB_PANEL_KR);
        while (left > 0) {
            if (room == 0) {
                NYB_EACH (i, count) {
                    int32x4_t sums[2];
                    widen(sums, s[i]);
                    NYB_EACH (q, 2) {
                        int32_t *to = full[i] + 4 * q;
                        vst1q_s32(to, nyb_sub4(any ? nyb_add4(sums[q], vld1q_s32(to)) : sums[q],
                                               vdupq_n_s32(START * LANES)));
                    }
                }
                begin(s, count);
                any = true;
                room = run;
            }
            const uint32_t steps = left < room ? left : room;
            for (uint32_t step = 0; step < steps; step++, w += NYB_PANEL_STEP_BYTES) {
                NYB_EACH (n, tile.panels) {
                    int8x16_t x[2], u[4][2];
                    load2(x, w + (size_t)n * panel_bytes);
                    NYB_EACH (p, planes)
                        u[p][0] = plane(x[0], bits, p), u[p][1] = plane(x[1], bits, p);
                    if (bits == 4) {
                        NYB_EACH (turn, (tile.rows + TURNS - 1) / TURNS) {
                            const int i = TURNS * turn, rows = tile.rows - i < TURNS ? 1 : TURNS;
                            const int32x4x2_t a = spread8(row[i]), b = rows == 2 ? spread8(row[i + 1]) : a;
                            NYB_EACH (p, 2) {
                                NYB_EACH (r, rows)
                                    multiply_add(s[i + r + n], u[p],
                                                 vreinterpretq_s8_s32((r == 0 ? a : b).val[p]));
                            }
                        }
                    } else {
                        NYB_EACH (i, tile.rows) {
                            const int32x4x4_t b = spread16(row[i]);
                            NYB_EACH (p, 4)
                                multiply_add(s[i + n], u[p], vreinterpretq_s8_s32(b.val[p]));
                        }
                    }
                }
                NYB_EACH (i, tile.rows)
                    row[i] += NYB_PANEL_KR * planes;
            }
            left -= steps;
            room -= steps;
        }
    }
    NYB_EACH (i, count)
        widen(acc[i], s[i]);
    if (any) {
        NYB_EACH (i, count) {
            NYB_EACH (q, 2)
                acc[i][q] = nyb_add4(acc[i][q], vld1q_s32(full[i] + 4 * q));
        }
    }
}

NYB_INLINE void run_tile(const nyb_gemm_args *args, const nyb_gemm_panel *panels, uint32_t m,
                         const nyb_gemm_tile tile, const int bits, const bool pairs) {
    const size_t panel_bytes =
        (size_t)nyb_panel_bytes(args->depth, (uint32_t)bits, NYB_PANEL_NR, NYB_PANEL_KR);
    int32x4_t acc[TILE][2], bias[TILE][2];
    NYB_EACH (n, tile.panels) {
        NYB_EACH (q, 2)
            bias[n][q] =
                bits == 8 ? panels[n].bias[q] : nyb_sub4(panels[n].bias[q], vdupq_n_s32(START * LANES));
    }
    if (bits == 8) {
        sum_w8(acc, args, m, panels->weights, panel_bytes, tile, pairs);
    } else {
        sum_low_bits(acc, args, m, panels->weights, panel_bytes, tile, bits);
    }
    NYB_EACH (i, tile.rows + tile.panels - 1) {
        NYB_EACH (q, 2)
            acc[i][q] = nyb_add4(acc[i][q], bias[i % tile.panels][q]);
    }
    NYB_EACH (n, tile.panels)
        nyb_gemm_put(args, &panels[n], m, tile.rows, acc + n);
}

// Row m against `count` (a constant) panels from column n on.
NYB_INLINE void row_panels(const nyb_gemm_args *args, uint32_t m, uint32_t n, const int count, const int bits,
                           const bool pairs) {
    nyb_gemm_panel panels[TILE];
    NYB_EACH (i, count)
        panels[i] = nyb_gemm_panel_at(args, n + NYB_PANEL_NR * (uint32_t)i, (uint32_t)bits);
    run_tile(args, panels, m, (nyb_gemm_tile){1, count}, bits, pairs);
}

NYB_INLINE void gemm(const nyb_gemm_args *args, const int bits, const bool pairs) {
    const uint32_t tiled = args->rows - args->rows % TILE;
    for (uint32_t n = 0; n < args->columns && tiled > 0; n += NYB_PANEL_NR) {
        const nyb_gemm_panel panel = nyb_gemm_panel_at(args, n, (uint32_t)bits);
        for (uint32_t m = 0; m < tiled; m += TILE)
            run_tile(args, &panel, m, (nyb_gemm_tile){TILE, 1}, bits, pairs);
    }
    for (uint32_t m = tiled; m < args->rows; m++) {
        uint32_t n = 0;
        for (; n + TILE * NYB_PANEL_NR <= args->columns; n += TILE * NYB_PANEL_NR)
            row_panels(args, m, n, TILE, bits, pairs);
        for (; n < args->columns; n += NYB_PANEL_NR)
            row_panels(args, m, n, 1, bits, pairs);
    }
}

void nyb_gemm_w8_neon(const nyb_gemm_args *args) {
    if (args->weight_minimum > INT8_MIN) {
        gemm(args, 8, true);
    } else {
        gemm(args, 8, false);
    }
}
void nyb_gemm_w4_neon(const nyb_gemm_args *args) { gemm(args, 4, true); }
void nyb_gemm_w2_neon(const nyb_gemm_args *args) { gemm(args, 2, true); }
