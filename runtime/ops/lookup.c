// SPDX-License-Identifier: Apache-2.0
// A function of one byte as a table, of int16 as a table with straight lines between its entries. Meaning:
// python/nybble/ops/lookup.py.
#include "kernels/lookup/lookup.h"
#include "ops/op.h"

enum { PORTION = 1 << 14 }; // elements that are worth a thread's attention
enum { WIDE_TABLE_BYTES = 513 * sizeof(int16_t) };

typedef struct lookup_plan {
    nyb_lookup_args args;
    const nyb_lookup_variant *kernel; // NULL: x and y, args.a and args.c, are int16
} lookup_plan;

static bool is_byte(uint32_t type) { return type == NYB_INT8 || type == NYB_UINT8; }

static nyb_status check(const nyb_node *node, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_span table = nyb_get_span(&node->options, NYB_LOOKUP_TABLE);
    const bool wide = x.type == NYB_INT16 && y.type == NYB_INT16;
    if (wide && x.elements == y.elements && table.data != NULL && table.size == WIDE_TABLE_BYTES) {
        return NYB_OK;
    }
    if (wide) {
        return nyb_node_fail(node, why, "one size, and a table of 513 int16", WIDE_TABLE_BYTES,
                             (int64_t)table.size);
    }
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
    p->kernel = x.type == NYB_INT16 ? NULL : nyb_lookup_pick(setup->options->cpu);
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

static void wide_portion(void *context, uint32_t index, uint32_t thread) {
    const lookup_plan *p = context;
    const int16_t *table = (const int16_t *)(const void *)p->args.table;
    const int16_t *a = (const int16_t *)(const void *)p->args.a;
    int16_t *c = (int16_t *)(void *)p->args.c;
    const size_t first = (size_t)index * PORTION;
    const size_t end = p->args.count - first < PORTION ? p->args.count : first + PORTION;
    (void)thread;
    for (size_t i = first; i < end; i++) {
        c[i] = nyb_interpolate(table, a[i]);
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const lookup_plan *p = plan_memory;
    // An element takes about as long as eight products. The task only reads the plan.
    nyb_parallel_for(run_context->parallel, (uint32_t)((p->args.count + PORTION - 1) / PORTION),
                     nyb_macs_ns(8 * p->args.count, p->kernel != NULL ? p->kernel->needs : 0),
                     p->kernel != NULL ? portion : wide_portion, (void *)(uintptr_t)plan_memory);
}

static const char *variant(const void *plan_memory) {
    const lookup_plan *p = plan_memory;
    return p->kernel != NULL ? p->kernel->name : "x16_scalar";
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
