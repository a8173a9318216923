// SPDX-License-Identifier: Apache-2.0
// What the x86 variants share: all but the products.
#ifndef NYB_KERNELS_WINOGRAD_X86_H
#define NYB_KERNELS_WINOGRAD_X86_H

#include "kernels/epilogue_avx2.h"
#include "kernels/unroll.h"
#include "kernels/winograd/winograd.h"

enum { NYB_WINOGRAD_NR = 16 }; // outputs of a panel: two vectors of sums

// sums[r][NYB_WINOGRAD_NR] = products of inputs v[r][channels] and weights [channels /
// 2][NYB_WINOGRAD_NR][2], r < rows.
typedef void (*nyb_winograd_products_fn)(const int16_t *v, const int16_t *weights, uint32_t channels,
                                         int32_t *sums, uint32_t rows);

// B^T times six vectors of int16.
NYB_INLINE void nyb_winograd_input(const __m256i d[6], __m256i out[6]) {
    const __m256i p = _mm256_sub_epi16(d[4], _mm256_slli_epi16(d[2], 2)); // d4 - 4 d2
    const __m256i q = _mm256_sub_epi16(d[3], _mm256_slli_epi16(d[1], 2)); // d3 - 4 d1
    const __m256i r = _mm256_sub_epi16(d[4], d[2]);
    const __m256i s = _mm256_slli_epi16(_mm256_sub_epi16(d[3], d[1]), 1); // 2 d3 - 2 d1
    out[0] = _mm256_add_epi16(_mm256_slli_epi16(_mm256_sub_epi16(d[0], d[2]), 2), r);
    out[1] = _mm256_add_epi16(p, q);
    out[2] = _mm256_sub_epi16(p, q);
    out[3] = _mm256_add_epi16(r, s);
    out[4] = _mm256_sub_epi16(r, s);
    out[5] = _mm256_sub_epi16(_mm256_sub_epi16(d[5], d[3]), _mm256_slli_epi16(s, 1));
}

// The transformed inputs of one tile, 16 channels; points are `point` elements apart.
NYB_INLINE void nyb_winograd_inputs(const int8_t *x, size_t line, size_t pixel, int16_t *v, size_t point) {
    __m256i columns[6][6];
    NYB_EACH (j, 6) {
        __m256i d[6], out[6];
        NYB_EACH (i, 6) {
            const int8_t *at = x + (size_t)i * line + (size_t)j * pixel;
            d[i] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)at));
        }
        nyb_winograd_input(d, out);
        NYB_EACH (i, 6) {
            columns[i][j] = out[i];
        }
    }
    NYB_EACH (i, 6) {
        __m256i out[6];
        nyb_winograd_input(columns[i], out);
        NYB_EACH (j, 6) {
            _mm256_store_si256((__m256i *)(void *)(v + (size_t)(6 * i + j) * point), out[j]);
        }
    }
}

// A^T times six vectors of int32.
NYB_INLINE void nyb_winograd_output(const __m256i m[6], __m256i out[4]) {
    const __m256i a = _mm256_add_epi32(m[1], m[2]);
    const __m256i b = _mm256_sub_epi32(m[1], m[2]);
    const __m256i c = _mm256_add_epi32(m[3], m[4]);
    const __m256i d = _mm256_sub_epi32(m[3], m[4]);
    const __m256i m0 = _mm256_add_epi32(m[0], m[0]);
    const __m256i m5 = _mm256_add_epi32(_mm256_add_epi32(m[5], m[5]), m[5]);
    out[0] = _mm256_add_epi32(_mm256_slli_epi32(_mm256_add_epi32(m[0], a), 2), _mm256_add_epi32(m0, c));
    out[1] = _mm256_add_epi32(_mm256_add_epi32(b, b), d);
    out[2] = _mm256_add_epi32(a, c);
    out[3] = _mm256_add_epi32(_mm256_slli_epi32(_mm256_add_epi32(d, m5), 1), b);
}

// The outputs of one tile, `width` of 8 channels, of which `lines` and `pixels` exist. m: its sums, points
// `point` elements apart.
NYB_INLINE void nyb_winograd_outputs(const int32_t *m, size_t point, const nyb_epilogue *epilogue,
                                     const nyb_scaling scaling, __m256i bias, int8_t *c, size_t c_line,
                                     size_t c_stride, uint32_t lines, uint32_t pixels, uint32_t width) {
    static const int down[4] = {3, 2, 1, 1};             // powers of two that the rows of A^T leave
    const __m256i ninth = _mm256_set1_epi32(0x38E38E39); // 9 * 0x38E38E39 = 1 modulo 2^32
    __m256i columns[4][6];
    NYB_EACH (j, 6) {
        __m256i in[6], out[4];
        NYB_EACH (i, 6) {
            in[i] = nyb_load256(m + (size_t)(6 * i + j) * point);
        }
        nyb_winograd_output(in, out);
        NYB_EACH (i, 4) {
            columns[i][j] = out[i];
        }
    }
    NYB_EACH (i, 4) {
        if ((uint32_t)i >= lines) {
            return;
        }
        __m256i out[4];
        nyb_winograd_output(columns[i], out);
        NYB_EACH (j, 4) {
            const __m256i y = _mm256_srai_epi32(_mm256_mullo_epi32(out[j], ninth), down[i] + down[j]);
            out[j] = nyb_scale8_apply(&epilogue->scale, _mm256_add_epi32(y, bias), scaling,
                                      &epilogue->narrow.output);
        }
        const __m256i narrow = nyb_narrow32(&epilogue->narrow, out);
        const __m128i low = _mm256_castsi256_si128(narrow), high = _mm256_extracti128_si256(narrow, 1);
        const __m128i first = _mm_unpacklo_epi32(low, high), second = _mm_unpackhi_epi32(low, high);
        const __m128i y[4] = {first, _mm_srli_si128(first, 8), second, _mm_srli_si128(second, 8)};
        NYB_EACH (j, 4) {
            if ((uint32_t)j < pixels) {
                nyb_epilogue_store(c + (size_t)i * c_line + (size_t)j * c_stride, y[j], width);
            }
        }
    }
}

// All tiles, `width` of 8 channels from channel n on. m: their sums.
NYB_INLINE void nyb_winograd_finish(const nyb_winograd_args *args, const nyb_epilogue *epilogue,
                                    const nyb_scaling scaling, const int32_t *m, uint32_t n, uint32_t width) {
    const uint32_t across = nyb_winograd_tiles(args->width), down = nyb_winograd_tiles(args->height);
    const size_t point = nyb_winograd_point((size_t)across * down * NYB_WINOGRAD_NR, sizeof *m);
    const size_t c_line = (size_t)args->width * args->c_stride;
    const __m256i bias = nyb_load256(args->bias + n);
    for (uint32_t y = 0; y < down; y++) {
        for (uint32_t x = 0; x < across; x++, m += NYB_WINOGRAD_NR) {
            nyb_winograd_outputs(m, point, epilogue, scaling, bias,
                                 args->c + 4 * y * c_line + 4 * x * args->c_stride + n, c_line,
                                 args->c_stride, args->height - 4 * y, args->width - 4 * x, width);
        }
    }
}

NYB_INLINE void nyb_winograd_x86(const nyb_winograd_args *args, nyb_winograd_products_fn products) {
    const uint32_t across = nyb_winograd_tiles(args->width), down = nyb_winograd_tiles(args->height);
    const size_t tiles = (size_t)across * down, channels = args->channels;
    const size_t v_point = nyb_winograd_point(tiles * channels, sizeof *args->weights);
    const size_t m_point = nyb_winograd_point(tiles * NYB_WINOGRAD_NR, sizeof *args->bias);
    int16_t *v = args->scratch;
    int32_t *m = (int32_t *)(void *)(v + NYB_WINOGRAD_POINTS * v_point);
    int16_t *to = v;
    for (uint32_t y = 0; y < down; y++) {
        for (uint32_t x = 0; x < across; x++, to += channels) {
            const int8_t *tile = args->x + 4 * y * args->line + 4 * x * channels;
            for (size_t k = 0; k < channels; k += 16) {
                nyb_winograd_inputs(tile + k, args->line, channels, to + k, v_point);
            }
        }
    }
    const int16_t *weights = args->weights;
    for (uint32_t n = 0; n < args->outputs; n += NYB_WINOGRAD_NR) {
        for (size_t i = 0; i < NYB_WINOGRAD_POINTS; i++, weights += NYB_WINOGRAD_NR * channels) {
            products(v + i * v_point, weights, args->channels, m + i * m_point, (uint32_t)tiles);
        }
        for (uint32_t half = 0; half < NYB_WINOGRAD_NR && n + half < args->outputs; half += 8) {
            const uint32_t at = n + half, left = args->outputs - at, width = left < 8 ? left : 8;
            const nyb_epilogue epilogue =
                nyb_epilogue_load(args->multiplier + at, args->shift + at, &args->output);
            if (epilogue.scaling == NYB_SCALING_PLAIN) {
                nyb_winograd_finish(args, &epilogue, NYB_SCALING_PLAIN, m + half, at, width);
            } else if (epilogue.scaling == NYB_SCALING_SIGNED) {
                nyb_winograd_finish(args, &epilogue, NYB_SCALING_SIGNED, m + half, at, width);
            } else {
                nyb_winograd_finish(args, &epilogue, NYB_SCALING_WIDE, m + half, at, width);
            }
        }
    }
}

#endif
