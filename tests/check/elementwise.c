// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/elementwise.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

static check_memory memory_a = {.name = "a"};
static check_memory memory_b = {.name = "b"};

// Where c is.
typedef enum alias { APART, IS_A, IS_B, ALIASES } alias;
static const char *const alias_names[ALIASES] = {"apart", "is a", "is b"};

typedef struct elementwise_case {
    const nyb_elementwise_variant *row;
    nyb_elements elements;
    nyb_add_args add;
    nyb_mul_args mul;
    check_target target;
} elementwise_case;

static check_row elementwise_row(uint32_t index) {
    const nyb_elementwise_variant *v = &nyb_elementwise_variants[index];
    return (check_row){v->name, v->needs, v};
}

static size_t span(uint32_t rows, size_t stride, uint32_t columns) {
    return rows > 0 ? (rows - 1) * stride + columns : 0;
}

// Slopes of all sizes, the extremes and fractions of 2^28 (results halfway between two integers) among them.
static int32_t draw_slope(check *c) {
    const int32_t limit = INT32_C(1) << 30;
    switch (check_below(c, 8)) {
    case 0:
        return -limit;
    case 1:
        return limit - 1;
    case 2:
        return (int32_t)check_below(c, 2) * 2 - 1;
    case 3:
        return (INT32_C(1) << check_below(c, 30)) * (check_below(c, 2) ? 1 : -1);
    case 4:
        return check_between(c, -limit, limit - 1);
    default:
        return check_between(c, 0, INT32_C(1) << 28);
    }
}

static nyb_add_args draw_add(check *c) {
    nyb_add_args add = {.slope_a = draw_slope(c), .slope_b = draw_slope(c)};
    const int64_t limit = (INT64_C(1) << 40) - 1;
    switch (check_below(c, 8)) {
    case 0:
        add.offset = check_below(c, 2) ? limit : -limit;
        break;
    case 1:
        add.offset = check_between(c, -300, 300) * (INT64_C(1) << 27);
        break;
    default: { // a sum in the middle of the results
        const int64_t a = check_between(c, INT8_MIN, INT8_MAX);
        const int64_t b = check_between(c, INT8_MIN, INT8_MAX);
        add.offset = -a * add.slope_a - b * add.slope_b + check_between(c, INT32_MIN, INT32_MAX);
        break;
    }
    }
    const nyb_requantize output = check_draw_requantize(c);
    add.minimum = output.minimum;
    add.maximum = output.maximum;
    return add;
}

static nyb_mul_args draw_mul(check *c) {
    nyb_mul_args mul = {
        .zero_a = check_between(c, INT8_MIN, INT8_MAX),
        .zero_b = check_between(c, INT8_MIN, INT8_MAX),
        .output = check_draw_requantize(c),
    };
    const int32_t a = check_between(c, INT8_MIN, INT8_MAX) - mul.zero_a;
    const int32_t b = check_between(c, INT8_MIN, INT8_MAX) - mul.zero_b;
    int32_t bias;
    const check_shifts shifts = (check_shifts)check_below(c, CHECK_SHIFTS);
    check_draw_channel(c, shifts, a * b, &bias, &mul.multiplier, &mul.shift);
    return mul;
}

static void draw_case(check *c, const nyb_elementwise_variant *row, uint32_t rows, uint32_t columns, alias at,
                      check_place place, elementwise_case *e) {
    const check_pattern pattern_a = (check_pattern)check_below(c, CHECK_PATTERNS);
    const check_pattern pattern_b = (check_pattern)check_below(c, CHECK_PATTERNS);
    memset(e, 0, sizeof *e);
    e->row = row;
    e->elements.rows = rows;
    e->elements.columns = columns;
    // Rows with gaps, without, and one row for all.
    e->elements.a_stride = columns + (at == IS_A || check_below(c, 2) ? 0 : check_below(c, 40));
    e->elements.b_stride = columns + (at == IS_B || check_below(c, 2) ? 0 : check_below(c, 40));
    if (at == APART && check_below(c, 4) == 0) {
        e->elements.a_stride = 0;
    } else if (at != IS_B && check_below(c, 4) == 0) {
        e->elements.b_stride = 0;
    }
    const size_t bytes_a = span(rows, e->elements.a_stride, columns);
    const size_t bytes_b = span(rows, e->elements.b_stride, columns);
    e->elements.a = check_place_bytes(c, &memory_a, pattern_a, bytes_a, place);
    e->elements.b = check_place_bytes(c, &memory_b, pattern_b, bytes_b, place);
    e->add = draw_add(c);
    e->mul = draw_mul(c);
    check_target_place(c, &e->target, (size_t)rows * columns, place);
    e->elements.c = e->target.c;
    check_begin(
        c,
        "rows %u, columns %u, a_stride %zu, b_stride %zu, c %s, a %s, b %s, guards %s; add: slopes %d "
        "%d, offset %lld, clamp %d to %d; mul: zero points %d %d, multiplier %d, shift %d, nudge %d, "
        "zero point %d, clamp %d to %d",
        rows, columns, e->elements.a_stride, e->elements.b_stride, alias_names[at],
        check_pattern_names[pattern_a], check_pattern_names[pattern_b], check_place_names[place],
        e->add.slope_a, e->add.slope_b, (long long)e->add.offset, e->add.minimum, e->add.maximum,
        e->mul.zero_a, e->mul.zero_b, e->mul.multiplier, e->mul.shift, e->mul.output.nudge,
        e->mul.output.zero_point, e->mul.output.minimum, e->mul.output.maximum);
}

// Both operators, one after the other on the same inputs.
static bool check_shape(check *c, const nyb_elementwise_variant *row, uint32_t rows, uint32_t columns,
                        alias at, check_place place) {
    elementwise_case e;
    draw_case(c, row, rows, columns, at, place, &e);
    nyb_elements scalar = e.elements;
    scalar.c = e.target.expected_c;
    const int8_t *same = at == IS_A ? e.elements.a : e.elements.b;
    if (at == IS_A) {
        e.elements.a = e.target.c;
    } else if (at == IS_B) {
        e.elements.b = e.target.c;
    }
    for (int product = 0; product < 2; product++) {
        if (at != APART) {
            memcpy(e.target.c, same, e.target.size);
        }
        if (product) {
            nyb_mul_scalar(&scalar, &e.mul);
            row->mul(&e.elements, &e.mul);
        } else {
            nyb_add_scalar(&scalar, &e.add);
            row->add(&e.elements, &e.add);
        }
        if (!check_target_compare(c, &e.target)) {
            return false;
        }
    }
    return true;
}

static bool elementwise_round(check *c, const void *record) {
    static const uint32_t columns[] = {0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129};
    const uint32_t rows[] = {0, 1, 2, 3, 1 + check_below(c, 9)};
    for (uint32_t place = 0; place < CHECK_PLACES; place++) {
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
            for (size_t n = 0; n <= sizeof columns / sizeof columns[0]; n++) {
                for (uint32_t at = 0; at < ALIASES; at++) {
                    const bool listed = n < sizeof columns / sizeof columns[0];
                    const uint32_t width = listed ? columns[n] : check_below(c, 300);
                    if (!check_shape(c, record, rows[r], width, (alias)at, (check_place)place)) {
                        return false;
                    }
                }
            }
        }
    }
    return true;
}

static void add_once(const void *context) {
    const elementwise_case *e = context;
    e->row->add(&e->elements, &e->add);
}

static void mul_once(const void *context) {
    const elementwise_case *e = context;
    e->row->mul(&e->elements, &e->mul);
}

static void elementwise_bench(check *c, const void *record) {
    static const uint32_t shapes[][2] = {{1, 16384}, {196, 16}, {196, 24}, {196, 240}, {49, 576}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        elementwise_case e;
        draw_case(c, record, shapes[i][0], shapes[i][1], APART, CHECK_GUARD_BEFORE, &e);
        e.mul.shift = 38; // a real multiplier below 1/2
        printf("    %4u x %5u: add %8.2f, mul %8.2f Gelements/s\n", shapes[i][0], shapes[i][1],
               check_speed(e.target.size, add_once, &e), check_speed(e.target.size, mul_once, &e));
    }
}

const check_family check_elementwise = {"elementwise", elementwise_row, elementwise_round, elementwise_bench};
