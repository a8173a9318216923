// SPDX-License-Identifier: Apache-2.0
// Depthwise 2D convolution, an output line at a time. Meaning: python/nybble/ops/depthwise_conv2d.py.
#include "base/packed.h"
#include "kernels/depthwise/depthwise.h"
#include "ops/weights.h"

typedef struct depthwise_plan {
    nyb_weights weights;
    nyb_requantize output;
    nyb_window window;
    const nyb_depthwise_variant *kernel;
    const int8_t *x;
    int8_t *y;
    uint32_t height, width, channels;
    uint32_t out_height, out_width;
    uint32_t lines;    // of the output, over the batch
    uint32_t per_task; // lines of one task
    // Scratch of a thread: widened weights, then tap pointers of a line, then a pixel of padding.
    size_t taps_at;
    size_t padding_at;
    size_t scratch_bytes;
    int8_t pad_value;
} depthwise_plan;

static nyb_status read(const nyb_node *node, depthwise_plan *plan, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_table *options = &node->options;
    memset(plan, 0, sizeof *plan);
    if (x.rank != 4 || y.rank != 4 || x.type != NYB_INT8 || y.type != NYB_INT8 || x.shape[0] != y.shape[0] ||
        x.shape[3] != y.shape[3]) {
        return nyb_node_fail(
            node, why, "int8 input and output of 4 dimensions, one batch and as many channels", 4, x.rank);
    }
    if (!nyb_window_read(options, NYB_DEPTHWISE_CONV2D_WINDOW, &plan->window)) {
        return nyb_node_fail(node, why, "window: sizes, strides and dilations from 1 to 2^24", 1, 0);
    }
    if (!nyb_weights_read(options, NYB_DEPTHWISE_CONV2D_WEIGHTS, 1, &plan->weights)) {
        return nyb_node_fail(node, why, "weights: layout and sizes that fit", 1, 0);
    }
    if (!nyb_requantize_read(options, NYB_DEPTHWISE_CONV2D_OUTPUT, &plan->output)) {
        return nyb_node_fail(node, why, "output: a rounding, a zero point and a clamp within int8", 1, 0);
    }
    const nyb_weights *w = &plan->weights;
    const uint64_t taps = (uint64_t)plan->window.height * plan->window.width;
    if (w->nr != NYB_DEPTHWISE_NR || w->kr != 1 || w->outputs != x.shape[3] || w->depth != taps ||
        w->scale_group) {
        return nyb_node_fail(node, why, "weights: one channel of the window for each channel", (int64_t)taps,
                             w->depth);
    }
    const int32_t pad = nyb_get_i32(options, NYB_DEPTHWISE_CONV2D_PAD_VALUE);
    if (pad < INT8_MIN || pad > INT8_MAX || y.elements > UINT32_MAX) {
        return nyb_node_fail(node, why, "a pad value within int8 and an output below 2^32 elements", 0, pad);
    }
    plan->pad_value = (int8_t)pad;
    plan->height = x.shape[1];
    plan->width = x.shape[2];
    plan->channels = x.shape[3];
    plan->out_height = y.shape[1];
    plan->out_width = y.shape[2];
    plan->lines = y.shape[0] * y.shape[1];
    const uint64_t weights = (uint64_t)w->padded_outputs * taps * sizeof(int16_t);
    const uint64_t pointers = (uint64_t)plan->out_width * taps * sizeof(const int8_t *);
    if (weights > SIZE_MAX / 4 || pointers > SIZE_MAX / 4) {
        return nyb_node_fail(node, why, "scratch memory that fits this machine", (int64_t)SIZE_MAX / 4,
                             (int64_t)pointers);
    }
    plan->taps_at = nyb_aligned((size_t)weights);
    plan->padding_at = plan->taps_at + nyb_aligned((size_t)pointers);
    plan->scratch_bytes = plan->padding_at + nyb_aligned(plan->channels);
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    depthwise_plan plan;
    return read(node, &plan, why);
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    depthwise_plan *p = memory;
    read(node, p, NULL);
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x = (const int8_t *)nyb_tensor_data(setup, &x);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    p->kernel = nyb_depthwise_pick(setup->options->cpu);
    // Each task widens the weights for itself, so there are as few tasks as keep the threads busy.
    const uint64_t threads = nyb_threads(setup->options);
    p->per_task = threads == 1 ? p->lines : (uint32_t)((p->lines + 2 * threads - 1) / (2 * threads));
    return p->scratch_bytes;
}

// int8, int4 or int2 weights minus their zero point, as int16 in the same panels.
static void widen(const nyb_weights *w, int16_t *wide) {
    const uint32_t planes = 8 / w->bits;
    const uint32_t panels = w->padded_outputs / w->nr;
    const uint8_t *byte = w->data;
    for (uint32_t panel = 0; panel < panels; panel++) {
        for (uint32_t first = 0; first < w->depth; first += planes, byte += NYB_DEPTHWISE_NR) {
            for (uint32_t plane = 0; plane < planes && first + plane < w->depth; plane++) {
                for (uint32_t j = 0; j < NYB_DEPTHWISE_NR; j++) {
                    *wide++ = (int16_t)(nyb_unpack(byte[j], w->bits, plane) - w->zero_point);
                }
            }
        }
    }
}

// Pointers to the taps of every pixel of one output line.
static void point(const depthwise_plan *p, uint32_t line, const int8_t *padding, const int8_t **taps) {
    const nyb_window *v = &p->window;
    const uint32_t oy = line % p->out_height;
    const int8_t *image = p->x + (size_t)(line / p->out_height) * p->height * p->width * p->channels;
    const int64_t top = (int64_t)oy * v->stride_height - v->pad_top;
    for (uint32_t ox = 0; ox < p->out_width; ox++) {
        const int64_t left = (int64_t)ox * v->stride_width - v->pad_left;
        for (uint32_t i = 0; i < v->height; i++) {
            const int64_t iy = top + (int64_t)i * v->dilation_height;
            for (uint32_t j = 0; j < v->width; j++) {
                const int64_t ix = left + (int64_t)j * v->dilation_width;
                const bool inside = iy >= 0 && iy < p->height && ix >= 0 && ix < p->width;
                *taps++ = inside ? image + ((size_t)iy * p->width + (size_t)ix) * p->channels : padding;
            }
        }
    }
}

typedef struct depthwise_call {
    const depthwise_plan *plan;
    const nyb_run *run;
} depthwise_call;

static void lines(void *context, uint32_t index, uint32_t thread) {
    const depthwise_call *call = context;
    const depthwise_plan *p = call->plan;
    uint8_t *scratch = call->run->scratch + thread * call->run->scratch_bytes;
    int16_t *wide = (int16_t *)(void *)scratch;
    const int8_t **taps = (const int8_t **)(void *)(scratch + p->taps_at);
    int8_t *padding = (int8_t *)scratch + p->padding_at;
    widen(&p->weights, wide);
    memset(padding, p->pad_value, p->channels);
    const uint32_t first = index * p->per_task;
    const uint32_t end = p->lines - first < p->per_task ? p->lines : first + p->per_task;
    const size_t line_bytes = (size_t)p->out_width * p->channels;
    for (uint32_t line = first; line < end; line++) {
        point(p, line, padding, taps);
        const nyb_depthwise_args args = {
            .taps = taps,
            .weights = wide,
            .bias = p->weights.bias,
            .multiplier = p->weights.multiplier,
            .shift = p->weights.shift,
            .pixels = p->out_width,
            .tap_count = p->weights.depth,
            .channels = p->channels,
            .output = p->output,
            .c = p->y + line * line_bytes,
            .c_stride = p->channels,
        };
        p->kernel->run(&args);
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const depthwise_plan *p = plan_memory;
    depthwise_call call = {p, run_context};
    const uint32_t tasks = p->per_task ? p->lines / p->per_task + (p->lines % p->per_task != 0) : 0;
    // Every product has a load of its own, so a kernel does a quarter of a gemm's.
    const uint64_t macs = (uint64_t)p->lines * p->out_width * p->channels * p->weights.depth;
    nyb_parallel_for(run_context->parallel, tasks, nyb_macs_ns(4 * macs, p->kernel->needs), lines, &call);
}

static const char *variant(const void *plan_memory) {
    return ((const depthwise_plan *)plan_memory)->kernel->name;
}

_Static_assert(sizeof(depthwise_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");

const nyb_op nyb_op_depthwise_conv2d = {
    .kind = "DepthwiseConv2d",
    .inputs_min = 1,
    .inputs_max = 1,
    .plan_bytes = sizeof(depthwise_plan),
    .check = check,
    .plan = plan,
    .run = run,
    .variant = variant,
};
