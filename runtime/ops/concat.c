// SPDX-License-Identifier: Apache-2.0
// Inputs one after the other along an axis, which the inputs have (concatenation) or only the output
// has (pack): to the memory it is the same. Meaning: python/nybble/ops/concat.py.
#include "ops/op.h"

typedef struct concat_plan {
    nyb_node node; // as many inputs as there are: they are looked up at every invoke
    nyb_setup setup;
    uint8_t *y;
    size_t rows; // product of the dimensions before the axis
    size_t row_bytes;
} concat_plan;

static uint64_t rows_of(const nyb_tensor_info *y, uint32_t axis) {
    uint64_t rows = 1;
    for (uint32_t d = 0; d < axis && d < y->rank; d++) {
        rows *= y->shape[d];
    }
    return rows;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const uint32_t axis = nyb_get_u32(&node->options, NYB_CONCAT_AXIS);
    if (axis >= y.rank || y.elements == 0) {
        return nyb_node_fail(node, why, "an axis of an output that has elements", y.rank, axis);
    }
    const uint64_t rows = rows_of(&y, axis);
    uint64_t total = 0;
    for (uint32_t i = 0; i < node->inputs.count; i++) {
        const nyb_tensor_info x = nyb_node_input(node, i);
        // Sums of sizes below 2^47 cannot wrap before they pass the output's size.
        total += x.elements;
        if (x.type != y.type || x.elements % rows != 0 || total > y.elements) {
            return nyb_node_fail(node, why, "inputs of the output's type that fit it", (int64_t)y.elements,
                                 (int64_t)total);
        }
    }
    if (total != y.elements) {
        return nyb_node_fail(node, why, "inputs that fill the output", (int64_t)y.elements, (int64_t)total);
    }
    return NYB_OK;
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    concat_plan *p = memory;
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->node = *node;
    p->setup = *setup;
    p->y = nyb_tensor_data(setup, &y);
    p->rows = (size_t)rows_of(&y, nyb_get_u32(&node->options, NYB_CONCAT_AXIS));
    p->row_bytes = (size_t)y.bytes / p->rows;
    return 0;
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const concat_plan *p = plan_memory;
    (void)run_context;
    uint8_t *y = p->y;
    for (uint32_t i = 0; i < p->node.inputs.count; i++) {
        const nyb_tensor_info info = nyb_node_input(&p->node, i);
        const uint8_t *x = nyb_tensor_data(&p->setup, &info);
        const size_t part = (size_t)info.bytes / p->rows;
        for (size_t row = 0; row < p->rows; row++) {
            memcpy(y + row * p->row_bytes, x + row * part, part);
        }
        y += part;
    }
}

_Static_assert(sizeof(concat_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");

const nyb_op nyb_op_concat = {
    .kind = "Concat",
    .inputs_min = 1,
    .inputs_max = UINT32_MAX,
    .in_place = false,
    .plan_bytes = sizeof(concat_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = nyb_variant_scalar,
};
