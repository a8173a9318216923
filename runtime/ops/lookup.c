// SPDX-License-Identifier: Apache-2.0
// A function of one byte as a table. Meaning: python/nybble/ops/lookup.py.
#include "kernels/lookup/lookup.h"
#include "ops/op.h"

enum { PORTION = 1 << 14 }; // elements that are worth a thread's attention

typedef struct lookup_plan {
    nyb_lookup_args args;
    const nyb_lookup_variant *kernel;
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
    p->args = (nyb_lookup_args){
        .table = nyb_get_span(&node->options, NYB_LOOKUP_TABLE).data,
        .a = nyb_tensor_data(setup, &x),
        .c = nyb_tensor_data(setup, &y),
        .count = (size_t)x.elements,
    };
    p->kernel = nyb_lookup_pick(setup->options->cpu);
    return 0;
}

static void portion(void *context, uint32_t index, uint32_t thread) {
    const lookup_plan *p = context;
    const size_t first = (size_t)index * PORTION;
    nyb_lookup_args args = p->args;
    (void)thread;
    args.a += first;
    args.c += first;
    args.count = args.count - first < PORTION ? args.count - first : PORTION;
    p->kernel->run(&args);
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const lookup_plan *p = plan_memory;
    // An element takes about as long as eight products. The task only reads the plan.
    nyb_parallel_for(run_context->parallel, (uint32_t)((p->args.count + PORTION - 1) / PORTION),
                     nyb_macs_ns(8 * p->args.count, p->kernel->needs), portion,
                     (void *)(uintptr_t)plan_memory);
}

static const char *variant(const void *plan_memory) {
    return ((const lookup_plan *)plan_memory)->kernel->name;
}

_Static_assert(sizeof(lookup_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");
const nyb_op nyb_op_lookup = {
    .kind = "Lookup",
    .inputs_min = 1,
    .inputs_max = 1,
    .in_place = true,
    .plan_bytes = sizeof(lookup_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = variant,
};
