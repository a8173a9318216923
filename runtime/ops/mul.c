// SPDX-License-Identifier: Apache-2.0
// Elementwise product. Meaning: python/nybble/ops/mul.py.
#include "ops/broadcast.h"

typedef struct mul_plan {
    nyb_broadcast broadcast;
    nyb_mul_args args;
    const nyb_elementwise_variant *kernel;
    const int8_t *x1;
    const int8_t *x2;
    int8_t *y;
} mul_plan;

static nyb_status read(const nyb_node *node, mul_plan *plan, nyb_error *why) {
    const nyb_tensor_info a = nyb_node_input(node, 0);
    const nyb_tensor_info b = nyb_node_input(node, 1);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_table *options = &node->options;
    memset(plan, 0, sizeof *plan);
    if (!nyb_broadcast_read(&a, &b, &y, &plan->broadcast)) {
        return nyb_node_fail(node, why,
                             "inputs of the output's type (int8 or int16) that broadcast to its shape",
                             y.rank, a.rank);
    }
    if (!nyb_requantize_read(options, NYB_MUL_OUTPUT, y.type, &plan->args.output)) {
        return nyb_node_fail(node, why, "output: a rounding, a zero point and a clamp within its type", 1, 0);
    }
    nyb_mul_args *args = &plan->args;
    args->zero_a = nyb_get_i32(options, NYB_MUL_ZERO_POINT1);
    args->zero_b = nyb_get_i32(options, NYB_MUL_ZERO_POINT2);
    args->multiplier = nyb_get_i32(options, NYB_MUL_MULTIPLIER);
    args->shift = nyb_get_i32(options, NYB_MUL_SHIFT);
    if (args->multiplier < 0 || !nyb_shift_valid(args->shift)) {
        return nyb_node_fail(node, why, "a multiplier of at least 0, a shift from 1 to 62", 62, args->shift);
    }
    if (args->zero_a < INT8_MIN || args->zero_a > INT8_MAX || args->zero_b < INT8_MIN ||
        args->zero_b > INT8_MAX) {
        return nyb_node_fail(node, why, "zero points within int8", INT8_MAX, args->zero_a);
    }
    if (y.type == NYB_INT16 && (args->zero_a != 0 || args->zero_b != 0)) {
        return nyb_node_fail(node, why, "zero points of 0 in int16", 0, args->zero_a);
    }
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    mul_plan plan;
    return read(node, &plan, why);
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    mul_plan *p = memory;
    read(node, p, NULL);
    const nyb_tensor_info a = nyb_node_input(node, 0);
    const nyb_tensor_info b = nyb_node_input(node, 1);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x1 = (const int8_t *)nyb_tensor_data(setup, &a);
    p->x2 = (const int8_t *)nyb_tensor_data(setup, &b);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    p->kernel = nyb_elementwise_pick(p->broadcast.bytes == 2 ? 0 : setup->options->cpu);
    return 0;
}

static void wide_elements(const nyb_mul_args *args, const nyb_elements *e) {
    const int16_t *a = (const int16_t *)(const void *)e->a, *b = (const int16_t *)(const void *)e->b;
    int16_t *c = (int16_t *)(void *)e->c;
    for (uint32_t i = 0; i < e->rows; i++, a += e->a_stride, b += e->b_stride, c += e->columns) {
        for (uint32_t j = 0; j < e->columns; j++) {
            c[j] = nyb_finish16((int32_t)a[j] * b[j], args->multiplier, args->shift, &args->output);
        }
    }
}

static void elements(const void *plan_memory, const nyb_elements *e) {
    const mul_plan *p = plan_memory;
    if (p->broadcast.bytes == 2) {
        wide_elements(&p->args, e);
        return;
    }
    p->kernel->mul(e, &p->args);
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const mul_plan *p = plan_memory;
    nyb_broadcast_run(&p->broadcast, p->x1, p->x2, p->y, elements, p, p->kernel->needs,
                      run_context->parallel);
}

static const char *variant(const void *plan_memory) { return ((const mul_plan *)plan_memory)->kernel->name; }

_Static_assert(sizeof(mul_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");
const nyb_op nyb_op_mul = {
    .kind = "Mul",
    .inputs_min = 2,
    .inputs_max = 2,
    .in_place = true,
    .plan_bytes = sizeof(mul_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = variant,
};
