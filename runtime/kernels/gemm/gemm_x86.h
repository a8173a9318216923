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

// Writes sums[row][panel] of a tile; the last of the `count` rows there are stands for those behind it.
typedef void (*nyb_tile_fn)(const nyb_gemm_args *args, const nyb_strip *strip, const uint8_t *const *a,
                            uint32_t count, __m256i *sums);

// How one variant works.
typedef struct nyb_x86_gemm {
    uint32_t bits;
    bool shifted;  // activations are 128 larger: 128 * weight_sum goes off the bias
    uint32_t rows; // of the largest tile, even
    uint32_t panels;
    nyb_tile_fn tile[NYB_TILE_PANELS][NYB_TILE_ROWS / 2]; // of 1 and 2 panels; 2, 4, .. rows
    nyb_tile_fn row[3];                                   // of 1, 2 and 4 panels; 1 row
} nyb_x86_gemm;

// A tile of constant size as a function of its own: within a larger one gcc spills the sums.
#define NYB_TILE(name, rows, panels)                                                                         \
    static __attribute__((noinline)) void name##_##rows##x##panels(                                          \
        const nyb_gemm_args *args, const nyb_strip *strip, const uint8_t *const *a, uint32_t count,          \
        __m256i *sums) {                                                                                     \
        name(args, strip, a, count, sums, rows, panels);                                                     \
    }

NYB_INLINE int32_t nyb_load32(const uint8_t *p) {
    int32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

// Row i of a tile, in stretch s.
NYB_INLINE const uint8_t *nyb_tile_row(const nyb_gemm_args *args, const uint8_t *const *a, uint32_t count,
                                       int i, uint32_t s) {
    return a[(uint32_t)i < count ? (uint32_t)i : count - 1] + s * args->pitch;
}

// Four rows of sums, `stride` registers from row to row -> four rows of `columns` results.
NYB_INLINE void nyb_x86_finish4(const nyb_scale8 *scale, const nyb_narrow *narrow, const __m256i *sums,
                                size_t stride, int8_t *c, size_t c_stride, uint32_t columns,
                                const nyb_scaling scaling) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i x[4];
    NYB_EACH (j, 4) {
        x[j] = nyb_scale8_apply(scale, sums[(size_t)j * stride], scaling, &narrow->output);
    }
    const __m256i results = _mm256_permutevar8x32_epi32(nyb_narrow32(narrow, x), order);
    const __m128i low = _mm256_castsi256_si128(results);
    const __m128i high = _mm256_extracti128_si256(results, 1);
    nyb_epilogue_store(c, low, columns);
    nyb_epilogue_store(c + c_stride, _mm_unpackhi_epi64(low, low), columns);
    nyb_epilogue_store(c + 2 * c_stride, high, columns);
    nyb_epilogue_store(c + 3 * c_stride, _mm_unpackhi_epi64(high, high), columns);
}

// The epilogue of one panel over `count` rows. Constants are copied: results may lie anywhere.
NYB_INLINE void nyb_x86_finish(const nyb_gemm_args *args, const nyb_strip *strip, uint32_t panel,
                               const __m256i *sums, size_t stride, uint32_t count, int8_t *c,
                               const nyb_scaling scaling) {
    const nyb_scale8 scale = strip->scale[panel];
    const nyb_narrow narrow = strip->narrow;
    const size_t c_stride = args->c_stride;
    const uint32_t left = strip->columns - NYB_LANES * panel;
    if (left >= NYB_LANES) {
        for (; count >= 4; count -= 4, sums += 4 * stride, c += 4 * c_stride) {
            nyb_x86_finish4(&scale, &narrow, sums, stride, c, c_stride, NYB_LANES, scaling);
        }
    }
    const uint32_t columns = left < NYB_LANES ? left : NYB_LANES;
    for (; count > 0; count--, sums += stride, c += c_stride) {
        nyb_x86_finish4(&scale, &narrow, sums, 0, c, 0, columns, scaling);
    }
}

static void nyb_x86_epilogue(const nyb_gemm_args *args, const nyb_strip *strip, __m256i *sums,
                             uint32_t panels, uint32_t row, uint32_t count, int8_t *c) {
    for (uint32_t i = 0; args->row_bias != NULL && i < count; i++) {
        for (uint32_t p = 0; p < panels; p++) {
            __m256i *sum = &sums[i * panels + p];
            *sum = _mm256_add_epi32(*sum, _mm256_set1_epi32(args->row_bias[row + i]));
        }
    }
    for (uint32_t p = 0; p < panels; p++, c += NYB_LANES) {
        switch (strip->scaling[p]) {
        case NYB_SCALING_PLAIN:
            nyb_x86_finish(args, strip, p, sums + p, panels, count, c, NYB_SCALING_PLAIN);
            break;
        case NYB_SCALING_SIGNED:
            nyb_x86_finish(args, strip, p, sums + p, panels, count, c, NYB_SCALING_SIGNED);
            break;
        default:
            nyb_x86_finish(args, strip, p, sums + p, panels, count, c, NYB_SCALING_WIDE);
        }
    }
}

// Rows of the next tile: as many as there can be, but the last two share what is left. Even, so that there
// may be a row less.
NYB_INLINE uint32_t nyb_tile_height(uint32_t left, uint32_t rows) {
    const uint32_t height = left >= 2 * rows ? rows : (left > rows ? (left + 1) / 2 : left);
    return height + height % 2;
}

static nyb_strip nyb_x86_strip(const nyb_gemm_args *args, const nyb_x86_gemm *g, uint32_t n,
                               uint32_t panels) {
    const uint32_t left = args->columns - n;
    nyb_strip s;
    s.panel_bytes = (size_t)nyb_panel_bytes(args->depth, g->bits, NYB_LANES, 4);
    s.weights = args->weights + n / NYB_LANES * s.panel_bytes;
    const uint32_t groups = args->scale_group ? (args->depth + args->scale_group - 1) / args->scale_group : 0;
    s.panel_factors = (size_t)groups * NYB_LANES;
    s.factors = groups ? args->factors + n / NYB_LANES * s.panel_factors : NULL;
    s.columns = left < NYB_LANES * panels ? left : NYB_LANES * panels;
    s.narrow = nyb_narrow_of(&args->output);
    for (uint32_t p = 0; p < panels; p++, n += NYB_LANES) {
        s.start[p] = nyb_load256(args->bias + n);
        if (g->shifted) {
            s.start[p] =
                _mm256_sub_epi32(s.start[p], _mm256_slli_epi32(nyb_load256(args->weight_sum + n), 7));
        }
        s.scale[p] =
            nyb_scale8_of(nyb_load256(args->multiplier + n), nyb_load256(args->shift + n), &args->output);
        s.scaling[p] = nyb_scaling_of(&s.scale[p], &args->output);
    }
    return s;
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
        const nyb_strip strip = nyb_x86_strip(args, g, n, panels);
        g->row[doublings](args, &strip, args->a, 1, sums);
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
        const nyb_strip strip = nyb_x86_strip(args, g, n, panels);
        for (uint32_t m = 0; m < args->rows; m += done) {
            const uint8_t *const *a = args->a + m;
            const uint32_t rows = args->rows - m;
            for (done = 0; done < rows && done + g->rows <= NYB_SUM_ROWS;) {
                const uint32_t left = rows - done;
                const uint32_t height = nyb_tile_height(left, g->rows);
                const uint32_t count = height < left ? height : left;
                g->tile[panels - 1][height / 2 - 1](args, &strip, a + done, count, sums + done * panels);
                done += count;
            }
            nyb_x86_epilogue(args, &strip, sums, panels, m, done, args->c + m * args->c_stride + n);
        }
    }
}

#endif
