// SPDX-License-Identifier: Apache-2.0
#include "kernels/pool/pool.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

static check_memory memory_a = {.name = "a"};

typedef struct pool_case {
    const nyb_pool_variant *row;
    nyb_max_args args;
    check_target target; // int8 of the largest, or int32 sums
} pool_case;

typedef struct pool_shape {
    uint32_t pixels;
    uint32_t rows;
    uint32_t columns;
    uint32_t channels;
} pool_shape;

static check_row pool_row(uint32_t index) {
    const nyb_pool_variant *v = &nyb_pool_variants[index];
    return (check_row){v->name, v->needs, v};
}

static void draw_case(check *c, const nyb_pool_variant *row, pool_shape s, bool sum, check_place place,
                      pool_case *p) {
    const check_pattern pattern = (check_pattern)check_below(c, CHECK_PATTERNS);
    const nyb_requantize output = check_draw_requantize(c);
    memset(p, 0, sizeof *p);
    p->row = row;
    nyb_window_taps *taps = &p->args.taps;
    taps->rows = s.rows;
    taps->columns = s.columns;
    taps->channels = s.channels;
    taps->column_stride = s.channels * (1 + check_below(c, 2)) + check_below(c, 3);
    taps->row_stride = s.columns * taps->column_stride + check_below(c, 100);
    p->args.pixels = s.pixels;
    p->args.pixel_stride = s.channels * check_below(c, 4) + check_below(c, 3);
    p->args.minimum = output.minimum;
    p->args.maximum = output.maximum;
    const bool empty = s.pixels == 0 || s.rows == 0 || s.columns == 0;
    const size_t span = empty ? 0
                              : (s.pixels - 1) * p->args.pixel_stride + (s.rows - 1) * taps->row_stride +
                                    (s.columns - 1) * taps->column_stride + s.channels;
    taps->a = check_place_bytes(c, &memory_a, pattern, span, place);
    check_target_place(c, &p->target, sum ? s.channels * sizeof(int32_t) : s.pixels * s.channels, place);
    p->args.c = p->target.c;
    check_begin(c,
                "%s of %u pixels, %u x %u taps, %u channels; strides %zu, %zu, %zu; clamp %d to %d; a %s, "
                "guards %s",
                sum ? "sum" : "largest", s.pixels, s.rows, s.columns, s.channels, p->args.pixel_stride,
                taps->row_stride, taps->column_stride, output.minimum, output.maximum,
                check_pattern_names[pattern], check_place_names[place]);
}

// Sums begin at anything that leaves room for the taps.
static void draw_sums(check *c, const check_target *target, int32_t *found, int32_t *expected) {
    for (size_t i = 0; i < target->size / sizeof *found; i++) {
        found[i] = expected[i] = check_between(c, -(INT32_C(1) << 30), INT32_C(1) << 30);
    }
}

static bool check_shape(check *c, const nyb_pool_variant *row, pool_shape s, check_place place) {
    pool_case p;
    draw_case(c, row, s, false, place, &p);
    nyb_max_args scalar = p.args;
    scalar.c = p.target.expected_c;
    nyb_max_scalar(&scalar);
    row->max(&p.args);
    if (!check_target_compare(c, &p.target)) {
        return false;
    }
    s.pixels = 1;
    draw_case(c, row, s, true, place, &p);
    int32_t *found = (int32_t *)(void *)p.target.c;
    int32_t *expected = (int32_t *)(void *)p.target.expected_c;
    draw_sums(c, &p.target, found, expected);
    nyb_sum_scalar(&p.args.taps, expected);
    row->sum(&p.args.taps, found);
    return check_target_compare(c, &p.target);
}

static bool pool_round(check *c, const void *record) {
    static const uint32_t channels[] = {0, 1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 63, 64, 65, 100, 129};
    static const uint32_t windows[][2] = {{0, 1}, {1, 0},   {1, 1},   {2, 2},
                                          {3, 3}, {1, 255}, {1, 256}, {2, 257}};
    for (uint32_t place = 0; place < CHECK_PLACES; place++) {
        for (size_t w = 0; w <= sizeof windows / sizeof windows[0]; w++) {
            for (size_t n = 0; n < sizeof channels / sizeof channels[0]; n++) {
                const bool listed = w < sizeof windows / sizeof windows[0];
                const pool_shape shape = {
                    .pixels = check_below(c, 4),
                    .rows = listed ? windows[w][0] : 1 + check_below(c, 9),
                    .columns = listed ? windows[w][1] : 1 + check_below(c, 600),
                    .channels = channels[n],
                };
                if (!check_shape(c, record, shape, (check_place)place)) {
                    return false;
                }
            }
        }
    }
    return true;
}

static void max_once(const void *context) {
    const pool_case *p = context;
    p->row->max(&p->args);
}

static void sum_once(const void *context) {
    const pool_case *p = context;
    p->row->sum(&p->args.taps, (int32_t *)(void *)p->target.c);
}

static void pool_bench(check *c, const void *record) {
    static const pool_shape shapes[] = {{56, 3, 3, 64}, {1, 1, 49, 576}, {1, 1, 196, 24}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const pool_shape s = shapes[i];
        const uint64_t taps = (uint64_t)s.pixels * s.rows * s.columns * s.channels;
        const bool sum = s.pixels == 1;
        pool_case p;
        draw_case(c, record, s, sum, CHECK_GUARD_BEFORE, &p);
        if (sum) {
            memset(p.target.c, 0, p.target.size);
        }
        printf("    %7s %2u pixels, %u x %3u taps, %3u channels %8.2f Gtaps/s\n", sum ? "sum" : "largest",
               s.pixels, s.rows, s.columns, s.channels, check_speed(taps, sum ? sum_once : max_once, &p));
    }
}

const check_family check_pool = {"pool", pool_row, pool_round, pool_bench};
