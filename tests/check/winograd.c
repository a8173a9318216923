// SPDX-License-Identifier: Apache-2.0
#include "kernels/winograd/winograd.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

static check_memory memory_x = {.name = "x"};
static check_memory memory_weights = {.name = "weights"};
static check_memory memory_scratch = {.name = "scratch"};
static check_memory memory_filters = {.name = "filters"};
static check_memory memory_draws = {.name = "draws"};

typedef struct winograd_shape {
    uint32_t height;
    uint32_t width;
    uint32_t channels;
    uint32_t outputs;
} winograd_shape;

typedef struct winograd_case {
    const nyb_winograd_variant *row;
    nyb_winograd_args args;
    const int32_t *filters; // [outputs][channels][9]
    check_output output;
} winograd_case;

static check_row winograd_row(uint32_t index) {
    const nyb_winograd_variant *v = &nyb_winograd_variants[index];
    return (check_row){v->name, v->needs, v};
}

// The accumulator of c[y][x][j] by the definition in winograd.h but for bias[j].
static int32_t sum(const void *context, uint32_t pixel, uint32_t j) {
    const winograd_case *d = context;
    const nyb_winograd_args *args = &d->args;
    const uint32_t y = pixel / args->width, x = pixel % args->width;
    int32_t total = 0;
    for (uint32_t tap = 0; tap < 9; tap++) {
        const int8_t *at = args->x + (y + tap / 3) * args->line + (size_t)(x + tap % 3) * args->channels;
        const int32_t *w = d->filters + (size_t)j * args->channels * 9 + tap;
        for (uint32_t k = 0; k < args->channels; k++) {
            total += at[k] * w[9 * k];
        }
    }
    return total;
}

static void draw_x(check *c, winograd_case *d, check_pattern pattern, check_place place) {
    nyb_winograd_args *args = &d->args;
    const size_t lines = 4 * (size_t)nyb_winograd_tiles(args->height) + 2;
    const size_t pixels = 4 * (size_t)nyb_winograd_tiles(args->width) + 2;
    const size_t used = pixels * args->channels;
    const size_t gap = check_below(c, 2) ? check_below(c, 40) : 0;
    const size_t count = args->height * args->width > 0 ? (lines - 1) * (used + gap) + used : 0;
    int32_t *values = check_memory_place(&memory_draws, count * sizeof(int32_t), place);
    int8_t *x = check_memory_place(&memory_x, count, place);
    check_draw(c, pattern, INT8_MIN, INT8_MAX, values, count);
    for (size_t i = 0; i < count; i++) {
        x[i] = (int8_t)values[i];
    }
    args->x = x;
    args->line = used + gap;
}

// Weights as large as the bound of their sums allows.
static void draw_weights(check *c, winograd_case *d, check_pattern pattern, check_place place) {
    nyb_winograd_args *args = &d->args;
    const uint32_t channels = args->channels;
    const size_t count = (size_t)args->outputs * channels * 9;
    const uint32_t largest = channels > 0 ? ((1u << NYB_WINOGRAD_SUM_BITS) - 1) / (9 * channels) : 0;
    const int32_t limit = (int32_t)(largest < 511 ? largest : 511);
    int32_t *filters = check_memory_place(&memory_filters, count * sizeof(int32_t), place);
    int16_t *weights = check_memory_place(&memory_weights,
                                          (size_t)nyb_winograd_bytes(d->row, channels, args->outputs), place);
    check_draw(c, pattern, -limit, limit, filters, count);
    check_fill(c, weights, memory_weights.bytes);
    for (uint32_t n = 0; n < args->outputs; n++) {
        for (uint32_t k = 0; k < channels; k++) {
            nyb_winograd_transform(d->row, filters + ((size_t)n * channels + k) * 9, channels, n, k, weights);
        }
    }
    d->filters = filters;
    args->weights = weights;
}

static void draw_case(check *c, const nyb_winograd_variant *row, winograd_shape s, check_place place,
                      winograd_case *d) {
    const check_pattern a = (check_pattern)check_below(c, CHECK_PATTERNS);
    const check_pattern w = (check_pattern)check_below(c, CHECK_PATTERNS);
    const check_shifts shifts = (check_shifts)check_below(c, CHECK_SHIFTS);
    *d = (winograd_case){
        .row = row,
        .args = {.height = s.height, .width = s.width, .channels = s.channels, .outputs = s.outputs},
        .output = {.rows = s.height * s.width, .columns = s.outputs, .sum = sum, .context = d},
    };
    nyb_winograd_args *args = &d->args;
    check_output *o = &d->output;
    const uint64_t tiles = (uint64_t)nyb_winograd_tiles(s.height) * nyb_winograd_tiles(s.width);
    draw_x(c, d, a, place);
    draw_weights(c, d, w, place);
    check_output_draw(c, o, 8, shifts, place);
    args->bias = o->bias;
    args->multiplier = o->multiplier;
    args->shift = o->shift;
    args->output = o->requantize;
    args->c = o->c;
    args->c_stride = o->c_stride;
    args->scratch =
        check_memory_place(&memory_scratch, (size_t)nyb_winograd_scratch(row, s.channels, tiles), place);
    check_begin(c,
                "case %u: %u x %u pixels, %u channels, %u outputs, inputs %s, weights %s, shifts %s, "
                "nudge %d, zero point %d, clamp %d to %d, c stride %zu, guard %s",
                c->cases, s.height, s.width, s.channels, s.outputs, check_pattern_names[a],
                check_pattern_names[w], check_shifts_names[shifts], args->output.nudge,
                args->output.zero_point, args->output.minimum, args->output.maximum, args->c_stride,
                check_place_names[place]);
}

static bool check_shape(check *c, const nyb_winograd_variant *row, winograd_shape shape, check_place place) {
    winograd_case d;
    draw_case(c, row, shape, place, &d);
    check_output_define(&d.output);
    row->run(&d.args);
    return check_output_compare(c, &d.output);
}

static bool winograd_round(check *c, const void *record) {
    static const uint32_t channels[] = {0, 16, 32, 48};
    const uint32_t outputs[] = {0, 1, 7, 8, 9, 15, 16, 17, 1 + check_below(c, 40)};
    for (uint32_t place = 0; place < CHECK_PLACES; place++) {
        for (uint32_t height = 0; height <= 5; height++) {
            for (uint32_t width = 0; width <= 5; width++) {
                const winograd_shape shape = {
                    height < 5 ? height : 5 + check_below(c, 12),
                    width < 5 ? width : 5 + check_below(c, 12),
                    channels[check_below(c, sizeof channels / sizeof channels[0])],
                    outputs[check_below(c, sizeof outputs / sizeof outputs[0])],
                };
                if (!check_shape(c, record, shape, (check_place)place)) {
                    return false;
                }
            }
        }
        // Sums as large as they may be, and many tiles.
        const winograd_shape deep = {4, 4, 512, 3}, wide = {4, 4 * (6 + check_below(c, 12)), 16, 16};
        if (!check_shape(c, record, deep, (check_place)place) ||
            !check_shape(c, record, wide, (check_place)place)) {
            return false;
        }
    }
    return true;
}

static void once(const void *context) {
    const winograd_case *d = context;
    d->row->run(&d->args);
}

static void winograd_bench(check *c, const void *record) {
    static const winograd_shape shapes[] = {
        {4, 56, 64, 64},  {8, 28, 128, 128}, {14, 14, 256, 256}, {7, 7, 512, 512},
        {32, 32, 16, 16}, {32, 32, 32, 32},  {16, 16, 32, 32},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const winograd_shape s = shapes[i];
        winograd_case d;
        draw_case(c, record, s, CHECK_GUARD_BEFORE, &d);
        const uint64_t macs = (uint64_t)s.height * s.width * 9 * s.channels * s.outputs;
        printf("    %2u x %2u pixels, %4u channels, %4u outputs %8.2f GMAC/s of the definition\n", s.height,
               s.width, s.channels, s.outputs, check_speed(macs, once, &d));
    }
}

const check_family check_winograd = {"winograd", winograd_row, winograd_round, winograd_bench};
