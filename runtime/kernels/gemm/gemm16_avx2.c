// SPDX-License-Identifier: Apache-2.0
// AVX2 with 16-bit activations: vpmaddwd over widened weights, where all sums fit 32 bits.
#include "base/packed.h"
#include "kernels/epilogue16_avx2.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/planes_avx2.h"

enum { NR = 8, KR = 4, ROWS = 6 };

// Sums of `rows` rows and one panel. Those of k and k + 1 stand beside those of k + 2 and k + 3; channels 0
// to 3 in the first register, 4 to 7 in the second.
NYB_INLINE void tile(const nyb_gemm_args *args, const uint8_t *w, const uint8_t *const *a, __m256i *sums,
                     const int rows, const uint32_t bits) {
    const int planes = (int)(8 / bits);
    const uint32_t steps = nyb_packed_steps(args->segment, bits, KR);
    __m256i c[ROWS][2];
    NYB_EACH (i, rows) {
        c[i][0] = c[i][1] = _mm256_setzero_si256();
    }
    for (uint32_t s = 0; s < args->segments; s++) {
        const uint8_t *row[ROWS];
        NYB_EACH (i, rows) {
            row[i] = a[i] + s * args->pitch;
        }
        size_t at = 0;
        for (uint32_t step = 0; step < steps; step++, w += NR * KR) {
            NYB_EACH (p, planes) {
                const __m256i v = bits == 8 ? nyb_load256(w) : nyb_plane(nyb_load256(w), bits, p);
                const __m256i first = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(v));
                const __m256i second = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(v, 1));
                NYB_EACH (i, rows) {
                    int64_t four;
                    memcpy(&four, row[i] + at, sizeof four);
                    const __m256i x = _mm256_set1_epi64x(four);
                    c[i][0] = _mm256_add_epi32(c[i][0], _mm256_madd_epi16(x, first));
                    c[i][1] = _mm256_add_epi32(c[i][1], _mm256_madd_epi16(x, second));
                }
                at += KR * sizeof(int16_t);
            }
        }
    }
    NYB_EACH (i, rows) {
        const __m256i sum = _mm256_hadd_epi32(c[i][0], c[i][1]); // channels 0, 1, 4, 5 and 2, 3, 6, 7
        sums[i] = _mm256_permute4x64_epi64(sum, 0xD8);
    }
}

NYB_INLINE void gemm(const nyb_gemm_args *args, const uint32_t bits) {
    const size_t panel_bytes = (size_t)nyb_panel_bytes(args->depth, bits, NR, KR);
    for (uint32_t n = 0; n < args->columns; n += NR) {
        const uint8_t *panel = args->weights + n / NR * panel_bytes;
        const uint32_t width = args->columns - n < NR ? args->columns - n : NR;
        const nyb_epilogue16 e =
            nyb_epilogue16_load(args->bias + n, args->multiplier + n, args->shift + n, &args->output);
        for (uint32_t m = 0; m < args->rows;) {
            const uint32_t left = args->rows - m;
            __m256i sums[ROWS];
            const uint32_t rows = left >= ROWS ? ROWS : (left >= 2 ? 2 : 1);
            if (rows == ROWS) {
                tile(args, panel, args->a + m, sums, ROWS, bits);
            } else if (rows == 2) {
                tile(args, panel, args->a + m, sums, 2, bits);
            } else {
                tile(args, panel, args->a + m, sums, 1, bits);
            }
            for (uint32_t i = 0; i < rows; i++, m++) {
                int8_t *c = args->c + m * args->c_stride + n * sizeof(int16_t);
                nyb_epilogue16_store(c, nyb_epilogue16_apply(&e, sums[i]), width);
            }
        }
    }
}

void nyb_gemm_x16w8_avx2(const nyb_gemm_args *args) { gemm(args, 8); }
void nyb_gemm_x16w4_avx2(const nyb_gemm_args *args) { gemm(args, 4); }
void nyb_gemm_x16w2_avx2(const nyb_gemm_args *args) { gemm(args, 2); }
