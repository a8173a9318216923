// SPDX-License-Identifier: Apache-2.0
// A border of one value around a tensor. Meaning: python/nybble/ops/pad.py.
#include "ops/strided.h"

typedef struct pad_plan {
    nyb_strided copy;
    const uint8_t *x;
    uint8_t *y;
    size_t offset; // of the input's first element in the output, in bytes
    size_t elements;
    int32_t value;
} pad_plan;

static nyb_status check(const nyb_node *node, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_vector before = nyb_get_vector(&node->options, NYB_PAD_BEFORE, 4);
    if (x.type != y.type || x.rank != y.rank || before.count != y.rank || y.elements == 0) {
        return nyb_node_fail(node, why, "input and output of one type and rank, a border for each", y.rank,
                             before.count);
    }
    for (uint32_t d = 0; d < y.rank; d++) {
        const uint64_t end = (uint64_t)nyb_element_u32(node->model, before, d) + x.shape[d];
        if (end > y.shape[d]) {
            return nyb_node_fail(node, why, "an input that ends within the output", y.shape[d], (int64_t)end);
        }
    }
    return NYB_OK;
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    pad_plan *p = memory;
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_vector before = nyb_get_vector(&node->options, NYB_PAD_BEFORE, 4);
    memset(p, 0, sizeof *p);
    p->copy.bytes = nyb_type_bytes(y.type);
    p->copy.rank = y.rank;
    memcpy(p->copy.shape, x.shape, sizeof x.shape);
    nyb_strides_of(&x, p->copy.from);
    nyb_strides_of(&y, p->copy.to);
    for (uint32_t d = 0; d < y.rank; d++) {
        p->offset += (size_t)nyb_element_u32(node->model, before, d) * (size_t)p->copy.to[d];
    }
    nyb_strided_merge(&p->copy);
    p->x = nyb_tensor_data(setup, &x);
    p->y = nyb_tensor_data(setup, &y);
    p->elements = (size_t)y.elements;
    p->value = nyb_get_i32(&node->options, NYB_PAD_VALUE);
    return 0;
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const pad_plan *p = plan_memory;
    (void)run_context;
    if (p->copy.bytes == 1) {
        memset(p->y, p->value, p->elements);
    } else {
        const int64_t value = p->value;
        for (size_t i = 0; i < p->elements; i++) {
            memcpy(p->y + i * p->copy.bytes, &value, p->copy.bytes); // the low bytes
        }
    }
    nyb_strided_copy(&p->copy, p->x, p->y + p->offset);
}

_Static_assert(sizeof(pad_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");

const nyb_op nyb_op_pad = {
    .kind = "Pad",
    .inputs_min = 1,
    .inputs_max = 1,
    .in_place = false,
    .plan_bytes = sizeof(pad_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = nyb_variant_scalar,
};
