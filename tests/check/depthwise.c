// SPDX-License-Identifier: Apache-2.0
#include "kernels/depthwise/depthwise.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

enum {
    NR = NYB_DEPTHWISE_NR,
    LINES = 16, // inputs that the taps point to, each with guards of its own
};

static check_memory memory_lines[LINES] = {
    {.name = "tap 0"},  {.name = "tap 1"},  {.name = "tap 2"},  {.name = "tap 3"},
    {.name = "tap 4"},  {.name = "tap 5"},  {.name = "tap 6"},  {.name = "tap 7"},
    {.name = "tap 8"},  {.name = "tap 9"},  {.name = "tap 10"}, {.name = "tap 11"},
    {.name = "tap 12"}, {.name = "tap 13"}, {.name = "tap 14"}, {.name = "tap 15"},
};
static check_memory memory_taps = {.name = "taps"};
static check_memory memory_weights = {.name = "weights"};
static check_memory memory_draws = {.name = "draws"};

typedef struct depthwise_shape {
    uint32_t pixels;
    uint32_t tap_count;
    uint32_t channels;
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

// The accumulator of c[p][j] by the definition in depthwise.h but for bias[j].
static int32_t sum(const void *context, uint32_t p, uint32_t j) {
    const nyb_depthwise_args *args = &((const depthwise_case *)context)->args;
    int32_t total = 0;
    for (uint32_t t = 0; t < args->tap_count; t++) {
        const int16_t *w = args->weights + ((size_t)(j / NR) * args->tap_count + t) * NR;
        total = nyb_add(total, args->taps[(size_t)p * args->tap_count + t][j] * w[j % NR]);
    }
    return total;
}

static void draw_taps(check *c, depthwise_case *d, check_pattern pattern, check_place place) {
    const size_t count = (size_t)d->args.pixels * d->args.tap_count;
    const uint32_t channels = d->args.channels;
    int32_t *values = check_memory_place(&memory_draws, channels * sizeof(int32_t), place);
    int8_t *lines[LINES];
    for (uint32_t i = 0; i < LINES; i++) {
        lines[i] = check_memory_place(&memory_lines[i], channels, place);
        check_draw(c, pattern, INT8_MIN, INT8_MAX, values, channels);
        for (uint32_t j = 0; j < channels; j++) {
            lines[i][j] = (int8_t)values[j];
        }
    }
    const int8_t **taps = check_memory_place(&memory_taps, count * sizeof(int8_t *), place);
    for (size_t i = 0; i < count; i++) {
        taps[i] = lines[check_below(c, LINES)];
    }
    d->args.taps = taps;
}

// Weights minus their zero point: up to 255 from 0. Those that pad the last panel may be anything.
static void draw_weights(check *c, depthwise_case *d, check_pattern pattern, check_place place) {
    const size_t panels = (d->args.channels + NR - 1) / NR;
    const size_t count = panels * d->args.tap_count * NR;
    int32_t *values = check_memory_place(&memory_draws, count * sizeof(int32_t), place);
    int16_t *weights = check_memory_place(&memory_weights, count * sizeof(int16_t), place);
    check_draw(c, pattern, -255, 255, values, count);
    for (size_t i = 0; i < count; i++) {
        weights[i] = (int16_t)values[i];
    }
    d->args.weights = weights;
}

static void draw_case(check *c, const nyb_depthwise_variant *row, depthwise_shape shape, check_place place,
                      depthwise_case *d) {
    const check_pattern a = (check_pattern)check_below(c, CHECK_PATTERNS);
    const check_pattern w = (check_pattern)check_below(c, CHECK_PATTERNS);
    const check_shifts shifts = (check_shifts)check_below(c, CHECK_SHIFTS);
    *d = (depthwise_case){
        .row = row,
        .args = {.pixels = shape.pixels, .tap_count = shape.tap_count, .channels = shape.channels},
        .output = {.rows = shape.pixels, .columns = shape.channels, .sum = sum, .context = d},
    };
    nyb_depthwise_args *args = &d->args;
    check_output *o = &d->output;
    draw_taps(c, d, a, place);
    draw_weights(c, d, w, place);
    check_output_draw(c, o, NR, shifts, place);
    args->bias = o->bias;
    args->multiplier = o->multiplier;
    args->shift = o->shift;
    args->output = o->requantize;
    args->c = o->c;
    args->c_stride = o->c_stride;
    check_begin(c,
                "case %u: %u pixels, %u taps, %u channels, inputs %s, weights %s, shifts %s, "
                "nudge %d, zero point %d, clamp %d to %d, c stride %zu, guard %s",
                c->cases, shape.pixels, shape.tap_count, shape.channels, check_pattern_names[a],
                check_pattern_names[w], check_shifts_names[shifts], args->output.nudge,
                args->output.zero_point, args->output.minimum, args->output.maximum, args->c_stride,
                check_place_names[place]);
}

static bool check_shape(check *c, const nyb_depthwise_variant *row, depthwise_shape shape,
                        check_place place) {
    const nyb_depthwise_variant *scalar = nyb_depthwise_pick(0);
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
    const uint32_t pixels[] = {0, 1, 2, 3, 4, 5, 1 + check_below(c, 9)};
    const uint32_t taps[] = {0, 1, 2, 3, 9, 25, 1 + check_below(c, 30)};
    for (uint32_t place = 0; place < CHECK_PLACES; place++) {
        for (size_t p = 0; p < sizeof pixels / sizeof pixels[0]; p++) {
            for (size_t t = 0; t < sizeof taps / sizeof taps[0]; t++) {
                for (uint32_t panels = 0; panels <= 5; panels++) { // 7, 8, 9, 15, 16, 17, ...
                    for (uint32_t beside = 0; beside < 3; beside++) {
                        const uint32_t channels = panels * NR + beside;
                        const depthwise_shape shape = {pixels[p], taps[t], channels > 0 ? channels - 1 : 100};
                        if (!check_shape(c, record, shape, (check_place)place)) {
                            return false;
                        }
                    }
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
    static const depthwise_shape shapes[] = {{48, 9, 8}, {48, 9, 64}, {12, 9, 256}, {48, 25, 64}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const depthwise_shape s = shapes[i];
        depthwise_case d;
        draw_case(c, record, s, CHECK_GUARD_BEFORE, &d);
        const uint64_t macs = (uint64_t)s.pixels * s.tap_count * s.channels;
        printf("    %4u pixels, %4u taps, %4u channels %8.2f GMAC/s\n", s.pixels, s.tap_count, s.channels,
               check_speed(macs, once, &d));
    }
}

const check_family check_depthwise = {"depthwise", depthwise_row, depthwise_round, depthwise_bench};
