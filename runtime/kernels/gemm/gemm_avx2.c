// SPDX-License-Identifier: Apache-2.0
// AVX2: vpmaddwd over widened activations for 8 bits, vpmaddubsw where pairs of products fit 16 bits: 8 bits
// with a certificate, and with 16-bit sums of several pairs 4 and 2 bits.
#include "kernels/gemm/gemm_x86.h"
#include "kernels/gemm/planes_avx2.h"

// Exact for all of int8. vpmovsxbw widens four k of four channels as it loads them, in an execution slot that
// the products leave free; the sums of k and k + 1 stand beside those of k + 2 and k + 3.
NYB_INLINE void tile_w8(const nyb_gemm_args *args, const nyb_strip *strip, const uint8_t *const *a,
                        __m256i *sums, int rows, int panels) {
    const size_t stretch = 8 * (size_t)nyb_packed_steps(args->segment, 8, 4);
    const uint8_t *w = strip->weights;
    (void)panels;
    __m256i c[NYB_TILE_ROWS][2];
    NYB_EACH (i, rows) {
        c[i][0] = strip->start[0];
        c[i][1] = strip->start[1];
    }
    for (uint32_t s = 0; s < args->segments; s++) {
        const uint8_t *row[NYB_TILE_ROWS];
        NYB_EACH (i, rows) {
            row[i] = a[i] + s * args->pitch;
        }
        for (size_t at = 0; at < stretch; at += 8, w += 32) {
            const __m256i first = nyb_widen(w), second = nyb_widen(w + 16);
            NYB_EACH (i, rows) {
                const __m256i u = _mm256_set1_epi64x(nyb_load64(row[i] + at));
                c[i][0] = _mm256_add_epi32(c[i][0], _mm256_madd_epi16(u, first));
                c[i][1] = _mm256_add_epi32(c[i][1], _mm256_madd_epi16(u, second));
            }
        }
    }
    NYB_EACH (i, rows) {
        sums[2 * i] = c[i][0];
        sums[2 * i + 1] = c[i][1];
    }
}

// One row.
NYB_INLINE void row_w8(const nyb_gemm_args *args, const nyb_strip *strip, const uint8_t *const *a,
                       __m256i *sums, int rows, int panels) {
    const size_t stretch = 8 * (size_t)nyb_packed_steps(args->segment, 8, 4);
    const uint8_t *w = strip->weights;
    (void)rows;
    __m256i c[NYB_ROW_PANELS][2];
    NYB_EACH (b, panels) {
        c[b][0] = c[b][1] = _mm256_setzero_si256();
    }
    for (uint32_t s = 0; s < args->segments; s++) {
        const uint8_t *row = a[0] + s * args->pitch;
        for (size_t at = 0; at < stretch; at += 8, w += 32) {
            const __m256i x = _mm256_set1_epi64x(nyb_load64(row + at));
            NYB_EACH (b, panels) {
                NYB_EACH (half, 2) {
                    const __m256i y = nyb_widen(w + (size_t)b * strip->panel_bytes + 16 * (size_t)half);
                    c[b][half] = _mm256_add_epi32(c[b][half], _mm256_madd_epi16(x, y));
                }
            }
        }
    }
    NYB_EACH (b, panels) {
        const __m256i sum = _mm256_hadd_epi32(c[b][0], c[b][1]); // channels 0, 1, 4, 5 and 2, 3, 6, 7
        sums[b] = _mm256_add_epi32(strip->start[b], _mm256_permute4x64_epi64(sum, 0xD8));
    }
}

// Exact where the products of two k fit 16 bits.
NYB_INLINE void tile_pairs(const nyb_gemm_args *args, const nyb_strip *strip, const uint8_t *const *a,
                           __m256i *sums, int rows, int panels) {
    const size_t stretch = 4 * (size_t)nyb_packed_steps(args->segment, 8, 4);
    const __m256i ones = _mm256_set1_epi16(1);
    const uint8_t *w = strip->weights;
    __m256i c[NYB_TILE_ROWS][NYB_ROW_PANELS];
    NYB_EACH (i, rows) {
        NYB_EACH (b, panels) {
            c[i][b] = strip->start[b];
        }
    }
    for (uint32_t s = 0; s < args->segments; s++) {
        const uint8_t *row[NYB_TILE_ROWS];
        NYB_EACH (i, rows) {
            row[i] = a[i] + s * args->pitch;
        }
        for (size_t at = 0; at < stretch; at += 4, w += 32) {
            __m256i v[NYB_ROW_PANELS];
            NYB_EACH (b, panels) {
                v[b] = nyb_load256(w + (size_t)b * strip->panel_bytes);
            }
            NYB_EACH (i, rows) {
                const __m256i u = _mm256_set1_epi32(nyb_load32(row[i] + at));
                NYB_EACH (b, panels) {
                    const __m256i pairs = _mm256_maddubs_epi16(u, v[b]);
                    c[i][b] = _mm256_add_epi32(c[i][b], _mm256_madd_epi16(pairs, ones));
                    NYB_IN_ORDER(c[i][b]);
                }
            }
        }
    }
    NYB_EACH (i, rows) {
        NYB_EACH (b, panels) {
            sums[i * panels + b] = c[i][b];
        }
    }
}

// 16-bit sums hold 255 * 8 * 2 * 8 = 32640 of 4 bits in 4 steps, 255 * 2 * 2 * 32 = 32640 of 2 bits in 8
// steps. They fill the registers; the 32-bit sums wait in memory.
NYB_INLINE void tile_narrow(const nyb_gemm_args *args, const nyb_strip *strip, const uint8_t *const *a,
                            __m256i *sums, const int rows, const int panels, const uint32_t bits) {
    const int planes = (int)(8 / bits);
    const size_t stretch = 32 * (size_t)nyb_packed_steps(args->segment, bits, 4); // of weights
    const size_t run = bits == 4 ? 4 * 32 : 8 * 32;
    const uint8_t *w = strip->weights;
    NYB_EACH (i, rows) {
        NYB_EACH (b, panels) {
            sums[i * panels + b] = strip->start[b];
        }
    }
    for (uint32_t s = 0; s < args->segments; s++) {
        const uint8_t *row[NYB_TILE_ROWS];
        NYB_EACH (i, rows) {
            row[i] = a[i] + s * args->pitch;
        }
        size_t at = 0;
        for (const uint8_t *const end = w + stretch; w < end;) {
            const uint8_t *const stop = (size_t)(end - w) < run ? end : w + run;
            __m256i c[NYB_TILE_ROWS][NYB_ROW_PANELS];
            NYB_EACH (i, rows) {
                NYB_EACH (b, panels) {
                    c[i][b] = _mm256_setzero_si256();
                }
            }
            for (; w < stop; w += 32) {
                NYB_EACH (p, planes) {
                    __m256i v[NYB_ROW_PANELS];
                    NYB_EACH (b, panels) {
                        v[b] = nyb_plane(nyb_load256(w + (size_t)b * strip->panel_bytes), bits, p);
                    }
                    NYB_EACH (i, rows) {
                        const __m256i u = _mm256_set1_epi32(nyb_load32(row[i] + at));
                        NYB_EACH (b, panels) {
                            c[i][b] = _mm256_add_epi16(c[i][b], _mm256_maddubs_epi16(u, v[b]));
                            NYB_IN_ORDER(c[i][b]);
                        }
                    }
                    at += 4;
                }
            }
            NYB_EACH (i, rows) {
                NYB_EACH (b, panels) {
                    const __m256i wide = _mm256_madd_epi16(c[i][b], _mm256_set1_epi16(1));
                    sums[i * panels + b] = _mm256_add_epi32(sums[i * panels + b], wide);
                }
            }
        }
    }
}

NYB_TILE_OF_BITS(tile_narrow, 4)
NYB_TILE_OF_BITS(tile_narrow, 2)

NYB_TILES(tile_w8, 2, 1, 2)
NYB_TILES(tile_w8, 4, 1, 2)
NYB_TILES(tile_w8, 6, 1, 2)
NYB_ROW_TILES(row_w8)
NYB_TILES_8(tile_pairs, 1)
NYB_TILES_6(tile_pairs, 2)
NYB_ROW_TILES(tile_pairs)
NYB_TILES_8(tile_narrow_w4, 1)
NYB_ROW_TILES(tile_narrow_w4)
NYB_TILES_8(tile_narrow_w2, 1)
NYB_ROW_TILES(tile_narrow_w2)

void nyb_gemm_w8_avx2(const nyb_gemm_args *args) {
    static const nyb_x86_gemm gemm = {.bits = 8,
                                      .shifted = false,
                                      .pairs = true,
                                      .panels = 1,
                                      .rows = {6},
                                      .tile = {NYB_TABLE_6(tile_w8, 1)},
                                      .row = NYB_ROW_TABLE(row_w8)};
    nyb_x86_run(args, &gemm);
}

void nyb_gemm_w8_avx2_pairs(const nyb_gemm_args *args) {
    static const nyb_x86_gemm gemm = {.bits = 8,
                                      .shifted = true,
                                      .panels = 2,
                                      .rows = {8, 6},
                                      .tile = {NYB_TABLE_8(tile_pairs, 1), NYB_TABLE_6(tile_pairs, 2)},
                                      .row = NYB_ROW_TABLE(tile_pairs)};
    nyb_x86_run(args, &gemm);
}

void nyb_gemm_w4_avx2(const nyb_gemm_args *args) {
    static const nyb_x86_gemm gemm = NYB_X86_GEMM_8X1(tile_narrow_w4, 4, true);
    nyb_x86_run(args, &gemm);
}

void nyb_gemm_w2_avx2(const nyb_gemm_args *args) {
    static const nyb_x86_gemm gemm = NYB_X86_GEMM_8X1(tile_narrow_w2, 2, true);
    nyb_x86_run(args, &gemm);
}
