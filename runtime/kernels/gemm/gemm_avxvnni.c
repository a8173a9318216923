// SPDX-License-Identifier: Apache-2.0
// AVX-VNNI: vpdpbusd sums four products of u8 activations and s8 weights in 32 bits. Six rows and two panels
// make twelve sums, as many as sixteen registers hold.
#include "kernels/gemm/gemm_x86.h"

// 4 and 2 bits stay at the top of the byte, 16 or 64 times their value.
NYB_INLINE __m256i plane(__m256i x, const uint32_t bits, const int p) {
    const int up = 8 - (int)bits * (p + 1);
    return _mm256_and_si256(up ? _mm256_slli_epi16(x, up) : x,
                            _mm256_set1_epi8((char)(256 - (1 << (8 - bits)))));
}

// Sums of products 16 or 64 times too large leave 32 bits beyond this depth: 255 * 128 * 2^16 < 2^31.
enum { DEPTH_MAX = 65536 };

NYB_INLINE void tile(const nyb_gemm_args *args, const nyb_strip *strip, const uint8_t *const *a,
                     __m256i *sums, const int rows, const int panels, const uint32_t bits) {
    const int planes = (int)(8 / bits);
    const size_t stretch = 4 * (size_t)planes * nyb_packed_steps(args->segment, bits, 4);
    const uint8_t *w = strip->weights;
    __m256i c[NYB_TILE_ROWS][NYB_ROW_PANELS];
    NYB_EACH (i, rows) {
        NYB_EACH (b, panels) {
            c[i][b] = bits == 8 ? strip->start[b] : _mm256_setzero_si256();
        }
    }
    for (uint32_t s = 0; s < args->segments; s++) {
        const uint8_t *row[NYB_TILE_ROWS];
        NYB_EACH (i, rows) {
            row[i] = a[i] + s * args->pitch;
        }
        for (size_t at = 0; at < stretch; w += 32) {
            NYB_EACH (p, planes) {
                __m256i v[NYB_ROW_PANELS];
                NYB_EACH (b, panels) {
                    v[b] = nyb_load256(w + (size_t)b * strip->panel_bytes);
                    v[b] = bits == 8 ? v[b] : plane(v[b], bits, p);
                }
                NYB_EACH (i, rows) {
                    const __m256i u = _mm256_set1_epi32(nyb_load32(row[i] + at));
                    NYB_EACH (b, panels) {
                        c[i][b] = _mm256_dpbusd_avx_epi32(c[i][b], u, v[b]);
                        NYB_IN_ORDER(c[i][b]);
                    }
                }
                at += 4;
            }
        }
    }
    NYB_EACH (i, rows) {
        NYB_EACH (b, panels) {
            sums[i * panels + b] =
                bits == 8 ? c[i][b]
                          : _mm256_add_epi32(strip->start[b], _mm256_srai_epi32(c[i][b], (int)(8 - bits)));
        }
    }
}

#define TILES(width)                                                                                         \
    NYB_TILE_OF_BITS(tile, width)                                                                            \
    NYB_TILES_6(tile_w##width, 1)                                                                            \
    NYB_TILES_6(tile_w##width, 2)                                                                            \
    NYB_ROW_TILES(tile_w##width)                                                                             \
    static const nyb_x86_gemm gemm_w##width = {                                                              \
        .bits = width,                                                                                       \
        .shifted = true,                                                                                     \
        .panels = 2,                                                                                         \
        .rows = {6, 6},                                                                                      \
        .tile = {NYB_TABLE_6(tile_w##width, 1), NYB_TABLE_6(tile_w##width, 2)},                              \
        .row = NYB_ROW_TABLE(tile_w##width)};
TILES(8)
TILES(4)
TILES(2)

void nyb_gemm_w8_avxvnni(const nyb_gemm_args *args) { nyb_x86_run(args, &gemm_w8); }

void nyb_gemm_w4_avxvnni(const nyb_gemm_args *args) {
    if (args->depth > DEPTH_MAX) {
        nyb_gemm_w4_avx2(args);
    } else {
        nyb_x86_run(args, &gemm_w4);
    }
}

void nyb_gemm_w2_avxvnni(const nyb_gemm_args *args) {
    if (args->depth > DEPTH_MAX) {
        nyb_gemm_w2_avx2(args);
    } else {
        nyb_x86_run(args, &gemm_w2);
    }
}
