// SPDX-License-Identifier: Apache-2.0
// The loops that all x86 depthwise kernels share.
//
// A block is 32 lanes of bytes: 4 panels of one pixel, 2 panels of 2 pixels or 1 panel of 4 pixels. Four taps
// of it are interleaved into four vectors of 32-bit lanes, one byte per tap, and four accumulators take their
// products. Unpacking and packing both work within halves of 16 bytes, so accumulator v has channels 4v to
// 4v + 3 of either half, and the results come out in the order of the inputs.
//
// Windows of 3 lines take the 3 taps of a column together, so that neighbouring pixels share columns. The
// fourth place of a column is free, or a fourth line's, which two output lines share.
//
// Inputs are made unsigned by adding 128, and 128 * sum of w is taken off the bias.
#ifndef NYB_KERNELS_DEPTHWISE_X86_H
#define NYB_KERNELS_DEPTHWISE_X86_H

#include "kernels/depthwise/depthwise.h"
#include "kernels/edge.h"
#include "kernels/epilogue_avx2.h"
#include "kernels/unroll.h"

// Terms of a sum whose weights are kept on the stack: a multiple of 4. Larger windows are rare.
enum { NYB_TERMS = 128, NYB_QUADS = NYB_TERMS / 4, NYB_HALVES = 2 };

typedef struct nyb_depthwise_block {
    __m256i weights[NYB_QUADS][4][NYB_HALVES]; // of four terms, as the products want them
    __m256i lower[3][4][NYB_HALVES];           // columns of 3 x 3 weights, a line further down
    size_t offset[NYB_TERMS];                  // of a term's input from the first tap
    uint32_t terms;
    bool further;   // some tap has more than one term
    uint32_t first; // channel
    uint32_t width; // channels that exist, where it is less than a panel
    __m256i bias[4];
    nyb_scale8 scale[4];
    nyb_narrow narrow;
    nyb_scaling scaling;
} nyb_depthwise_block;

// How one variant works. All constants: the compiler folds them.
typedef struct nyb_depthwise_x86 {
    int passes; // 2: half of the accumulators at a time, where registers are few
    // Weights of four terms, 32 lanes of int8 each, as `multiply` wants them.
    void (*quad)(__m256i to[4][NYB_HALVES], const __m256i w[4]);
    // acc + products of four terms of eight lanes.
    __m256i (*multiply)(__m256i acc, __m256i x, const __m256i w[NYB_HALVES]);
} nyb_depthwise_x86;

// The 32 lanes of a block from `panels` panels, `step` bytes apart.
NYB_INLINE __m256i nyb_lanes(const int8_t *p, size_t step, const int panels) {
    const __m128i a = _mm_loadl_epi64((const __m128i *)(const void *)p);
    if (panels == 1) {
        return _mm256_broadcastq_epi64(a);
    }
    const __m128i b = _mm_loadl_epi64((const __m128i *)(const void *)(p + step));
    const __m128i low = _mm_unpacklo_epi64(a, b);
    if (panels == 2) {
        return _mm256_broadcastsi128_si256(low);
    }
    const __m128i c = _mm_loadl_epi64((const __m128i *)(const void *)(p + 2 * step));
    const __m128i d = _mm_loadl_epi64((const __m128i *)(const void *)(p + 3 * step));
    return _mm256_set_m128i(_mm_unpacklo_epi64(c, d), low);
}

// The constants of accumulator v's channels, of one int32 per channel.
NYB_INLINE __m256i nyb_lanes32(const int32_t *constants, const int v, const int panels) {
    const int lanes = 8 * panels;
    return _mm256_set_m128i(
        _mm_loadu_si128((const __m128i *)(const void *)(constants + (16 + 4 * v) % lanes)),
        _mm_loadu_si128((const __m128i *)(const void *)(constants + 4 * v % lanes)));
}

// Four terms of 32 lanes of bytes -> four vectors of 32-bit lanes, a byte per term.
NYB_INLINE void nyb_interleave(__m256i v[4], __m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i ab_low = _mm256_unpacklo_epi8(a, b), ab_high = _mm256_unpackhi_epi8(a, b);
    const __m256i cd_low = _mm256_unpacklo_epi8(c, d), cd_high = _mm256_unpackhi_epi8(c, d);
    v[0] = _mm256_unpacklo_epi16(ab_low, cd_low);
    v[1] = _mm256_unpackhi_epi16(ab_low, cd_low);
    v[2] = _mm256_unpacklo_epi16(ab_high, cd_high);
    v[3] = _mm256_unpackhi_epi16(ab_high, cd_high);
}

// Adds a term. False where there is no room.
NYB_INLINE bool nyb_depthwise_term(nyb_depthwise_block *b, const nyb_depthwise_x86 x86, __m256i quad[4],
                                   __m256i weight, size_t offset) {
    if (b->terms == NYB_TERMS) {
        return false;
    }
    b->offset[b->terms] = offset;
    quad[b->terms % 4] = weight;
    b->terms++;
    if (b->terms % 4 == 0) {
        x86.quad(b->weights[b->terms / 4 - 1], quad);
    }
    return true;
}

// Adds the terms of a weight minus the zero point, which may be beyond int8: what int8 holds of it, then what
// it holds of the rest, and so on. False where there is no room.
NYB_INLINE bool nyb_depthwise_split(nyb_depthwise_block *b, const nyb_depthwise_x86 x86, __m256i quad[4],
                                    __m256i weight, int32_t zero_point, size_t offset) {
    const __m256i zero = _mm256_setzero_si256(), zero_points = _mm256_set1_epi16((int16_t)zero_point);
    __m256i sign = _mm256_cmpgt_epi8(zero, weight);
    __m256i low = _mm256_sub_epi16(_mm256_unpacklo_epi8(weight, sign), zero_points);
    __m256i high = _mm256_sub_epi16(_mm256_unpackhi_epi8(weight, sign), zero_points);
    for (;;) {
        const __m256i part = _mm256_packs_epi16(low, high);
        if (!nyb_depthwise_term(b, x86, quad, part, offset)) {
            return false;
        }
        sign = _mm256_cmpgt_epi8(zero, part);
        low = _mm256_sub_epi16(low, _mm256_unpacklo_epi8(part, sign));
        high = _mm256_sub_epi16(high, _mm256_unpackhi_epi8(part, sign));
        const __m256i rest = _mm256_or_si256(low, high);
        if (_mm256_testz_si256(rest, rest) != 0) {
            return true;
        }
        b->further = true;
    }
}

// Reads the weights of the block's channels. False where they are more terms than it has room for.
NYB_INLINE bool nyb_depthwise_terms(nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                    const nyb_depthwise_x86 x86, const int panels) {
    const uint32_t height = args->window_height, width = args->window_width;
    const uint64_t taps = (uint64_t)height * width;
    const int8_t *w = args->weights + b->first * taps;
    __m256i quad[4];
    uint32_t i = 0, k = 0;
    b->terms = 0;
    b->further = false;
    for (uint64_t t = 1; t <= taps; t++) {
        const size_t offset = i * args->tap_line + k * args->tap_pixel;
        const int8_t *tap = w + ((size_t)i * width + k) * NYB_DEPTHWISE_NR;
        const __m256i weight = nyb_lanes(tap, taps * NYB_DEPTHWISE_NR, panels);
        if (!(args->weight_zero_point == 0
                  ? nyb_depthwise_term(b, x86, quad, weight, offset)
                  : nyb_depthwise_split(b, x86, quad, weight, args->weight_zero_point, offset))) {
            return false;
        }
        const bool column = height == 3 && i == 2;
        while ((column || t == taps) && b->terms % 4 != 0) {
            nyb_depthwise_term(b, x86, quad, _mm256_setzero_si256(), offset);
        }
        if (column && k < 3) {
            const __m256i lower[4] = {_mm256_setzero_si256(), quad[0], quad[1], quad[2]};
            x86.quad(b->lower[k], lower);
        }
        if (height == 3) { // column by column
            k += column;
            i = column ? 0 : i + 1;
        } else {
            k = k + 1 < width ? k + 1 : 0;
            i += k == 0;
        }
    }
    return true;
}

NYB_INLINE void nyb_depthwise_constants(nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                        const nyb_depthwise_x86 x86, const int panels) {
    const __m256i flip = _mm256_set1_epi8(INT8_MIN);
    b->narrow = nyb_narrow_of(&args->output);
    b->scaling = NYB_SCALING_PLAIN;
    NYB_EACH (v, 4) {
        b->bias[v] = nyb_lanes32(args->bias + b->first, v, panels);
        for (uint32_t q = 0; q < b->terms / 4; q++) {
            const __m256i sum = x86.multiply(_mm256_setzero_si256(), flip, b->weights[q][v]);
            b->bias[v] = _mm256_sub_epi32(b->bias[v], sum);
        }
        b->scale[v] = nyb_scale8_of(nyb_lanes32(args->multiplier + b->first, v, panels),
                                    nyb_lanes32(args->shift + b->first, v, panels), &args->output);
        const nyb_scaling scaling = nyb_scaling_of(&b->scale[v], &args->output);
        b->scaling = scaling > b->scaling ? scaling : b->scaling;
    }
}

// The pixels of a block: x[i] and c[i] of pixel i; pixels behind the last are its copies and not stored.
typedef struct nyb_depthwise_pixels {
    const int8_t *x[4];
    int8_t *c;
    uint32_t count;
} nyb_depthwise_pixels;

// One term of all lanes, as unsigned bytes.
NYB_INLINE __m256i nyb_depthwise_load(const nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                      const nyb_depthwise_pixels *p, size_t offset, const int panels,
                                      const bool edge) {
    const __m256i flip = _mm256_set1_epi8(INT8_MIN);
    if (edge) {
        uint64_t bytes[4];
        NYB_EACH (i, 4) {
            bytes[i] = nyb_read8(p->x[i] + offset - b->first, b->first, args->channels);
        }
        return _mm256_xor_si256(nyb_load256(bytes), flip);
    }
    if (panels == 4) {
        return _mm256_xor_si256(nyb_load256(p->x[0] + offset), flip);
    }
    if (panels == 2) {
        const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(p->x[0] + offset));
        const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(p->x[1] + offset));
        return _mm256_xor_si256(_mm256_set_m128i(high, low), flip);
    }
    __m128i x[4];
    NYB_EACH (i, 4) {
        x[i] = _mm_loadl_epi64((const __m128i *)(const void *)(p->x[i] + offset));
    }
    return _mm256_xor_si256(_mm256_set_m128i(_mm_unpacklo_epi64(x[2], x[3]), _mm_unpacklo_epi64(x[0], x[1])),
                            flip);
}

NYB_INLINE void nyb_depthwise_store(const nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                    const nyb_depthwise_pixels *p, __m256i y, const int panels,
                                    const bool edge) {
    const size_t step = args->c_pixel;
    if (panels == 4) {
        _mm256_storeu_si256((__m256i *)(void *)p->c, y);
    } else if (panels == 2) {
        _mm_storeu_si128((__m128i *)(void *)p->c, _mm256_castsi256_si128(y));
        if (p->count > 1) {
            _mm_storeu_si128((__m128i *)(void *)(p->c + step), _mm256_extracti128_si256(y, 1));
        }
    } else {
        int8_t bytes[32];
        _mm256_storeu_si256((__m256i *)(void *)bytes, y);
        for (uint32_t i = 0; i < p->count; i++) {
            memcpy(p->c + i * step, bytes + 8 * i, edge ? b->width : NYB_DEPTHWISE_NR);
        }
    }
}

NYB_INLINE void nyb_depthwise_finish(const nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                     const nyb_depthwise_pixels *p, __m256i acc[4], const nyb_scaling scaling,
                                     const int panels, const bool edge) {
    NYB_EACH (v, 4)
        acc[v] = nyb_scale8_apply(&b->scale[v], acc[v], scaling, &b->narrow.output);
    nyb_depthwise_store(b, args, p, nyb_narrow32(&b->narrow, acc), panels, edge);
}

// One block, any window.
NYB_INLINE void nyb_depthwise_any(const nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                  const nyb_depthwise_x86 x86, const nyb_depthwise_pixels *p,
                                  const nyb_scaling scaling, const int panels, const bool edge) {
    __m256i acc[4];
    NYB_EACH (v, 4)
        acc[v] = b->bias[v];
    for (uint32_t q = 0; q < b->terms / 4; q++) {
        __m256i x[4];
        NYB_EACH (i, 4)
            x[i] = nyb_depthwise_load(b, args, p, b->offset[4 * q + (uint32_t)i], panels, edge);
        nyb_interleave(x, x[0], x[1], x[2], x[3]);
        NYB_EACH (v, 4)
            acc[v] = x86.multiply(acc[v], x[v], b->weights[q][v]);
    }
    nyb_depthwise_finish(b, args, p, acc, scaling, panels, edge);
}

// A window of 3 x 3: `count` blocks (1 or 2) whose pixels are `stride` columns apart, of `lines` lines (1, or
// 2 that are one apart).
NYB_INLINE void nyb_depthwise_3x3(const nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                  const nyb_depthwise_x86 x86, nyb_depthwise_pixels *p,
                                  const nyb_scaling scaling, const int panels, const int lines,
                                  const int count, const int stride) {
    __m256i acc[2][2][4];
    const int passes = panels == 4 ? x86.passes : 1; // loads of several pixels are dear
    const int vectors = 4 / passes;
    NYB_EACH (pass, passes) {
        const int first = pass * vectors;
        __asm__ volatile("" ::: "memory"); // or compilers keep the columns of the first pass on the stack
        NYB_EACH (y, lines) {
            NYB_EACH (i, count) {
                NYB_EACH (v, vectors)
                    acc[y][i][first + v] = b->bias[first + v];
            }
        }
        NYB_EACH (column, 3 + (count - 1) * stride) {
            __m256i x[4];
            NYB_EACH (i, 2 + lines) {
                const size_t offset = (size_t)i * args->tap_line + (size_t)column * args->tap_pixel;
                x[i] = nyb_depthwise_load(b, args, p, offset, panels, false);
            }
            nyb_interleave(x, x[0], x[1], x[2], x[1 + lines]);
            NYB_EACH (v, vectors) {
                NYB_EACH (y, lines) {
                    NYB_EACH (i, count) {
                        const int k = column - i * stride;
                        if (k >= 0 && k < 3) {
                            acc[y][i][first + v] =
                                x86.multiply(acc[y][i][first + v], x[first + v],
                                             y == 0 ? b->weights[k][first + v] : b->lower[k][first + v]);
                        }
                    }
                }
            }
        }
        NYB_EACH (y, lines) {
            NYB_EACH (i, count) {
                NYB_EACH (v, vectors)
                    acc[y][i][first + v] = nyb_scale8_apply(&b->scale[first + v], acc[y][i][first + v],
                                                            scaling, &b->narrow.output);
            }
        }
    }
    NYB_EACH (i, count) {
        nyb_depthwise_pixels at = *p;
        NYB_EACH (y, lines) {
            nyb_depthwise_store(b, args, &at, nyb_narrow32(&b->narrow, acc[y][i]), panels, false);
            at.c += args->c_line;
        }
        p->c += args->c_pixel;
    }
}

// The pixels of a block. left: pixels of the line from x on.
NYB_INLINE nyb_depthwise_pixels nyb_depthwise_at(const nyb_depthwise_args *args, const int8_t *x, int8_t *c,
                                                 uint32_t left, const int panels) {
    const uint32_t group = 4 / (uint32_t)panels;
    nyb_depthwise_pixels p = {.c = c, .count = left < group ? left : group};
    NYB_EACH (i, (int)group)
        p.x[i] = x + ((uint32_t)i < p.count ? (uint32_t)i : p.count - 1) * args->x_pixel;
    return p;
}

// One line of output, or two. stride: of the columns of a 3 x 3 window (1 or 2; 0: any), or -1 for any
// window.
NYB_INLINE void nyb_depthwise_line(const nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                   const nyb_depthwise_x86 x86, uint32_t y, const nyb_scaling scaling,
                                   const int panels, const bool edge, const int lines, const int stride) {
    const uint32_t group = 4 / (uint32_t)panels;
    const int8_t *x = args->x + y * args->x_line + b->first;
    int8_t *c = args->c + y * args->c_line + b->first;
    uint32_t left = args->pixels;
    for (; stride > 0 && left >= 2; left -= 2, x += 2 * args->x_pixel, c += 2 * args->c_pixel) {
        nyb_depthwise_pixels p = nyb_depthwise_at(args, x, c, left, panels);
        nyb_depthwise_3x3(b, args, x86, &p, scaling, panels, lines, 2, stride);
    }
    while (left > 0) {
        nyb_depthwise_pixels p = nyb_depthwise_at(args, x, c, left, panels);
        left -= p.count;
        x += group * args->x_pixel;
        c += group * args->c_pixel;
        if (stride < 0) {
            nyb_depthwise_any(b, args, x86, &p, scaling, panels, edge);
        } else {
            nyb_depthwise_3x3(b, args, x86, &p, scaling, panels, lines, 1, 1);
        }
    }
}

NYB_INLINE void nyb_depthwise_lines(const nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                    const nyb_depthwise_x86 x86, const nyb_scaling scaling, const int panels,
                                    const bool edge, const int stride) {
    uint32_t y = 0;
    if ((stride == 0 || stride == 1) && args->x_line == args->tap_line) {
        for (; args->lines - y >= 2; y += 2) {
            nyb_depthwise_line(b, args, x86, y, scaling, panels, edge, 2, stride);
        }
    }
    for (; y < args->lines; y++) {
        nyb_depthwise_line(b, args, x86, y, scaling, panels, edge, 1, stride);
    }
}

NYB_INLINE void nyb_depthwise_lines_3x3(const nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                        const nyb_depthwise_x86 x86, const nyb_scaling scaling,
                                        const int panels) {
    if (panels == 4 && args->x_pixel == args->tap_pixel) {
        nyb_depthwise_lines(b, args, x86, scaling, panels, false, 1);
    } else if (panels == 4 && args->x_pixel == 2 * args->tap_pixel) {
        nyb_depthwise_lines(b, args, x86, scaling, panels, false, 2);
    } else {
        nyb_depthwise_lines(b, args, x86, scaling, panels, false, 0);
    }
}

// All lines of the channels from `first`. False where the window is too large.
NYB_INLINE bool nyb_depthwise_panels(const nyb_depthwise_args *args, const nyb_depthwise_x86 x86,
                                     uint32_t first, const int panels, const bool edge) {
    nyb_depthwise_block b;
    b.first = first;
    b.width = args->channels - first;
    if (!nyb_depthwise_terms(&b, args, x86, panels)) {
        return false;
    }
    nyb_depthwise_constants(&b, args, x86, panels);
    const bool is_3x3 = args->window_height == 3 && args->window_width == 3 && !b.further && !edge;
    if (is_3x3 && b.scaling == NYB_SCALING_PLAIN) {
        nyb_depthwise_lines_3x3(&b, args, x86, NYB_SCALING_PLAIN, panels);
    } else if (is_3x3 && b.scaling == NYB_SCALING_SIGNED) {
        nyb_depthwise_lines_3x3(&b, args, x86, NYB_SCALING_SIGNED, panels);
    } else {
        nyb_depthwise_lines(&b, args, x86, b.scaling, panels, edge, -1);
    }
    return true;
}

// The channels from `first` to before `end`, both multiples of 8 or the end of all. False where the window is
// too large.
NYB_INLINE bool nyb_depthwise_channels(const nyb_depthwise_args *args, const nyb_depthwise_x86 x86,
                                       uint32_t first, uint32_t end) {
    bool fits = true;
    for (; fits && end - first >= 32; first += 32) {
        fits = nyb_depthwise_panels(args, x86, first, 4, false);
    }
    if (fits && end - first >= 16) {
        fits = nyb_depthwise_panels(args, x86, first, 2, false);
        first += 16;
    }
    if (fits && end - first >= 8) {
        fits = nyb_depthwise_panels(args, x86, first, 1, false);
        first += 8;
    }
    if (fits && first < end) {
        fits = nyb_depthwise_panels(args, x86, first, 1, true);
    }
    return fits;
}

#endif
