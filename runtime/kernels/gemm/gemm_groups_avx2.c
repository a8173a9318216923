// SPDX-License-Identifier: Apache-2.0
// AVX2: weights whose scale groups along k have factors. 16-bit sums become 32-bit ones by vpmaddwd anyway,
// with the factor in the place of 1: groups as long as such a sum cost nothing.
#include "kernels/gemm/gemm_x86.h"
#include "kernels/gemm/planes_avx2.h"

// The factors of a group: 8 bits in 32-bit lanes, below them twice in 16 bits.
NYB_INLINE __m256i factors_of(const int8_t *factors, const uint32_t bits) {
    const __m256i twice =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13));
    const __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)factors));
    return bits == 8 ? wide : _mm256_shuffle_epi8(wide, twice);
}

// k and k + 1 of each channel's four weights, as int16.
NYB_INLINE __m256i widened(__m256i x, const char k) {
    const __m128i top = _mm_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13);
    const __m256i pair = _mm256_broadcastsi128_si256(_mm_add_epi8(top, _mm_set1_epi16((short)(k * 256))));
    return _mm256_srai_epi16(_mm256_shuffle_epi8(x, pair), 8);
}

// Products of a step with one plane of its weights. 8 bits: 32-bit sums of int16 products; below them 16-bit
// sums of pairs of products.
NYB_INLINE void multiply(__m256i (*c)[NYB_ROW_PANELS], const uint8_t *const *row, size_t at, const uint8_t *w,
                         size_t panel_bytes, const int rows, const int panels, const uint32_t bits,
                         const int p) {
    __m256i v[NYB_ROW_PANELS];
    NYB_EACH (b, panels) {
        v[b] = nyb_load256(w + (size_t)b * panel_bytes);
        v[b] = bits < 8 ? nyb_plane(v[b], bits, p) : v[b];
    }
    NYB_EACH (i, rows) {
        const __m256i first = _mm256_set1_epi32(nyb_load32(row[i] + at));
        NYB_EACH (b, panels) {
            if (bits < 8) {
                c[i][b] = _mm256_add_epi16(c[i][b], _mm256_maddubs_epi16(first, v[b]));
            } else {
                const __m256i second = _mm256_set1_epi32(nyb_load32(row[i] + at + 4));
                c[i][b] = _mm256_add_epi32(c[i][b], _mm256_madd_epi16(first, widened(v[b], 0)));
                c[i][b] = _mm256_add_epi32(c[i][b], _mm256_madd_epi16(second, widened(v[b], 2)));
            }
            NYB_IN_ORDER(c[i][b]);
        }
    }
}

// Sums of a run fill the registers, those of all groups wait in memory. 16 bits hold 255 * 8 * 2 * 8 = 32640
// of 4 bits in 4 steps, 255 * 2 * 2 * 32 = 32640 of 2 bits in 8 steps; times a factor, two of them fit 32.
NYB_INLINE void tile(const nyb_gemm_args *args, const nyb_strip *strip, const uint8_t *const *a,
                     __m256i *sums, const int rows, const int panels, const uint32_t bits) {
    const int planes = (int)(8 / bits);
    const size_t stretch = 32 * (size_t)nyb_packed_steps(args->segment, bits, 4); // of weights
    const size_t group = 32 * (size_t)nyb_packed_steps(args->scale_group, bits, 4);
    const size_t run = bits == 8 ? group : (bits == 4 ? 4 * 32 : 8 * 32);
    const int8_t *factors = strip->factors;
    const uint8_t *w = strip->weights, *group_end = w + group;
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
            const uint8_t *const last = group_end < end ? group_end : end;
            const uint8_t *const stop = (size_t)(last - w) < run ? last : w + run;
            __m256i c[NYB_TILE_ROWS][NYB_ROW_PANELS];
            NYB_EACH (i, rows) {
                NYB_EACH (b, panels) {
                    c[i][b] = _mm256_setzero_si256();
                }
            }
            for (; w < stop; w += 32) {
                NYB_EACH (p, planes) {
                    multiply(c, row, at, w, strip->panel_bytes, rows, panels, bits, p);
                    at += bits == 8 ? 8 : 4;
                }
            }
            NYB_EACH (b, panels) {
                const __m256i f = factors_of(factors + (size_t)b * strip->panel_factors, bits);
                NYB_EACH (i, rows) {
                    const __m256i sum =
                        bits == 8 ? _mm256_mullo_epi32(c[i][b], f) : _mm256_madd_epi16(c[i][b], f);
                    sums[i * panels + b] = _mm256_add_epi32(sums[i * panels + b], sum);
                }
            }
            if (w == group_end) {
                group_end += group;
                factors += NYB_LANES;
            }
        }
    }
}

#define GEMM(width)                                                                                          \
    NYB_TILE_OF_BITS(tile, width)                                                                            \
    NYB_TILES_8(tile_w##width, 1)                                                                            \
    NYB_ROW_TILES(tile_w##width)                                                                             \
    void nyb_gemm_w##width##_avx2_groups(const nyb_gemm_args *args) {                                        \
        static const nyb_x86_gemm gemm = NYB_X86_GEMM_8X1(tile_w##width, width, width < 8);                  \
        if (args->scale_group == 0) {                                                                        \
            nyb_gemm_w##width##_avx2(args);                                                                  \
        } else {                                                                                             \
            nyb_x86_run(args, &gemm);                                                                        \
        }                                                                                                    \
    }
GEMM(8)
GEMM(4)
GEMM(2)
