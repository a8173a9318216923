// SPDX-License-Identifier: Apache-2.0
// AMX: a product of tiles, 16 rows of 64 activations with 64 x 16 weights, both int8 as they are in a tensor,
// takes as long as two of vpdpbusd. Tiles are read from rows that lie one stride apart, and weights from rows
// of 16 columns; so each strip of columns is laid out anew for a call, 4 and 2 bits widened, which a few
// dozen rows pay back. What has fewer rows, or rows without order, goes to AVX-512 VNNI.
//
// The sums of some rows go through memory to the epilogue, which takes longer than the products of fewer than
// 256 k. It writes whole lines of the caches where a strip has 64 columns.
#include "kernels/gemm/gemm_avx512.h"

enum {
    TILE_VECTORS = 2, // of columns that are multiplied together
    TILE_ROWS = 16,
    TILE_BYTES = 1024,
    STEP = 64,
    LINE = 64, // of a cache
    STEPS = 32,
    SUM_VECTORS = 256,
    FEW_ROWS = 32,
    BROAD_MAX = 8,   // steps whose weights of 64 columns leave room in the first cache
    NARROW_MAX = 24, // and of 32 columns
    AHEAD_MAX = 8,   // lines that are fetched at once: reads wait behind more
    ROWS_MIN = 12
};

_Static_assert(TILE_VECTORS *NYB_LANES16 == NYB_PREPACKED_COLUMNS,
               "what is multiplied together is a part of its own");

// The weights of one step of k, as tiles take them: [vector][4 k][column][k]
typedef struct weight_tiles {
    _Alignas(64) int8_t tile[TILE_VECTORS][TILE_BYTES];
} weight_tiles;

// The tiles on the rows, which are counted with those of the gaps where that makes fewer tiles: lines are
// joined then. Tiles do not cross from one line to the next otherwise; the last of a line overlaps the one
// before. Steps overlap likewise at the end of a segment, where weights of 0 stand for those that were there
// before.
typedef struct tiling {
    uint32_t line;   // rows that tiles may cross
    uint32_t pitch;  // rows from a line of the call to the next
    uint32_t height; // rows of a tile
    uint32_t across; // tiles of a line
    uint32_t tiles;
    uint32_t step;    // k of a tile
    uint32_t segment; // k of a segment, whole steps of the layout
    uint32_t steps;   // of a segment
    uint32_t all_steps;
} tiling;

typedef struct tile_config {
    _Alignas(64) uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t column_bytes[16];
    uint8_t rows[16];
} tile_config;

static uint32_t divided_up(uint32_t a, uint32_t b) { return a / b + (a % b != 0); }

static void set_steps(const nyb_gemm_args *args, const uint32_t bits, tiling *t) {
    const uint32_t layout = 32 / bits;
    t->segment = divided_up(args->segment, layout) * layout;
    t->step = t->segment < STEP ? t->segment : STEP;
    t->steps = divided_up(t->segment, STEP);
    t->all_steps = args->segments * t->steps;
}

// False where the rows have no such order, or too few are in a line.
static bool tiling_of(const nyb_gemm_args *args, const uint32_t bits, tiling *t) {
    if (args->rows < ROWS_MIN || args->depth == 0 || args->line == 0) {
        return false;
    }
    const uint32_t lines = args->rows / args->line;
    const uint64_t joined = lines * ((uint64_t)args->line + args->gap) - args->gap;
    t->line = t->pitch = args->line;
    if (args->gap > 0 && args->gap <= args->line / 2 && joined <= UINT32_MAX / 2 &&
        divided_up((uint32_t)joined, TILE_ROWS) < lines * divided_up(args->line, TILE_ROWS)) {
        t->line = (uint32_t)joined;
        t->pitch += args->gap;
    }
    t->across = divided_up(t->line, TILE_ROWS);
    t->height = divided_up(t->line, t->across);
    t->tiles = (t->line == args->line ? lines : 1) * t->across;
    set_steps(args, bits, t);
    return t->height >= ROWS_MIN / 2;
}

static uint32_t tile_row(const tiling *t, uint32_t tile) {
    const uint32_t at = tile % t->across * t->height;
    return tile / t->across * t->line + (at + t->height > t->line ? t->line - t->height : at);
}

static const uint8_t *tile_start(const nyb_gemm_args *args, const tiling *t, uint32_t tile) {
    const uint32_t row = tile_row(t, tile);
    return args->a[row / t->pitch * args->line] + row % t->pitch * args->stride;
}

// The epilogue of `count` rows from `row` on, gaps left out.
NYB_INLINE void finish(const nyb_gemm_args *args, const tiling *t, const nyb_strip16 *strip, __m512i *sums,
                       uint32_t row, uint32_t count, int8_t *c, const int vectors) {
    if (t->pitch == args->line) {
        nyb_strip16_epilogue(args, strip, sums, row, count, c + row * args->c_stride, vectors);
        return;
    }
    for (uint32_t done = 0, next; done < count; done += next) {
        const uint32_t line = (row + done) / t->pitch, x = (row + done) % t->pitch;
        const uint32_t end = x < args->line ? args->line : t->pitch;
        next = count - done < end - x ? count - done : end - x;
        if (x < args->line) {
            const uint32_t to = line * args->line + x;
            nyb_strip16_epilogue(args, strip, sums + done * (size_t)vectors, to, next,
                                 c + to * args->c_stride, vectors);
        }
    }
}

// The first k of a step within its segment.
static uint32_t step_start(const tiling *t, uint32_t step) {
    return step * STEP + t->step > t->segment ? t->segment - t->step : step * STEP;
}

// Tiles 0 to 3: sums, of two tiles of rows and two of columns; 4, 5: rows; 6, 7: weights.
static void configure(const tiling *t) {
    tile_config config = {.palette = 1};
    for (uint32_t i = 0; i < 8; i++) {
        config.rows[i] = (uint8_t)(i < 6 ? t->height : t->step / 4);
        config.column_bytes[i] = (uint16_t)(i == 4 || i == 5 ? t->step : 64);
    }
    _tile_loadconfig(&config);
}

// Weights of 4 and 2 bits as bytes, by a table of their values.
NYB_INLINE __m512i widened(__m512i x, const uint32_t bits, const int plane) {
    if (bits == 8) {
        return x;
    }
    const __m128i values = bits == 4 ? _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1)
                                     : _mm_setr_epi8(0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1);
    const __m512i field = _mm512_and_si512(_mm512_srli_epi32(x, bits * (unsigned)plane),
                                           _mm512_set1_epi8((char)((1 << bits) - 1)));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), field);
}

// Steps first to first + count - 1 of a strip.
NYB_INLINE void lay_out(const nyb_gemm_args *args, const tiling *t, const uint8_t *const *panel,
                        uint32_t first, uint32_t count, weight_tiles *to, const int vectors,
                        const uint32_t bits) {
    const uint32_t planes = 8 / bits;
    const size_t segment_bytes = 32 * (size_t)nyb_packed_steps(args->segment, bits, 4);
    for (uint32_t i = 0; i < count; i++, to++) {
        const uint32_t step = (first + i) % t->steps;
        const uint32_t start = step_start(t, step), there = step * STEP;
        const size_t at = (first + i) / t->steps * segment_bytes + 32 * (size_t)(start / (4 * planes));
        NYB_EACH (v, vectors) {
            const uint8_t *low = panel[2 * v] + at, *high = panel[2 * v + 1] + at;
            int8_t *row = to->tile[v];
            for (uint32_t k = start; k < start + t->step; k += 4 * planes, low += 32, high += 32) {
                const __m512i x = k < there ? _mm512_setzero_si512() : nyb_load_panels(low, high);
                NYB_EACH (p, (int)planes) {
                    _mm512_storeu_si512(row, widened(x, bits, p));
                    row += STEP;
                }
            }
        }
    }
}

// Prepacked weights of the next strip, of which every step of this one fetches some lines. Behind the last
// strip of a layer are those of the next layer.
typedef struct ahead {
    const uint8_t *from, *to;
    uint32_t lines;
} ahead;

static ahead ahead_of(const tiling *t, const weight_tiles *next, int strips) {
    const uint32_t lines = divided_up(sizeof(weight_tiles) / LINE, divided_up(t->tiles, 2));
    const uint8_t *from = (const uint8_t *)next;
    return (ahead){from, from + (size_t)strips * t->all_steps * sizeof *next,
                   lines < AHEAD_MAX ? lines : AHEAD_MAX};
}

// The sums of two tiles of rows, or one, over `count` steps, begun or added to what is there.
NYB_INLINE void multiply(const nyb_gemm_args *args, const tiling *t, const __m512i *start, const uint8_t *a0,
                         const uint8_t *a1, uint32_t first, uint32_t count, const weight_tiles *w,
                         __m512i *sums0, const size_t row_sums, ahead *next, const int vectors,
                         const int tiles) {
    __m512i *const sums1 = sums0 + t->height * row_sums;
    const size_t stride = args->stride, sums_stride = sizeof(__m512i) * row_sums;
    __asm__ volatile("" : : : "memory"); // gcc does not know what tiles read
    if (first == 0) {
        _tile_loadd(0, start, 0);
        if (vectors > 1) {
            _tile_loadd(1, start + 1, 0);
        }
        if (tiles > 1) {
            _tile_loadd(2, start, 0);
        }
        if (tiles > 1 && vectors > 1) {
            _tile_loadd(3, start + 1, 0);
        }
    } else {
        _tile_loadd(0, sums0, sums_stride);
        if (vectors > 1) {
            _tile_loadd(1, sums0 + 1, sums_stride);
        }
        if (tiles > 1) {
            _tile_loadd(2, sums1, sums_stride);
        }
        if (tiles > 1 && vectors > 1) {
            _tile_loadd(3, sums1 + 1, sums_stride);
        }
    }
    uint32_t step = first % t->steps;
    size_t segment = first / t->steps * args->pitch;
    const uint8_t *soon = next->from;
    for (uint32_t i = 0; i < count; i++, w++) {
        const size_t at = segment + step_start(t, step);
        for (uint32_t line = 0; soon < next->to && line < next->lines; line++, soon += LINE) {
            _mm_prefetch((const char *)soon, _MM_HINT_T1);
        }
        _tile_loadd(4, a0 + at, stride);
        _tile_loadd(6, w->tile[0], STEP);
        _tile_dpbssd(0, 4, 6);
        if (vectors > 1) {
            _tile_loadd(7, w->tile[1], STEP);
            _tile_dpbssd(1, 4, 7);
        }
        if (tiles > 1) {
            _tile_loadd(5, a1 + at, stride);
            _tile_dpbssd(2, 5, 6);
        }
        if (tiles > 1 && vectors > 1) {
            _tile_dpbssd(3, 5, 7);
        }
        if (++step == t->steps) {
            step = 0;
            segment += args->pitch;
        }
    }
    next->from = soon;
    _tile_stored(0, sums0, sums_stride);
    if (vectors > 1) {
        _tile_stored(1, sums0 + 1, sums_stride);
    }
    if (tiles > 1) {
        _tile_stored(2, sums1, sums_stride);
    }
    if (tiles > 1 && vectors > 1) {
        _tile_stored(3, sums1 + 1, sums_stride);
    }
}

NYB_INLINE void run_strip(const nyb_gemm_args *args, const tiling *t, uint32_t n, const int vectors,
                          const uint32_t bits) {
    const int halves = vectors > TILE_VECTORS ? vectors / TILE_VECTORS : 1, each = vectors / halves;
    const uint32_t steps = STEPS / (uint32_t)halves; // of which weights are laid out at a time
    weight_tiles laid[STEPS];
    __m512i sums[SUM_VECTORS];
    const nyb_strip16 strip = nyb_strip16_load(args, n, (uint32_t)vectors, bits, false, 0);
    const size_t tile_sums = t->height * (size_t)vectors;
    const weight_tiles *prepacked = args->prepacked;
    prepacked = prepacked == NULL ? NULL : prepacked + n / NYB_PREPACKED_COLUMNS * (size_t)t->all_steps;
    ahead next = {NULL, NULL, 0};
    if (prepacked != NULL) {
        next = ahead_of(t, prepacked + (uint32_t)halves * t->all_steps, halves);
    }
    // Weights that do not fit are laid out anew for every group of rows.
    const uint32_t together = (t->all_steps > steps ? SUM_VECTORS / (uint32_t)vectors : FEW_ROWS) / t->height;
    for (uint32_t tile = 0, last; tile < t->tiles; tile = last) {
        last = t->tiles - tile < together ? t->tiles : tile + together;
        for (uint32_t first = 0, count; first < t->all_steps; first += count) {
            count = t->all_steps - first < steps ? t->all_steps - first : steps;
            NYB_EACH (half, halves) {
                const weight_tiles *w = laid + (uint32_t)half * steps;
                if (prepacked != NULL) {
                    w = prepacked + (uint32_t)half * t->all_steps + first;
                } else if (tile == 0 || t->all_steps > steps) {
                    lay_out(args, t, strip.panel + 2 * each * half, first, count,
                            laid + (uint32_t)half * steps, each, bits);
                }
                for (uint32_t i = tile; i < last; i += 2) {
                    const uint8_t *a0 = tile_start(args, t, i);
                    __m512i *to = sums + (i - tile) * tile_sums + each * half;
                    const __m512i *start = strip.start + each * half;
                    if (i + 1 < last) {
                        multiply(args, t, start, a0, tile_start(args, t, i + 1), first, count, w, to,
                                 (size_t)vectors, &next, each, 2);
                    } else {
                        multiply(args, t, start, a0, a0, first, count, w, to, (size_t)vectors, &next, each,
                                 1);
                    }
                }
            }
        }
        // Tiles that follow one another without overlap are one to the epilogue.
        for (uint32_t i = tile, next; i < last; i = next) {
            const uint32_t row = tile_row(t, i);
            for (next = i + 1; next < last && tile_row(t, next) == row + (next - i) * t->height;) {
                next++;
            }
            finish(args, t, &strip, sums + (i - tile) * tile_sums, row, (next - i) * t->height, args->c + n,
                   vectors);
        }
    }
}

NYB_INLINE void run(const nyb_gemm_args *args, const tiling *t, const uint32_t bits) {
    uint32_t n = 0;
    configure(t);
    // Weights of 64 columns should not drive from the first cache what those of 32 would leave there.
    const bool broad = t->all_steps <= BROAD_MAX || (args->prepacked != NULL && t->all_steps > NARROW_MAX);
    for (; broad && args->columns - n > 3 * NYB_LANES16;
         n += args->columns - n < 64 ? args->columns - n : 64) {
        run_strip(args, t, n, 4, bits);
    }
    for (; args->columns - n > NYB_LANES16; n += args->columns - n < 32 ? args->columns - n : 32) {
        run_strip(args, t, n, 2, bits);
    }
    if (n < args->columns) {
        run_strip(args, t, n, 1, bits);
    }
    _tile_release();
}

NYB_INLINE uint64_t prepack(const nyb_gemm_args *args, void *to, const uint32_t bits) {
    tiling t;
    set_steps(args, bits, &t);
    const uint32_t strips = divided_up(args->columns, NYB_PREPACKED_COLUMNS);
    const size_t panel_bytes = (size_t)nyb_panel_bytes(args->depth, bits, 8, 4);
    weight_tiles *strip = to;
    for (uint32_t n = 0; to != NULL && n < args->columns; n += NYB_PREPACKED_COLUMNS, strip += t.all_steps) {
        const uint8_t *panel[2 * TILE_VECTORS];
        nyb_strip16_panels(args, n, panel_bytes, panel, 2 * TILE_VECTORS);
        lay_out(args, &t, panel, 0, t.all_steps, strip, TILE_VECTORS, bits);
    }
    return (uint64_t)strips * t.all_steps * sizeof(weight_tiles);
}

#define NYB_AMX(bits)                                                                                        \
    void nyb_gemm_w##bits##_amx(const nyb_gemm_args *args) {                                                 \
        tiling t;                                                                                            \
        if (tiling_of(args, bits, &t)) {                                                                     \
            run(args, &t, bits);                                                                             \
        } else {                                                                                             \
            nyb_gemm_w##bits##_avx512vnni(args);                                                             \
        }                                                                                                    \
    }                                                                                                        \
    uint64_t nyb_gemm_w##bits##_amx_prepack(const nyb_gemm_args *args, void *to) {                           \
        return prepack(args, to, bits);                                                                      \
    }
NYB_AMX(8)
NYB_AMX(4)
NYB_AMX(2)
