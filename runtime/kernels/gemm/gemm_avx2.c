// SPDX-License-Identifier: Apache-2.0
// AVX2: vpmaddwd over widened activations for 8 bits, vpmaddubsw with 16-bit sums for 4 and 2 bits.
#include "kernels/gemm/gemm_x86.h"

// Exact for all of int8. A 16-bit lane of weights holds two k: the odd one is an arithmetic shift, the even
// one two shifts, so eight channels keep one accumulator, and vpmaddwd adds k and k + 2.
NYB_INLINE void tile_w8(__m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS], const nyb_operands *o, int rows,
                        int panels) {
    const uint8_t *w = o->weights;
    (void)panels;
    __m256i c[NYB_TILE_ROWS];
    NYB_EACH (i, rows) {
        c[i] = acc[i][0];
    }
    for (uint32_t s = 0; s < o->segments; s++) {
        const uint8_t *row[NYB_TILE_ROWS];
        NYB_EACH (i, rows) {
            row[i] = o->row[i] + s * o->pitch;
        }
        for (size_t at = 0; at < 8 * (size_t)o->steps; at += 8, w += 32) {
            const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)w);
            const __m256i odd = _mm256_srai_epi16(x, 8);
            const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8);
            NYB_EACH (i, rows) {
                const __m256i first = _mm256_set1_epi32(nyb_load32(row[i] + at));
                const __m256i second = _mm256_set1_epi32(nyb_load32(row[i] + at + 4));
                c[i] = _mm256_add_epi32(c[i], _mm256_madd_epi16(first, even));
                c[i] = _mm256_add_epi32(c[i], _mm256_madd_epi16(second, odd));
            }
        }
    }
    NYB_EACH (i, rows) {
        acc[i][0] = c[i];
    }
}

// Plane p of 32 bytes as int8, by a table: AVX2 has no arithmetic shift of bytes.
NYB_INLINE __m256i plane(__m256i x, const uint32_t bits, const int p) {
    const __m256i s4 =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1));
    const __m256i s2_low =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1));
    const __m256i s2_high =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, -2, -2, -2, -2, -1, -1, -1, -1));
    const bool high = (int)bits * p >= 4;
    const __m256i nibble = _mm256_and_si256(high ? _mm256_srli_epi16(x, 4) : x, _mm256_set1_epi8(15));
    return _mm256_shuffle_epi8(bits == 4 ? s4 : (p % 2 ? s2_high : s2_low), nibble);
}

// 16-bit sums hold 255 * 8 * 2 * 8 = 32640 of 4 bits in 4 steps, 255 * 2 * 2 * 32 = 32640 of 2 bits in 8
// steps.
NYB_INLINE void tile_narrow(__m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS], const nyb_operands *o,
                            const int rows, const uint32_t bits) {
    const int planes = (int)(8 / bits);
    const uint32_t run = bits == 4 ? 4 : 8;
    const uint8_t *w = o->weights;
    __m256i c[NYB_TILE_ROWS], sums[NYB_TILE_ROWS];
    NYB_EACH (i, rows) {
        c[i] = acc[i][0];
    }
    for (uint32_t segment = 0; segment < o->segments; segment++) {
        const uint8_t *row[NYB_TILE_ROWS];
        size_t at = 0;
        NYB_EACH (i, rows) {
            row[i] = o->row[i] + segment * o->pitch;
        }
        for (uint32_t s = 0; s < o->steps;) {
            const uint32_t end = o->steps - s < run ? o->steps : s + run;
            NYB_EACH (i, rows) {
                sums[i] = _mm256_setzero_si256();
            }
            for (; s < end; s++, w += 32) {
                const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)w);
                NYB_EACH (p, planes) {
                    const __m256i v = plane(x, bits, p);
                    NYB_EACH (i, rows) {
                        const __m256i u = _mm256_set1_epi32(nyb_load32(row[i] + at));
                        sums[i] = _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(u, v));
                    }
                    at += 4;
                }
            }
            NYB_EACH (i, rows) {
                c[i] = _mm256_add_epi32(c[i], _mm256_madd_epi16(sums[i], _mm256_set1_epi16(1)));
            }
        }
    }
    NYB_EACH (i, rows) {
        acc[i][0] = c[i];
    }
}

NYB_INLINE void tile_w4(__m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS], const nyb_operands *operands, int rows,
                        int panels) {
    (void)panels;
    tile_narrow(acc, operands, rows, 4);
}

NYB_INLINE void tile_w2(__m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS], const nyb_operands *operands, int rows,
                        int panels) {
    (void)panels;
    tile_narrow(acc, operands, rows, 2);
}

void nyb_gemm_w8_avx2(const nyb_gemm_args *args) {
    nyb_x86_run(args, (nyb_x86_gemm){tile_w8, 8, false, 8, 1});
}

void nyb_gemm_w4_avx2(const nyb_gemm_args *args) {
    nyb_x86_run(args, (nyb_x86_gemm){tile_w4, 4, true, 4, 1});
}

void nyb_gemm_w2_avx2(const nyb_gemm_args *args) {
    nyb_x86_run(args, (nyb_x86_gemm){tile_w2, 2, true, 4, 1});
}
