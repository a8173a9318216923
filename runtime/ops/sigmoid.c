// SPDX-License-Identifier: Apache-2.0
// Logistic function and hyperbolic tangent of int16 by interpolation. Meaning: python/nybble/ops/logistic.py.
#include "ops/op.h"

enum { PORTION = 1 << 14 }; // elements that are worth a thread's attention

typedef struct sigmoid_plan {
    const uint16_t *table;
    const int16_t *x;
    int16_t *y;
    size_t count;
    int32_t multiplier;
    uint32_t shift;
    bool tanh;
} sigmoid_plan;

static nyb_status read(const nyb_node *node, sigmoid_plan *plan, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_table *options = &node->options;
    const nyb_span table = nyb_get_span(options, NYB_SIGMOID_TABLE);
    memset(plan, 0, sizeof *plan);
    if (x.type != NYB_INT16 || y.type != NYB_INT16 || x.elements != y.elements || x.elements > UINT32_MAX) {
        return nyb_node_fail(node, why, "int16 input and output of one size", NYB_INT16, x.type);
    }
    if (table.data == NULL || table.size != 512) {
        return nyb_node_fail(node, why, "a table of 256 uint16", 512, (int64_t)table.size);
    }
    plan->table = table.data;
    plan->count = (size_t)x.elements;
    plan->multiplier = nyb_get_i32(options, NYB_SIGMOID_MULTIPLIER);
    plan->shift = nyb_get_u32(options, NYB_SIGMOID_SHIFT);
    plan->tanh = nyb_get_bool(options, NYB_SIGMOID_TANH);
    // The product with an input of 2^15 fits 31 bits, and so does the rounding.
    if (plan->multiplier < 0 || plan->multiplier > INT16_MAX || plan->shift < 1 || plan->shift > 30) {
        return nyb_node_fail(node, why, "a multiplier from 0 to 32767, a shift from 1 to 30", 30,
                             plan->shift);
    }
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    sigmoid_plan plan;
    return read(node, &plan, why);
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    sigmoid_plan *p = memory;
    read(node, p, NULL);
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x = (const int16_t *)(const void *)nyb_tensor_data(setup, &x);
    p->y = (int16_t *)(void *)nyb_tensor_data(setup, &y);
    return 0;
}

// logistic(abs(x) * 2^bits / 12288 / 512) with 16 + bits fraction bits: bits of x below a step of the table.
static int32_t interpolate(const uint16_t *table, uint32_t x, uint32_t bits, uint32_t saturated) {
    const uint32_t step = x >> bits;
    if (step >= 255) {
        return (int32_t)(saturated << bits);
    }
    const uint32_t below = table[step], above = table[step + 1];
    return (int32_t)((below << bits) + (x & ((UINT32_C(1) << bits) - 1)) * (above - below));
}

static int16_t logistic(const uint16_t *table, int32_t x, uint32_t size) {
    const int32_t result = interpolate(table, size, 9, 0xfffe);
    return (int16_t)((x >= 0 ? result + (1 << 9) : (1 << 25) - result + (1 << 9) - 1) >> 10);
}

static int16_t tanh16(const uint16_t *table, int32_t x, uint32_t size) {
    const int32_t result = interpolate(table, size, 8, 0xffff);
    return (int16_t)((x >= 0 ? result - (1 << 23) + (1 << 7) : (1 << 23) - result + (1 << 7) - 1) >> 8);
}

static void portion(void *context, uint32_t index, uint32_t thread) {
    const sigmoid_plan *p = context;
    const size_t first = (size_t)index * PORTION;
    const size_t end = p->count - first < PORTION ? p->count : first + PORTION;
    (void)thread;
    for (size_t i = first; i < end; i++) {
        const int32_t x = (p->x[i] * p->multiplier + ((int32_t)1 << (p->shift - 1))) >> p->shift;
        const uint32_t size = (uint32_t)(x < 0 ? -x : x);
        p->y[i] = p->tanh ? tanh16(p->table, x, size) : logistic(p->table, x, size);
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const sigmoid_plan *p = plan_memory;
    // An element takes about as long as eight products. The task only reads the plan.
    nyb_parallel_for(run_context->parallel, (uint32_t)((p->count + PORTION - 1) / PORTION), 8 * p->count,
                     portion, (void *)(uintptr_t)plan_memory);
}

_Static_assert(sizeof(sigmoid_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");
const nyb_op nyb_op_sigmoid = {
    .kind = "Sigmoid",
    .inputs_min = 1,
    .inputs_max = 1,
    .in_place = true,
    .plan_bytes = sizeof(sigmoid_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = nyb_variant_scalar,
};
