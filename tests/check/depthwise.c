// SPDX-License-Identifier: Apache-2.0
#include "kernels/depthwise/depthwise.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

enum { NR = NYB_DEPTHWISE_NR };

static check_memory memory_x = {.name = "x"};
static check_memory memory_weights = {.name = "weights"};
static check_memory memory_draws = {.name = "draws"};

typedef struct depthwise_shape {
    uint32_t lines, pixels, channels;
    uint32_t height, width; // of the window
    uint32_t stride, dilation;
} depthwise_shape;

typedef struct depthwise_case {
    const nyb_depthwise_variant *row;
    nyb_depthwise_args args;
    check_output output;
} depthwise_case;

static check_row depthwise_row(uint32_t index) {
    const nyb_depthwise_variant *v = &nyb_depthwise_variants[index];
    return (check_row){v->name, v->needs, v};
}

// The accumulator of output pixel `at` of all lines by the definition in depthwise.h but for bias[j].
static int32_t sum(const void *context, uint32_t at, uint32_t j) {
    const nyb_depthwise_args *args = &((const depthwise_case *)context)->args;
    const size_t taps = (size_t)args->window_height * args->window_width;
    const int8_t *x = args->x + at / args->pixels * args->x_line + at % args->pixels * args->x_pixel;
    int32_t total = 0;
    for (uint32_t t = 0; t < taps; t++) {
        const int8_t *tap =
            x + t / args->window_width * args->tap_line + t % args->window_width * args->tap_pixel;
        const int32_t w = args->weights[(j / NR * taps + t) * NR + j % NR] - args->weight_zero_point;
        total = nyb_add(total, tap[j] * w);
    }
    return total;
}

// Integers of a pattern as int8, at the end or the beginning of memory.
static int8_t *draw_bytes(check *c, check_pattern pattern, check_memory *memory, size_t count,
                          check_place place) {
    int32_t *values = check_memory_place(&memory_draws, count * sizeof(int32_t), place);
    int8_t *bytes = check_memory_place(memory, count, place);
    check_draw(c, pattern, INT8_MIN, INT8_MAX, values, count);
    for (size_t i = 0; i < count; i++) {
        bytes[i] = (int8_t)values[i];
    }
    return bytes;
}

static void draw_case(check *c, const nyb_depthwise_variant *row, const depthwise_shape *s, check_place place,
                      depthwise_case *d) {
    const check_pattern a = (check_pattern)check_below(c, CHECK_PATTERNS);
    const check_pattern w = (check_pattern)check_below(c, CHECK_PATTERNS);
    const check_shifts shifts = (check_shifts)check_below(c, CHECK_SHIFTS);
    const uint32_t gap = check_below(c, 2) ? check_below(c, 40) : 0; // between input lines
    const size_t in_pixels = (s->pixels - 1) * s->stride + (s->width - 1) * s->dilation + 1;
    const size_t in_lines = (s->lines - 1) * s->stride + (s->height - 1) * s->dilation + 1;
    const size_t line = in_pixels * s->channels + gap;
    const size_t panels = (s->channels + NR - 1) / NR;
    const bool any = s->lines > 0 && s->pixels > 0;
    *d = (depthwise_case){
        .row = row,
        .args =
            {
                .x = draw_bytes(c, a, &memory_x, any ? in_lines * line - gap : 0, place),
                .x_line = s->stride * line,
                .x_pixel = (size_t)s->stride * s->channels,
                .tap_line = s->dilation * line,
                .tap_pixel = (size_t)s->dilation * s->channels,
                .window_height = s->height,
                .window_width = s->width,
                .weights = draw_bytes(c, w, &memory_weights, panels * s->height * s->width * NR, place),
                .weight_zero_point = check_below(c, 2) && !c->typical ? check_between(c, -255, 255) : 0,
                .lines = s->lines,
                .pixels = s->pixels,
                .channels = s->channels,
            },
        .output = {.rows = s->lines * s->pixels, .columns = s->channels, .sum = sum, .context = d},
    };
    nyb_depthwise_args *args = &d->args;
    check_output *o = &d->output;
    check_output_draw(c, o, NR, shifts, place);
    args->bias = o->bias;
    args->multiplier = o->multiplier;
    args->shift = o->shift;
    args->output = o->requantize;
    args->c = o->c;
    args->c_line = (size_t)s->pixels * o->c_stride;
    args->c_pixel = o->c_stride;
    check_begin(c,
                "case %u: %u lines of %u pixels, %u channels, window %u x %u, stride %u, dilation %u, inputs "
                "%s, weights %s, weight zero point %d, shifts %s, nudge %d, zero point %d, clamp %d to %d, "
                "c stride %zu, guard %s",
                c->cases, s->lines, s->pixels, s->channels, s->height, s->width, s->stride, s->dilation,
                check_pattern_names[a], check_pattern_names[w], args->weight_zero_point,
                check_shifts_names[shifts], args->output.nudge, args->output.zero_point, args->output.minimum,
                args->output.maximum, o->c_stride, check_place_names[place]);
}

static bool check_shape(check *c, const nyb_depthwise_variant *row, const depthwise_shape *shape,
                        check_place place) {
    const nyb_depthwise_variant *scalar = nyb_depthwise_pick(0, 1);
    depthwise_case d;
    draw_case(c, row, shape, place, &d);
    if (scalar == row) {
        check_output_define(&d.output);
    } else {
        nyb_depthwise_args args = d.args;
        args.c = d.output.expected_c;
        scalar->run(&args);
    }
    row->run(&d.args);
    return check_output_compare(c, &d.output);
}

static bool depthwise_round(check *c, const void *record) {
    static const uint32_t windows[][2] = {{1, 1}, {1, 3}, {2, 2}, {3, 1}, {3, 3}, {3, 3},
                                          {3, 3}, {4, 5}, {5, 5}, {5, 5}, {7, 7}, {12, 11}};
    for (uint32_t place = 0; place < CHECK_PLACES; place++) {
        for (size_t w = 0; w <= sizeof windows / sizeof windows[0]; w++) {
            for (uint32_t channels = 1; channels <= 72; channels += channels < 40 ? 1 : 8) {
                depthwise_shape s = {.lines = check_below(c, 4),
                                     .pixels = check_below(c, 10),
                                     .channels = channels,
                                     .height = 1 + check_below(c, 7),
                                     .width = 1 + check_below(c, 7),
                                     .stride = 1 + check_below(c, 3),
                                     .dilation = check_below(c, 2) ? 1 : 1 + check_below(c, 3)};
                if (w < sizeof windows / sizeof windows[0]) {
                    s.height = windows[w][0];
                    s.width = windows[w][1];
                }
                if (!check_shape(c, record, &s, (check_place)place)) {
                    return false;
                }
            }
        }
    }
    return true;
}

static void once(const void *context) {
    const depthwise_case *d = context;
    d->row->run(&d->args);
}

static void depthwise_bench(check *c, const void *record) {
    static const depthwise_shape shapes[] = {
        {8, 56, 32, 3, 3, 1, 1},  {8, 28, 64, 3, 3, 2, 1}, {14, 14, 96, 3, 3, 1, 1}, {8, 28, 8, 3, 3, 1, 1},
        {8, 28, 144, 3, 3, 1, 1}, {7, 7, 128, 3, 3, 1, 1}, {4, 4, 256, 3, 3, 1, 1},  {7, 7, 96, 5, 5, 1, 1},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const depthwise_shape *s = &shapes[i];
        depthwise_case d;
        draw_case(c, record, s, CHECK_GUARD_BEFORE, &d);
        const uint64_t macs = (uint64_t)s->lines * s->pixels * s->height * s->width * s->channels;
        printf("    %2u x %2u x %3u, window %u, stride %u %8.2f GMAC/s\n", s->lines, s->pixels, s->channels,
               s->height, s->stride, check_speed(macs, once, &d));
    }
}

const check_family check_depthwise = {"depthwise", depthwise_row, depthwise_round, depthwise_bench};
