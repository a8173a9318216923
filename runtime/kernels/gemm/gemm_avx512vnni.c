// SPDX-License-Identifier: Apache-2.0
// AVX-512 VNNI in its 256-bit form: vpdpbusd sums four products of u8 activations and s8 weights in 32 bits.
#include "kernels/gemm/gemm_x86.h"

// 4 and 2 bits stay at the top of the byte, 16 or 64 times their value.
NYB_INLINE __m256i plane(__m256i x, const uint32_t bits, const int p) {
    const int up = 8 - (int)bits * (p + 1);
    return _mm256_and_si256(up ? _mm256_slli_epi16(x, up) : x,
                            _mm256_set1_epi8((char)(256 - (1 << (8 - bits)))));
}

// Sums of products 16 or 64 times too large leave 32 bits beyond this depth: 255 * 128 * 2^16 < 2^31.
enum { DEPTH_MAX = 65536 };

NYB_INLINE void tile(__m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS], const nyb_operands *o, const int rows,
                     const int panels, const uint32_t bits) {
    const int planes = (int)(8 / bits);
    const uint8_t *w = o->weights;
    __m256i c[NYB_TILE_ROWS][NYB_TILE_PANELS];
    NYB_EACH (i, rows) {
        NYB_EACH (b, panels) {
            c[i][b] = bits == 8 ? acc[i][b] : _mm256_setzero_si256();
        }
    }
    for (uint32_t s = 0; s < o->segments; s++) {
        const uint8_t *row[NYB_TILE_ROWS];
        NYB_EACH (i, rows) {
            row[i] = o->row[i] + s * o->pitch;
        }
        for (size_t at = 0; at < (size_t)o->steps * 4 * (size_t)planes; w += 32) {
            __m256i x[NYB_TILE_PANELS];
            NYB_EACH (b, panels) {
                x[b] = _mm256_loadu_si256((const __m256i *)(const void *)(w + (size_t)b * o->panel_bytes));
            }
            NYB_EACH (p, planes) {
                __m256i v[NYB_TILE_PANELS];
                NYB_EACH (b, panels) {
                    v[b] = bits == 8 ? x[b] : plane(x[b], bits, p);
                }
                NYB_EACH (i, rows) {
                    const __m256i u = _mm256_set1_epi32(nyb_load32(row[i] + at));
                    NYB_EACH (b, panels) {
                        c[i][b] = _mm256_dpbusd_epi32(c[i][b], u, v[b]);
                    }
                }
                at += 4;
            }
        }
    }
    NYB_EACH (i, rows) {
        NYB_EACH (b, panels) {
            acc[i][b] = bits == 8 ? c[i][b]
                                  : _mm256_add_epi32(acc[i][b], _mm256_srai_epi32(c[i][b], (int)(8 - bits)));
        }
    }
}

NYB_INLINE void tile_w8(__m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS], const nyb_operands *operands, int rows,
                        int panels) {
    tile(acc, operands, rows, panels, 8);
}

NYB_INLINE void tile_w4(__m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS], const nyb_operands *operands, int rows,
                        int panels) {
    tile(acc, operands, rows, panels, 4);
}

NYB_INLINE void tile_w2(__m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS], const nyb_operands *operands, int rows,
                        int panels) {
    tile(acc, operands, rows, panels, 2);
}

void nyb_gemm_w8_avx512vnni(const nyb_gemm_args *args) {
    nyb_x86_run(args, (nyb_x86_gemm){tile_w8, 8, true, 6, 2});
}

void nyb_gemm_w4_avx512vnni(const nyb_gemm_args *args) {
    if (args->depth > DEPTH_MAX) {
        nyb_gemm_w4_avx2(args);
    } else {
        nyb_x86_run(args, (nyb_x86_gemm){tile_w4, 4, true, 6, 2});
    }
}

void nyb_gemm_w2_avx512vnni(const nyb_gemm_args *args) {
    if (args->depth > DEPTH_MAX) {
        nyb_gemm_w2_avx2(args);
    } else {
        nyb_x86_run(args, (nyb_x86_gemm){tile_w2, 2, true, 6, 2});
    }
}
