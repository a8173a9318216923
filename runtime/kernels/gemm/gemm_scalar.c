// SPDX-License-Identifier: Apache-2.0
// The portable gemm, which every variant equals.
#include "base/packed.h"
#include "kernels/gemm/gemm.h"

enum { NR = 8, KR = 4 };

// Adds the products of one stretch of a row and one panel: `count` k, the last step padded.
static inline void accumulate(int32_t acc[NR], const int8_t *a, const uint8_t *w, uint32_t count,
                              uint32_t bits) {
    const uint32_t planes = 8 / bits;
    for (uint32_t k = 0; k < count; k += KR * planes, w += NR * KR) {
        for (uint32_t plane = 0; plane < planes; plane++) {
            for (uint32_t j = 0; j < NR; j++) {
                int32_t sum = 0;
                for (uint32_t i = 0; i < KR; i++) {
                    sum += a[k + plane * KR + i] * nyb_unpack(w[j * KR + i], bits, plane);
                }
                acc[j] = nyb_add(acc[j], sum);
            }
        }
    }
}

// Adds the products of k to k + count - 1 of a row, each sum over a scale group times its factors.
static void accumulate_groups(const nyb_gemm_args *args, int32_t acc[NR], const int8_t *a,
                              const uint8_t *panel, const int8_t *factors, uint32_t k, uint32_t count,
                              uint32_t bits) {
    while (count > 0) {
        const uint32_t group = k / args->scale_group;
        const uint32_t left = (group + 1) * args->scale_group - k;
        const uint32_t part = count < left ? count : left;
        int32_t partial[NR] = {0};
        accumulate(partial, a, panel + (size_t)nyb_panel_bytes(k, bits, NR, KR), part, bits);
        for (uint32_t j = 0; j < NR; j++) {
            acc[j] = nyb_add(acc[j], nyb_mul(partial[j], factors[(size_t)group * NR + j]));
        }
        a += part;
        k += part;
        count -= part;
    }
}

static inline void gemm(const nyb_gemm_args *args, uint32_t bits) {
    const size_t panel_bytes = (size_t)nyb_panel_bytes(args->depth, bits, NR, KR);
    const uint32_t groups = args->scale_group ? (args->depth + args->scale_group - 1) / args->scale_group : 0;
    for (uint32_t n = 0; n < args->columns; n += NR) {
        const uint8_t *panel = args->weights + n / NR * panel_bytes;
        const uint32_t width = args->columns - n < NR ? args->columns - n : NR;
        for (uint32_t m = 0; m < args->rows; m++) {
            int32_t total[NR];
            for (uint32_t j = 0; j < NR; j++) {
                total[j] = args->row_bias ? nyb_add(args->bias[n + j], args->row_bias[m]) : args->bias[n + j];
            }
            for (uint32_t s = 0; s < args->segments; s++) {
                const int8_t *a = (const int8_t *)args->a[m] + s * args->pitch;
                const uint32_t k = s * args->segment;
                if (args->scale_group == 0) {
                    accumulate(total, a, panel + (size_t)nyb_panel_bytes(k, bits, NR, KR), args->segment,
                               bits);
                } else {
                    const int8_t *factors = args->factors + (size_t)(n / NR) * groups * NR;
                    accumulate_groups(args, total, a, panel, factors, k, args->segment, bits);
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
