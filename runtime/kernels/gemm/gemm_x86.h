// SPDX-License-Identifier: Apache-2.0
// The loops that the gemms of 256-bit registers share: strips of one or two panels outside, so that their
// weights stay in the first-level cache while the rows pass in tiles. The sums of some tiles go through
// memory to the epilogue, which is one function for all.
#ifndef NYB_KERNELS_GEMM_X86_H
#define NYB_KERNELS_GEMM_X86_H

#include "base/packed.h"
#include "kernels/epilogue_avx2.h"
#include "kernels/gemm/gemm.h"
#include "kernels/unroll.h"

enum { NYB_LANES = 8, NYB_TILE_ROWS = 8, NYB_TILE_PANELS = 2, NYB_ROW_PANELS = 4, NYB_SUM_ROWS = 48 };

// What all rows of neighbouring columns share.
typedef struct nyb_strip {
    const uint8_t *weights;
    size_t panel_bytes;
    const int8_t *factors; // of scale groups; NULL: none
    size_t panel_factors;
    uint32_t columns;
    __m256i start[NYB_ROW_PANELS]; // of the sums
    nyb_scale8 scale[NYB_ROW_PANELS];
    nyb_scaling scaling[NYB_ROW_PANELS];
    nyb_narrow narrow;
} nyb_strip;

// Writes sums[row][panel] of tiles, one below the other, or of one panel sums[row][2] whose neighbouring
// lanes are to be added.
typedef void (*nyb_tile_fn)(const nyb_gemm_args *args, const nyb_strip *strip, const uint8_t *const *a,
                            __m256i *sums, uint32_t tiles);

// How one variant works.
typedef struct nyb_x86_gemm {
    uint32_t bits;
    bool shifted; // activations are 128 larger: 128 * weight_sum goes off the bias
    bool pairs;   // tiles of several rows leave neighbouring lanes to be added
    uint32_t panels;
    uint32_t rows[NYB_TILE_PANELS];                       // of the largest tile of 1 and of 2 panels, even
    nyb_tile_fn tile[NYB_TILE_PANELS][NYB_TILE_ROWS / 2]; // of 1 and 2 panels; 2, 4, .. rows
    nyb_tile_fn row[3];                                   // of 1, 2 and 4 panels; 1 row
} nyb_x86_gemm;

// Tiles of constant size as a function of their own: within a larger one gcc spills the sums.
// registers: of a row's sums.
#define NYB_TILES(name, rows, panels, registers)                                                             \
    static __attribute__((noinline)) void name##_##rows##x##panels(                                          \
        const nyb_gemm_args *args, const nyb_strip *strip, const uint8_t *const *a, __m256i *sums,           \
        uint32_t tiles) {                                                                                    \
        for (; tiles > 0; tiles--, a += rows, sums += rows * registers) {                                    \
            name(args, strip, a, sums, rows, panels);                                                        \
        }                                                                                                    \
    }
#define NYB_TILE(name, rows, panels) NYB_TILES(name, rows, panels, panels)

// tile_w8 of a function `tile` for any number of bits, and so on.
#define NYB_TILE_OF_BITS(tile, width)                                                                        \
    NYB_INLINE void tile##_w##width(const nyb_gemm_args *args, const nyb_strip *strip,                       \
                                    const uint8_t *const *a, __m256i *sums, int rows, int panels) {          \
        tile(args, strip, a, sums, rows, panels, width);                                                     \
    }

// One row of 1, 2 and 4 panels, and up to 6 or 8 rows of a number of panels: functions, and their table.
#define NYB_ROW_TILES(name) NYB_TILE(name, 1, 1) NYB_TILE(name, 1, 2) NYB_TILE(name, 1, 4)
#define NYB_TILES_6(name, panels)                                                                            \
    NYB_TILE(name, 2, panels) NYB_TILE(name, 4, panels) NYB_TILE(name, 6, panels)
#define NYB_TILES_8(name, panels) NYB_TILES_6(name, panels) NYB_TILE(name, 8, panels)
#define NYB_ROW_TABLE(name) {name##_1x1, name##_1x2, name##_1x4}
#define NYB_TABLE_6(name, panels) {name##_2x##panels, name##_4x##panels, name##_6x##panels}
#define NYB_TABLE_8(name, panels) {name##_2x##panels, name##_4x##panels, name##_6x##panels, name##_8x##panels}

// What needs no more of 16 registers than 8 rows of one panel: int16 sums, whose int32 sums wait in memory.
#define NYB_X86_GEMM_8X1(name, width, shift)                                                                 \
    {.bits = width,                                                                                          \
     .shifted = shift,                                                                                       \
     .panels = 1,                                                                                            \
     .rows = {8},                                                                                            \
     .tile = {NYB_TABLE_8(name, 1)},                                                                         \
     .row = NYB_ROW_TABLE(name)}

NYB_INLINE int32_t nyb_load32(const uint8_t *p) {
    int32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

NYB_INLINE int64_t nyb_load64(const uint8_t *p) {
    int64_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

// 16 bytes as int16.
NYB_INLINE __m256i nyb_widen(const uint8_t *p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
}

// Up to four rows of sums, `stride` registers from row to row -> as many rows of `columns` results. The last
// of the `count` rows is computed again in place of those that are not there.
NYB_INLINE void nyb_x86_finish4(const nyb_scale8 *scale, const nyb_narrow *narrow, const __m256i *sums,
                                size_t stride, int8_t *c, size_t c_stride, uint32_t columns, uint32_t count,
                                const nyb_scaling scaling, const bool pairs) {
    __m256i x[4];
    int8_t *to[4];
    NYB_EACH (j, 4) {
        const size_t row = (uint32_t)j < count ? (uint32_t)j : count - 1;
        const __m256i *sum = sums + row * stride;
        to[j] = c + row * c_stride;
        x[j] = pairs ? nyb_scale_pairs_apply(scale, sum[0], sum[1], scaling, &narrow->output)
                     : nyb_scale8_apply(scale, sum[0], scaling, &narrow->output);
    }
    const __m256i results = nyb_narrow32(narrow, x);
    const __m128i left = _mm256_castsi256_si128(results), right = _mm256_extracti128_si256(results, 1);
    const __m128i low = pairs ? _mm_unpacklo_epi16(left, right) : _mm_unpacklo_epi32(left, right);
    const __m128i high = pairs ? _mm_unpackhi_epi16(left, right) : _mm_unpackhi_epi32(left, right);
    nyb_epilogue_store(to[0], low, columns);
    nyb_epilogue_store(to[1], _mm_unpackhi_epi64(low, low), columns);
    nyb_epilogue_store(to[2], high, columns);
    nyb_epilogue_store(to[3], _mm_unpackhi_epi64(high, high), columns);
}

// The epilogue of one panel over `count` rows. Constants are copied: results may lie anywhere.
NYB_INLINE void nyb_x86_finish(const nyb_gemm_args *args, const nyb_strip *strip, uint32_t panel,
                               const __m256i *sums, size_t stride, uint32_t count, int8_t *c,
                               const nyb_scaling scaling, const bool pairs) {
    const nyb_scale8 scale = strip->scale[panel];
    const nyb_narrow narrow = strip->narrow;
    const size_t c_stride = args->c_stride;
    const uint32_t left = strip->columns - NYB_LANES * panel;
    if (left >= NYB_LANES) {
        for (; count >= 4; count -= 4, sums += 4 * stride, c += 4 * c_stride) {
            nyb_x86_finish4(&scale, &narrow, sums, stride, c, c_stride, NYB_LANES, 4, scaling, pairs);
        }
    }
    const uint32_t columns = left < NYB_LANES ? left : NYB_LANES;
    for (uint32_t part; count > 0; count -= part, sums += 4 * stride, c += 4 * c_stride) {
        part = count < 4 ? count : 4;
        nyb_x86_finish4(&scale, &narrow, sums, stride, c, c_stride, columns, part, scaling, pairs);
    }
}

NYB_INLINE void nyb_x86_finish_any(const nyb_gemm_args *args, const nyb_strip *strip, uint32_t panel,
                                   const __m256i *sums, size_t stride, uint32_t count, int8_t *c,
                                   const bool pairs) {
    switch (strip->scaling[panel]) {
    case NYB_SCALING_PLAIN:
        nyb_x86_finish(args, strip, panel, sums, stride, count, c, NYB_SCALING_PLAIN, pairs);
        break;
    case NYB_SCALING_SIGNED:
        nyb_x86_finish(args, strip, panel, sums, stride, count, c, NYB_SCALING_SIGNED, pairs);
        break;
    default:
        nyb_x86_finish(args, strip, panel, sums, stride, count, c, NYB_SCALING_WIDE, pairs);
    }
}

// registers: of a row's sums.
static void nyb_x86_epilogue(const nyb_gemm_args *args, const nyb_strip *strip, __m256i *sums,
                             uint32_t registers, bool pairs, uint32_t row, uint32_t count, int8_t *c) {
    for (uint32_t i = 0; args->row_bias != NULL && i < count; i++) {
        const __m256i bias = _mm256_set1_epi32(args->row_bias[row + i]);
        for (uint32_t r = 0; r < registers; r++) {
            __m256i *sum = &sums[i * registers + r];
            *sum = _mm256_add_epi32(*sum, pairs ? nyb_even_lanes(bias) : bias);
        }
    }
    if (pairs) {
        nyb_x86_finish_any(args, strip, 0, sums, registers, count, c, true);
        return;
    }
    for (uint32_t p = 0; p < registers; p++, c += NYB_LANES) {
        nyb_x86_finish_any(args, strip, p, sums + p, registers, count, c, false);
    }
}

// Rows of the next tile: as many as there can be, but the last two share what is left. Even, so that there
// may be a row less; the last one then stands for it.
NYB_INLINE uint32_t nyb_tile_height(uint32_t left, uint32_t rows) {
    const uint32_t height = left >= 2 * rows ? rows : (left > rows ? (left + 1) / 2 : left);
    return height + height % 2;
}

// The largest tiles that come next, as many as the sums have room for behind `done` rows; one at least.
NYB_INLINE uint32_t nyb_tile_count(uint32_t left, uint32_t rows, uint32_t done) {
    uint32_t count = 1;
    for (left -= rows; (left == rows || left >= 2 * rows) && done + (count + 1) * rows <= NYB_SUM_ROWS;
         left -= rows) {
        count++;
    }
    return count;
}

// The strip of `panels` from column n on.
static void nyb_x86_strip(const nyb_gemm_args *args, const nyb_x86_gemm *g, uint32_t n, uint32_t panels,
                          bool pairs, nyb_strip *s) {
    const uint32_t left = args->columns - n;
    s->panel_bytes = (size_t)nyb_panel_bytes(args->depth, g->bits, NYB_LANES, 4);
    s->weights = args->weights + n / NYB_LANES * s->panel_bytes;
    const uint32_t groups = args->scale_group ? (args->depth + args->scale_group - 1) / args->scale_group : 0;
    s->panel_factors = (size_t)groups * NYB_LANES;
    s->factors = groups ? args->factors + n / NYB_LANES * s->panel_factors : NULL;
    s->columns = left < NYB_LANES * panels ? left : NYB_LANES * panels;
    s->narrow = nyb_narrow_of(&args->output);
    for (uint32_t p = 0; p < panels; p++, n += NYB_LANES) {
        s->start[p] = nyb_load256(args->bias + n);
        if (g->shifted) {
            s->start[p] =
                _mm256_sub_epi32(s->start[p], _mm256_slli_epi32(nyb_load256(args->weight_sum + n), 7));
        }
        const __m256i multiplier = nyb_load256(args->multiplier + n), shift = nyb_load256(args->shift + n);
        s->scale[p] = pairs ? nyb_scale_pairs_of(multiplier, shift, &args->output)
                            : nyb_scale8_of(multiplier, shift, &args->output);
        s->scaling[p] = nyb_scaling_of(&s->scale[p], &args->output);
    }
    if (pairs) {
        s->start[1] = _mm256_cvtepu32_epi64(_mm256_extracti128_si256(s->start[0], 1));
        s->start[0] = _mm256_cvtepu32_epi64(_mm256_castsi256_si128(s->start[0]));
    }
}

// The epilogue of one row, all panels at once.
NYB_INLINE void nyb_x86_finish_row(const nyb_gemm_args *args, const nyb_strip *strip, const __m256i *sums,
                                   uint32_t panels, int8_t *c, const nyb_scaling scaling) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i bias = _mm256_set1_epi32(args->row_bias != NULL ? args->row_bias[0] : 0);
    __m256i x[NYB_ROW_PANELS];
    for (uint32_t i = 0; i < NYB_ROW_PANELS; i++) {
        const uint32_t p = i < panels ? i : 0;
        const __m256i sum = _mm256_add_epi32(sums[p], bias);
        x[i] = nyb_scale8_apply(&strip->scale[p], sum, scaling, &args->output);
    }
    const __m256i results = _mm256_permutevar8x32_epi32(nyb_narrow32(&strip->narrow, x), order);
    if (strip->columns == sizeof results) {
        _mm256_storeu_si256((__m256i *)(void *)c, results);
    } else {
        memcpy(c, &results, strip->columns);
    }
}

// One row: more panels side by side share the loads of its activations and hide the latency of the sums.
static void nyb_x86_run_row(const nyb_gemm_args *args, const nyb_x86_gemm *g) {
    uint32_t panels;
    for (uint32_t n = 0; n < args->columns; n += NYB_LANES * panels) {
        __m256i sums[NYB_ROW_PANELS];
        const uint32_t left = args->columns - n;
        const uint32_t doublings = left > 3 * NYB_LANES ? 2 : (left > NYB_LANES ? 1 : 0);
        panels = 1u << doublings;
        nyb_strip strip;
        nyb_x86_strip(args, g, n, panels, false, &strip);
        g->row[doublings](args, &strip, args->a, sums, 1);
        nyb_scaling scaling = strip.scaling[0];
        for (uint32_t p = 1; p < panels; p++) {
            scaling = strip.scaling[p] > scaling ? strip.scaling[p] : scaling;
        }
        switch (scaling) {
        case NYB_SCALING_PLAIN:
            nyb_x86_finish_row(args, &strip, sums, panels, args->c + n, NYB_SCALING_PLAIN);
            break;
        case NYB_SCALING_SIGNED:
            nyb_x86_finish_row(args, &strip, sums, panels, args->c + n, NYB_SCALING_SIGNED);
            break;
        default:
            nyb_x86_finish_row(args, &strip, sums, panels, args->c + n, NYB_SCALING_WIDE);
        }
    }
}

// All rows of each strip: tiles until the sums are full, then their epilogue.
static void nyb_x86_run(const nyb_gemm_args *args, const nyb_x86_gemm *g) {
    if (args->rows == 1) {
        nyb_x86_run_row(args, g);
        return;
    }
    __m256i sums[NYB_SUM_ROWS * NYB_TILE_PANELS];
    uint32_t panels, done;
    for (uint32_t n = 0; n < args->columns; n += NYB_LANES * panels) {
        panels = args->columns - n > NYB_LANES ? g->panels : 1;
        const uint32_t registers = g->pairs ? 2 : panels, most = g->rows[panels - 1];
        nyb_strip strip;
        nyb_x86_strip(args, g, n, panels, g->pairs, &strip);
        for (uint32_t m = 0; m < args->rows; m += done) {
            const uint8_t *const *a = args->a + m;
            const uint32_t rows = args->rows - m;
            for (done = 0; done < rows && done + most <= NYB_SUM_ROWS;) {
                const uint32_t left = rows - done;
                const uint32_t height = nyb_tile_height(left, most);
                const nyb_tile_fn tile = g->tile[panels - 1][height / 2 - 1];
                if (height <= left) {
                    const uint32_t tiles = height < most ? 1 : nyb_tile_count(left, most, done);
                    tile(args, &strip, a + done, sums + done * registers, tiles);
                    done += tiles * height;
                } else {
                    const uint8_t *some[NYB_TILE_ROWS];
                    NYB_EACH (i, NYB_TILE_ROWS) {
                        some[i] = a[done + ((uint32_t)i < left ? (uint32_t)i : left - 1)];
                    }
                    tile(args, &strip, some, sums + done * registers, 1);
                    done = rows;
                }
            }
            nyb_x86_epilogue(args, &strip, sums, registers, g->pairs, m, done,
                             args->c + m * args->c_stride + n);
        }
    }
}

#endif
