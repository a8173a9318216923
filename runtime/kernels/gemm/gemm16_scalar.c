// SPDX-License-Identifier: Apache-2.0
// The portable gemm of 16-bit activations, which every variant equals.
#include "base/packed.h"
#include "kernels/gemm/gemm.h"

// A product has at most 2^22: RUN of them fit 32 bits.
enum { NR = 8, KR = 4, RUN = 256 };

// Adds the products of one stretch of a row and one panel: `count` k, the last step padded.
static inline void accumulate(int64_t acc[NR], const int16_t *a, const uint8_t *w, uint32_t count,
                              uint32_t bits) {
    const uint32_t planes = 8 / bits;
    for (uint32_t k = 0; k < count;) {
        const uint32_t end = count - k < RUN ? count : k + RUN;
        int32_t sums[NR] = {0};
        for (; k < end; k += KR * planes, w += NR * KR) {
            for (uint32_t plane = 0; plane < planes; plane++) {
                for (uint32_t j = 0; j < NR; j++) {
                    for (uint32_t i = 0; i < KR; i++) {
                        sums[j] += a[k + plane * KR + i] * nyb_unpack(w[j * KR + i], bits, plane);
                    }
                }
            }
        }
        for (uint32_t j = 0; j < NR; j++) {
            acc[j] += sums[j];
        }
    }
}

static inline void gemm(const nyb_gemm_args *args, uint32_t bits) {
    const size_t panel_bytes = (size_t)nyb_panel_bytes(args->depth, bits, NR, KR);
    for (uint32_t n = 0; n < args->columns; n += NR) {
        const uint8_t *panel = args->weights + n / NR * panel_bytes;
        const uint32_t width = args->columns - n < NR ? args->columns - n : NR;
        for (uint32_t m = 0; m < args->rows; m++) {
            int64_t total[NR];
            for (uint32_t j = 0; j < NR; j++) {
                total[j] = args->bias[n + j];
            }
            for (uint32_t s = 0; s < args->segments; s++) {
                const void *a = args->a[m] + s * args->pitch;
                accumulate(total, a, panel + (size_t)nyb_panel_bytes(s * args->segment, bits, NR, KR),
                           args->segment, bits);
            }
            int16_t *c = (int16_t *)(void *)(args->c + m * args->c_stride) + n;
            for (uint32_t j = 0; j < width; j++) {
                c[j] =
                    args->multiplier_low == NULL
                        ? nyb_finish16(total[j], args->multiplier[n + j], args->shift[n + j], &args->output)
                        : nyb_clamp_long(nyb_scale_long(total[j], args->multiplier[n + j],
                                                        args->multiplier_low[n + j], args->shift[n + j]),
                                         &args->output);
            }
        }
    }
}

void nyb_gemm_x16w8_scalar(const nyb_gemm_args *args) { gemm(args, 8); }
void nyb_gemm_x16w4_scalar(const nyb_gemm_args *args) { gemm(args, 4); }
void nyb_gemm_x16w2_scalar(const nyb_gemm_args *args) { gemm(args, 2); }
