// SPDX-License-Identifier: Apache-2.0
// Elementwise sum, difference and squared difference. Meaning: python/nybble/ops/add.py,
// squared_difference.py.
#include "ops/broadcast.h"

typedef struct add_plan {
    nyb_broadcast broadcast;
    nyb_requantize output;
    const int8_t *x1;
    const int8_t *x2;
    int8_t *y;
    uint32_t left_shift;
    int32_t zero_point1, multiplier1, shift1;
    int32_t zero_point2, multiplier2, shift2;
    int32_t multiplier, shift;
    bool subtract;
    bool square;
} add_plan;

static nyb_status read(const nyb_node *node, add_plan *plan, nyb_error *why) {
    const nyb_tensor_info a = nyb_node_input(node, 0);
    const nyb_tensor_info b = nyb_node_input(node, 1);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_table *options = &node->options;
    memset(plan, 0, sizeof *plan);
    if (a.type != NYB_INT8 || b.type != NYB_INT8 || y.type != NYB_INT8) {
        return nyb_node_fail(node, why, "int8 inputs and output", NYB_INT8, y.type);
    }
    if (!nyb_broadcast_read(&a, &b, &y, &plan->broadcast)) {
        return nyb_node_fail(node, why, "inputs that broadcast to the output's shape", y.rank, a.rank);
    }
    if (!nyb_requantize_read(options, NYB_ADD_OUTPUT, &plan->output)) {
        return nyb_node_fail(node, why, "output: a rounding, a zero point and a clamp within int8", 1, 0);
    }
    plan->left_shift = nyb_get_u32(options, NYB_ADD_LEFT_SHIFT);
    plan->zero_point1 = nyb_get_i32(options, NYB_ADD_ZERO_POINT1);
    plan->multiplier1 = nyb_get_i32(options, NYB_ADD_MULTIPLIER1);
    plan->shift1 = nyb_get_i32(options, NYB_ADD_SHIFT1);
    plan->zero_point2 = nyb_get_i32(options, NYB_ADD_ZERO_POINT2);
    plan->multiplier2 = nyb_get_i32(options, NYB_ADD_MULTIPLIER2);
    plan->shift2 = nyb_get_i32(options, NYB_ADD_SHIFT2);
    plan->multiplier = nyb_get_i32(options, NYB_ADD_MULTIPLIER);
    plan->shift = nyb_get_i32(options, NYB_ADD_SHIFT);
    plan->square = node->kind == NYB_OPTIONS_SQUARED_DIFFERENCE;
    plan->subtract = node->kind == NYB_OPTIONS_SUB || plan->square;
    if (!nyb_shift_valid(plan->shift1) || !nyb_shift_valid(plan->shift2) || !nyb_shift_valid(plan->shift)) {
        return nyb_node_fail(node, why, "shifts from 1 to 62", 62, plan->shift);
    }
    if (plan->left_shift > 22) {
        return nyb_node_fail(node, why, "left_shift of at most 22", 22, plan->left_shift);
    }
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    add_plan plan;
    return read(node, &plan, why);
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    add_plan *p = memory;
    read(node, p, NULL);
    const nyb_tensor_info a = nyb_node_input(node, 0);
    const nyb_tensor_info b = nyb_node_input(node, 1);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x1 = (const int8_t *)nyb_tensor_data(setup, &a);
    p->x2 = (const int8_t *)nyb_tensor_data(setup, &b);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    return 0;
}

static void elements(const void *plan_memory, const int8_t *a, uint32_t stride1, const int8_t *b,
                     uint32_t stride2, int8_t *c, uint32_t count) {
    const add_plan *p = plan_memory;
    const int32_t one = (int32_t)1 << p->left_shift;
    for (uint32_t i = 0; i < count; i++, a += stride1, b += stride2) {
        const int32_t x1 = nyb_mul(nyb_sub(*a, p->zero_point1), one);
        const int32_t x2 = nyb_mul(nyb_sub(*b, p->zero_point2), one);
        const int32_t s1 = nyb_scale(x1, p->multiplier1, p->shift1, p->output.nudge);
        const int32_t s2 = nyb_scale(x2, p->multiplier2, p->shift2, p->output.nudge);
        const int32_t sum = p->subtract ? nyb_sub(s1, s2) : nyb_add(s1, s2);
        c[i] = nyb_finish(p->square ? nyb_mul(sum, sum) : sum, p->multiplier, p->shift, &p->output);
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const add_plan *p = plan_memory;
    (void)run_context;
    nyb_broadcast_run(&p->broadcast, p->x1, p->x2, p->y, elements, p);
}

_Static_assert(sizeof(add_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");
#define NYB_ADD_LIKE(name)                                                                                   \
    {.kind = name,                                                                                           \
     .inputs_min = 2,                                                                                        \
     .inputs_max = 2,                                                                                        \
     .in_place = true,                                                                                       \
     .plan_bytes = sizeof(add_plan),                                                                         \
     .check = check,                                                                                         \
     .plan = plan,                                                                                           \
     .run = run,                                                                                             \
     .variant = nyb_variant_scalar}
const nyb_op nyb_op_add = NYB_ADD_LIKE("Add");
const nyb_op nyb_op_sub = NYB_ADD_LIKE("Sub");
const nyb_op nyb_op_squared_difference = NYB_ADD_LIKE("SquaredDifference");
