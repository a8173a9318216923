// SPDX-License-Identifier: Apache-2.0
// Fully connected layer: one gemm. Meaning: python/nybble/ops/fully_connected.py.
#include "ops/matmul.h"

typedef struct fully_connected_plan {
    nyb_matmul matmul;
    const int8_t *x;
    int8_t *y;
    uint32_t rows;
    uint32_t block;   // rows of one task
    uint32_t columns; // columns of one task
    uint32_t blocks;  // tasks for all rows
    uint32_t shares;  // tasks for all columns
    uint64_t ns;      // roughly, on one thread
    uint32_t row;     // bytes of a row in the tensor
    uint32_t padded;  // bytes that a row must be readable for
    bool in_place;    // the gemm reads the tensor's own rows
} fully_connected_plan;

static nyb_status read(const nyb_node *node, uint32_t cpu, fully_connected_plan *plan, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    memset(plan, 0, sizeof *plan);
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
    const nyb_form *form = plan->matmul.gemm->form;
    const uint32_t step = nyb_matmul_step(&plan->matmul);
    plan->row = w->depth * plan->matmul.bytes;
    plan->padded = plan->row + (step - plan->row % step) % step;
    const size_t fits = NYB_BLOCK_BYTES / (plan->padded * form->element);
    plan->in_place = form == &nyb_form_s8 && plan->padded == plan->row;
    plan->block = fits < plan->matmul.gemm->mr ? plan->matmul.gemm->mr : (uint32_t)fits;
    plan->block = plan->rows > 0 && plan->rows < plan->block ? plan->rows : plan->block;
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    fully_connected_plan plan;
    return read(node, 0, &plan, why);
}

// The scratch memory of a task, in order: sums of the rows, pointers to them, the rows in the gemm's form.
static size_t sums_bytes(const fully_connected_plan *p) {
    return p->matmul.weights.zero_point != 0 ? nyb_aligned(p->block * sizeof(int32_t)) : 0;
}

static size_t pointers_bytes(const fully_connected_plan *p) { return nyb_aligned(p->block * sizeof(void *)); }

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    fully_connected_plan *p = memory;
    read(node, setup->options->cpu, p, NULL);
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x = (const int8_t *)nyb_tensor_data(setup, &x);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    // Few rows: threads share the columns.
    const nyb_weights *w = &p->matmul.weights;
    p->ns = nyb_matmul_ns(&p->matmul, p->rows, w->outputs);
    p->blocks = p->rows / p->block + (p->rows % p->block != 0);
    const uint32_t threads = nyb_threads_for(setup->options, p->ns);
    const uint32_t wanted = p->blocks >= threads ? 1 : threads;
    const uint32_t each = w->outputs / wanted + (w->outputs % wanted != 0);
    p->columns = (each + NYB_PREPACKED_COLUMNS - 1) / NYB_PREPACKED_COLUMNS * NYB_PREPACKED_COLUMNS;
    p->shares = p->columns ? w->outputs / p->columns + (w->outputs % p->columns != 0) : 0;
    nyb_matmul_prepack(&p->matmul, setup, 1, 1, p->row, p->rows);
    const size_t row = p->padded * p->matmul.gemm->form->element;
    return sums_bytes(p) + pointers_bytes(p) + (p->in_place ? 0 : p->block * row);
}

typedef struct fully_connected_call {
    const fully_connected_plan *plan;
    const nyb_run *run;
} fully_connected_call;

static void part(void *context, uint32_t index, uint32_t thread) {
    const fully_connected_call *call = context;
    const fully_connected_plan *p = call->plan;
    const nyb_weights *w = &p->matmul.weights;
    const nyb_form *form = p->matmul.gemm->form;
    const uint32_t row = index % p->blocks * p->block;
    const uint32_t rows = p->rows - row < p->block ? p->rows - row : p->block;
    const uint32_t first = index / p->blocks * p->columns;
    uint8_t *sums = call->run->scratch + thread * call->run->scratch_bytes;
    const uint8_t **a = (const uint8_t **)(void *)(sums + sums_bytes(p));
    uint8_t *staged = (uint8_t *)a + pointers_bytes(p);
    const size_t stride = p->in_place ? p->row : p->padded * form->element;
    for (uint32_t i = 0; i < rows; i++) {
        const int8_t *x = p->x + (size_t)(row + i) * p->row;
        a[i] = (const uint8_t *)x;
        if (!p->in_place) {
            uint8_t *to = staged + i * stride;
            form->stage(to, x, p->row, p->padded);
            a[i] = to;
        }
    }
    const nyb_matmul_part piece = {
        .rows = {.a = a,
                 .count = rows,
                 .segments = 1,
                 .segment = p->row,
                 .line = rows,
                 .stride = stride,
                 .form = form},
        .first = first,
        .count = w->outputs - first < p->columns ? w->outputs - first : p->columns,
        .c = p->y + ((size_t)row * w->outputs + first) * p->matmul.bytes,
        .c_stride = (size_t)w->outputs * p->matmul.bytes,
        .row_sums = (int32_t *)(void *)sums,
    };
    nyb_matmul_run(&p->matmul, &piece);
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const fully_connected_plan *p = plan_memory;
    fully_connected_call call = {p, run_context};
    nyb_parallel_for(run_context->parallel, p->blocks * p->shares, p->ns, part, &call);
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
