// SPDX-License-Identifier: Apache-2.0
// A strided view of the input, copied. Meaning: python/nybble/ops/move.py.
#include "ops/strided.h"

typedef struct move_plan {
    nyb_strided copy;
    const uint8_t *x;
    uint8_t *y;
} move_plan;

static nyb_status check(const nyb_node *node, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_vector strides = nyb_get_vector(&node->options, NYB_MOVE_STRIDES, 4);
    if (x.type != y.type || strides.count != y.rank || y.elements == 0) {
        return nyb_node_fail(node, why, "input and output of one type, a stride for each dimension", y.rank,
                             strides.count);
    }
    // The first and the last element that is read. x has at most 2^47, a dimension adds less than
    // 2^63: neither bound can wrap before it is looked at.
    int64_t first = nyb_get_u32(&node->options, NYB_MOVE_OFFSET);
    uint64_t last = (uint64_t)first;
    if (last >= x.elements) {
        return nyb_node_fail(node, why, "an offset within the input", (int64_t)x.elements, first);
    }
    for (uint32_t d = 0; d < y.rank; d++) {
        const int64_t stride = (int32_t)nyb_element_u32(node->model, strides, d);
        const int64_t reach = stride * (int64_t)(y.shape[d] - 1);
        if (stride < 0) {
            first += reach;
        } else {
            last += (uint64_t)reach;
        }
        if (first < 0 || last >= x.elements) {
            return nyb_node_fail(node, why, "strides that stay within the input", (int64_t)x.elements,
                                 first < 0 ? first : (int64_t)last);
        }
    }
    return NYB_OK;
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    move_plan *p = memory;
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_vector strides = nyb_get_vector(&node->options, NYB_MOVE_STRIDES, 4);
    memset(p, 0, sizeof *p);
    p->copy.bytes = nyb_type_bytes(y.type);
    p->copy.rank = y.rank;
    for (uint32_t d = 0; d < y.rank; d++) {
        const int32_t stride = (int32_t)nyb_element_u32(node->model, strides, d);
        p->copy.shape[d] = y.shape[d];
        p->copy.from[d] = (int64_t)stride * p->copy.bytes;
    }
    nyb_strides_of(&y, p->copy.to);
    nyb_strided_merge(&p->copy);
    p->x = nyb_tensor_data(setup, &x);
    p->y = nyb_tensor_data(setup, &y);
    if (p->x != NULL) {
        p->x += (size_t)nyb_get_u32(&node->options, NYB_MOVE_OFFSET) * p->copy.bytes;
    }
    return 0;
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const move_plan *p = plan_memory;
    (void)run_context;
    nyb_strided_copy(&p->copy, p->x, p->y);
}

_Static_assert(sizeof(move_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");

const nyb_op nyb_op_move = {
    .kind = "Move",
    .inputs_min = 1,
    .inputs_max = 1,
    .in_place = false,
    .plan_bytes = sizeof(move_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = nyb_variant_scalar,
};
