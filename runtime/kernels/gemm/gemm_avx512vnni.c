// SPDX-License-Identifier: Apache-2.0
// AVX-512 VNNI: vpdpbusd sums four products of u8 activations and s8 weights in 32 bits. Two panels lie side
// by side in a register, and activations become unsigned where they are broadcast, which costs nothing
// beside two products; so rows are read as they are in a tensor.
//
// A tile is up to 12 rows and two registers of columns, or one row and four. Its sums go through memory to
// the epilogue, which is one function for all tiles.
#include "base/packed.h"
#include "kernels/epilogue_avx512.h"
#include "kernels/gemm/gemm.h"
#include "kernels/unroll.h"

enum { LANES = 16, TILE_ROWS = 12, TILE_VECTORS = 4, TILE_SUMS = 24 };

// Sums of products 16 or 64 times too large leave 32 bits beyond this depth: 255 * 128 * 2^16 < 2^31.
enum { DEPTH_MAX = 65536 };

// What all rows of neighbouring columns share.
typedef struct strip {
    const uint8_t *panel[2 * TILE_VECTORS];
    uint32_t columns;
    __m512i start[TILE_VECTORS]; // of the sums
    nyb_scale16 scale[TILE_VECTORS];
    nyb_narrow64 narrow;
} strip;

NYB_INLINE int32_t load32(const uint8_t *p) {
    int32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

// Two panels' bytes, and of them plane p: 4 and 2 bits at the top of the byte, 16 or 64 times their value.
NYB_INLINE __m512i load_panels(const uint8_t *low, const uint8_t *high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(nyb_load256(low)), nyb_load256(high), 1);
}

NYB_INLINE __m512i plane(__m512i x, const uint32_t bits, const int p) {
    const int up = 8 - (int)bits * (p + 1);
    return _mm512_and_si512(up ? _mm512_slli_epi32(x, (unsigned)up) : x,
                            _mm512_set1_epi8((char)(256 - (1 << (8 - bits)))));
}

// sums[row][vector] of `rows` rows; the last of the `count` there are stands for those behind it.
NYB_INLINE void tile(const nyb_gemm_args *args, const strip *strip, const uint8_t *const *a, uint32_t count,
                     __m512i *sums, const int rows, const int vectors, const uint32_t bits) {
    const int planes = (int)(8 / bits);
    const size_t step = 4 * (size_t)planes;
    const size_t stretch = step * nyb_packed_steps(args->segment, bits, 4);
    const __m512i flip = _mm512_set1_epi8(INT8_MIN);
    size_t w = 0;
    __m512i c[TILE_ROWS][TILE_VECTORS];
    NYB_EACH (i, rows) {
        NYB_EACH (v, vectors) {
            c[i][v] = bits == 8 ? strip->start[v] : _mm512_setzero_si512();
        }
    }
    for (uint32_t s = 0; s < args->segments; s++) {
        const uint8_t *row[TILE_ROWS];
        NYB_EACH (i, rows) {
            row[i] = a[(uint32_t)i < count ? (uint32_t)i : count - 1] + s * args->pitch;
        }
        for (size_t at = 0; at < stretch; w += 32) {
            __m512i x[TILE_VECTORS];
            NYB_EACH (v, vectors) {
                x[v] = load_panels(strip->panel[2 * v] + w, strip->panel[2 * v + 1] + w);
            }
            NYB_EACH (p, planes) {
                __m512i y[TILE_VECTORS];
                NYB_EACH (v, vectors) {
                    y[v] = bits == 8 ? x[v] : plane(x[v], bits, p);
                }
                NYB_EACH (i, rows) {
                    const __m512i u = _mm512_xor_si512(_mm512_set1_epi32(load32(row[i] + at)), flip);
                    NYB_EACH (v, vectors) {
                        c[i][v] = _mm512_dpbusd_epi32(c[i][v], u, y[v]);
                    }
                }
                at += 4;
            }
        }
    }
    NYB_EACH (i, rows) {
        NYB_EACH (v, vectors) {
            sums[i * vectors + v] =
                bits == 8 ? c[i][v] : _mm512_add_epi32(strip->start[v], _mm512_srai_epi32(c[i][v], 8 - bits));
        }
    }
}

NYB_INLINE void store(int8_t *c, __m128i results, uint32_t columns) {
    if (columns >= LANES) {
        _mm_storeu_si128((__m128i *)(void *)c, results);
    } else if (columns == LANES / 2) {
        _mm_storel_epi64((__m128i *)(void *)c, results);
    } else {
        _mm_mask_storeu_epi8(c, (__mmask16)((1u << columns) - 1), results);
    }
}

// Four rows of sums, `stride` registers from row to row -> four rows of c.
NYB_INLINE void finish4(const nyb_gemm_args *args, const strip *strip, uint32_t v, const __m512i *sums,
                        size_t stride, int8_t *c, size_t c_stride, const nyb_scaling scaling) {
    __m512i x[4];
    NYB_EACH (j, 4) {
        x[j] = nyb_scale16_apply(&strip->scale[v], sums[(size_t)j * stride], scaling, &args->output);
    }
    const __m512i results = nyb_narrow64_apply(&strip->narrow, x);
    const uint32_t columns = strip->columns - LANES * v;
    store(c, _mm512_castsi512_si128(results), columns);
    store(c + c_stride, _mm512_extracti32x4_epi32(results, 1), columns);
    store(c + 2 * c_stride, _mm512_extracti32x4_epi32(results, 2), columns);
    store(c + 3 * c_stride, _mm512_extracti32x4_epi32(results, 3), columns);
}

// The epilogue of one register of columns over `count` rows.
NYB_INLINE void finish(const nyb_gemm_args *args, const strip *strip, uint32_t v, const __m512i *sums,
                       size_t stride, uint32_t count, int8_t *c, const nyb_scaling scaling) {
    for (; count >= 4; count -= 4, sums += 4 * stride, c += 4 * args->c_stride) {
        finish4(args, strip, v, sums, stride, c, args->c_stride, scaling);
    }
    for (; count > 0; count--, sums += stride, c += args->c_stride) {
        finish4(args, strip, v, sums, 0, c, 0, scaling);
    }
}

static void epilogue(const nyb_gemm_args *args, const strip *strip, __m512i *sums, uint32_t vectors,
                     uint32_t row, uint32_t count, int8_t *c) {
    for (uint32_t i = 0; args->row_bias != NULL && i < count; i++) {
        for (uint32_t v = 0; v < vectors; v++) {
            __m512i *sum = &sums[i * vectors + v];
            *sum = _mm512_add_epi32(*sum, _mm512_set1_epi32(args->row_bias[row + i]));
        }
    }
    for (uint32_t v = 0; v < vectors; v++, c += LANES) {
        switch (strip->scale[v].scaling) {
        case NYB_SCALING_PLAIN:
            finish(args, strip, v, sums + v, vectors, count, c, NYB_SCALING_PLAIN);
            break;
        case NYB_SCALING_SIGNED:
            finish(args, strip, v, sums + v, vectors, count, c, NYB_SCALING_SIGNED);
            break;
        default:
            finish(args, strip, v, sums + v, vectors, count, c, NYB_SCALING_WIDE);
        }
    }
}

// All rows of a strip, in tiles of even height.
NYB_INLINE void run_strip(const nyb_gemm_args *args, const strip *strip, uint32_t n, const int vectors,
                          const uint32_t bits) {
    __m512i sums[TILE_SUMS];
    uint32_t height;
    for (uint32_t m = 0; m < args->rows; m += height) {
        const uint32_t left = args->rows - m;
        // As many rows as there can be, but the last two tiles share what is left.
        height = left >= 2 * TILE_ROWS ? TILE_ROWS : (left > TILE_ROWS ? (left + 1) / 2 : left);
        height += height % 2;
        const uint32_t count = height < left ? height : left;
        const uint8_t *const *a = args->a + m;
        switch (height) {
        case 12:
            tile(args, strip, a, count, sums, 12, vectors, bits);
            break;
        case 10:
            tile(args, strip, a, count, sums, 10, vectors, bits);
            break;
        case 8:
            tile(args, strip, a, count, sums, 8, vectors, bits);
            break;
        case 6:
            tile(args, strip, a, count, sums, 6, vectors, bits);
            break;
        case 4:
            tile(args, strip, a, count, sums, 4, vectors, bits);
            break;
        default:
            tile(args, strip, a, count, sums, 2, vectors, bits);
        }
        epilogue(args, strip, sums, (uint32_t)vectors, m, count, args->c + m * args->c_stride + n);
    }
}

static strip load_strip(const nyb_gemm_args *args, uint32_t n, uint32_t vectors, const uint32_t bits) {
    const size_t panel_bytes = (size_t)nyb_panel_bytes(args->depth, bits, 8, 4);
    strip s;
    s.columns = args->columns - n < LANES * vectors ? args->columns - n : LANES * vectors;
    s.narrow = nyb_narrow64_of(&args->output);
    for (uint32_t p = 0; p < 2 * vectors; p++) {
        const uint32_t there = 8 * p < s.columns ? p : (s.columns - 1) / 8;
        s.panel[p] = args->weights + (n / 8 + there) * panel_bytes;
    }
    for (uint32_t v = 0; v < vectors; v++, n += LANES) {
        const uint32_t left = args->columns - n;
        const __mmask16 mask = (__mmask16)(left < LANES ? (1u << left) - 1 : 0xFFFF);
        const __m512i sum = _mm512_maskz_loadu_epi32(mask, args->weight_sum + n);
        s.start[v] =
            _mm512_sub_epi32(_mm512_maskz_loadu_epi32(mask, args->bias + n), _mm512_slli_epi32(sum, 7));
        s.scale[v] = nyb_scale16_load(args->multiplier + n, args->shift + n, mask, &args->output);
    }
    return s;
}

NYB_INLINE void run(const nyb_gemm_args *args, const uint32_t bits) {
    uint32_t n = 0;
    if (args->rows == 1) {
        for (; args->columns - n > 3 * LANES; n += args->columns - n < 64 ? args->columns - n : 64) {
            const strip s = load_strip(args, n, 4, bits);
            __m512i sums[TILE_VECTORS];
            tile(args, &s, args->a, 1, sums, 1, 4, bits);
            epilogue(args, &s, sums, 4, 0, 1, args->c + n);
        }
    }
    for (; args->columns - n > LANES; n += args->columns - n < 32 ? args->columns - n : 32) {
        const strip s = load_strip(args, n, 2, bits);
        run_strip(args, &s, n, 2, bits);
    }
    if (n < args->columns) {
        const strip s = load_strip(args, n, 1, bits);
        run_strip(args, &s, n, 1, bits);
    }
}

void nyb_gemm_w8_avx512vnni(const nyb_gemm_args *args) { run(args, 8); }

void nyb_gemm_w4_avx512vnni(const nyb_gemm_args *args) {
    if (args->depth > DEPTH_MAX) {
        nyb_gemm_w4_scalar(args);
    } else {
        run(args, 4);
    }
}

void nyb_gemm_w2_avx512vnni(const nyb_gemm_args *args) {
    if (args->depth > DEPTH_MAX) {
        nyb_gemm_w2_scalar(args);
    } else {
        run(args, 2);
    }
}
