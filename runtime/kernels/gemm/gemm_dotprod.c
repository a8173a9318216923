// SPDX-License-Identifier: Apache-2.0
// AArch64 with 8-bit dot products (sdot): a lane of 4 activations against the 4 bytes of each of 4 channels.
#include "kernels/edge_neon.h"
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

NYB_INLINE void tile(const nyb_gemm_args *args, const nyb_gemm_panel *panel, uint32_t m, const int rows,
                     const int bits) {
    const int planes = 8 / bits;
    const uint32_t depth = args->depth;
    const size_t stride = args->a_stride;
    const int8_t *a = args->a + m * stride;
    const uint8_t *w = panel->weights;
    int32x4_t acc[ROWS][2];
    NYB_EACH (i, rows) {
        NYB_EACH (q, 2)
            acc[i][q] = bits == 8 ? panel->bias[q] : vdupq_n_s32(0);
    }
    uint32_t k = 0;
    for (; depth - k >= CHUNK; k += CHUNK, w += 4 / planes * NYB_PANEL_STEP_BYTES) {
        int8x16_t v[4][2];
        NYB_EACH (j, 4 / planes)
            unpack(v + planes * j, w + NYB_PANEL_STEP_BYTES * j, bits);
        NYB_EACH (i, rows) {
            const int8x16_t x = vld1q_s8(a + (size_t)i * stride + k);
            NYB_EACH (p, 4) {
                NYB_EACH (q, 2)
                    acc[i][q] = dot_lane(acc[i][q], v[p][q], x, p);
            }
        }
    }
    if (k < depth) {
        const uint32_t steps = nyb_packed_steps(depth - k, (uint32_t)bits, NYB_PANEL_KR);
        int8x16_t x[ROWS];
        nyb_read16(x, a, stride, rows, k, depth);
        NYB_EACH (j, 4 / planes) {
            if ((uint32_t)j < steps) {
                int8x16_t v[4][2];
                unpack(v, w + NYB_PANEL_STEP_BYTES * j, bits);
                NYB_EACH (p, planes) {
                    NYB_EACH (i, rows) {
                        NYB_EACH (q, 2)
                            acc[i][q] = dot_lane(acc[i][q], v[p][q], x[i], planes * j + p);
                    }
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
