// SPDX-License-Identifier: Apache-2.0
// 2D convolution as a gemm over windows, or as ops/winograd.c. Meaning: python/nybble/ops/conv2d.py.
#include "ops/conv2d.h"

// Output channels of a task are a multiple of this. Fewer are not worth reading the input once more.
enum { NARROWEST_SHARE = NYB_PREPACKED_COLUMNS };

static nyb_status read(const nyb_node *node, uint32_t cpu, nyb_conv2d *plan, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    memset(plan, 0, sizeof *plan);
    if (x.rank != 4 || y.rank != 4 || x.shape[0] != y.shape[0] || x.shape[3] > INT32_MAX) {
        return nyb_node_fail(node, why, "input and output of 4 dimensions and one batch", 4, x.rank);
    }
    const nyb_table *options = &node->options;
    nyb_windows *windows = &plan->windows;
    if (!nyb_window_read(options, NYB_CONV2D_WINDOW, &windows->window)) {
        return nyb_node_fail(node, why, "window: sizes, strides and dilations from 1 to 2^24", 1, 0);
    }
    plan->groups = nyb_get_u32(options, NYB_CONV2D_GROUPS);
    plan->groups = plan->groups == 0 ? 1 : plan->groups;
    plan->batches = x.shape[0];
    plan->out_channels = y.shape[3];
    const nyb_status status =
        nyb_matmul_read(node, NYB_CONV2D_WEIGHTS, NYB_CONV2D_OUTPUT, plan->groups, cpu, &plan->matmul, why);
    if (status != NYB_OK) {
        return status;
    }
    const nyb_weights *w = &plan->matmul.weights;
    const uint64_t depth =
        (uint64_t)windows->window.height * windows->window.width * (x.shape[3] / plan->groups);
    if (x.shape[3] % plan->groups != 0 || w->depth != depth || depth == 0) {
        return nyb_node_fail(node, why, "weights: depth equal to window times channels per group, not 0",
                             (int64_t)depth, w->depth);
    }
    if ((uint64_t)w->outputs * plan->groups != plan->out_channels) {
        return nyb_node_fail(node, why, "weights: outputs of all groups equal to the output's channels",
                             plan->out_channels, (int64_t)w->outputs * plan->groups);
    }
    const int32_t pad = nyb_get_i32(options, NYB_CONV2D_PAD_VALUE);
    const uint32_t bytes = plan->matmul.bytes;
    if (!nyb_pad_valid(x.type, pad) || y.elements > UINT32_MAX) {
        return nyb_node_fail(
            node, why, "a pad value within int8, 0 in int16, and an output below 2^32 elements", 0, pad);
    }
    // An image of int16 is one of twice as many bytes, whose borders are bytes of 0.
    windows->height = x.shape[1];
    windows->width = x.shape[2];
    windows->channels = x.shape[3] * bytes;
    windows->per_group = x.shape[3] / plan->groups * bytes;
    windows->out_height = y.shape[1];
    windows->out_width = y.shape[2];
    windows->pad_value = (int8_t)pad;
    windows->own = plan->matmul.gemm->form;
    windows->copied = plan->matmul.gemm->copied;
    windows->unbroken = plan->matmul.gemm->tiled;
    windows->step = nyb_matmul_step(&plan->matmul);
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    nyb_conv2d plan;
    return read(node, 0, &plan, why);
}

static uint32_t blocks_of(const nyb_windows *w) {
    return w->out_height / w->lines + (w->out_height % w->lines != 0);
}

static size_t sums_bytes(const nyb_conv2d *p) {
    const size_t rows = (size_t)p->windows.lines * p->windows.out_width;
    return p->matmul.weights.zero_point != 0 ? nyb_aligned(rows * sizeof(int32_t)) : 0;
}

// Where there is more to read of weights than of the input, threads share the columns, so that each reads its
// part of the weights; or else the lines, in blocks that give every thread as many lines, but for a
// sixteenth.
static void share(nyb_conv2d *p, uint32_t threads) {
    const nyb_weights *w = &p->matmul.weights;
    nyb_windows *windows = &p->windows;
    const uint64_t input = (uint64_t)windows->height * windows->width * windows->per_group;
    p->columns = w->padded_outputs;
    if (threads == 1) {
        return;
    }
    if ((uint64_t)w->outputs * w->depth > input && w->outputs / threads >= NARROWEST_SHARE) {
        const uint32_t each = w->outputs / threads + (w->outputs % threads != 0);
        p->columns = (each + NARROWEST_SHARE - 1) / NARROWEST_SHARE * NARROWEST_SHARE;
        return;
    }
    const uint64_t lines = windows->out_height;
    while (windows->lines > 1) {
        const uint64_t each = (blocks_of(windows) + threads - 1) / threads * windows->lines;
        if (each * threads * 16 <= lines * 17 && blocks_of(windows) >= 2 * (uint64_t)threads) {
            break;
        }
        windows->lines--;
    }
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    nyb_conv2d *p = memory;
    read(node, setup->options->cpu, p, NULL);
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x = (const int8_t *)nyb_tensor_data(setup, &x);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    size_t scratch = 0;
    if (nyb_winograd_plan(p, node, setup, &scratch)) {
        return scratch;
    }
    nyb_windows_plan(&p->windows, nyb_matmul_block_bytes(&p->matmul));
    const uint64_t pixels = (uint64_t)p->batches * p->windows.out_height * p->windows.out_width;
    p->ns = nyb_matmul_ns(&p->matmul, pixels, p->out_channels);
    share(p, nyb_threads_for(setup->options, p->ns));
    nyb_matmul_prepack(&p->matmul, setup, p->groups, p->windows.segments, p->windows.segment,
                       (uint64_t)p->windows.out_height * p->windows.out_width);
    scratch = nyb_windows_scratch(&p->windows);
    return scratch > SIZE_MAX - sums_bytes(p) ? SIZE_MAX : scratch + sums_bytes(p);
}

typedef struct conv2d_call {
    const nyb_conv2d *plan;
    const nyb_run *run;
    uint32_t shares; // of the columns of a group
} conv2d_call;

// One block of output lines, a share of each group's channels.
static void block(void *context, uint32_t index, uint32_t thread) {
    const conv2d_call *call = context;
    const nyb_conv2d *p = call->plan;
    const nyb_windows *windows = &p->windows;
    const nyb_weights *w = &p->matmul.weights;
    const uint32_t blocks = blocks_of(windows);
    const uint32_t line = index % blocks * windows->lines;
    const uint32_t batch = index / blocks % p->batches;
    const uint32_t first = index / blocks / p->batches * p->columns;
    const uint32_t left = windows->out_height - line;
    const uint32_t lines = left < windows->lines ? left : windows->lines;
    const size_t pixel = ((size_t)batch * windows->out_height + line) * windows->out_width;
    const int8_t *image = p->x + (size_t)batch * windows->height * windows->width * windows->channels;
    uint8_t *scratch = call->run->scratch + thread * call->run->scratch_bytes;
    for (uint32_t g = 0; g < p->groups; g++) {
        const nyb_rows rows =
            nyb_windows_rows(windows, image, g * windows->per_group, line, lines, scratch + sums_bytes(p));
        const nyb_matmul_part part = {
            .rows = rows,
            .group = g,
            .first = first,
            .count = w->outputs - first < p->columns ? w->outputs - first : p->columns,
            .c = p->y + (pixel * p->out_channels + (size_t)g * w->outputs + first) * p->matmul.bytes,
            .c_stride = (size_t)p->out_channels * p->matmul.bytes,
            .row_sums = (int32_t *)(void *)scratch,
        };
        nyb_matmul_run(&p->matmul, &part);
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const nyb_conv2d *p = plan_memory;
    if (p->winograd.kernel != NULL) {
        nyb_winograd_run(p, run_context);
        return;
    }
    const nyb_windows *windows = &p->windows;
    const uint32_t outputs = p->matmul.weights.outputs;
    conv2d_call call = {p, run_context, outputs / p->columns + (outputs % p->columns != 0)};
    nyb_parallel_for(run_context->parallel, p->batches * blocks_of(windows) * call.shares, p->ns, block,
                     &call);
}

static const char *variant(const void *plan_memory) {
    const nyb_conv2d *p = plan_memory;
    return p->winograd.kernel != NULL ? p->winograd.kernel->name : p->matmul.gemm->name;
}

_Static_assert(sizeof(nyb_conv2d) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");

const nyb_op nyb_op_conv2d = {
    .kind = "Conv2d",
    .inputs_min = 1,
    .inputs_max = 1,
    .plan_bytes = sizeof(nyb_conv2d),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = variant,
};
