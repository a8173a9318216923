// SPDX-License-Identifier: Apache-2.0
// AArch64 with 8-bit dot products (sdot): a lane of 4 activations against the 4 bytes of each of 4 channels.
#include "kernels/gemm/panel_neon.h"

enum { ROWS = 8, CHUNK = 16 }; // CHUNK: activations of a row in one register

NYB_INLINE int32x4_t dot_lane(int32x4_t c, int8x16_t w, int8x16_t a, const int lane) {
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

// Plane p of a vector of weights, at the top of each byte: 16 or 64 times the value of 4 or 2 bits.
NYB_INLINE int8x16_t plane(int8x16_t x, const int bits, const int p) {
    if (bits == 8) {
        return x;
    }
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
    return p == 0 ? x : vandq_s8(x, vdupq_n_s8(bits == 4 ? -16 : -64));
}

// One step of weights: a vector of 4 channels and one of the next 4 for each lane of activations.
NYB_INLINE void unpack(int8x16_t (*v)[2], const uint8_t *w, const int bits) {
    NYB_EACH (q, 2) {
        const int8x16_t x = vreinterpretq_s8_u8(vld1q_u8(w + 16 * q));
        NYB_EACH (p, 8 / bits)
            v[p][q] = plane(x, bits, p);
    }
}

// The first 4 or 8 bytes of a chunk.
NYB_INLINE int8x16_t read_step(const uint8_t *a, const int bits) {
    return bits == 8 ? vreinterpretq_s8_s32(vld1q_dup_s32((const int32_t *)(const void *)a))
                     : vcombine_s8(vld1_s8((const int8_t *)a), vdup_n_s8(0));
}

NYB_INLINE void tile(const nyb_gemm_args *args, const nyb_gemm_panel *panel, uint32_t m, const int rows,
                     const int bits) {
    const int planes = 8 / bits;
    const uint8_t *w = panel->weights;
    int32x4_t acc[ROWS][2];
    NYB_EACH (i, rows) {
        NYB_EACH (q, 2)
            acc[i][q] = bits == 8 ? panel->bias[q] : vdupq_n_s32(0);
    }
    for (uint32_t s = 0; s < args->segments; s++) {
        const uint8_t *a[ROWS];
        NYB_EACH (i, rows)
            a[i] = args->a[m + (uint32_t)i] + s * args->pitch;
        uint32_t left = args->segment;
        for (; left >= CHUNK; left -= CHUNK, w += 4 / planes * NYB_PANEL_STEP_BYTES) {
            int8x16_t v[4][2];
            NYB_EACH (j, 4 / planes)
                unpack(v + planes * j, w + NYB_PANEL_STEP_BYTES * j, bits);
            NYB_EACH (i, rows) {
                const int8x16_t x = vreinterpretq_s8_u8(vld1q_u8(a[i]));
                a[i] += CHUNK;
                NYB_EACH (p, 4) {
                    NYB_EACH (q, 2)
                        acc[i][q] = dot_lane(acc[i][q], v[p][q], x, p);
                }
            }
        }
        const uint32_t steps = nyb_packed_steps(left, (uint32_t)bits, NYB_PANEL_KR);
        for (uint32_t step = 0; step < steps; step++, w += NYB_PANEL_STEP_BYTES) {
            int8x16_t v[4][2];
            unpack(v, w, bits);
            NYB_EACH (i, rows) {
                const int8x16_t x = bits == 2 ? vreinterpretq_s8_u8(vld1q_u8(a[i])) : read_step(a[i], bits);
                a[i] += NYB_PANEL_KR * planes;
                NYB_EACH (p, planes) {
                    NYB_EACH (q, 2)
                        acc[i][q] = dot_lane(acc[i][q], v[p][q], x, p);
                }
            }
        }
    }
    if (bits < 8) {
        NYB_EACH (i, rows) {
            NYB_EACH (q, 2) {
                const int32x4_t sums = bits == 4 ? vshrq_n_s32(acc[i][q], 4) : vshrq_n_s32(acc[i][q], 6);
                acc[i][q] = nyb_add4(sums, panel->bias[q]);
            }
        }
    }
    nyb_gemm_put(args, panel, m, rows, acc);
}

NYB_INLINE void gemm(const nyb_gemm_args *args, const int bits) {
    for (uint32_t n = 0; n < args->columns; n += NYB_PANEL_NR) {
        const nyb_gemm_panel panel = nyb_gemm_panel_at(args, n, (uint32_t)bits);
        uint32_t m = 0;
        for (; args->rows - m >= ROWS; m += ROWS) {
            tile(args, &panel, m, ROWS, bits);
        }
        if (args->rows - m >= ROWS / 2) {
            tile(args, &panel, m, ROWS / 2, bits);
            m += ROWS / 2;
        }
        for (; m < args->rows; m++) {
            tile(args, &panel, m, 1, bits);
        }
    }
}

// Sums of products 16 or 64 times too large leave 32 bits beyond this depth: 2^16 * 128 * 128 = 2^30.
enum { DEPTH_MAX = 65536 };

void nyb_gemm_w8_dotprod(const nyb_gemm_args *args) { gemm(args, 8); }

void nyb_gemm_w4_dotprod(const nyb_gemm_args *args) {
    if (args->depth > DEPTH_MAX) {
        nyb_gemm_w4_neon(args);
    } else {
        gemm(args, 4);
    }
}

void nyb_gemm_w2_dotprod(const nyb_gemm_args *args) {
    if (args->depth > DEPTH_MAX) {
        nyb_gemm_w2_neon(args);
    } else {
        gemm(args, 2);
    }
}
