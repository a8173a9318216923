// SPDX-License-Identifier: Apache-2.0
// Position of the largest element along an axis, the first of equals.
// Meaning: python/nybble/ops/arg_max.py.
#include "ops/op.h"

typedef struct argmax_plan {
    const int8_t *x;
    uint8_t *y;
    size_t outer; // product of the dimensions before the axis
    size_t inner; // after it
    uint32_t count;
    uint32_t bytes; // of an output element
} argmax_plan;

static nyb_status check(const nyb_node *node, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const uint32_t axis = nyb_get_u32(&node->options, NYB_ARG_MAX_AXIS);
    if (x.type != NYB_INT8 || (y.type != NYB_INT32 && y.type != NYB_INT64)) {
        return nyb_node_fail(node, why, "an int8 input and an int32 or int64 output", NYB_INT8, x.type);
    }
    if (axis >= x.rank || x.elements == 0 || x.shape[axis] > INT32_MAX) {
        return nyb_node_fail(node, why, "an axis of the input of 1 to 2^31 - 1", x.rank, axis);
    }
    if (y.elements != x.elements / x.shape[axis]) {
        return nyb_node_fail(node, why, "an output of the input's size without the axis",
                             (int64_t)(x.elements / x.shape[axis]), (int64_t)y.elements);
    }
    return NYB_OK;
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    argmax_plan *p = memory;
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const uint32_t axis = nyb_get_u32(&node->options, NYB_ARG_MAX_AXIS);
    p->x = (const int8_t *)nyb_tensor_data(setup, &x);
    p->y = nyb_tensor_data(setup, &y);
    p->outer = p->inner = 1;
    for (uint32_t d = 0; d < x.rank; d++) {
        if (d != axis) {
            *(d < axis ? &p->outer : &p->inner) *= x.shape[d];
        }
    }
    p->count = x.shape[axis];
    p->bytes = nyb_type_bytes(y.type);
    return 0;
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const argmax_plan *p = plan_memory;
    (void)run_context;
    const int8_t *x = p->x;
    uint8_t *y = p->y;
    for (size_t o = 0; o < p->outer; o++, x += (size_t)p->count * p->inner) {
        for (size_t i = 0; i < p->inner; i++, y += p->bytes) {
            int64_t best = 0;
            int8_t largest = x[i];
            for (uint32_t k = 1; k < p->count; k++) {
                const int8_t value = x[(size_t)k * p->inner + i];
                if (value > largest) {
                    largest = value;
                    best = k;
                }
            }
            memcpy(y, &best, p->bytes); // the low bytes
        }
    }
}

const nyb_op nyb_op_arg_max = {
    .kind = "ArgMax",
    .inputs_min = 1,
    .inputs_max = 1,
    .in_place = false,
    .plan_bytes = sizeof(argmax_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = nyb_variant_scalar,
};
