// SPDX-License-Identifier: Apache-2.0
// A function of one byte as a table. Meaning: python/nybble/ops/lookup.py.
#include "ops/op.h"

typedef struct lookup_plan {
    const uint8_t *table;
    const uint8_t *x;
    uint8_t *y;
    size_t count;
} lookup_plan;

static bool is_byte(uint32_t type) { return type == NYB_INT8 || type == NYB_UINT8; }

static nyb_status check(const nyb_node *node, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_span table = nyb_get_span(&node->options, NYB_LOOKUP_TABLE);
    if (!is_byte(x.type) || !is_byte(y.type) || x.elements != y.elements) {
        return nyb_node_fail(node, why, "8-bit input and output of one size", (int64_t)x.elements,
                             (int64_t)y.elements);
    }
    if (table.data == NULL || table.size != 256) {
        return nyb_node_fail(node, why, "a table of 256 bytes", 256, (int64_t)table.size);
    }
    return NYB_OK;
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    lookup_plan *p = memory;
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->table = nyb_get_span(&node->options, NYB_LOOKUP_TABLE).data;
    p->x = nyb_tensor_data(setup, &x);
    p->y = nyb_tensor_data(setup, &y);
    p->count = (size_t)x.elements;
    return 0;
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const lookup_plan *p = plan_memory;
    (void)run_context;
    for (size_t i = 0; i < p->count; i++) {
        p->y[i] = p->table[p->x[i]];
    }
}

const nyb_op nyb_op_lookup = {
    .kind = "Lookup",
    .inputs_min = 1,
    .inputs_max = 1,
    .in_place = true,
    .plan_bytes = sizeof(lookup_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = nyb_variant_scalar,
};
