// SPDX-License-Identifier: Apache-2.0
// Fully connected layer: one gemm. Meaning: python/nybble/ops/fully_connected.py.
#include "ops/matmul.h"

typedef struct fully_connected_plan {
    nyb_matmul matmul;
    const int8_t *x;
    int8_t *y;
    uint32_t rows;
    uint32_t block;   // rows of one task
    uint32_t columns; // columns of one task, a multiple of nr
} fully_connected_plan;

static nyb_status read(const nyb_node *node, uint32_t cpu, fully_connected_plan *plan, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    memset(plan, 0, sizeof *plan);
    if (x.type != NYB_INT8 || y.type != NYB_INT8) {
        return nyb_node_fail(node, why, "int8 input and output", NYB_INT8, x.type);
    }
    const nyb_status status = nyb_matmul_read(node, NYB_FULLY_CONNECTED_WEIGHTS, NYB_FULLY_CONNECTED_OUTPUT,
                                              1, cpu, &plan->matmul, why);
    if (status != NYB_OK) {
        return status;
    }
    const nyb_weights *w = &plan->matmul.weights;
    if (w->depth == 0 || x.elements % w->depth != 0 || x.elements > UINT32_MAX || y.elements > UINT32_MAX ||
        x.elements / w->depth * w->outputs != y.elements) {
        return nyb_node_fail(node, why, "weights: depth and outputs that fit input and output",
                             (int64_t)y.elements, w->depth);
    }
    plan->rows = (uint32_t)(x.elements / w->depth);
    plan->block = nyb_block_rows(w->depth);
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    fully_connected_plan plan;
    return read(node, 0, &plan, why);
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    fully_connected_plan *p = memory;
    read(node, setup->options->cpu, p, NULL);
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x = (const int8_t *)nyb_tensor_data(setup, &x);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    // Few rows: threads share the columns.
    const nyb_weights *w = &p->matmul.weights;
    const uint32_t threads = nyb_threads(setup->options);
    const uint32_t panels = w->padded_outputs / w->nr;
    const uint32_t blocks = p->rows / p->block + 1;
    const uint32_t share = blocks >= threads ? panels : panels / threads + (panels % threads != 0);
    p->columns = share * w->nr;
    return w->zero_point != 0 ? p->block * sizeof(int32_t) : 0;
}

typedef struct fully_connected_call {
    const fully_connected_plan *plan;
    const nyb_run *run;
    uint32_t blocks;
} fully_connected_call;

static void part(void *context, uint32_t index, uint32_t thread) {
    const fully_connected_call *call = context;
    const fully_connected_plan *p = call->plan;
    const nyb_weights *w = &p->matmul.weights;
    const uint32_t row = index % call->blocks * p->block;
    const uint32_t first = index / call->blocks * p->columns;
    const nyb_matmul_part piece = {
        .a = p->x + (size_t)row * w->depth,
        .a_stride = w->depth,
        .rows = p->rows - row < p->block ? p->rows - row : p->block,
        .first = first,
        .count = w->outputs - first < p->columns ? w->outputs - first : p->columns,
        .c = p->y + (size_t)row * w->outputs + first,
        .c_stride = w->outputs,
        .row_sums = (int32_t *)(void *)(call->run->scratch + thread * call->run->scratch_bytes),
    };
    nyb_matmul_run(&p->matmul, &piece);
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const fully_connected_plan *p = plan_memory;
    const uint32_t outputs = p->matmul.weights.outputs;
    fully_connected_call call = {p, run_context, p->rows / p->block + (p->rows % p->block != 0)};
    const uint32_t splits = p->columns ? outputs / p->columns + (outputs % p->columns != 0) : 0;
    const uint64_t macs = (uint64_t)p->rows * outputs * p->matmul.weights.depth;
    nyb_parallel_for(run_context->parallel, call.blocks * splits, nyb_macs_ns(macs, p->matmul.gemm->needs),
                     part, &call);
}

static const char *variant(const void *plan_memory) {
    return ((const fully_connected_plan *)plan_memory)->matmul.gemm->name;
}

_Static_assert(sizeof(fully_connected_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");

const nyb_op nyb_op_fully_connected = {
    .kind = "FullyConnected",
    .inputs_min = 1,
    .inputs_max = 1,
    .plan_bytes = sizeof(fully_connected_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = variant,
};
