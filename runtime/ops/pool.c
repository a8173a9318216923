// SPDX-License-Identifier: Apache-2.0
// Average and maximum over a window. Meaning: python/nybble/ops/pool.py.
#include "kernels/pool/pool.h"
#include "ops/weights.h"

typedef struct pool_plan {
    nyb_window window;
    const int8_t *x;
    int8_t *y;
    uint32_t bytes; // of an element: 1 or 2
    uint32_t height, width, channels;
    uint32_t out_height, out_width;
    uint32_t lines; // of the output, over the batch
    int32_t minimum, maximum;
    bool average;
    bool up; // PoolRounding UP
    const nyb_pool_variant *kernel;
} pool_plan;

// Outputs of an average that are summed together.
enum { BLOCK = 64 };

static nyb_status read(const nyb_node *node, pool_plan *plan, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_table *options = &node->options;
    memset(plan, 0, sizeof *plan);
    plan->average = node->kind == NYB_OPTIONS_AVERAGE_POOL2D;
    if (x.rank != 4 || y.rank != 4 || !nyb_is_activation(x.type) || y.type != x.type ||
        x.shape[0] != y.shape[0] || x.shape[3] != y.shape[3] || y.elements > UINT32_MAX) {
        return nyb_node_fail(node, why,
                             "input and output of one type, 4 dimensions, one batch and as many channels", 4,
                             x.rank);
    }
    plan->bytes = nyb_type_bytes(x.type);
    const uint32_t slot = plan->average ? NYB_AVERAGE_POOL2D_WINDOW : NYB_MAX_POOL2D_WINDOW;
    if (!nyb_window_read(options, slot, &plan->window) ||
        (uint64_t)plan->window.height * plan->window.width > UINT32_C(1) << (30 - 8 * plan->bytes)) {
        // 2^22 elements of at most 2^8, or 2^14 of at most 2^16: the sum fits 31 bits.
        return nyb_node_fail(
            node, why, "window: sizes, strides and dilations from 1, an area of at most 2^22, 2^14 in int16",
            1, 0);
    }
    plan->minimum = nyb_get_i32(options, plan->average ? NYB_AVERAGE_POOL2D_MINIMUM : NYB_MAX_POOL2D_MINIMUM);
    plan->maximum = nyb_get_i32(options, plan->average ? NYB_AVERAGE_POOL2D_MAXIMUM : NYB_MAX_POOL2D_MAXIMUM);
    if (!nyb_clamp_valid(x.type, plan->minimum, plan->maximum)) {
        return nyb_node_fail(node, why, "a clamp within the type", nyb_highest(x.type), plan->maximum);
    }
    plan->up = plan->average && nyb_get_u8(options, NYB_AVERAGE_POOL2D_ROUNDING) == NYB_POOL_ROUNDING_UP;
    if (plan->up && x.type != NYB_INT8) {
        return nyb_node_fail(node, why, "rounding UP in int8 alone", NYB_INT8, x.type);
    }
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
    p->kernel = p->bytes == 2 ? &nyb_pool16 : nyb_pool_pick(setup->options->cpu);
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

static void average(const pool_plan *p, const nyb_window_taps *taps, int8_t *y) {
    const int32_t count = (int32_t)(taps->rows * taps->columns);
    for (uint32_t first = 0; first < p->channels; first += BLOCK) {
        nyb_window_taps block = *taps;
        block.a += (size_t)first * p->bytes;
        block.channels -= first;
        block.channels = block.channels < BLOCK ? block.channels : BLOCK;
        int32_t sums[BLOCK] = {0};
        p->kernel->sum(&block, sums);
        int16_t *wide = (int16_t *)(void *)y; // the outputs of 16 bits
        for (uint32_t c = 0; c < block.channels; c++) {
            const int32_t result = nyb_clamp(mean(sums[c], count, p->up), p->minimum, p->maximum);
            if (p->bytes == 2) {
                wide[first + c] = (int16_t)result;
            } else {
                y[first + c] = (int8_t)result;
            }
        }
    }
}

// Pixels from ox on whose windows hold as many columns as that of ox.
static uint32_t alike(const pool_plan *p, uint32_t ox, bool whole) {
    const nyb_window *v = &p->window;
    if (!whole) {
        return 1;
    }
    const int64_t reach = (int64_t)(v->width - 1) * v->dilation_width;
    const int64_t last = ((int64_t)p->width - 1 - reach + v->pad_left) / v->stride_width;
    return (uint32_t)(last < p->out_width ? last : (int64_t)p->out_width - 1) - ox + 1;
}

static void line(void *context, uint32_t index, uint32_t thread) {
    const pool_plan *p = context;
    const nyb_window *v = &p->window;
    (void)thread;
    const size_t pixel = (size_t)p->channels * p->bytes;
    const int8_t *image = p->x + (size_t)(index / p->out_height) * p->height * p->width * pixel;
    int8_t *y = p->y + (size_t)index * p->out_width * pixel;
    const int64_t top = (int64_t)(index % p->out_height) * v->stride_height - v->pad_top;
    uint32_t i0, i1, j0, j1;
    inside(top, v->height, v->dilation_height, p->height, &i0, &i1);
    for (uint32_t ox = 0; ox < p->out_width;) {
        const int64_t left = (int64_t)ox * v->stride_width - v->pad_left;
        inside(left, v->width, v->dilation_width, p->width, &j0, &j1);
        const size_t iy = (size_t)(top + (int64_t)i0 * v->dilation_height);
        const size_t ix = (size_t)(left + (int64_t)j0 * v->dilation_width);
        const bool empty = i0 == i1 || j0 == j1;
        nyb_max_args args = {
            .taps = {.a = empty ? image : image + (iy * p->width + ix) * pixel,
                     .row_stride = (size_t)v->dilation_height * p->width * pixel,
                     .column_stride = v->dilation_width * pixel,
                     .rows = i1 - i0,
                     .columns = j1 - j0,
                     .channels = p->channels},
            .pixel_stride = v->stride_width * pixel,
            .pixels = alike(p, ox, j1 - j0 == v->width),
            .minimum = p->minimum,
            .maximum = p->maximum,
            .c = y + ox * pixel,
        };
        ox += args.pixels;
        if (!p->average) {
            p->kernel->max(&args);
            continue;
        }
        for (uint32_t i = 0; i < args.pixels; i++) {
            average(p, &args.taps, args.c);
            args.taps.a += args.pixel_stride;
            args.c += pixel;
        }
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const pool_plan *p = plan_memory;
    const uint64_t outputs = (uint64_t)p->lines * p->out_width * p->channels;
    // The task only reads the plan.
    const uint64_t taps = outputs * p->window.height * p->window.width;
    nyb_parallel_for(run_context->parallel, p->lines, nyb_macs_ns(taps, p->kernel->needs), line,
                     (void *)(uintptr_t)plan_memory);
}

static const char *variant(const void *plan_memory) { return ((const pool_plan *)plan_memory)->kernel->name; }

_Static_assert(sizeof(pool_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");
#define NYB_POOL_LIKE(name)                                                                                  \
    {.kind = name,                                                                                           \
     .inputs_min = 1,                                                                                        \
     .inputs_max = 1,                                                                                        \
     .plan_bytes = sizeof(pool_plan),                                                                        \
     .check = check,                                                                                         \
     .plan = plan,                                                                                           \
     .run = run,                                                                                             \
     .variant = variant}
const nyb_op nyb_op_average_pool2d = NYB_POOL_LIKE("AveragePool2d");
const nyb_op nyb_op_max_pool2d = NYB_POOL_LIKE("MaxPool2d");
