// SPDX-License-Identifier: Apache-2.0
// AVX-512 VNNI in its 256-bit form: vpdpbusd sums four products of u8 activations and s8 weights in 32 bits.
#include "kernels/gemm/gemm_x86.h"

// 4 and 2 bits stay at the top of the byte, 16 or 64 times their value.
NYB_INLINE __m256i plane(__m256i x, const uint32_t bits, const int p) {
    const int up = 8 - (int)bits * (p + 1);
    return _mm256_and_si256(up ? _mm256_slli_epi16(x, up) : x,
                            _mm256_set1_epi8((char)(256 - (1 << (8 - bits)))));
}

// A strip has at most 1024 k, so 255 * 128 * 1024 fits 32 bits before the sum is shifted down, exactly.
NYB_INLINE void tile(__m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS], const void *strip, const uint8_t *w,
                     size_t panel_bytes, uint32_t steps, const int rows, const int panels,
                     const uint32_t bits) {
    const uint8_t *a = strip;
    const int planes = (int)(8 / bits);
    __m256i c[NYB_TILE_ROWS][NYB_TILE_PANELS];
    NYB_EACH (i, rows) {
        NYB_EACH (b, panels) {
            c[i][b] = bits == 8 ? acc[i][b] : _mm256_setzero_si256();
        }
    }
    for (uint32_t s = 0; s < steps; s++, w += 32) {
        __m256i x[NYB_TILE_PANELS];
        NYB_EACH (b, panels) {
            x[b] = _mm256_loadu_si256((const __m256i *)(const void *)(w + (size_t)b * panel_bytes));
        }
        NYB_EACH (p, planes) {
            __m256i v[NYB_TILE_PANELS];
            NYB_EACH (b, panels) {
                v[b] = bits == 8 ? x[b] : plane(x[b], bits, p);
            }
            NYB_EACH (i, rows) {
                const __m256i u = _mm256_set1_epi32(nyb_load32(a + i * NYB_STRIP_K));
                NYB_EACH (b, panels) {
                    c[i][b] = _mm256_dpbusd_epi32(c[i][b], u, v[b]);
                }
            }
            a += 4;
        }
    }
    NYB_EACH (i, rows) {
        NYB_EACH (b, panels) {
            acc[i][b] = bits == 8 ? c[i][b]
                                  : _mm256_add_epi32(acc[i][b], _mm256_srai_epi32(c[i][b], (int)(8 - bits)));
        }
    }
}

#define NYB_TILE(bits)                                                                                       \
    NYB_INLINE void tile_w##bits(__m256i acc[NYB_TILE_ROWS][NYB_TILE_PANELS], const void *strip,             \
                                 const uint8_t *w, size_t panel_bytes, uint32_t steps, int rows,             \
                                 int panels) {                                                               \
        tile(acc, strip, w, panel_bytes, steps, rows, panels, bits);                                         \
    }                                                                                                        \
    void nyb_gemm_w##bits##_avx512vnni(const nyb_gemm_args *args) {                                          \
        nyb_x86_run(args, (nyb_x86_gemm){nyb_fill_shifted, tile_w##bits, bits, 1, true, 6, 2});              \
    }

NYB_TILE(8)
NYB_TILE(4)
NYB_TILE(2)
