// SPDX-License-Identifier: Apache-2.0
// The loops that all x86 depthwise kernels share.
//
// A block is 32 lanes of bytes: 4 panels of one pixel, 2 panels of 2 pixels or 1 panel of 4 pixels. Four taps
// of it are interleaved into four vectors of 32-bit lanes, one byte per tap, and four accumulators take their
// products. Unpacking and packing both work within halves of 16 bytes, so accumulator v has channels 4v to
// 4v + 3 of either half, and the results come out in the order of the inputs.
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

// A weight of 32 lanes as int16: channels 0 to 7 of each half, channels 8 to 15.
typedef struct nyb_weight32 {
    __m256i low, high;
} nyb_weight32;

typedef struct nyb_depthwise_block {
    __m256i weights[NYB_QUADS][4][NYB_HALVES]; // of four terms, as the products want them
    size_t offset[NYB_TERMS];                  // of a term's input from the first tap
    uint32_t terms;
    uint32_t first; // channel
    uint32_t width; // channels that exist, where it is less than a panel
    __m256i bias[4];
    nyb_scale8 scale[4];
    nyb_narrow narrow;
    nyb_scaling scaling;
} nyb_depthwise_block;

// How one variant works. All constants: the compiler folds them.
typedef struct nyb_depthwise_x86 {
    // The part of a weight that the products can take; a rest that is not 0 becomes a further term.
    nyb_weight32 (*part)(nyb_weight32 w);
    // Weights of four terms for accumulator v.
    void (*quad)(__m256i to[4][NYB_HALVES], const nyb_weight32 w[4]);
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

// Reads the weights of the block's channels. False where they are more terms than it has room for.
NYB_INLINE bool nyb_depthwise_terms(nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                    const nyb_depthwise_x86 x86, const int panels) {
    const size_t panel_bytes = (size_t)args->window_height * args->window_width * NYB_DEPTHWISE_NR;
    const int8_t *w = args->weights + b->first / NYB_DEPTHWISE_NR * panel_bytes;
    const __m256i zero_point = _mm256_set1_epi16((int16_t)args->weight_zero_point);
    const __m256i zero = _mm256_setzero_si256();
    nyb_weight32 quad[4];
    b->terms = 0;
    for (uint32_t i = 0; i < args->window_height; i++) {
        for (uint32_t k = 0; k < args->window_width; k++, w += NYB_DEPTHWISE_NR) {
            const __m256i bytes = nyb_lanes(w, panel_bytes, panels);
            const __m256i sign = _mm256_cmpgt_epi8(zero, bytes);
            nyb_weight32 rest = {_mm256_sub_epi16(_mm256_unpacklo_epi8(bytes, sign), zero_point),
                                 _mm256_sub_epi16(_mm256_unpackhi_epi8(bytes, sign), zero_point)};
            __m256i more;
            do {
                if (b->terms == NYB_TERMS) {
                    return false;
                }
                const nyb_weight32 part = x86.part(rest);
                rest.low = _mm256_sub_epi16(rest.low, part.low);
                rest.high = _mm256_sub_epi16(rest.high, part.high);
                more = _mm256_or_si256(rest.low, rest.high);
                b->offset[b->terms] = i * args->tap_line + k * args->tap_pixel;
                quad[b->terms % 4] = part;
                b->terms++;
                if (b->terms % 4 == 0) {
                    x86.quad(b->weights[b->terms / 4 - 1], quad);
                }
            } while (_mm256_testz_si256(more, more) == 0);
        }
    }
    if (b->terms % 4 != 0) { // weights of 0, whose inputs are those of the last term
        const uint32_t terms = (b->terms + 3) / 4 * 4;
        for (uint32_t t = b->terms; t < terms; t++) {
            quad[t % 4] = (nyb_weight32){zero, zero};
            b->offset[t] = b->offset[b->terms - 1];
        }
        x86.quad(b->weights[terms / 4 - 1], quad);
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
        for (uint32_t q = 0; q < (b->terms + 3) / 4; q++) {
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

// One block. terms: a constant, or 0 for what the block says; scaling: a constant or not.
NYB_INLINE void nyb_depthwise_one(const nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                  const nyb_depthwise_x86 x86, const nyb_depthwise_pixels *p,
                                  const nyb_scaling scaling, const int panels, const uint32_t terms,
                                  const bool edge) {
    __m256i acc[4];
    NYB_EACH (v, 4) {
        acc[v] = b->bias[v];
    }
    if (terms > 0) {
        NYB_EACH (q, (int)(terms + 3) / 4) {
            __m256i x[4];
            NYB_EACH (i, 4) {
                const uint32_t t = 4 * (uint32_t)q + (uint32_t)i;
                x[i] = t < terms ? nyb_depthwise_load(b, args, p, b->offset[t], panels, edge) : x[i - 1];
            }
            nyb_interleave(x, x[0], x[1], x[2], x[3]);
            NYB_EACH (v, 4) {
                acc[v] = x86.multiply(acc[v], x[v], b->weights[q][v]);
            }
        }
    } else {
        for (uint32_t q = 0; q < (b->terms + 3) / 4; q++) {
            __m256i x[4];
            NYB_EACH (i, 4) {
                x[i] = nyb_depthwise_load(b, args, p, b->offset[4 * q + (uint32_t)i], panels, edge);
            }
            nyb_interleave(x, x[0], x[1], x[2], x[3]);
            NYB_EACH (v, 4) {
                acc[v] = x86.multiply(acc[v], x[v], b->weights[q][v]);
            }
        }
    }
    NYB_EACH (v, 4) {
        acc[v] = nyb_scale8_apply(&b->scale[v], acc[v], scaling, &b->narrow.output);
    }
    nyb_depthwise_store(b, args, p, nyb_narrow32(&b->narrow, acc), panels, edge);
}

NYB_INLINE void nyb_depthwise_lines(const nyb_depthwise_block *b, const nyb_depthwise_args *args,
                                    const nyb_depthwise_x86 x86, const nyb_scaling scaling, const int panels,
                                    const uint32_t terms, const bool edge) {
    const uint32_t group = 4 / (uint32_t)panels;
    for (uint32_t y = 0; y < args->lines; y++) {
        const int8_t *x = args->x + y * args->x_line + b->first;
        int8_t *c = args->c + y * args->c_line + b->first;
        for (uint32_t p = 0; p < args->pixels; p += group) {
            const uint32_t left = args->pixels - p;
            nyb_depthwise_pixels pixels = {.c = c, .count = left < group ? left : group};
            pixels.x[0] = x;
            NYB_EACH (i, (int)group) {
                pixels.x[i] =
                    x + ((uint32_t)i < pixels.count ? (uint32_t)i : pixels.count - 1) * args->x_pixel;
            }
            nyb_depthwise_one(b, args, x86, &pixels, scaling, panels, terms, edge);
            x += group * args->x_pixel;
            c += group * args->c_pixel;
        }
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
    if (b.terms == 9 && !edge && b.scaling == NYB_SCALING_PLAIN) {
        nyb_depthwise_lines(&b, args, x86, NYB_SCALING_PLAIN, panels, 9, edge);
    } else if (b.terms == 9 && !edge && b.scaling == NYB_SCALING_SIGNED) {
        nyb_depthwise_lines(&b, args, x86, NYB_SCALING_SIGNED, panels, 9, edge);
    } else {
        nyb_depthwise_lines(&b, args, x86, b.scaling, panels, 0, edge);
    }
    return true;
}

NYB_INLINE void nyb_depthwise_run(const nyb_depthwise_args *args, const nyb_depthwise_x86 x86) {
    uint32_t first = 0;
    bool fits = true;
    for (; fits && args->channels - first >= 32; first += 32) {
        fits = nyb_depthwise_panels(args, x86, first, 4, false);
    }
    if (fits && args->channels - first >= 16) {
        fits = nyb_depthwise_panels(args, x86, first, 2, false);
        first += 16;
    }
    if (fits && args->channels - first >= 8) {
        fits = nyb_depthwise_panels(args, x86, first, 1, false);
        first += 8;
    }
    if (fits && first < args->channels) {
        fits = nyb_depthwise_panels(args, x86, first, 1, true);
    }
    if (!fits) {
        nyb_depthwise_scalar(args);
    }
}

#endif
