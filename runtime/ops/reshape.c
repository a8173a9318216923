// SPDX-License-Identifier: Apache-2.0
// The same elements under another shape; the planner usually lets both share their bytes.
#include "ops/op.h"

typedef struct reshape_plan {
    const uint8_t *x;
    uint8_t *y;
    size_t bytes;
} reshape_plan;

static nyb_status check(const nyb_node *node, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    if (x.type != y.type || x.elements != y.elements) {
        return nyb_node_fail(node, why, "input and output of one type and size", (int64_t)x.elements,
                             (int64_t)y.elements);
    }
    return NYB_OK;
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    reshape_plan *p = memory;
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x = nyb_tensor_data(setup, &x);
    p->y = nyb_tensor_data(setup, &y);
    p->bytes = (size_t)x.bytes;
    return 0;
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const reshape_plan *p = plan_memory;
    (void)run_context;
    if (p->x != p->y) {
        memcpy(p->y, p->x, p->bytes);
    }
}

const nyb_op nyb_op_reshape = {
    .kind = "Reshape",
    .inputs_min = 1,
    .inputs_max = 1,
    .in_place = true,
    .plan_bytes = sizeof(reshape_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = nyb_variant_scalar,
};
