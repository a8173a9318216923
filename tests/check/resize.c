// SPDX-License-Identifier: Apache-2.0
#include "kernels/resize/resize.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

static check_memory memory_above = {.name = "above"};
static check_memory memory_below = {.name = "below"};
static check_memory memory_row = {.name = "row"};
static check_memory memory_indices = {.name = "the indices"};
static check_memory memory_weights = {.name = "the weights"};

enum { UNIT = 1024 };

typedef struct resize_shape {
    uint32_t width;
    uint32_t out_width;
    uint32_t channels;
} resize_shape;

typedef struct resize_case {
    const nyb_resize_variant *row;
    nyb_resize_args args;
    check_target target;
} resize_case;

static check_row resize_row(uint32_t index) {
    const nyb_resize_variant *v = &nyb_resize_variants[index];
    return (check_row){v->name, v->needs, v};
}

// A mean's weights; or one neighbour twice, whose weights may lie outside of 0 to 1.
static void draw_weights(check *c, bool same, int32_t *lower, int32_t *upper) {
    static const int32_t often[] = {0, UNIT / 2, UNIT};
    *lower = check_below(c, 2) ? often[check_below(c, 3)] : check_between(c, same ? -UNIT : 0, UNIT);
    *upper = UNIT - *lower;
}

static void draw_case(check *c, const nyb_resize_variant *row, resize_shape s, check_place place,
                      resize_case *r) {
    const check_pattern pattern = (check_pattern)check_below(c, CHECK_PATTERNS);
    const bool one_row = check_below(c, 4) == 0;
    const size_t count = (size_t)s.width * s.channels;
    memset(r, 0, sizeof *r);
    r->row = row;
    nyb_resize_args *args = &r->args;
    args->width = s.width;
    args->out_width = s.out_width;
    args->channels = s.channels;
    args->away = check_below(c, 2) == 1;
    args->above = check_place_bytes(c, &memory_above, pattern, count, place);
    args->below = one_row ? args->above : check_place_bytes(c, &memory_below, pattern, count, place);
    draw_weights(c, one_row, &args->above_weight, &args->below_weight);
    args->row = check_memory_place(&memory_row, (count + NYB_RESIZE_PADDING) * sizeof(int32_t), place);
    uint32_t *indices = check_memory_place(&memory_indices, 2 * s.out_width * sizeof(uint32_t), place);
    int32_t *weights = check_memory_place(&memory_weights, 2 * s.out_width * sizeof(int32_t), place);
    args->lower = indices;
    args->upper = indices + s.out_width;
    args->lower_weight = weights;
    args->upper_weight = weights + s.out_width;
    for (uint32_t x = 0; x < s.out_width; x++) {
        indices[x] = check_below(c, s.width);
        indices[s.out_width + x] = check_below(c, 4) ? check_below(c, s.width) : indices[x];
        draw_weights(c, indices[x] == indices[s.out_width + x], &weights[x], &weights[s.out_width + x]);
    }
    check_target_place(c, &r->target, (size_t)s.out_width * s.channels, place);
    args->c = r->target.c;
    check_begin(c, "width %u to %u, %u channels, ties %s, row weights %d %d, pattern %s, guards %s", s.width,
                s.out_width, s.channels, args->away ? "away" : "up", args->above_weight, args->below_weight,
                check_pattern_names[pattern], check_place_names[place]);
}

static bool resize_round(check *c, const void *record) {
    static const uint32_t channels[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 21, 24, 33, 64};
    const uint32_t widths[] = {1, 2, 3, 1 + check_below(c, 20)};
    for (uint32_t place = 0; place < CHECK_PLACES; place++) {
        for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
            for (size_t n = 0; n < sizeof channels / sizeof channels[0]; n++) {
                const resize_shape shape = {widths[w], check_below(c, 20), channels[n]};
                resize_case r;
                draw_case(c, record, shape, (check_place)place, &r);
                nyb_resize_args scalar = r.args;
                scalar.c = r.target.expected_c;
                nyb_resize_scalar(&scalar);
                memset(r.args.row, 0, shape.width * shape.channels * sizeof(int32_t));
                r.row->run(&r.args);
                if (!check_target_compare(c, &r.target)) {
                    return false;
                }
            }
        }
    }
    return true;
}

static void once(const void *context) {
    const resize_case *r = context;
    r->row->run(&r->args);
}

static void resize_bench(check *c, const void *record) {
    static const resize_shape shapes[] = {{33, 513, 21}, {32, 64, 64}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        resize_case r;
        draw_case(c, record, shapes[i], CHECK_GUARD_BEFORE, &r);
        printf("    width %2u to %3u, %2u channels %8.2f Gelements/s\n", shapes[i].width, shapes[i].out_width,
               shapes[i].channels, check_speed(r.target.size, once, &r));
    }
}

const check_family check_resize = {"resize", resize_row, resize_round, resize_bench};
