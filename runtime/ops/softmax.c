// SPDX-License-Identifier: Apache-2.0
// Softmax over the last axis in fixed point. Meaning and sources: python/nybble/ops/softmax.py,
// fixedpoint.py.
#include "ops/op.h"

typedef struct softmax_plan {
    const int32_t *exponentials; // of differences -255 .. 0
    const int8_t *x;
    int8_t *y;
    uint32_t rows;
    uint32_t depth;
    // In int16, where x and y point to such.
    const int16_t *exp, *reciprocal; // of 513 entries; NULL in int8
    int32_t multiplier, shift;
} softmax_plan;

enum { TABLE_BYTES = 513 * sizeof(int16_t) };

// The sum of so many exponentials of at most 2^15 fits int32.
enum { WIDE_DEPTH = 65535 };

static nyb_status check_wide(const nyb_node *node, const nyb_tensor_info *x, nyb_error *why) {
    const nyb_span exponentials = nyb_get_span(&node->options, NYB_SOFTMAX_EXPONENTIALS);
    const nyb_span reciprocals = nyb_get_span(&node->options, NYB_SOFTMAX_RECIPROCALS);
    if (x->shape[x->rank - 1] > WIDE_DEPTH) {
        return nyb_node_fail(node, why, "at most 65535 elements along the last axis", WIDE_DEPTH,
                             x->shape[x->rank - 1]);
    }
    if (exponentials.data == NULL || exponentials.size != TABLE_BYTES || reciprocals.data == NULL ||
        reciprocals.size != TABLE_BYTES) {
        return nyb_node_fail(node, why, "two tables of 513 int16", TABLE_BYTES, (int64_t)exponentials.size);
    }
    if (!nyb_shift_valid(nyb_get_i32(&node->options, NYB_SOFTMAX_SHIFT))) {
        return nyb_node_fail(node, why, "a shift from 1 to 62", 62,
                             nyb_get_i32(&node->options, NYB_SOFTMAX_SHIFT));
    }
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_span table = nyb_get_span(&node->options, NYB_SOFTMAX_EXPONENTIALS);
    if (!nyb_is_activation(x.type) || y.type != x.type || x.rank == 0 || !nyb_same_shape(&x, &y) ||
        x.elements > UINT32_MAX) {
        return nyb_node_fail(node, why, "input and output of one shape, both int8 or both int16", x.rank,
                             y.rank);
    }
    if (x.type == NYB_INT16) {
        return check_wide(node, &x, why);
    }
    // The sum of 4095 terms of at most 2^19 fits int32.
    if (x.shape[x.rank - 1] > 4095) {
        return nyb_node_fail(node, why, "at most 4095 elements along the last axis", 4095,
                             x.shape[x.rank - 1]);
    }
    if (table.data == NULL || table.size != 1024) {
        return nyb_node_fail(node, why, "a table of 256 int32", 1024, (int64_t)table.size);
    }
    return NYB_OK;
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    softmax_plan *p = memory;
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->exponentials = nyb_get_span(&node->options, NYB_SOFTMAX_EXPONENTIALS).data;
    p->x = (const int8_t *)nyb_tensor_data(setup, &x);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    p->depth = x.shape[x.rank - 1];
    p->rows = p->depth ? (uint32_t)x.elements / p->depth : 0;
    p->exp = p->reciprocal = NULL;
    if (x.type == NYB_INT16) {
        p->exp = nyb_get_span(&node->options, NYB_SOFTMAX_EXPONENTIALS).data;
        p->reciprocal = nyb_get_span(&node->options, NYB_SOFTMAX_RECIPROCALS).data;
        p->multiplier = nyb_get_i32(&node->options, NYB_SOFTMAX_MULTIPLIER);
        p->shift = nyb_get_i32(&node->options, NYB_SOFTMAX_SHIFT);
    }
    return 0;
}

// round(a * b / 2^31), ties up; the arguments are never both INT32_MIN.
static int32_t high_mul(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + (INT64_C(1) << 30)) >> 31);
}

// round(x / 2^exponent), ties away from zero, for exponent 0 to 62.
static int32_t divide_by_pot(int32_t x, uint32_t exponent) {
    const int64_t mask = (INT64_C(1) << exponent) - 1;
    const int64_t remainder = x & mask;
    return (int32_t)((int64_t)x >> exponent) + (remainder > (mask >> 1) + (x < 0));
}

static int32_t saturating_shift_left(int32_t x, uint32_t bits) {
    const int64_t wide = (int64_t)x * (INT64_C(1) << bits);
    return wide > INT32_MAX ? INT32_MAX : (wide < INT32_MIN ? INT32_MIN : (int32_t)wide);
}

// 1 / (1 + x) for x in [0, 1), Q0.31: Newton-Raphson from 48/17 - 32/17 d.
static int32_t one_over_one_plus(int32_t x) {
    const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) >> 1);
    int32_t estimate = nyb_add(1515870810, high_mul(half, -1010580540));
    for (int step = 0; step < 3; step++) {
        const int32_t error = nyb_sub((int32_t)1 << 29, high_mul(half, estimate));
        estimate = nyb_add(estimate, saturating_shift_left(high_mul(estimate, error), 2));
    }
    return saturating_shift_left(estimate, 1);
}

static uint32_t leading_zeros(uint32_t x) {
    uint32_t count = 0;
    while (count < 32 && (x & (UINT32_C(1) << 31)) == 0) {
        x <<= 1;
        count++;
    }
    return count;
}

static void row(void *context, uint32_t index, uint32_t thread) {
    const softmax_plan *p = context;
    const int8_t *x = p->x + (size_t)index * p->depth;
    int8_t *y = p->y + (size_t)index * p->depth;
    (void)thread;
    int32_t largest = INT8_MIN;
    for (uint32_t i = 0; i < p->depth; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    int32_t sum = 0; // Q12.19
    for (uint32_t i = 0; i < p->depth; i++) {
        sum = nyb_add(sum, divide_by_pot(p->exponentials[x[i] - largest + 255], 12));
    }
    const uint32_t headroom = leading_zeros((uint32_t)sum);
    const int32_t reciprocal =
        one_over_one_plus((int32_t)(((uint64_t)(uint32_t)sum << headroom) - (UINT64_C(1) << 31)));
    const uint32_t exponent = 35 - headroom; // 12 - headroom + 31 - 8
    for (uint32_t i = 0; i < p->depth; i++) {
        const int32_t scaled = high_mul(reciprocal, p->exponentials[x[i] - largest + 255]);
        y[i] = (int8_t)nyb_clamp(divide_by_pot(scaled, exponent) - 128, INT8_MIN, INT8_MAX);
    }
}

static int32_t to_int16(int64_t x) {
    return x < INT16_MIN ? INT16_MIN : (x > INT16_MAX ? INT16_MAX : (int32_t)x);
}

static void wide_row(void *context, uint32_t index, uint32_t thread) {
    const softmax_plan *p = context;
    const int16_t *x = (const int16_t *)(const void *)p->x + (size_t)index * p->depth;
    int16_t *y = (int16_t *)(void *)p->y + (size_t)index * p->depth;
    (void)thread;
    int32_t largest = INT16_MIN;
    for (uint32_t i = 0; i < p->depth; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    int32_t sum = 0; // Q16.15
    for (uint32_t i = 0; i < p->depth; i++) {
        const int64_t scaled = nyb_scale(x[i] - largest, p->multiplier, p->shift, (int32_t)1 << 30);
        y[i] = nyb_interpolate(p->exp, to_int16(scaled + INT16_MAX));
        sum += y[i];
    }
    // Only a hostile table makes a sum below 1.
    sum = sum < 1 ? 1 : sum;
    const uint32_t headroom = leading_zeros((uint32_t)sum);
    const int64_t normal = (((int64_t)sum << (headroom - 1)) + (1 << 13)) >> 14; // 2^16 to 2^17
    const int32_t reciprocal = nyb_interpolate(p->reciprocal, to_int16(normal - (1 << 15) - (1 << 16)));
    const uint32_t shift = 31 - headroom;
    const int64_t half = shift > 0 ? INT64_C(1) << (shift - 1) : 0;
    for (uint32_t i = 0; i < p->depth; i++) {
        y[i] = (int16_t)nyb_clamp(to_int16(((int64_t)y[i] * reciprocal + half) >> shift), 0, INT16_MAX);
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const softmax_plan *p = plan_memory;
    // The task only reads the plan.
    nyb_parallel_for(run_context->parallel, p->rows, (uint64_t)p->rows * p->depth * 4,
                     p->exp != NULL ? wide_row : row, (void *)(uintptr_t)plan_memory);
}

const nyb_op nyb_op_softmax = {
    .kind = "Softmax",
    .inputs_min = 1,
    .inputs_max = 1,
    .plan_bytes = sizeof(softmax_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = nyb_variant_scalar,
};
