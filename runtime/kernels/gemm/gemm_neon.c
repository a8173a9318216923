// SPDX-License-Identifier: Apache-2.0
// AArch64 without dot products: 8 x 8 -> 16 bit multiplications (smull, smlal), widened by sadalp.
#include "kernels/gemm/panel_neon.h"

enum { ROWS = 4 };

NYB_INLINE int8x16_t load(const uint8_t *weights) { return vreinterpretq_s8_u8(vld1q_u8(weights)); }

// 4 bytes of a vector of weights belong to one channel, so 4 activations go into every lane of 32 bits
// (ld1r; ld2r and ld4r: 2 and 4 such vectors; all take any address).
NYB_INLINE int8x16_t spread4(const uint8_t *row) {
    return vreinterpretq_s8_s32(vld1q_dup_s32((const int32_t *)(const void *)row));
}
NYB_INLINE int32x4x2_t spread8(const uint8_t *row) {
    return vld2q_dup_s32((const int32_t *)(const void *)row);
}
NYB_INLINE int32x4x4_t spread16(const uint8_t *row) {
    return vld4q_dup_s32((const int32_t *)(const void *)row);
}

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

// Two products fit 16 bits unless both are -128 * -128: 2 * 128 * 127 = 32512.
static bool any_minimum(const uint8_t *weights, size_t bytes) {
    int8x16_t low = vdupq_n_s8(0);
    for (size_t i = 0; i < bytes; i += 32) {
        low = vminq_s8(low, vminq_s8(load(weights + i), load(weights + i + 16)));
    }
    return vminvq_s8(low) == INT8_MIN;
}

// Sums of `rows` rows and one panel. pairs: no weight is -128.
NYB_INLINE void sum_w8(int32x4_t (*acc)[2], const nyb_gemm_args *args, uint32_t m, const uint8_t *w,
                       const int rows, const bool pairs) {
    int32x4_t c[ROWS][4];
    NYB_EACH (i, rows) {
        NYB_EACH (j, 4)
            c[i][j] = vdupq_n_s32(0);
    }
    for (uint32_t stretch = 0; stretch < args->segments; stretch++) {
        const uint8_t *row[ROWS];
        NYB_EACH (i, rows)
            row[i] = args->a[m + (uint32_t)i] + stretch * args->pitch;
        uint32_t steps = nyb_packed_steps(args->segment, 8, NYB_PANEL_KR);
        for (; steps >= 2; steps -= 2, w += 2 * NYB_PANEL_STEP_BYTES) {
            const int8x16_t x[2] = {load(w), load(w + 16)}, y[2] = {load(w + 32), load(w + 48)};
            NYB_EACH (i, rows) {
                const int32x4x2_t b = spread8(row[i]);
                int16x8_t s[4];
                row[i] += 8;
                multiply(s, x, vreinterpretq_s8_s32(b.val[0]));
                if (pairs) {
                    multiply_add(s, y, vreinterpretq_s8_s32(b.val[1]));
                } else {
                    widen_add(c[i], s);
                    multiply(s, y, vreinterpretq_s8_s32(b.val[1]));
                }
                widen_add(c[i], s);
            }
        }
        if (steps > 0) {
            const int8x16_t x[2] = {load(w), load(w + 16)};
            w += NYB_PANEL_STEP_BYTES;
            NYB_EACH (i, rows) {
                int16x8_t s[4];
                multiply(s, x, spread4(row[i]));
                widen_add(c[i], s);
            }
        }
    }
    NYB_EACH (i, rows) {
        NYB_EACH (q, 2)
            acc[i][q] = vpaddq_s32(c[i][2 * q], c[i][2 * q + 1]);
    }
}

// Plane p of a vector of 4-bit or 2-bit weights.
NYB_INLINE int8x16_t plane(int8x16_t x, const int bits, const int p) {
    switch (8 - bits - bits * p) {
    case 2:
        x = vshlq_n_s8(x, 2);
        break;
    case 4:
        x = vshlq_n_s8(x, 4);
        break;
    case 6:
        x = vshlq_n_s8(x, 6);
        break;
    default:
        break;
    }
    return bits == 4 ? vshrq_n_s8(x, 4) : vshrq_n_s8(x, 6);
}

// Adds the 16-bit sums to the accumulators and begins new ones.
NYB_INLINE void flush(int32x4_t (*acc)[2], int16x8_t (*s)[4], const int rows) {
    NYB_EACH (i, rows) {
        NYB_EACH (q, 2) {
            const int32x4_t sums = vpaddq_s32(vpaddlq_s16(s[i][2 * q]), vpaddlq_s16(s[i][2 * q + 1]));
            acc[i][q] = nyb_add4(acc[i][q], sums);
        }
        NYB_EACH (j, 4)
            s[i][j] = vdupq_n_s16(0);
    }
}

// Weights of 4 and 2 bits: 16-bit sums of up to 30 products (4 bits: 30 * 8 * 128 = 30720) or 124 (2 bits:
// 124 * 2 * 128 = 31744) in a lane, two of each plane in a step.
NYB_INLINE void sum_low_bits(int32x4_t (*acc)[2], const nyb_gemm_args *args, uint32_t m, const uint8_t *w,
                             const int rows, const int bits) {
    const int planes = 8 / bits;
    const uint32_t run = bits == 4 ? 15 : 31;
    int16x8_t s[ROWS][4];
    NYB_EACH (i, rows) {
        NYB_EACH (q, 2)
            acc[i][q] = vdupq_n_s32(0);
        NYB_EACH (j, 4)
            s[i][j] = vdupq_n_s16(0);
    }
    uint32_t room = run; // steps that the 16-bit sums still take
    for (uint32_t stretch = 0; stretch < args->segments; stretch++) {
        const uint8_t *row[ROWS];
        NYB_EACH (i, rows)
            row[i] = args->a[m + (uint32_t)i] + stretch * args->pitch;
        uint32_t left = nyb_packed_steps(args->segment, (uint32_t)bits, NYB_PANEL_KR);
        while (left > 0) {
            const uint32_t steps = left < room ? left : room;
            for (uint32_t step = 0; step < steps; step++, w += NYB_PANEL_STEP_BYTES) {
                const int8x16_t x = load(w), y = load(w + 16);
                int8x16_t u[4][2];
                NYB_EACH (p, planes)
                    u[p][0] = plane(x, bits, p), u[p][1] = plane(y, bits, p);
                NYB_EACH (i, rows) {
                    if (bits == 4) {
                        const int32x4x2_t b = spread8(row[i]);
                        NYB_EACH (p, 2)
                            multiply_add(s[i], u[p], vreinterpretq_s8_s32(b.val[p]));
                    } else {
                        const int32x4x4_t b = spread16(row[i]);
                        NYB_EACH (p, 4)
                            multiply_add(s[i], u[p], vreinterpretq_s8_s32(b.val[p]));
                    }
                    row[i] += NYB_PANEL_KR * planes;
                }
            }
            left -= steps;
            room -= steps;
            if (room == 0) {
                flush(acc, s, rows);
                room = run;
            }
        }
    }
    flush(acc, s, rows);
}

NYB_INLINE void tile(const nyb_gemm_args *args, const nyb_gemm_panel *panel, uint32_t m, const int rows,
                     const int bits, const bool pairs) {
    int32x4_t acc[ROWS][2];
    if (bits == 8) {
        sum_w8(acc, args, m, panel->weights, rows, pairs);
    } else {
        sum_low_bits(acc, args, m, panel->weights, rows, bits);
    }
    NYB_EACH (i, rows) {
        NYB_EACH (q, 2)
            acc[i][q] = nyb_add4(acc[i][q], panel->bias[q]);
    }
    nyb_gemm_put(args, panel, m, rows, acc);
}

NYB_INLINE void panel_rows(const nyb_gemm_args *args, const nyb_gemm_panel *panel, const int bits,
                           const bool pairs) {
    uint32_t m = 0;
    for (; args->rows - m >= ROWS; m += ROWS) {
        tile(args, panel, m, ROWS, bits, pairs);
    }
    for (; m < args->rows; m++) {
        tile(args, panel, m, 1, bits, pairs);
    }
}

void nyb_gemm_w8_neon(const nyb_gemm_args *args) {
    const size_t bytes = (size_t)nyb_panel_bytes(args->depth, 8, NYB_PANEL_NR, NYB_PANEL_KR);
    for (uint32_t n = 0; n < args->columns; n += NYB_PANEL_NR) {
        const nyb_gemm_panel panel = nyb_gemm_panel_at(args, n, 8);
        // Looking costs as much as half a row of the tile gains.
        if (args->rows >= ROWS && !any_minimum(panel.weights, bytes)) {
            panel_rows(args, &panel, 8, true);
        } else {
            panel_rows(args, &panel, 8, false);
        }
    }
}

void nyb_gemm_w4_neon(const nyb_gemm_args *args) {
    for (uint32_t n = 0; n < args->columns; n += NYB_PANEL_NR) {
        const nyb_gemm_panel panel = nyb_gemm_panel_at(args, n, 4);
        panel_rows(args, &panel, 4, false);
    }
}

void nyb_gemm_w2_neon(const nyb_gemm_args *args) {
    for (uint32_t n = 0; n < args->columns; n += NYB_PANEL_NR) {
        const nyb_gemm_panel panel = nyb_gemm_panel_at(args, n, 2);
        panel_rows(args, &panel, 2, false);
    }
}
