// SPDX-License-Identifier: Apache-2.0
// Functions that are linear on each side of zero, where input or output has 16 bits: requantization,
// rectifiers. Meaning: python/nybble/ops/piecewise_linear.py.
#include "ops/op.h"

enum { PORTION = 1 << 14 }; // elements that are worth a thread's attention

typedef struct slope {
    int32_t multiplier; // at least 0
    int32_t shift;
    bool turned; // the sign
} slope;

typedef struct piecewise_linear_plan {
    const uint8_t *x;
    uint8_t *y;
    size_t count;
    uint32_t x_type, y_type;
    int32_t zero_point;
    slope positive, negative;
    nyb_requantize output;
} piecewise_linear_plan;

static bool read_slope(const nyb_table *options, uint32_t multiplier, uint32_t shift, slope *out) {
    const int32_t stated = nyb_get_i32(options, multiplier);
    out->turned = stated < 0;
    out->multiplier = stated < 0 ? nyb_sub(0, stated) : stated;
    out->shift = nyb_get_i32(options, shift);
    return out->multiplier >= 0 && nyb_shift_valid(out->shift);
}

static nyb_status read(const nyb_node *node, piecewise_linear_plan *plan, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_table *options = &node->options;
    memset(plan, 0, sizeof *plan);
    if (!nyb_is_activation(x.type) || !nyb_is_activation(y.type) || x.elements != y.elements ||
        x.elements > UINT32_MAX) {
        return nyb_node_fail(node, why, "int8 or int16 input and output of one size", (int64_t)x.elements,
                             (int64_t)y.elements);
    }
    plan->count = (size_t)x.elements;
    plan->x_type = x.type;
    plan->y_type = y.type;
    plan->zero_point = nyb_get_i32(options, NYB_PIECEWISE_LINEAR_ZERO_POINT);
    if (plan->zero_point < (x.type == NYB_INT16 ? 0 : INT8_MIN) ||
        plan->zero_point > (x.type == NYB_INT16 ? 0 : INT8_MAX)) {
        return nyb_node_fail(node, why, "a zero point within int8, 0 in int16", 0, plan->zero_point);
    }
    if (!read_slope(options, NYB_PIECEWISE_LINEAR_MULTIPLIER, NYB_PIECEWISE_LINEAR_SHIFT, &plan->positive) ||
        !read_slope(options, NYB_PIECEWISE_LINEAR_NEGATIVE_MULTIPLIER, NYB_PIECEWISE_LINEAR_NEGATIVE_SHIFT,
                    &plan->negative)) {
        return nyb_node_fail(node, why, "shifts from 1 to 62", 62, plan->positive.shift);
    }
    if (!nyb_requantize_read(options, NYB_PIECEWISE_LINEAR_OUTPUT, y.type, &plan->output)) {
        return nyb_node_fail(node, why, "output: a rounding, a zero point and a clamp within its type", 1, 0);
    }
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    piecewise_linear_plan plan;
    return read(node, &plan, why);
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    piecewise_linear_plan *p = memory;
    read(node, p, NULL);
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x = nyb_tensor_data(setup, &x);
    p->y = nyb_tensor_data(setup, &y);
    return 0;
}

static int32_t load(uint32_t type, const uint8_t *x, size_t i) {
    return type == NYB_INT16 ? ((const int16_t *)(const void *)x)[i] : ((const int8_t *)x)[i];
}

static void portion(void *context, uint32_t index, uint32_t thread) {
    const piecewise_linear_plan *p = context;
    const size_t first = (size_t)index * PORTION;
    const size_t end = p->count - first < PORTION ? p->count : first + PORTION;
    (void)thread;
    for (size_t i = first; i < end; i++) {
        const int32_t x = load(p->x_type, p->x, i) - p->zero_point;
        const slope *s = x < 0 ? &p->negative : &p->positive;
        const int32_t scaled = nyb_scale(s->turned ? -x : x, s->multiplier, s->shift, p->output.nudge);
        const int32_t y =
            nyb_clamp(nyb_add(scaled, p->output.zero_point), p->output.minimum, p->output.maximum);
        if (p->y_type == NYB_INT16) {
            ((int16_t *)(void *)p->y)[i] = (int16_t)y;
        } else {
            p->y[i] = (uint8_t)y;
        }
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const piecewise_linear_plan *p = plan_memory;
    // An element takes about as long as eight products. The task only reads the plan.
    nyb_parallel_for(run_context->parallel, (uint32_t)((p->count + PORTION - 1) / PORTION), 8 * p->count,
                     portion, (void *)(uintptr_t)plan_memory);
}

_Static_assert(sizeof(piecewise_linear_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");
const nyb_op nyb_op_piecewise_linear = {
    .kind = "PiecewiseLinear",
    .inputs_min = 1,
    .inputs_max = 1,
    .in_place = true,
    .plan_bytes = sizeof(piecewise_linear_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = nyb_variant_scalar,
};
