// SPDX-License-Identifier: Apache-2.0
// NEON with 16-bit activations: smlal of four k of a channel over widened weights, where all sums fit 32
// bits.
#include "kernels/epilogue16_neon.h"
#include "kernels/gemm/panel_neon.h"

#if defined(__aarch64__)
enum { ROWS = 2 };
#else
enum { ROWS = 1 }; // of half as many registers
#endif

// Plane p of a vector of weights.
NYB_INLINE int8x16_t plane(const uint8_t *w, const int bits, const int p) {
    const int8x16_t raised = nyb_panel_raise(vreinterpretq_s8_u8(vld1q_u8(w)), bits, p);
    return bits == 8 ? raised : (bits == 4 ? vshrq_n_s8(raised, 4) : vshrq_n_s8(raised, 6));
}

// Sums of `rows` rows and one panel.
NYB_INLINE void tile(const nyb_gemm_args *args, const uint8_t *w, const uint8_t *const *a,
                     int32x4_t (*sums)[2], const int rows, const int bits) {
    const int planes = 8 / bits;
    const uint32_t steps = nyb_packed_steps(args->segment, (uint32_t)bits, NYB_PANEL_KR);
    int32x4_t c[ROWS][8]; // of each channel, over k modulo 4
    NYB_EACH (i, rows) {
        NYB_EACH (j, 8)
            c[i][j] = vdupq_n_s32(0);
    }
    for (uint32_t s = 0; s < args->segments; s++) {
        const int16_t *row[ROWS];
        NYB_EACH (i, rows)
            row[i] = (const int16_t *)(const void *)(a[i] + s * args->pitch);
        for (uint32_t step = 0; step < steps; step++, w += NYB_PANEL_STEP_BYTES) {
            NYB_EACH (p, planes) {
                int16x8_t x[ROWS];
                NYB_EACH (i, rows) {
                    const int16x4_t four = vld1_s16(row[i]);
                    x[i] = vcombine_s16(four, four);
                    row[i] += NYB_PANEL_KR;
                }
                NYB_EACH (half, 2) {
                    const int8x16_t v = plane(w + 16 * half, bits, p);
                    const int16x8_t pairs[2] = {vmovl_s8(vget_low_s8(v)), vmovl_high_s8(v)};
                    NYB_EACH (q, 2) {
                        NYB_EACH (i, rows) {
                            int32x4_t *to = &c[i][4 * half + 2 * q];
                            to[0] = vmlal_s16(to[0], vget_low_s16(pairs[q]), vget_low_s16(x[i]));
                            to[1] = vmlal_high_s16(to[1], pairs[q], x[i]);
                        }
                    }
                }
            }
        }
    }
    NYB_EACH (i, rows) {
        NYB_EACH (q, 2) {
            const int32x4_t *from = &c[i][4 * q];
            sums[i][q] = vpaddq_s32(vpaddq_s32(from[0], from[1]), vpaddq_s32(from[2], from[3]));
        }
    }
}

NYB_INLINE void gemm(const nyb_gemm_args *args, const int bits) {
    const size_t panel_bytes =
        (size_t)nyb_panel_bytes(args->depth, (uint32_t)bits, NYB_PANEL_NR, NYB_PANEL_KR);
    for (uint32_t n = 0; n < args->columns; n += NYB_PANEL_NR) {
        const uint8_t *w = args->weights + n / NYB_PANEL_NR * panel_bytes;
        const uint32_t width = args->columns - n < NYB_PANEL_NR ? args->columns - n : NYB_PANEL_NR;
        nyb_panel16 panel;
        nyb_panel16_init(&panel, args->bias + n, args->multiplier + n, args->shift + n, width, &args->output);
        uint32_t m = 0;
        for (; m < args->rows; m += ROWS) {
            int32x4_t sums[ROWS][2];
            int8_t *c = args->c + m * args->c_stride + n * sizeof(int16_t);
            if (args->rows - m >= ROWS) {
                tile(args, w, args->a + m, sums, ROWS, bits);
                nyb_finish16_rows(sums, ROWS, &panel, c, args->c_stride);
            } else {
                tile(args, w, args->a + m, sums, 1, bits);
                nyb_finish16_rows(sums, 1, &panel, c, args->c_stride);
            }
        }
    }
}

void nyb_gemm_x16w8_neon(const nyb_gemm_args *args) { gemm(args, 8); }
void nyb_gemm_x16w4_neon(const nyb_gemm_args *args) { gemm(args, 4); }
void nyb_gemm_x16w2_neon(const nyb_gemm_args *args) { gemm(args, 2); }
