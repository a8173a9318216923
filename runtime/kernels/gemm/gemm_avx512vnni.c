// SPDX-License-Identifier: Apache-2.0
// AVX-512 VNNI: vpdpbusd sums four products of u8 and s8 in 32 bits. Copies of rows come unsigned, 128
// larger. Rows in a tensor are read as they are; the weights become unsigned, once for all rows of a tile:
//
//   sum of a * w = sum of a * (w + 128) - 128 * sum of a
//
// The last term, the excess of a row, is computed once for all columns. So it is with weights of 4 and 2 bits
// at the top of the byte, 16 or 64 times their value. To make the activations unsigned instead, where they
// are broadcast, takes an instruction for every two products and row, on the ports that multiply on some
// CPUs; it is what shallow calls do, whose products would not pay for the excess.
//
// Two panels lie side by side in a register. A tile is up to 12 rows and two registers of columns. The sums
// of some tiles go through memory to the epilogue, which is one function for all. Up to 24 columns, and one
// row alone, take registers of one panel with twice as many k.
#include "kernels/gemm/gemm_avx512.h"

enum { TILE_ROWS = 12, SUMS = 48, ROW_VECTORS = 4, ROW_PAIRS = 256, BLOCK_ROWS = 1024 };

// Which of both becomes unsigned: the weights, the rows where they are broadcast, or the rows are already.
typedef enum unsigned_side { WEIGHTS, BROADCASTS, ROWS } unsigned_side;

// Calls with less depth than this, summed over strips of columns, are shallow.
enum { SHALLOW = 64 };

// A layer's weights from so many bytes on are not expected in the second-level cache when it begins.
enum { FAR = 65536 };

// Up to so many columns are narrow; more than 16 from this depth on.
enum { NARROW = 24, NARROW_DEPTH = 48 };

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

// Makes bytes of rows unsigned.
NYB_INLINE __m512i flip_of(const nyb_gemm_args *args) {
    return _mm512_set1_epi8(args->form == &nyb_form_u8 ? 0 : INT8_MIN);
}

// sums[row][vector] of `rows` rows; the last of the `count` there are stands for those behind it. excess: of
// the rows, where weights are unsigned. ahead: where `far`, what is fetched meanwhile, two bytes for one of a
// panel.
NYB_INLINE void tile(const nyb_gemm_args *args, const nyb_strip16 *strip, const uint8_t *const *a,
                     const int32_t *excess, const uint8_t *ahead, uint32_t count, __m512i *sums,
                     const int rows, const uint32_t bits, const unsigned_side side, const bool far) {
    enum { vectors = 2 };
    const int planes = (int)(8 / bits);
    const size_t stretch = stretch_bytes(args, bits);
    // The highest bit of each activation or weight.
    const __m512i flip =
        _mm512_set1_epi8(side == BROADCASTS || bits == 8 ? INT8_MIN : (bits == 4 ? ~0x77 : ~0x55));
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
            if (far) {
                _mm_prefetch((const char *)(ahead + 2 * w), _MM_HINT_T0);
            }
            __m512i x[NYB_STRIP_VECTORS];
            NYB_EACH (v, vectors) {
                x[v] = nyb_load_panels(strip->panel[2 * v] + w, strip->panel[2 * v + 1] + w);
                x[v] = side == WEIGHTS ? _mm512_xor_si512(x[v], flip) : x[v];
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
                    const __m512i u = side == BROADCASTS ? _mm512_xor_si512(r, flip) : r;
                    NYB_EACH (v, vectors) {
                        c[i][v] = side == WEIGHTS ? _mm512_dpbusd_epi32(c[i][v], y[v], r)
                                                  : _mm512_dpbusd_epi32(c[i][v], u, y[v]);
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
            const __m512i sum =
                side == WEIGHTS ? _mm512_sub_epi32(c[i][v], _mm512_set1_epi32(excess[i])) : c[i][v];
            sums[i * vectors + v] =
                bits == 8 ? sum : _mm512_add_epi32(strip->start[v], _mm512_srav_epi32(sum, strip->down));
        }
    }
}

// Eight k of the eight columns of a panel, at w + 32 * `part` bytes for 8 bits, else plane 2 * `part` and the
// next of one step: lane 2 * j has the first four of column j, lane 2 * j + 1 the others. last: the others
// are not there.
NYB_INLINE __m512i narrow_weights(const uint8_t *w, const uint32_t bits, const int part, const bool last) {
    if (bits == 8) {
        const __m512i order = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
        const __m512i x = last ? _mm512_zextsi256_si512(nyb_load256(w)) : _mm512_loadu_si512(w);
        return _mm512_permutexvar_epi32(order, x);
    }
    const int first = 8 - (int)bits * (2 * part + 1), second = first - (int)bits; // up to the top of the byte
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const __m512i up = _mm512_set1_epi64(((int64_t)second << 32) | first);
    const __m512i x = _mm512_permutexvar_epi32(twice, _mm512_castsi256_si512(nyb_load256(w)));
    return _mm512_and_si512(_mm512_sllv_epi32(x, up), _mm512_set1_epi8((char)(256 - (1 << (8 - bits)))));
}

// The same of up to three panels of columns, of which a register holds one: twice as many k in a product, so
// that half as many activations are broadcast, which would take longer than the products.
NYB_INLINE void narrow_tile(const nyb_gemm_args *args, const nyb_strip16 *strip, const uint8_t *const *a,
                            uint32_t count, __m512i *sums, const int rows, const int panels,
                            const uint32_t bits) {
    const __m512i flip = flip_of(args);
    const size_t stretch = stretch_bytes(args, bits);
    const int parts = bits == 2 ? 2 : 1; // of eight k, in a step
    const size_t step = bits == 8 ? 64 : 32;
    const uint8_t *w = strip->panel[0];
    const size_t next = (size_t)(strip->panel[1] - w);
    __m512i c[TILE_ROWS][3];
    NYB_EACH (i, rows) {
        NYB_EACH (p, panels) {
            c[i][p] = _mm512_setzero_si512();
        }
    }
    for (uint32_t s = 0; s < args->segments; s++) {
        const uint8_t *row[TILE_ROWS];
        NYB_EACH (i, rows) {
            row[i] = a[(uint32_t)i < count ? (uint32_t)i : count - 1] + s * args->pitch;
        }
        size_t at = 0;
        for (; at + 8 <= stretch; w += step) {
            NYB_EACH (part, parts) {
                __m512i x[3];
                NYB_EACH (p, panels) {
                    x[p] = narrow_weights(w + (size_t)p * next, bits, part, false);
                }
                NYB_EACH (i, rows) {
                    int64_t eight;
                    memcpy(&eight, row[i] + at, sizeof eight);
                    const __m512i r = _mm512_xor_si512(_mm512_set1_epi64(eight), flip);
                    NYB_EACH (p, panels) {
                        c[i][p] = _mm512_dpbusd_epi32(c[i][p], r, x[p]);
                        if (rows * panels > 12) {
                            NYB_IN_ORDER(c[i][p]);
                        }
                    }
                }
                at += 8;
            }
        }
        if (at < stretch) { // of 8 bits
            __m512i x[3];
            NYB_EACH (p, panels) {
                x[p] = narrow_weights(w + (size_t)p * next, 8, 0, true);
            }
            w += 32;
            NYB_EACH (i, rows) {
                const __m512i r = _mm512_xor_si512(_mm512_set1_epi32(load32(row[i] + at)), flip);
                NYB_EACH (p, panels) {
                    c[i][p] = _mm512_dpbusd_epi32(c[i][p], r, x[p]);
                    if (rows * panels > 12) {
                        NYB_IN_ORDER(c[i][p]);
                    }
                }
            }
        }
    }
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const int vectors = panels == 3 ? 2 : 1;
    NYB_EACH (i, rows) {
        NYB_EACH (v, vectors) {
            const __m512i low = c[i][2 * v], high = c[i][2 * v + 1 < panels ? 2 * v + 1 : 2 * v];
            __m512i sum = _mm512_add_epi32(_mm512_permutex2var_epi32(low, even, high),
                                           _mm512_permutex2var_epi32(low, odd, high));
            if (bits < 8) {
                sum = _mm512_srav_epi32(sum, strip->down);
            }
            sums[i * vectors + v] = _mm512_add_epi32(strip->start[v], sum);
        }
    }
}

// Rows from `first` to `end` of the strip of columns from n on: tiles until the sums are full, then their
// epilogue. excess: of row `first` on. narrow: 0, or the panels of a narrow strip.
NYB_INLINE void run_strip(const nyb_gemm_args *args, uint32_t first, uint32_t end, uint32_t n,
                          const int32_t *excess, const int narrow, const uint32_t bits,
                          const unsigned_side side) {
    const int vectors = narrow == 1 || narrow == 2 ? 1 : 2;
    const uint32_t most = narrow < 2 ? TILE_ROWS : (narrow == 2 ? 8 : 6); // sums that stay in registers
    const nyb_strip16 strip = nyb_strip16_load(args, n, (uint32_t)vectors, bits, side != WEIGHTS, 8 - bits);
    // The next strip's panels are fetched beside the first two tiles, half of them each.
    const size_t panel = (size_t)nyb_panel_bytes(args->depth, bits, 8, 4);
    const uint8_t *ahead = strip.panel[0] + 4 * panel;
    const uint8_t *const end_ahead = args->columns / 8 * panel < FAR ? ahead : ahead + 4 * panel;
    __m512i sums[SUMS];
    uint32_t done;
    for (uint32_t m = first; m < end; m += done) {
        const uint8_t *const *a = args->a + m;
        const uint32_t rows = end - m;
        for (done = 0; done < rows && (done + most) * (uint32_t)vectors <= SUMS;) {
            // As many rows as there can be, but the last two tiles share what is left.
            const uint32_t left = rows - done;
            uint32_t height = left >= 2 * most ? most : (left > most ? (left + 1) / 2 : left);
            height += height % 2;
            const uint32_t count = height < left ? height : left;
            __m512i *to = sums + done * (uint32_t)vectors;
#define TILE(rows)                                                                                           \
    case rows:                                                                                               \
        if (narrow) {                                                                                        \
            narrow_tile(args, &strip, a + done, count, to, rows, narrow, bits);                              \
        } else {                                                                                             \
            tile(args, &strip, a + done, its, NULL, count, to, rows, bits, side, false);                     \
        }                                                                                                    \
        break;
            const int32_t *its = excess + (m - first) + done;
            if (vectors == 2 && side != BROADCASTS && height == TILE_ROWS && ahead != end_ahead) {
                tile(args, &strip, a + done, its, ahead, count, to, TILE_ROWS, bits, side, true);
                ahead += 2 * panel;
                done += count;
                continue;
            }
            switch (height) {
                TILE(12)
                TILE(10)
                TILE(8)
                TILE(6)
                TILE(4)
                TILE(2)
            }
#undef TILE
            done += count;
        }
        nyb_strip16_epilogue(args, &strip, sums, m, done, args->c + m * args->c_stride + n, vectors);
    }
}

// Four activations of each of two steps for eight columns each, unsigned.
NYB_INLINE __m512i row_pair(const uint8_t *first, const uint8_t *second, const __m512i flip) {
    const __m512i low = _mm512_set1_epi32(load32(first));
    return _mm512_xor_si512(_mm512_mask_set1_epi32(low, 0xFF00, load32(second)), flip); // second: upper half
}

// Sums of both halves of each of eight panels.
NYB_INLINE void row_totals(const __m512i *c, __m512i *sums, const uint32_t bits) {
    NYB_EACH (v, ROW_VECTORS) {
        const __m512i sum = _mm512_add_epi32(_mm512_shuffle_i64x2(c[2 * v], c[2 * v + 1], 0x44),
                                             _mm512_shuffle_i64x2(c[2 * v], c[2 * v + 1], 0xEE));
        sums[v] = bits == 8 ? sum : _mm512_srai_epi32(sum, 8 - bits);
    }
}

// Such pairs of `steps` steps of a row, each plane of them; the last step twice if it is alone.
NYB_INLINE void row_pairs(const nyb_gemm_args *args, const uint8_t *row, uint32_t steps, __m512i *pairs,
                          const uint32_t bits) {
    const int planes = (int)(8 / bits);
    const __m512i flip = flip_of(args);
    for (uint32_t step = 0; step < steps; step += 2, row += 8 * planes) {
        const uint8_t *const second = step + 1 < steps ? row + 4 * planes : row;
        NYB_EACH (p, planes) {
            *pairs++ = row_pair(row + 4 * p, second + 4 * p, flip);
        }
    }
}

// The sums of those pairs and a panel, whose two steps a register holds as they lie in memory.
NYB_INLINE __m512i panel_sums(const uint8_t *w, const __m512i *pairs, uint32_t steps, const uint32_t bits) {
    const int planes = (int)(8 / bits);
    const int loads = bits == 2 ? 2 : 4;
    __m512i c[4]; // that do not wait for each other
    NYB_EACH (i, 4) {
        c[i] = _mm512_setzero_si512();
    }
    for (; steps >= 2 * (uint32_t)loads;
         steps -= 2 * (uint32_t)loads, w += 64 * loads, pairs += loads * planes) {
        NYB_EACH (i, loads) {
            const __m512i x = _mm512_loadu_si512(w + 64 * i);
            NYB_EACH (p, planes) {
                const int at = i * planes + p;
                c[at % 4] = _mm512_dpbusd_epi32(c[at % 4], pairs[at], bits == 8 ? x : plane(x, bits, p));
                NYB_IN_ORDER(c[at % 4]); // or prefetchers do not see a stream
            }
        }
    }
    for (; steps > 0; steps -= steps > 1 ? 2 : 1, w += 64) {
        const __m512i x = steps > 1 ? _mm512_loadu_si512(w) : _mm512_zextsi256_si512(nyb_load256(w));
        NYB_EACH (p, planes) {
            c[p] = _mm512_dpbusd_epi32(c[p], *pairs++, bits == 8 ? x : plane(x, bits, p));
        }
    }
    return _mm512_add_epi32(_mm512_add_epi32(c[0], c[1]), _mm512_add_epi32(c[2], c[3]));
}

// Whether the pairs of all of a row find room.
NYB_INLINE bool row_kept(const nyb_gemm_args *args, const uint32_t bits) {
    return args->segments == 1 && nyb_packed_steps(args->segment, bits, 4) <= ROW_PAIRS * bits / 4;
}

// The sums of one row and 64 columns, of which at least 49 exist: panel by panel, so that the weights are one
// stream, in a loop, so that few loads make it up. pairs: of all of the row, if they are kept.
NYB_INLINE void row_sums(const nyb_gemm_args *args, uint32_t n, __m512i *pairs, __m512i *sums,
                         const uint32_t bits) {
    const uint32_t steps = nyb_packed_steps(args->segment, bits, 4);
    const size_t panel = (size_t)nyb_panel_bytes(args->depth, bits, 8, 4);
    const uint32_t panels = (args->columns - n + 7) / 8;
    const uint8_t *first = args->weights + n / 8 * panel;
    __m512i c[2 * ROW_VECTORS];
    NYB_EACH (b, 2 * ROW_VECTORS) {
        c[b] = _mm512_setzero_si512();
    }
    for (uint32_t s = 0; s < args->segments; s++) {
        const uint8_t *row = args->a[0] + s * args->pitch;
        for (uint32_t step = 0, count; step < steps; step += count) {
            count = steps - step < ROW_PAIRS * bits / 4 ? steps - step : ROW_PAIRS * bits / 4;
            if (!row_kept(args, bits)) {
                row_pairs(args, row + step * (size_t)(32 / bits), count, pairs, bits);
            }
            const uint8_t *w = first;
            for (uint32_t b = 0; b < 2 * ROW_VECTORS; b++) {
                c[b] = _mm512_add_epi32(c[b], panel_sums(w, pairs, count, bits));
                w += b + 1 < panels ? panel : 0;
            }
            first += 32 * (size_t)count;
        }
    }
    row_totals(c, sums, bits);
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
NYB_INLINE void run_row(const nyb_gemm_args *args, uint32_t n, __m512i *pairs, const uint32_t bits) {
    __m512i sums[ROW_VECTORS], shift[ROW_VECTORS];
    __mmask16 mask[ROW_VECTORS], wide = 0;
    row_sums(args, n, pairs, sums, bits);
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

// A function for each kind of strip: among the constants of others compilers spill the sums.
typedef void strip_fn(const nyb_gemm_args *args, uint32_t first, uint32_t end, uint32_t n,
                      const int32_t *excess);
#define STRIP(name, narrow, bits, side)                                                                      \
    static __attribute__((noinline)) void name(const nyb_gemm_args *args, uint32_t first, uint32_t end,      \
                                               uint32_t n, const int32_t *excess) {                          \
        run_strip(args, first, end, n, excess, narrow, bits, side);                                          \
    }
#define STRIPS(bits)                                                                                         \
    STRIP(weights32_w##bits, 0, bits, WEIGHTS)                                                               \
    STRIP(broadcasts32_w##bits, 0, bits, BROADCASTS)                                                         \
    STRIP(rows32_w##bits, 0, bits, ROWS)                                                                     \
    STRIP(narrow24_w##bits, 3, bits, BROADCASTS)                                                             \
    STRIP(narrow16_w##bits, 2, bits, BROADCASTS)                                                             \
    STRIP(narrow8_w##bits, 1, bits, BROADCASTS)                                                              \
    static strip_fn *const wide_w##bits[] = {weights32_w##bits, broadcasts32_w##bits, rows32_w##bits};       \
    static strip_fn *const narrow_w##bits[] = {narrow8_w##bits, narrow16_w##bits, narrow24_w##bits};
STRIPS(8)
STRIPS(4)
STRIPS(2)

// All rows, columns from n on. wide, narrow: the functions of strips.
static void run_strips(const nyb_gemm_args *args, uint32_t n, strip_fn *const *wide, strip_fn *const *narrow,
                       size_t stretch, unsigned_side side) {
    int32_t excess[BLOCK_ROWS];
    for (uint32_t m = 0, end; m < args->rows; m = end) {
        end = args->rows - m < BLOCK_ROWS ? args->rows : m + BLOCK_ROWS;
        if (side == WEIGHTS && args->segments == 1 && stretch <= 64) {
            excess_of(args, args->a + m, end - m, excess, stretch, true);
        } else if (side == WEIGHTS) {
            excess_of(args, args->a + m, end - m, excess, stretch, false);
        }
        for (uint32_t at = n, left; at < args->columns; at += left < 32 ? left : 32) {
            left = args->columns - at;
            const bool one_panel = left <= 16 || (left <= NARROW && args->depth >= NARROW_DEPTH);
            (one_panel ? narrow[(left - 1) / 8] : wide[side])(args, m, end, at, excess);
        }
    }
}

NYB_INLINE void run(const nyb_gemm_args *args, const uint32_t bits) {
    uint32_t n = 0;
    if (args->rows == 1 && args->columns > 3 * NYB_LANES16) {
        __m512i pairs[ROW_PAIRS];
        if (row_kept(args, bits)) {
            row_pairs(args, args->a[0], nyb_packed_steps(args->segment, bits, 4), pairs, bits);
        }
        for (; args->columns - n > 3 * NYB_LANES16; n += args->columns - n < 64 ? args->columns - n : 64) {
            run_row(args, n, pairs, bits);
        }
    }
    const uint64_t count = (args->columns - n + 31) / 32;
    const bool shallow = args->rows <= 2 || args->columns - n <= NARROW || count * args->depth < SHALLOW;
    const unsigned_side side = args->form == &nyb_form_u8 ? ROWS : (shallow ? BROADCASTS : WEIGHTS);
    run_strips(args, n, bits == 8 ? wide_w8 : (bits == 4 ? wide_w4 : wide_w2),
               bits == 8 ? narrow_w8 : (bits == 4 ? narrow_w4 : narrow_w2), stretch_bytes(args, bits), side);
}

void nyb_gemm_w8_avx512vnni(const nyb_gemm_args *args) { run(args, 8); }

void nyb_gemm_w4_avx512vnni(const nyb_gemm_args *args) {
    if (args->depth > DEPTH_MAX) {
        (args->form == &nyb_form_u8 ? nyb_gemm_w4_avx2 : nyb_gemm_w4_scalar)(args);
    } else {
        run(args, 4);
    }
}

void nyb_gemm_w2_avx512vnni(const nyb_gemm_args *args) {
    if (args->depth > DEPTH_MAX) {
        (args->form == &nyb_form_u8 ? nyb_gemm_w2_avx2 : nyb_gemm_w2_scalar)(args);
    } else {
        run(args, 2);
    }
}
