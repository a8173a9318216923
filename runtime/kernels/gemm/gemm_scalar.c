// SPDX-License-Identifier: Apache-2.0
// The portable gemm, which every variant equals.
#include "base/packed.h"
#include "kernels/gemm/gemm.h"

enum { NR = 8, KR = 4 };

// Adds the products of one row and one panel : `depth` k, the last step padded.
static inline void accumulate(int32_t acc[NR], const int8_t *a, const uint8_t *w, uint32_t depth,
                              uint32_t bits) {
    const uint32_t planes = 8 / bits;
    for (uint32_t k = 0; k < depth; k += KR * planes, w += NR * KR) {
        for (uint32_t plane = 0; plane < planes; plane++) {
            const uint32_t at = k + plane * KR;
            const uint32_t count = at >= depth ? 0 : (depth - at < KR ? depth - at : KR);
            for (uint32_t j = 0; j < NR; j++) {
                int32_t sum = 0;
                for (uint32_t i = 0; i < count; i++) {
                    sum += a[at + i] * nyb_unpack(w[j * KR + i], bits, plane);
                }
                acc[j] = nyb_add(acc[j], sum);
            }
        }
    }
}

static inline void gemm(const nyb_gemm_args *args, uint32_t bits) {
    const size_t panel_bytes = (size_t)nyb_panel_bytes(args->depth, bits, NR, KR);
    const uint32_t group = args->scale_group > 0 ? args->scale_group : args->depth;
    const uint32_t groups = args->scale_group > 0 ? (args->depth + group - 1) / group : 1;
    for (uint32_t n = 0; n < args->columns; n += NR) {
        const uint8_t *panel = args->weights + n / NR * panel_bytes;
        const uint32_t width = args->columns - n < NR ? args->columns - n : NR;
        for (uint32_t m = 0; m < args->rows; m++) {
            const int8_t *a = args->a + m * args->a_stride;
            int32_t total[NR];
            for (uint32_t j = 0; j < NR; j++) {
                total[j] = args->row_bias ? nyb_add(args->bias[n + j], args->row_bias[m]) : args->bias[n + j];
            }
            if (args->scale_group == 0) {
                accumulate(total, a, panel, args->depth, bits);
            } else {
                for (uint32_t g = 0; g < groups; g++) {
                    int32_t partial[NR] = {0};
                    const uint32_t k = g * group;
                    const uint32_t count = args->depth - k < group ? args->depth - k : group;
                    const uint8_t *w = panel + (size_t)nyb_panel_bytes(k, bits, NR, KR);
                    accumulate(partial, a + k, w, count, bits);
                    const int32_t *factor = args->factors + ((size_t)(n / NR) * groups + g) * NR;
                    for (uint32_t j = 0; j < NR; j++) {
                        total[j] = nyb_add(total[j], nyb_mul(partial[j], factor[j]));
                    }
                }
            }
            int8_t *c = args->c + m * args->c_stride + n;
            for (uint32_t j = 0; j < width; j++) {
                c[j] = nyb_finish(total[j], args->multiplier[n + j], args->shift[n + j], &args->output);
            }
        }
    }
}

void nyb_gemm_w8_scalar(const nyb_gemm_args *args) { gemm(args, 8); }
void nyb_gemm_w4_scalar(const nyb_gemm_args *args) { gemm(args, 4); }
void nyb_gemm_w2_scalar(const nyb_gemm_args *args) { gemm(args, 2); }
