// SPDX-License-Identifier: Apache-2.0
// AVX-512 VNNI depthwise: vpdpbusd multiplies four taps and adds them in one instruction.
//
// A block is 64 lanes of bytes: 64 channels of one pixel, or 32, 16 of the pixels at the same place of 2, 4
// parts of the line, or all 8 of eight neighbouring pixels. Lanes are interleaved as depthwise_x86.h does it,
// in quarters instead of halves. What is left of the channels takes its way.
//
// A requantization is short where all shifts lie from 32 to 40. The zero point is in the constant that is
// added to the product, and the high halves of the sums are saturated to 16 bits before they are shifted by
// up to 8: what saturates is beyond int8 thereafter too. Any other shifts whole 64-bit lanes: weights of few
// bits have coarse steps, and real multipliers of 1/2 and more.
#include "kernels/depthwise/depthwise_x86.h"

enum { SHORT_SHIFT = 8 };

// Pixels that are computed at once, at most.
enum { AT_ONCE = 4 };

typedef struct wide_block {
    __m512i weights[NYB_QUADS][4], lower[3][4]; // as in nyb_depthwise_block
    __m512i bias[4];
    __m512i multiplier[4], multiplier_odd[4];
    __m512i add_even[4], add_odd[4];
    __m512i down[2];                     // of int16
    __m512i shift_even[4], shift_odd[4]; // of the wide scaling
    __m512i sign_even[4], sign_odd[4];   // likewise: 2^31 where the nudge counts and has a sign
    __m512i zero_point;                  // likewise
    nyb_scaling scaling;
    __m512i minimum, maximum;
    const size_t *offset;
    uint32_t quads;
    uint32_t first; // channel
} wide_block;

// Where a line begins, and its parts.
typedef struct wide_line {
    const int8_t *x;
    int8_t *c;
    size_t x_part, c_part; // bytes from one part to the next
    uint32_t pixels;       // of a part
} wide_line;

NYB_INLINE void quad(__m256i to[4][NYB_HALVES], const __m256i w[4]) {
    __m256i x[4];
    nyb_interleave(x, w[0], w[1], w[2], w[3]);
    NYB_EACH (v, 4)
        to[v][0] = x[v];
}

NYB_INLINE __m256i multiply(__m256i acc, __m256i x, const __m256i w[NYB_HALVES]) {
    return _mm256_dpbusd_epi32(acc, x, w[0]);
}

static const nyb_depthwise_x86 halves = {1, quad, multiply};

NYB_INLINE __m512i join(__m256i low, __m256i high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

NYB_INLINE void wide_interleave(__m512i v[4], __m512i a, __m512i b, __m512i c, __m512i d) {
    const __m512i ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
    const __m512i cd_low = _mm512_unpacklo_epi8(c, d), cd_high = _mm512_unpackhi_epi8(c, d);
    v[0] = _mm512_unpacklo_epi16(ab_low, cd_low);
    v[1] = _mm512_unpackhi_epi16(ab_low, cd_low);
    v[2] = _mm512_unpacklo_epi16(ab_high, cd_high);
    v[3] = _mm512_unpackhi_epi16(ab_high, cd_high);
}

// The constants of 32 lanes: of so many panels of channels, once or several times.
NYB_INLINE bool wide_half_of(nyb_depthwise_block *b, const nyb_depthwise_args *args, const int panels) {
    if (!nyb_depthwise_terms(b, args, halves, panels)) {
        return false;
    }
    nyb_depthwise_constants(b, args, halves, panels);
    return true;
}

static bool wide_half(nyb_depthwise_block *b, const nyb_depthwise_args *args, uint32_t first,
                      uint32_t channels) {
    b->first = first;
    switch (channels) {
    case 8:
        return wide_half_of(b, args, 1);
    case 16:
        return wide_half_of(b, args, 2);
    default:
        return wide_half_of(b, args, 4);
    }
}

// What is added in 64-bit lanes, and 2^31 for the sign of a nudge, where one counts: with shifts above 31.
NYB_INLINE void wide_nudge(__m512i *add, __m512i *sign, __m512i shift, const nyb_requantize *output) {
    const __mmask8 nudged = _mm512_cmpgt_epi64_mask(shift, _mm512_set1_epi64(31));
    *add = _mm512_mask_sub_epi64(*add, (__mmask8)~nudged, *add, _mm512_set1_epi64(output->nudge));
    *sign = _mm512_maskz_mov_epi64(output->nudge != 0 ? nudged : 0, _mm512_set1_epi64(INT64_C(1) << 31));
}

// The constants of a block from those of its halves.
static void wide_join(wide_block *b, const nyb_depthwise_block *low, const nyb_depthwise_block *high) {
    const nyb_requantize *output = &low->narrow.output;
    __m512i down[4];
    b->offset = low->offset;
    b->quads = low->terms / 4;
    b->first = low->first;
    b->minimum = _mm512_set1_epi8((char)output->minimum);
    b->maximum = _mm512_set1_epi8((char)output->maximum);
    b->zero_point = _mm512_set1_epi32(output->zero_point);
    b->scaling = low->scaling > high->scaling ? low->scaling : high->scaling;
    for (uint32_t q = 0; q < b->quads; q++) {
        NYB_EACH (v, 4)
            b->weights[q][v] = join(low->weights[q][v][0], high->weights[q][v][0]);
    }
    NYB_EACH (v, 4) {
        const nyb_scale8 *s = &low->scale[v], *t = &high->scale[v];
        const __m512i shift = join(s->shift, t->shift);
        down[v] = join(s->down, t->down);
        b->bias[v] = join(low->bias[v], high->bias[v]);
        b->multiplier[v] = join(s->multiplier, t->multiplier);
        b->multiplier_odd[v] = join(s->multiplier_odd, t->multiplier_odd);
        b->add_even[v] = join(s->add_even, t->add_even);
        b->add_odd[v] = join(s->add_odd, t->add_odd);
        b->shift_even[v] = _mm512_maskz_mov_epi32(0x5555, shift);
        b->shift_odd[v] = _mm512_srli_epi64(shift, 32);
        if (_mm512_cmplt_epi32_mask(_mm512_set1_epi32(SHORT_SHIFT), down[v]) != 0) {
            b->scaling = NYB_SCALING_WIDE;
        }
    }
    if (b->scaling == NYB_SCALING_WIDE) {
        NYB_EACH (v, 4) {
            wide_nudge(&b->add_even[v], &b->sign_even[v], b->shift_even[v], output);
            wide_nudge(&b->add_odd[v], &b->sign_odd[v], b->shift_odd[v], output);
        }
        return;
    }
    const __m512i zero_point = _mm512_set1_epi64(output->zero_point);
    NYB_EACH (v, 4) {
        b->add_even[v] = _mm512_add_epi64(b->add_even[v], _mm512_sllv_epi64(zero_point, b->shift_even[v]));
        b->add_odd[v] = _mm512_add_epi64(b->add_odd[v], _mm512_sllv_epi64(zero_point, b->shift_odd[v]));
    }
    b->down[0] = _mm512_packs_epi32(down[0], down[1]);
    b->down[1] = _mm512_packs_epi32(down[2], down[3]);
}

static void wide_join_lower(wide_block *b, const nyb_depthwise_block *low, const nyb_depthwise_block *high) {
    NYB_EACH (k, 3) {
        NYB_EACH (v, 4)
            b->lower[k][v] = join(low->lower[k][v][0], high->lower[k][v][0]);
    }
}

// One term of all lanes, as unsigned bytes. part: bytes from one part to the next.
NYB_INLINE __m512i wide_load(const int8_t *x, size_t part, const int parts) {
    const __m512i flip = _mm512_set1_epi8(INT8_MIN);
    if (parts == 1) {
        return _mm512_xor_si512(_mm512_loadu_si512((const void *)x), flip);
    }
    if (parts == 2) {
        return _mm512_xor_si512(join(nyb_load256(x), nyb_load256(x + part)), flip);
    }
    __m128i quarter[4];
    NYB_EACH (i, 4)
        quarter[i] = _mm_loadu_si128((const __m128i *)(const void *)(x + (size_t)i * part));
    return _mm512_xor_si512(
        join(_mm256_set_m128i(quarter[1], quarter[0]), _mm256_set_m128i(quarter[3], quarter[2])), flip);
}

NYB_INLINE void wide_store(int8_t *c, size_t part, __m512i y, const int parts) {
    if (parts == 1) {
        _mm512_storeu_si512((void *)c, y);
        return;
    }
    const __m256i half[2] = {_mm512_castsi512_si256(y), _mm512_extracti64x4_epi64(y, 1)};
    NYB_EACH (h, 2) {
        if (parts == 2) {
            _mm256_storeu_si256((__m256i *)(void *)(c + (size_t)h * part), half[h]);
        } else {
            int8_t *to = c + 2 * (size_t)h * part;
            _mm_storeu_si128((__m128i *)(void *)to, _mm256_castsi256_si128(half[h]));
            _mm_storeu_si128((__m128i *)(void *)(to + part), _mm256_extracti128_si256(half[h], 1));
        }
    }
}

// The high halves of scaled sums, before `down`; of the wide scaling the results, without their clamp. What
// epilogue_avx2.h says of the scalings holds here.
NYB_INLINE __m512i wide_scale(const wide_block *b, __m512i acc, const int v, const nyb_scaling scaling) {
    const __m512i acc_odd = _mm512_srli_epi64(acc, 32);
    __m512i even = _mm512_add_epi64(_mm512_mul_epi32(acc, b->multiplier[v]), b->add_even[v]);
    __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(acc_odd, b->multiplier_odd[v]), b->add_odd[v]);
    if (scaling == NYB_SCALING_SIGNED) {
        const __m512i sign = _mm512_set1_epi64(INT64_C(1) << 31);
        even = _mm512_sub_epi64(even, _mm512_and_si512(acc, sign));
        odd = _mm512_sub_epi64(odd, _mm512_and_si512(acc_odd, sign));
    }
    if (scaling == NYB_SCALING_WIDE) {
        even = _mm512_srav_epi64(_mm512_sub_epi64(even, _mm512_and_si512(acc, b->sign_even[v])),
                                 b->shift_even[v]);
        odd = _mm512_srav_epi64(_mm512_sub_epi64(odd, _mm512_and_si512(acc_odd, b->sign_odd[v])),
                                b->shift_odd[v]);
        return _mm512_add_epi32(_mm512_mask_shuffle_epi32(even, 0xAAAA, odd, _MM_PERM_CCAA), b->zero_point);
    }
    return _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
}

// The results of several pixels, in y. The constants of all are loaded once.
NYB_INLINE void wide_finish(const wide_block *b, __m512i y[AT_ONCE], __m512i acc[AT_ONCE][4],
                            const nyb_scaling scaling, const int pixels) {
    NYB_EACH (v, 4) {
        NYB_EACH (i, pixels)
            acc[i][v] = wide_scale(b, acc[i][v], v, scaling);
    }
    NYB_EACH (i, pixels) {
        __m512i low = _mm512_packs_epi32(acc[i][0], acc[i][1]);
        __m512i high = _mm512_packs_epi32(acc[i][2], acc[i][3]);
        if (scaling != NYB_SCALING_WIDE) {
            low = _mm512_srav_epi16(low, b->down[0]);
            high = _mm512_srav_epi16(high, b->down[1]);
        }
        y[i] = _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(low, high), b->minimum), b->maximum);
    }
}

// `count` pixels from `pixel` on of a 3 x 3 window, and of the line below where there are two.
NYB_INLINE void wide_pixels(const wide_block *b, const nyb_depthwise_args *args, const wide_line *line,
                            uint32_t pixel, const nyb_scaling scaling, const int parts, const int lines,
                            const int count, const int stride) {
    const size_t tap_line = args->tap_line, tap_pixel = args->tap_pixel;
    const int8_t *at = line->x + pixel * args->x_pixel;
    __m512i acc[AT_ONCE][4], out[AT_ONCE];
    NYB_EACH (i, lines * count) {
        NYB_EACH (v, 4)
            acc[i][v] = b->bias[v];
    }
    NYB_EACH (column, 3 + (count - 1) * stride) {
        __m512i row[4], x[4];
        NYB_EACH (i, 2 + lines)
            row[i] = wide_load(at + (size_t)i * tap_line, line->x_part, parts);
        wide_interleave(x, row[0], row[1], row[2], row[1 + lines]);
        NYB_EACH (i, lines * count) {
            const int k = column - i % count * stride;
            NYB_EACH (v, 4) {
                if (k >= 0 && k < 3) {
                    acc[i][v] =
                        _mm512_dpbusd_epi32(acc[i][v], x[v], i < count ? b->weights[k][v] : b->lower[k][v]);
                    NYB_IN_ORDER(acc[i][v]);
                }
            }
        }
        at += tap_pixel;
    }
    wide_finish(b, out, acc, scaling, lines * count);
    NYB_EACH (i, lines * count)
        wide_store(line->c + (pixel + (uint32_t)(i % count)) * args->c_pixel +
                       (size_t)(i / count) * args->c_line,
                   line->c_part, out[i], parts);
}

// The same of a line of eight channels that lie without gaps: 64 bytes are eight neighbouring pixels.
NYB_INLINE void wide_dense(const wide_block *b, const nyb_depthwise_args *args, const wide_line *line,
                           const nyb_scaling scaling, const int lines) {
    for (uint32_t i = 0; i < line->pixels; i += 8) {
        const size_t first = 8 * (size_t)(i < line->pixels - 8 ? i : line->pixels - 8);
        const wide_line here = {.x = line->x + first, .c = line->c + first};
        wide_pixels(b, args, &here, 0, scaling, 1, lines, 1, 1);
    }
}

// One line or two of a 3 x 3 window. The last pixels are computed again where they are fewer than go
// together.
NYB_INLINE void wide_3x3(const wide_block *b, const nyb_depthwise_args *args, const wide_line *line,
                         const nyb_scaling scaling, const int parts, const int lines, const int stride) {
    const uint32_t together = AT_ONCE / (uint32_t)lines, pixels = line->pixels;
    if (pixels < together) {
        for (uint32_t pixel = 0; pixel < pixels; pixel++) {
            wide_pixels(b, args, line, pixel, scaling, parts, lines, 1, stride);
        }
        return;
    }
    for (uint32_t pixel = 0; pixel < pixels; pixel += together) {
        const uint32_t last = pixels - together;
        wide_pixels(b, args, line, pixel < last ? pixel : last, scaling, parts, lines, AT_ONCE / lines,
                    stride);
    }
}

// A line of any window.
NYB_INLINE void wide_any(const wide_block *b, const nyb_depthwise_args *args, const wide_line *line,
                         const nyb_scaling scaling, const int parts) {
    const int8_t *at = line->x;
    int8_t *c = line->c;
    for (uint32_t left = line->pixels; left > 0; left--, at += args->x_pixel, c += args->c_pixel) {
        __m512i acc[AT_ONCE][4], y[AT_ONCE];
        NYB_EACH (v, 4)
            acc[0][v] = b->bias[v];
        for (uint32_t q = 0; q < b->quads; q++) {
            __m512i x[4];
            NYB_EACH (i, 4)
                x[i] = wide_load(at + b->offset[4 * q + (uint32_t)i], line->x_part, parts);
            wide_interleave(x, x[0], x[1], x[2], x[3]);
            NYB_EACH (v, 4)
                acc[0][v] = _mm512_dpbusd_epi32(acc[0][v], x[v], b->weights[q][v]);
        }
        wide_finish(b, y, acc, scaling, 1);
        wide_store(c, line->c_part, y[0], parts);
    }
}

// The parts of a line are as many pixels apart as fit, and overlap where they do not fit.
NYB_INLINE wide_line wide_line_at(const wide_block *b, const nyb_depthwise_args *args, uint32_t y,
                                  const int parts) {
    const uint32_t apart = args->pixels / (uint32_t)parts;
    return (wide_line){
        .x = args->x + y * args->x_line + b->first,
        .c = args->c + y * args->c_line + b->first,
        .x_part = apart * args->x_pixel,
        .c_part = apart * args->c_pixel,
        .pixels = args->pixels - apart * ((uint32_t)parts - 1),
    };
}

enum { ANY_WINDOW, STRIDE_1, STRIDE_2, DENSE };

NYB_INLINE void wide_lines(const wide_block *b, const nyb_depthwise_args *args, const nyb_scaling scaling,
                           const int parts, const int way) {
    uint32_t y = 0;
    if ((way == STRIDE_1 || way == DENSE) && args->x_line == args->tap_line) {
        for (; args->lines - y >= 2; y += 2) {
            const wide_line line = wide_line_at(b, args, y, parts);
            if (way == DENSE) {
                wide_dense(b, args, &line, scaling, 2);
            } else {
                wide_3x3(b, args, &line, scaling, parts, 2, 1);
            }
        }
    }
    for (; y < args->lines; y++) {
        const wide_line line = wide_line_at(b, args, y, parts);
        if (way == ANY_WINDOW) {
            wide_any(b, args, &line, scaling, parts);
        } else if (way == DENSE) {
            wide_dense(b, args, &line, scaling, 1);
        } else {
            wide_3x3(b, args, &line, scaling, parts, 1, way == STRIDE_1 ? 1 : 2);
        }
    }
}

// A function for each way, or compiling takes minutes.
typedef void wide_fn(const wide_block *b, const nyb_depthwise_args *args);
#define WIDE_WAY(name, scaling, parts, way)                                                                  \
    static __attribute__((noinline)) void name(const wide_block *b, const nyb_depthwise_args *args) {        \
        wide_lines(b, args, scaling, parts, way);                                                            \
    }
#define WIDE_WAYS(name, scaling, parts)                                                                      \
    WIDE_WAY(name##_any, scaling, parts, ANY_WINDOW)                                                         \
    WIDE_WAY(name##_1, scaling, parts, STRIDE_1)                                                             \
    WIDE_WAY(name##_2, scaling, parts, STRIDE_2)
WIDE_WAYS(plain1, NYB_SCALING_PLAIN, 1)
WIDE_WAYS(plain2, NYB_SCALING_PLAIN, 2)
WIDE_WAYS(plain4, NYB_SCALING_PLAIN, 4)
WIDE_WAYS(signed1, NYB_SCALING_SIGNED, 1)
WIDE_WAYS(signed2, NYB_SCALING_SIGNED, 2)
WIDE_WAYS(signed4, NYB_SCALING_SIGNED, 4)
WIDE_WAYS(wide1, NYB_SCALING_WIDE, 1)
WIDE_WAYS(wide2, NYB_SCALING_WIDE, 2)
WIDE_WAYS(wide4, NYB_SCALING_WIDE, 4)
WIDE_WAY(plain_dense, NYB_SCALING_PLAIN, 1, DENSE)
WIDE_WAY(signed_dense, NYB_SCALING_SIGNED, 1, DENSE)
WIDE_WAY(wide_dense_any, NYB_SCALING_WIDE, 1, DENSE)

// By the logarithm of the parts, the scaling and the way.
static wide_fn *const wide_ways[4][3][4] = {
    {{plain1_any, plain1_1, plain1_2}, {signed1_any, signed1_1, signed1_2}, {wide1_any, wide1_1, wide1_2}},
    {{plain2_any, plain2_1, plain2_2}, {signed2_any, signed2_1, signed2_2}, {wide2_any, wide2_1, wide2_2}},
    {{plain4_any, plain4_1, plain4_2}, {signed4_any, signed4_1, signed4_2}, {wide4_any, wide4_1, wide4_2}},
    {{NULL, NULL, NULL, plain_dense}, {NULL, NULL, NULL, signed_dense}, {NULL, NULL, NULL, wide_dense_any}},
};

// All lines of 64 >> parts_log2 channels. False where the window is too large.
static bool wide_channels(const nyb_depthwise_args *args, uint32_t first, uint32_t parts_log2,
                          const int way) {
    const uint32_t channels = 64u >> parts_log2;
    nyb_depthwise_block low, high;
    const nyb_depthwise_block *other = &low;
    wide_block b;
    if (!wide_half(&low, args, first, channels)) {
        return false;
    }
    if (channels == 64) {
        wide_half(&high, args, first + 32, channels);
        other = &high;
    }
    // With further terms the halves need not have the same.
    if (low.further || other->further) {
        return nyb_depthwise_channels(args, halves, first, first + channels);
    }
    wide_join(&b, &low, other);
    if (way != ANY_WINDOW) {
        wide_join_lower(&b, &low, other);
    }
    wide_ways[parts_log2][b.scaling][way](&b, args);
    return true;
}

void nyb_depthwise_avx512vnni(const nyb_depthwise_args *args) {
    const uint32_t channels = args->pixels > 0 ? args->channels : 0;
    const bool is_3x3 = args->window_height == 3 && args->window_width == 3;
    const int stride = args->x_pixel == args->tap_pixel       ? STRIDE_1
                       : args->x_pixel == 2 * args->tap_pixel ? STRIDE_2
                                                              : ANY_WINDOW;
    const int way = is_3x3 ? stride : ANY_WINDOW;
    uint32_t first = 0;
    bool fits = true;
    for (uint32_t parts_log2 = 0; parts_log2 < 3; parts_log2++) {
        for (; fits && channels - first >= 64u >> parts_log2; first += 64u >> parts_log2) {
            fits = wide_channels(args, first, parts_log2, way);
        }
    }
    if (channels == 8 && way == STRIDE_1 && args->pixels >= 8 && args->x_pixel == 8 && args->c_pixel == 8) {
        fits = wide_channels(args, 0, 3, DENSE);
    } else if (fits && first < channels) {
        fits = nyb_depthwise_channels(args, halves, first, channels);
    }
    if (!fits) {
        nyb_depthwise_scalar(args);
    }
}
