// SPDX-License-Identifier: Apache-2.0
// Average and maximum over a window. Meaning: python/nybble/ops/pool.py.
#include "ops/weights.h"

typedef struct pool_plan {
    nyb_window window;
    const int8_t *x;
    int8_t *y;
    uint32_t height, width, channels;
    uint32_t out_height, out_width;
    uint32_t lines; // of the output, over the batch
    int32_t minimum, maximum;
    bool average;
    bool up; // PoolRounding UP
} pool_plan;

static nyb_status read(const nyb_node *node, pool_plan *plan, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_table *options = &node->options;
    memset(plan, 0, sizeof *plan);
    plan->average = node->kind == NYB_OPTIONS_AVERAGE_POOL2D;
    if (x.rank != 4 || y.rank != 4 || x.type != NYB_INT8 || y.type != NYB_INT8 || x.shape[0] != y.shape[0] ||
        x.shape[3] != y.shape[3] || y.elements > UINT32_MAX) {
        return nyb_node_fail(
            node, why, "int8 input and output of 4 dimensions, one batch and as many channels", 4, x.rank);
    }
    const uint32_t slot = plan->average ? NYB_AVERAGE_POOL2D_WINDOW : NYB_MAX_POOL2D_WINDOW;
    if (!nyb_window_read(options, slot, &plan->window) ||
        (uint64_t)plan->window.height * plan->window.width > UINT32_C(1) << 22) {
        // 2^22 elements of at most 256: the sum fits 31 bits.
        return nyb_node_fail(node, why,
                             "window: sizes, strides and dilations from 1, an area of at most 2^22", 1, 0);
    }
    plan->minimum = nyb_get_i32(options, plan->average ? NYB_AVERAGE_POOL2D_MINIMUM : NYB_MAX_POOL2D_MINIMUM);
    plan->maximum = nyb_get_i32(options, plan->average ? NYB_AVERAGE_POOL2D_MAXIMUM : NYB_MAX_POOL2D_MAXIMUM);
    if (plan->minimum < INT8_MIN || plan->minimum > plan->maximum || plan->maximum > INT8_MAX) {
        return nyb_node_fail(node, why, "a clamp within int8", INT8_MAX, plan->maximum);
    }
    plan->up = plan->average && nyb_get_u8(options, NYB_AVERAGE_POOL2D_ROUNDING) == NYB_POOL_ROUNDING_UP;
    plan->height = x.shape[1];
    plan->width = x.shape[2];
    plan->channels = x.shape[3];
    plan->out_height = y.shape[1];
    plan->out_width = y.shape[2];
    plan->lines = y.shape[0] * y.shape[1];
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    pool_plan plan;
    return read(node, &plan, why);
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    pool_plan *p = memory;
    read(node, p, NULL);
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x = (const int8_t *)nyb_tensor_data(setup, &x);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    return 0;
}

static int32_t mean(int32_t sum, int32_t count, bool up) {
    if (count == 0) {
        return 0;
    }
    if (up) {
        return (sum + 128 * count + count / 2) / count - 128; // never negative before the last step
    }
    return sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
}

// Taps of a window at `start` that fall inside `extent`: [*first, *end).
static void inside(int64_t start, uint32_t taps, uint32_t dilation, uint32_t extent, uint32_t *first,
                   uint32_t *end) {
    const int64_t before = start < 0 ? (dilation - 1 - start) / dilation : 0;
    const int64_t within = start < extent ? (extent - start + dilation - 1) / dilation : 0;
    *first = before < taps ? (uint32_t)before : taps;
    *end = within < taps ? (uint32_t)within : taps;
    *end = *end < *first ? *first : *end;
}

static void line(void *context, uint32_t index, uint32_t thread) {
    const pool_plan *p = context;
    const nyb_window *v = &p->window;
    (void)thread;
    const int8_t *image = p->x + (size_t)(index / p->out_height) * p->height * p->width * p->channels;
    int8_t *y = p->y + (size_t)index * p->out_width * p->channels;
    const int64_t top = (int64_t)(index % p->out_height) * v->stride_height - v->pad_top;
    uint32_t i0, i1, j0, j1;
    inside(top, v->height, v->dilation_height, p->height, &i0, &i1);
    for (uint32_t ox = 0; ox < p->out_width; ox++, y += p->channels) {
        const int64_t left = (int64_t)ox * v->stride_width - v->pad_left;
        inside(left, v->width, v->dilation_width, p->width, &j0, &j1);
        const int32_t count = (int32_t)((i1 - i0) * (j1 - j0));
        for (uint32_t c = 0; c < p->channels; c++) {
            int32_t sum = 0, largest = INT8_MIN;
            for (uint32_t i = i0; i < i1; i++) {
                const size_t iy = (size_t)(top + (int64_t)i * v->dilation_height);
                for (uint32_t j = j0; j < j1; j++) {
                    const size_t ix = (size_t)(left + (int64_t)j * v->dilation_width);
                    const int32_t value = image[(iy * p->width + ix) * p->channels + c];
                    sum += value;
                    largest = value > largest ? value : largest;
                }
            }
            const int32_t result = p->average ? mean(sum, count, p->up) : largest;
            y[c] = (int8_t)nyb_clamp(result, p->minimum, p->maximum);
        }
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const pool_plan *p = plan_memory;
    const uint64_t outputs = (uint64_t)p->lines * p->out_width * p->channels;
    // The task only reads the plan.
    nyb_parallel_for(run_context->parallel, p->lines, outputs * p->window.height * p->window.width, line,
                     (void *)(uintptr_t)plan_memory);
}

_Static_assert(sizeof(pool_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");
#define NYB_POOL_LIKE(name)                                                                                  \
    {.kind = name,                                                                                           \
     .inputs_min = 1,                                                                                        \
     .inputs_max = 1,                                                                                        \
     .plan_bytes = sizeof(pool_plan),                                                                        \
     .check = check,                                                                                         \
     .plan = plan,                                                                                           \
     .run = run,                                                                                             \
     .variant = nyb_variant_scalar}
const nyb_op nyb_op_average_pool2d = NYB_POOL_LIKE("AveragePool2d");
const nyb_op nyb_op_max_pool2d = NYB_POOL_LIKE("MaxPool2d");
