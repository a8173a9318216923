// SPDX-License-Identifier: Apache-2.0
// AVX-512 VNNI: vpdpbusd sums four products of u8 and s8 in 32 bits. Rows are read as they are in a tensor;
// the weights become unsigned, 128 larger, once for all rows of a tile:
//
//   sum of a * w = sum of a * (w + 128) - 128 * sum of a
//
// The last term, the excess of a row, is computed once for all columns. So it is with weights of 4 and 2 bits
// at the top of the byte, 16 or 64 times their value. To make the activations unsigned instead, where they
// are broadcast, takes an instruction for every two products and row, on the ports that multiply; it is what
// shallow calls do, whose products would not pay for the excess.
//
// Two panels lie side by side in a register. A tile is up to 12 rows and two registers of columns. The sums
// of some tiles go through memory to the epilogue, which is one function for all. One row alone takes 64
// columns at once.
#include "kernels/gemm/gemm_avx512.h"

enum { TILE_ROWS = 12, SUMS = 96, ROW_VECTORS = 4, BLOCK_ROWS = 1024 };

// Calls with less depth than this, summed over strips of columns, are shallow.
enum { SHALLOW = 64 };

// Sums of products 16 or 64 times too large leave 32 bits beyond this depth: 255 * 128 * 2^16 < 2^31. On the
// way they may wrap.
enum { DEPTH_MAX = 65536 };

NYB_INLINE int32_t load32(const uint8_t *p) {
    int32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

// Plane p of bytes: 4 and 2 bits at the top of the byte, 16 or 64 times their value.
NYB_INLINE __m512i plane(__m512i x, const uint32_t bits, const int p) {
    const int up = 8 - (int)bits * (p + 1);
    return _mm512_and_si512(up ? _mm512_slli_epi32(x, (unsigned)up) : x,
                            _mm512_set1_epi8((char)(256 - (1 << (8 - bits)))));
}

// Bytes of a stretch of a row, whole steps of the layout.
NYB_INLINE size_t stretch_bytes(const nyb_gemm_args *args, const uint32_t bits) {
    return 32 / bits * (size_t)nyb_packed_steps(args->segment, bits, 4);
}

// The totals of four registers.
NYB_INLINE __m128i totals4(const __m512i *x) {
    const __m512i x01 =
        _mm512_add_epi32(_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1]));
    const __m512i x23 =
        _mm512_add_epi32(_mm512_unpacklo_epi32(x[2], x[3]), _mm512_unpackhi_epi32(x[2], x[3]));
    const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(x01, x23), _mm512_unpackhi_epi64(x01, x23));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// The excess of four rows: 128 times what a tile reads of them, padding too, where weights of 0 become 128.
// single: one stretch of up to 64 bytes.
NYB_INLINE __m128i excess4(const nyb_gemm_args *args, const uint8_t *const *row, size_t stretch,
                           const bool single) {
    const __m512i factor = _mm512_set1_epi8(INT8_MIN); // 128, unsigned
    const size_t whole = single ? 0 : stretch / 64 * 64;
    const size_t left = stretch - whole;
    const __mmask64 rest = left < 64 ? (UINT64_C(1) << left) - 1 : UINT64_MAX;
    __m512i sum[4];
    NYB_EACH (i, 4) {
        sum[i] = _mm512_setzero_si512();
    }
    for (uint32_t s = 0; s < (single ? 1 : args->segments); s++) {
        const size_t start = s * args->pitch;
        for (size_t at = start; at < start + whole; at += 64) {
            NYB_EACH (i, 4) {
                sum[i] = _mm512_dpbusd_epi32(sum[i], factor, _mm512_loadu_si512(row[i] + at));
            }
        }
        if (rest) {
            NYB_EACH (i, 4) {
                const __m512i x = _mm512_maskz_loadu_epi8(rest, row[i] + start + whole);
                sum[i] = _mm512_dpbusd_epi32(sum[i], factor, x);
            }
        }
    }
    return totals4(sum);
}

// The excess of `count` rows; the last row stands for those up to a multiple of four.
NYB_INLINE void excess_of(const nyb_gemm_args *args, const uint8_t *const *a, uint32_t count, int32_t *excess,
                          size_t stretch, const bool single) {
    for (uint32_t i = 0; i < count; i += 4) {
        const uint8_t *last[4];
        const uint8_t *const *row = a + i;
        if (count - i < 4) {
            NYB_EACH (j, 4) {
                last[j] = a[i + (uint32_t)j < count ? i + (uint32_t)j : count - 1];
            }
            row = last;
        }
        _mm_storeu_si128((__m128i *)(void *)(excess + i), excess4(args, row, stretch, single));
    }
}

// sums[row][vector] of `rows` rows; the last of the `count` there are stands for those behind it. excess: of
// the rows, unless shallow.
NYB_INLINE void tile(const nyb_gemm_args *args, const nyb_strip16 *strip, const uint8_t *const *a,
                     const int32_t *excess, uint32_t count, __m512i *sums, const int rows, const int vectors,
                     const uint32_t bits, const bool shallow) {
    const int planes = (int)(8 / bits);
    const size_t stretch = stretch_bytes(args, bits);
    // The highest bit of each activation or weight.
    const __m512i flip = _mm512_set1_epi8(shallow || bits == 8 ? INT8_MIN : (bits == 4 ? ~0x77 : ~0x55));
    size_t w = 0;
    __m512i c[TILE_ROWS][NYB_STRIP_VECTORS];
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
            __m512i x[NYB_STRIP_VECTORS];
            NYB_EACH (v, vectors) {
                x[v] = nyb_load_panels(strip->panel[2 * v] + w, strip->panel[2 * v + 1] + w);
                x[v] = shallow ? x[v] : _mm512_xor_si512(x[v], flip);
            }
            NYB_EACH (p, planes) {
                __m512i y[NYB_STRIP_VECTORS];
                NYB_EACH (v, vectors) {
                    if (bits < 8) { // planes not ahead of their time
                        NYB_IN_ORDER(x[v]);
                    }
                    y[v] = bits == 8 ? x[v] : plane(x[v], bits, p);
                }
                NYB_EACH (i, rows) {
                    const __m512i r = _mm512_set1_epi32(load32(row[i] + at));
                    NYB_EACH (v, vectors) {
                        c[i][v] = shallow ? _mm512_dpbusd_epi32(c[i][v], _mm512_xor_si512(r, flip), y[v])
                                          : _mm512_dpbusd_epi32(c[i][v], y[v], r);
                        if (rows > 6) { // smaller tiles leave registers free
                            NYB_IN_ORDER(c[i][v]);
                        }
                    }
                }
                at += 4;
            }
        }
    }
    NYB_EACH (i, rows) {
        NYB_EACH (v, vectors) {
            const __m512i sum = shallow ? c[i][v] : _mm512_sub_epi32(c[i][v], _mm512_set1_epi32(excess[i]));
            sums[i * vectors + v] =
                bits == 8 ? sum : _mm512_add_epi32(strip->start[v], _mm512_srai_epi32(sum, 8 - bits));
        }
    }
}

// Rows from `first` to `end` of the strip of columns from n on: tiles until the sums are full, then their
// epilogue. excess: of row `first` on.
NYB_INLINE void run_strip(const nyb_gemm_args *args, uint32_t first, uint32_t end, uint32_t n,
                          const int32_t *excess, const int vectors, const uint32_t bits, const bool shallow) {
    const nyb_strip16 strip = nyb_strip16_load(args, n, (uint32_t)vectors, bits, shallow);
    __m512i sums[SUMS];
    uint32_t done;
    for (uint32_t m = first; m < end; m += done, excess += done) {
        const uint8_t *const *a = args->a + m;
        const uint32_t rows = end - m;
        for (done = 0; done < rows && (done + TILE_ROWS) * (uint32_t)vectors <= SUMS;) {
            // As many rows as there can be, but the last two tiles share what is left.
            const uint32_t left = rows - done;
            uint32_t height = left >= 2 * TILE_ROWS ? TILE_ROWS : (left > TILE_ROWS ? (left + 1) / 2 : left);
            height += height % 2;
            const uint32_t count = height < left ? height : left;
            __m512i *to = sums + done * (uint32_t)vectors;
            switch (height) {
            case 12:
                tile(args, &strip, a + done, excess + done, count, to, 12, vectors, bits, shallow);
                break;
            case 10:
                tile(args, &strip, a + done, excess + done, count, to, 10, vectors, bits, shallow);
                break;
            case 8:
                tile(args, &strip, a + done, excess + done, count, to, 8, vectors, bits, shallow);
                break;
            case 6:
                tile(args, &strip, a + done, excess + done, count, to, 6, vectors, bits, shallow);
                break;
            case 4:
                tile(args, &strip, a + done, excess + done, count, to, 4, vectors, bits, shallow);
                break;
            default:
                tile(args, &strip, a + done, excess + done, count, to, 2, vectors, bits, shallow);
            }
            done += count;
        }
        nyb_strip16_epilogue(args, &strip, sums, m, done, args->c + m * args->c_stride + n, vectors);
    }
}

NYB_INLINE __m256i plane256(__m256i x, const uint32_t bits, const int p) {
    return _mm512_castsi512_si256(plane(_mm512_castsi256_si512(x), bits, p));
}

// The sums of one row and 64 columns, of which at least 49 exist. Registers of 256 bits: for one row, putting
// two panels together costs as much as multiplying them.
NYB_INLINE void row_sums(const nyb_gemm_args *args, uint32_t n, __m512i *sums, const uint32_t bits) {
    const int planes = (int)(8 / bits);
    const size_t stretch = 4 * (size_t)planes * nyb_packed_steps(args->segment, bits, 4);
    const size_t panel = (size_t)nyb_panel_bytes(args->depth, bits, 8, 4);
    const __m256i flip = _mm256_set1_epi8(INT8_MIN);
    const uint8_t *w0 = args->weights + n / 8 * panel;
    const uint8_t *w4 = w0 + 4 * panel;
    const uint8_t *w7 = w4 + (args->columns - n > 56 ? 3 : 2) * panel;
    const size_t panels3 = 3 * panel;
    __m256i c[2 * ROW_VECTORS];
    NYB_EACH (b, 2 * ROW_VECTORS) {
        c[b] = _mm256_setzero_si256();
    }
    for (uint32_t s = 0; s < args->segments; s++) {
        const uint8_t *row = args->a[0] + s * args->pitch;
        for (const uint8_t *const end = row + stretch; row < end; w0 += 32, w4 += 32, w7 += 32) {
            const uint8_t *const w[2 * ROW_VECTORS] = {w0, w0 + panel, w0 + 2 * panel, w0 + panels3,
                                                       w4, w4 + panel, w4 + 2 * panel, w7};
            __m256i u[4];
            NYB_EACH (p, planes) {
                u[p] = _mm256_xor_si256(_mm256_set1_epi32(load32(row)), flip);
                row += 4;
            }
            NYB_EACH (b, 2 * ROW_VECTORS) {
                const __m256i x = nyb_load256(w[b]);
                NYB_EACH (p, planes) {
                    c[b] = _mm256_dpbusd_epi32(c[b], u[p], bits == 8 ? x : plane256(x, bits, p));
                }
            }
        }
    }
    NYB_EACH (v, ROW_VECTORS) {
        const __m512i sum = _mm512_inserti64x4(_mm512_castsi256_si512(c[2 * v]), c[2 * v + 1], 1);
        sums[v] = bits == 8 ? sum : _mm512_srai_epi32(sum, 8 - bits);
    }
}

NYB_INLINE void finish_row(const nyb_gemm_args *args, uint32_t n, const __m512i *sums, const __m512i *shift,
                           const __mmask16 *mask, const nyb_scaling scaling) {
    const __m512i row_bias = _mm512_set1_epi32(args->row_bias != NULL ? args->row_bias[0] : 0);
    const nyb_narrow64 narrow = nyb_narrow64_of(&args->output);
    __m512i x[ROW_VECTORS];
    NYB_EACH (v, ROW_VECTORS) {
        const uint32_t at = n + NYB_LANES16 * (uint32_t)v;
        const __m512i bias = _mm512_maskz_loadu_epi32(mask[v], args->bias + at);
        const __m512i weight_sum = _mm512_maskz_loadu_epi32(mask[v], args->weight_sum + at);
        const __m512i start =
            _mm512_sub_epi32(_mm512_add_epi32(bias, row_bias), _mm512_slli_epi32(weight_sum, 7));
        const __m512i multiplier = _mm512_maskz_loadu_epi32(mask[v], args->multiplier + at);
        x[v] =
            nyb_scale16_once(_mm512_add_epi32(sums[v], start), multiplier, shift[v], scaling, &args->output);
    }
    const uint32_t left = args->columns - n;
    const __mmask64 columns = left < 64 ? (UINT64_C(1) << left) - 1 : UINT64_MAX;
    _mm512_mask_storeu_epi8(args->c + n, columns, nyb_narrow64_apply(&narrow, x));
}

// One row, 64 columns: constants that are used once are not prepared.
NYB_INLINE void run_row(const nyb_gemm_args *args, uint32_t n, const uint32_t bits) {
    __m512i sums[ROW_VECTORS], shift[ROW_VECTORS];
    __mmask16 mask[ROW_VECTORS], wide = 0;
    row_sums(args, n, sums, bits);
    NYB_EACH (v, ROW_VECTORS) {
        const uint32_t left = args->columns - n - NYB_LANES16 * (uint32_t)v;
        mask[v] = (__mmask16)(left < NYB_LANES16 ? (1u << left) - 1 : 0xFFFF);
        shift[v] = _mm512_mask_loadu_epi32(_mm512_set1_epi32(32), mask[v], args->shift + n + NYB_LANES16 * v);
        wide |= _mm512_cmplt_epi32_mask(shift[v], _mm512_set1_epi32(32));
    }
    if (wide) {
        finish_row(args, n, sums, shift, mask, NYB_SCALING_WIDE);
    } else if (nyb_scaling_unsigned(&args->output)) {
        finish_row(args, n, sums, shift, mask, NYB_SCALING_PLAIN);
    } else {
        finish_row(args, n, sums, shift, mask, NYB_SCALING_SIGNED);
    }
}

// All rows, columns from n on.
NYB_INLINE void run_strips(const nyb_gemm_args *args, uint32_t n, const uint32_t bits, const bool shallow) {
    const size_t stretch = stretch_bytes(args, bits);
    int32_t excess[BLOCK_ROWS];
    for (uint32_t m = 0, end; m < args->rows; m = end) {
        end = args->rows - m < BLOCK_ROWS ? args->rows : m + BLOCK_ROWS;
        if (!shallow && args->segments == 1 && stretch <= 64) {
            excess_of(args, args->a + m, end - m, excess, stretch, true);
        } else if (!shallow) {
            excess_of(args, args->a + m, end - m, excess, stretch, false);
        }
        uint32_t at = n;
        for (; args->columns - at > NYB_LANES16; at += args->columns - at < 32 ? args->columns - at : 32) {
            run_strip(args, m, end, at, excess, 2, bits, shallow);
        }
        if (at < args->columns) {
            run_strip(args, m, end, at, excess, 1, bits, shallow);
        }
    }
}

NYB_INLINE void run(const nyb_gemm_args *args, const uint32_t bits) {
    uint32_t n = 0;
    if (args->rows == 1) {
        for (; args->columns - n > 3 * NYB_LANES16; n += args->columns - n < 64 ? args->columns - n : 64) {
            run_row(args, n, bits);
        }
    }
    const uint64_t strips = (args->columns - n + 31) / 32;
    if (args->rows <= 2 || strips * args->depth < SHALLOW) {
        run_strips(args, n, bits, true);
    } else {
        run_strips(args, n, bits, false);
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
