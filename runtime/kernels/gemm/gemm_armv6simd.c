// SPDX-License-Identifier: Apache-2.0
// ARMv6 without NEON: smlad multiplies two pairs of 16 bits and adds both products; sxtb16 widens bytes 0 and
// 2 of a word, or 1 and 3.
#include "base/packed.h"
#include "kernels/epilogue_armv6simd.h"
#include "kernels/gemm/gemm.h"

#include <arm_acle.h>
#include <string.h>

enum { NR = 8, KR = 4, ROWS = 2, CHANNELS = 2 }; // a tile of sums, its operands and pointers: 14 registers

typedef struct halves {
    int16x2_t even; // of bytes 0 and 2
    int16x2_t odd;  // of bytes 1 and 3
} halves;

NYB_INLINE uint32_t load(const uint8_t *from) {
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

NYB_INLINE halves widen(uint32_t word) {
    halves h;
    __asm__("sxtb16 %0, %1" : "=r"(h.even) : "r"(word));
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(h.odd) : "r"(word));
    return h;
}

// Plane p of the weights of a word, at the top of each byte: 16 or 64 times the value of 4 or 2 bits.
NYB_INLINE uint32_t plane(uint32_t word, const uint32_t bits, const uint32_t p) {
    if (bits == 8) {
        return word;
    }
    return (word << (8 - bits - bits * p)) & (bits == 4 ? 0xf0f0f0f0u : 0xc0c0c0c0u);
}

// The sums of `rows` rows and two channels. w: the first channel's bytes of the first step.
NYB_INLINE void sum(int32_t (*acc)[CHANNELS], const nyb_gemm_args *args, uint32_t m, const uint8_t *w,
                    const int rows, const uint32_t bits) {
    const uint32_t steps = nyb_packed_steps(args->segment, bits, KR);
    for (uint32_t s = 0; s < args->segments; s++) {
        const uint8_t *a[ROWS];
        NYB_EACH (i, rows)
            a[i] = args->a[m + (uint32_t)i] + s * args->pitch;
        for (uint32_t step = 0; step < steps; step++, w += NR * KR) {
            NYB_EACH (p, 8 / (int)bits) {
                halves x[ROWS];
                NYB_EACH (i, rows) {
                    x[i] = widen(load(a[i]));
                    a[i] += KR;
                }
                NYB_EACH (j, CHANNELS) {
                    const halves y = widen(plane(load(w + KR * j), bits, (uint32_t)p));
                    NYB_EACH (i, rows)
                        acc[i][j] = __smlad(x[i].odd, y.odd, __smlad(x[i].even, y.even, acc[i][j]));
                }
            }
        }
    }
}

NYB_INLINE void tile(const nyb_gemm_args *args, uint32_t m, uint32_t n, const uint8_t *w, const int rows,
                     const uint32_t bits) {
    int32_t acc[ROWS][CHANNELS] = {{0}};
    sum(acc, args, m, w, rows, bits);
    NYB_EACH (i, rows) {
        const uint32_t row = m + (uint32_t)i;
        const int32_t row_bias = args->row_bias != NULL ? args->row_bias[row] : 0;
        for (uint32_t j = 0; j < CHANNELS && n + j < args->columns; j++) {
            const int32_t scale = bits == 8 ? 0 : 8 - (int32_t)bits;
            const int32_t total = nyb_add(nyb_add(acc[i][j] >> scale, args->bias[n + j]), row_bias);
            args->c[row * args->c_stride + n + j] =
                nyb_finish_word(total, args->multiplier[n + j], args->shift[n + j], &args->output);
        }
    }
}

NYB_INLINE void gemm(const nyb_gemm_args *args, const uint32_t bits) {
    const size_t panel_bytes = (size_t)nyb_panel_bytes(args->depth, bits, NR, KR);
    for (uint32_t n = 0; n < args->columns; n += CHANNELS) {
        const uint8_t *w = args->weights + n / NR * panel_bytes + n % NR * KR;
        uint32_t m = 0;
        for (; args->rows - m >= ROWS; m += ROWS) {
            tile(args, m, n, w, ROWS, bits);
        }
        if (m < args->rows) {
            tile(args, m, n, w, 1, bits);
        }
    }
}

// Sums of products 16 or 64 times too large leave 32 bits beyond this depth: 2^16 * 128 * 128 = 2^30.
enum { DEPTH_MAX = 65536 };

void nyb_gemm_w8_armv6simd(const nyb_gemm_args *args) { gemm(args, 8); }

void nyb_gemm_w4_armv6simd(const nyb_gemm_args *args) {
    if (args->depth > DEPTH_MAX) {
        nyb_gemm_w4_scalar(args);
    } else {
        gemm(args, 4);
    }
}

void nyb_gemm_w2_armv6simd(const nyb_gemm_args *args) {
    if (args->depth > DEPTH_MAX) {
        nyb_gemm_w2_scalar(args);
    } else {
        gemm(args, 2);
    }
}
