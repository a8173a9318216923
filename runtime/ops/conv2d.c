// SPDX-License-Identifier: Apache-2.0
// 2D convolution as a gemm over patches. Meaning: python/nybble/ops/conv2d.py.
#include "ops/matmul.h"

typedef struct conv2d_plan {
    nyb_matmul matmul;
    nyb_window window;
    const int8_t *x;
    int8_t *y;
    uint32_t height, width, channels; // of the input
    uint32_t out_height, out_width, out_channels;
    uint32_t groups;
    uint32_t pixels; // of the output, over the batch
    uint32_t block;  // output pixels of one task
    bool direct;     // the input's pixels are the rows of the gemm
    int8_t pad_value;
} conv2d_plan;

static nyb_status read(const nyb_node *node, uint32_t cpu, conv2d_plan *plan, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    memset(plan, 0, sizeof *plan);
    if (x.rank != 4 || y.rank != 4 || x.type != NYB_INT8 || y.type != NYB_INT8 || x.shape[0] != y.shape[0]) {
        return nyb_node_fail(node, why, "int8 input and output of 4 dimensions and one batch", 4, x.rank);
    }
    const nyb_table *options = &node->options;
    if (!nyb_window_read(options, NYB_CONV2D_WINDOW, &plan->window)) {
        return nyb_node_fail(node, why, "window: sizes, strides and dilations from 1 to 2^24", 1, 0);
    }
    plan->groups = nyb_get_u32(options, NYB_CONV2D_GROUPS);
    plan->groups = plan->groups == 0 ? 1 : plan->groups;
    plan->height = x.shape[1];
    plan->width = x.shape[2];
    plan->channels = x.shape[3];
    plan->out_height = y.shape[1];
    plan->out_width = y.shape[2];
    plan->out_channels = y.shape[3];
    const nyb_status status =
        nyb_matmul_read(node, NYB_CONV2D_WEIGHTS, NYB_CONV2D_OUTPUT, plan->groups, cpu, &plan->matmul, why);
    if (status != NYB_OK) {
        return status;
    }
    const nyb_weights *w = &plan->matmul.weights;
    const uint64_t depth =
        (uint64_t)plan->window.height * plan->window.width * (plan->channels / plan->groups);
    if (plan->channels % plan->groups != 0 || w->depth != depth) {
        return nyb_node_fail(node, why, "weights: depth equal to window times channels per group",
                             (int64_t)depth, w->depth);
    }
    if ((uint64_t)w->outputs * plan->groups != plan->out_channels) {
        return nyb_node_fail(node, why, "weights: outputs of all groups equal to the output's channels",
                             plan->out_channels, (int64_t)w->outputs * plan->groups);
    }
    const int32_t pad = nyb_get_i32(options, NYB_CONV2D_PAD_VALUE);
    if (pad < INT8_MIN || pad > INT8_MAX || y.elements > UINT32_MAX) {
        return nyb_node_fail(node, why, "a pad value within int8 and an output below 2^32 elements", 0, pad);
    }
    plan->pad_value = (int8_t)pad;
    plan->pixels = y.shape[0] * y.shape[1] * y.shape[2];
    const nyb_window *v = &plan->window;
    plan->direct = v->height == 1 && v->width == 1 && v->stride_height == 1 && v->stride_width == 1 &&
                   v->pad_top == 0 && v->pad_left == 0 && plan->height == plan->out_height &&
                   plan->width == plan->out_width;
    plan->block = nyb_block_rows(w->depth);
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    conv2d_plan plan;
    return read(node, 0, &plan, why);
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    conv2d_plan *p = memory;
    read(node, setup->options->cpu, p, NULL);
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x = (const int8_t *)nyb_tensor_data(setup, &x);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    const size_t sums = p->matmul.weights.zero_point != 0 ? nyb_aligned(p->block * sizeof(int32_t)) : 0;
    return sums + (p->direct ? 0 : nyb_aligned((size_t)p->block * p->matmul.weights.depth));
}

// One patch as a row: the window's pixels in order, `channels` of each from channel `first`.
static void gather(const conv2d_plan *p, uint32_t pixel, uint32_t first, uint32_t channels, int8_t *row) {
    const nyb_window *v = &p->window;
    const uint32_t ox = pixel % p->out_width;
    const uint32_t oy = pixel / p->out_width % p->out_height;
    const uint32_t batch = pixel / p->out_width / p->out_height;
    const int64_t top = (int64_t)oy * v->stride_height - v->pad_top;
    const int64_t left = (int64_t)ox * v->stride_width - v->pad_left;
    const size_t line = (size_t)p->width * p->channels;
    const bool run = v->dilation_width == 1 && channels == p->channels && left >= 0 &&
                     left + v->width <= p->width; // a whole line of the window is contiguous
    for (uint32_t i = 0; i < v->height; i++) {
        const int64_t iy = top + (int64_t)i * v->dilation_height;
        const size_t bytes = (size_t)v->width * channels;
        if (iy < 0 || iy >= p->height) {
            memset(row, p->pad_value, bytes);
            row += bytes;
            continue;
        }
        const int8_t *source = p->x + ((size_t)batch * p->height + (size_t)iy) * line + first;
        if (run) {
            memcpy(row, source + (size_t)left * channels, bytes);
            row += bytes;
            continue;
        }
        for (uint32_t j = 0; j < v->width; j++, row += channels) {
            const int64_t ix = left + (int64_t)j * v->dilation_width;
            if (ix < 0 || ix >= p->width) {
                memset(row, p->pad_value, channels);
            } else {
                memcpy(row, source + (size_t)ix * p->channels, channels);
            }
        }
    }
}

typedef struct conv2d_call {
    const conv2d_plan *plan;
    const nyb_run *run;
} conv2d_call;

// One block of output pixels, all groups and channels.
static void block(void *context, uint32_t index, uint32_t thread) {
    const conv2d_call *call = context;
    const conv2d_plan *p = call->plan;
    const nyb_weights *w = &p->matmul.weights;
    const uint32_t start = index * p->block;
    const uint32_t rows = p->pixels - start < p->block ? p->pixels - start : p->block;
    const uint32_t per_group = p->channels / p->groups;
    uint8_t *scratch = call->run->scratch + thread * call->run->scratch_bytes;
    int32_t *row_sums = (int32_t *)(void *)scratch;
    int8_t *patches = (int8_t *)scratch + (w->zero_point != 0 ? nyb_aligned(p->block * sizeof(int32_t)) : 0);
    for (uint32_t g = 0; g < p->groups; g++) {
        const uint32_t first = g * per_group;
        if (!p->direct) {
            for (uint32_t i = 0; i < rows; i++) {
                gather(p, start + i, first, per_group, patches + (size_t)i * w->depth);
            }
        }
        const nyb_matmul_part part = {
            .a = p->direct ? p->x + (size_t)start * p->channels + first : patches,
            .a_stride = p->direct ? p->channels : w->depth,
            .rows = rows,
            .group = g,
            .first = 0,
            .count = w->outputs,
            .c = p->y + (size_t)start * p->out_channels + (size_t)g * w->outputs,
            .c_stride = p->out_channels,
            .row_sums = row_sums,
        };
        nyb_matmul_run(&p->matmul, &part);
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const conv2d_plan *p = plan_memory;
    conv2d_call call = {p, run_context};
    const uint32_t tasks = p->pixels / p->block + (p->pixels % p->block != 0);
    const uint64_t macs = (uint64_t)p->pixels * p->out_channels * p->matmul.weights.depth;
    nyb_parallel_for(run_context->parallel, tasks, nyb_macs_ns(macs, p->matmul.gemm->needs), block, &call);
}

static const char *variant(const void *plan_memory) {
    return ((const conv2d_plan *)plan_memory)->matmul.gemm->name;
}

_Static_assert(sizeof(conv2d_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");

const nyb_op nyb_op_conv2d = {
    .kind = "Conv2d",
    .inputs_min = 1,
    .inputs_max = 1,
    .plan_bytes = sizeof(conv2d_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = variant,
};
