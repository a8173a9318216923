// SPDX-License-Identifier: Apache-2.0
// Depthwise 2D convolution, a strip of output lines at a time. Meaning:
// python/nybble/ops/depthwise_conv2d.py.
#include "base/packed.h"
#include "kernels/depthwise/depthwise.h"
#include "ops/weights.h"

// Input that is staged at once stays within a second cache. Where a strip would not reach over an image, it
// has fewer channels: lines that two strips share are staged twice. Threads that would have so few output
// lines each share the channels instead.
enum { STRIP_BYTES = 1 << 16, STRIP_CHANNELS = 128, STRIP_STEP = 32, FEW_LINES = 8 };

typedef struct depthwise_plan {
    nyb_weights weights;
    nyb_requantize output;
    nyb_window window;
    const nyb_depthwise_variant *kernel;
    const int8_t *x;
    int8_t *y;
    uint32_t images;
    uint32_t bytes; // of an activation, in and out: 1 or 2
    uint32_t height, width, channels;
    uint32_t out_height, out_width;
    uint32_t strip;    // output lines of a task
    uint32_t range;    // channels of a task: all, or a multiple of STRIP_STEP
    uint32_t ranges;   // of an image
    uint32_t strips;   // of an image
    size_t line_bytes; // of an input line as the kernel sees it
    size_t strip_at;   // scratch: unpacked weights, then a strip of input lines with their padding
    size_t scratch_bytes;
    uint64_t ns; // roughly, on one thread
    bool padded; // taps lie beyond the input
    int8_t pad_value;
} depthwise_plan;

// Input lines from the first to the last that `count` output lines need.
static uint64_t lines_of(const nyb_window *v, uint32_t count) {
    return (uint64_t)(count - 1) * v->stride_height + (uint64_t)(v->height - 1) * v->dilation_height + 1;
}

// Staged lines of a strip: with a dilation only those that its one output line needs.
static uint64_t staged_of(const nyb_window *v, uint32_t count) {
    return v->dilation_height == 1 ? lines_of(v, count) : v->height;
}

// Output lines, at least one and at most `most`, whose staged input fits.
static uint32_t strip_of(const nyb_window *v, uint32_t most, size_t line_bytes) {
    const uint64_t lines = STRIP_BYTES / line_bytes;
    if (v->dilation_height > 1 || lines < v->height) {
        return 1;
    }
    const uint64_t fits = (lines - v->height) / v->stride_height + 1; // lines_of(v, fits) <= lines
    return fits < most ? (uint32_t)fits : most;
}

// Decides on padding and the size of strips; false where scratch memory would not fit this machine.
static bool measure(depthwise_plan *p, uint32_t threads) {
    const nyb_window *v = &p->window;
    const uint64_t limit = SIZE_MAX / 4;
    const uint64_t columns =
        (uint64_t)(p->out_width - 1) * v->stride_width + (uint64_t)(v->width - 1) * v->dilation_width + 1;
    const bool by_channels = threads > 1 && p->out_height <= FEW_LINES * (uint64_t)threads &&
                             p->channels >= STRIP_CHANNELS * (uint64_t)threads;
    uint64_t most =
        threads == 1 ? p->out_height : (p->out_height + 2 * (uint64_t)threads - 1) / (2 * threads);
    uint64_t staged = 0;
    p->padded =
        v->pad_top > 0 || v->pad_left > 0 || columns > p->width || lines_of(v, p->out_height) > p->height;
    p->strip = (uint32_t)most;
    p->range = p->channels;
    p->line_bytes = (size_t)p->width * p->channels * p->bytes;
    if (p->padded) {
        const uint64_t pixel = (uint64_t)p->channels * p->bytes;
        if (columns > limit / pixel || staged_of(v, 1) > limit / (columns * pixel)) {
            return false;
        }
        most = by_channels ? p->out_height : most;
        p->strip = strip_of(v, (uint32_t)most, (size_t)(columns * pixel));
        if (by_channels || (p->strip < most && p->channels > STRIP_CHANNELS)) {
            const uint32_t ranges =
                by_channels ? threads : (p->channels + STRIP_CHANNELS - 1) / STRIP_CHANNELS;
            p->range = ((p->channels + ranges - 1) / ranges + STRIP_STEP - 1) / STRIP_STEP * STRIP_STEP;
            p->strip = strip_of(v, (uint32_t)most, (size_t)columns * p->range * p->bytes);
        }
        if (by_channels) { // strips of equal size
            const uint32_t strips = p->out_height / p->strip + (p->out_height % p->strip != 0);
            p->strip = p->out_height / strips + (p->out_height % strips != 0);
        }
        p->line_bytes = (size_t)columns * p->range * p->bytes;
        staged = staged_of(v, p->strip) * p->line_bytes;
    }
    const uint64_t weights =
        p->weights.bits == 8 ? 0
                             : (uint64_t)p->range * p->weights.depth + NYB_DEPTHWISE_NR * p->weights.depth;
    if (weights > limit) {
        return false;
    }
    p->strips = p->out_height / p->strip + (p->out_height % p->strip != 0);
    p->ranges = p->channels / p->range + (p->channels % p->range != 0);
    p->strip_at = nyb_aligned((size_t)weights);
    p->scratch_bytes = p->strip_at + nyb_aligned((size_t)staged);
    return true;
}

static nyb_status read(const nyb_node *node, depthwise_plan *plan, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_table *options = &node->options;
    memset(plan, 0, sizeof *plan);
    if (x.rank != 4 || y.rank != 4 || !nyb_is_activation(x.type) || y.type != x.type ||
        x.shape[0] != y.shape[0] || x.shape[3] != y.shape[3]) {
        return nyb_node_fail(node, why,
                             "input and output of one type, 4 dimensions, one batch and as many channels", 4,
                             x.rank);
    }
    if (!nyb_window_read(options, NYB_DEPTHWISE_CONV2D_WINDOW, &plan->window)) {
        return nyb_node_fail(node, why, "window: sizes, strides and dilations from 1 to 2^24", 1, 0);
    }
    if (!nyb_weights_read(options, NYB_DEPTHWISE_CONV2D_WEIGHTS, 1, &plan->weights)) {
        return nyb_node_fail(node, why, "weights: layout and sizes that fit", 1, 0);
    }
    if (!nyb_requantize_read(options, NYB_DEPTHWISE_CONV2D_OUTPUT, x.type, &plan->output)) {
        return nyb_node_fail(node, why, "output: a rounding, a zero point and a clamp within its type", 1, 0);
    }
    const nyb_weights *w = &plan->weights;
    const uint64_t taps = (uint64_t)plan->window.height * plan->window.width;
    if (w->nr != NYB_DEPTHWISE_NR || w->kr != 1 || w->outputs != x.shape[3] || w->depth != taps ||
        w->scale_group || w->multiplier_low != NULL) {
        return nyb_node_fail(node, why, "weights: one channel of the window for each channel", (int64_t)taps,
                             w->depth);
    }
    const uint32_t order = w->bits < 8;
    if (w->order != order) {
        return nyb_node_fail(
            node, why,
            "depthwise weights below 8 bits in order 1: an older nybble wrote the file, convert "
            "the model again",
            order, w->order);
    }
    const int32_t pad = nyb_get_i32(options, NYB_DEPTHWISE_CONV2D_PAD_VALUE);
    if (!nyb_pad_valid(x.type, pad) || y.elements > UINT32_MAX) {
        return nyb_node_fail(
            node, why, "a pad value within int8, 0 in int16, and an output below 2^32 elements", 0, pad);
    }
    if (x.type == NYB_INT16 && (w->zero_point != 0 || nyb_node_zero_point(node) != 0)) {
        return nyb_node_fail(node, why, "zero points of 0 beside int16", 0, w->zero_point);
    }
    plan->bytes = nyb_type_bytes(x.type);
    plan->pad_value = (int8_t)pad;
    plan->images = y.elements > 0 ? y.shape[0] : 0;
    plan->height = x.shape[1];
    plan->width = x.shape[2];
    plan->channels = x.shape[3];
    plan->out_height = y.shape[1];
    plan->out_width = y.shape[2];
    if (plan->images > 0 && !measure(plan, 1)) {
        return nyb_node_fail(node, why, "scratch memory that fits this machine", (int64_t)SIZE_MAX / 4, 0);
    }
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    depthwise_plan plan;
    return read(node, &plan, why);
}

// Every product has a load of its own, so a kernel does a quarter of a gemm's; requantized as there.
static uint64_t nanoseconds(const depthwise_plan *p) {
    const uint64_t outputs = (uint64_t)p->images * p->out_height * p->out_width * p->channels;
    return nyb_macs_ns(outputs * (4 * p->weights.depth + 16), p->kernel->needs);
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    depthwise_plan *p = memory;
    read(node, p, NULL);
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x = (const int8_t *)nyb_tensor_data(setup, &x);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    p->kernel = nyb_depthwise_pick(setup->options->cpu, p->bytes);
    if (p->images > 0) {
        p->ns = nanoseconds(p);
        measure(p, nyb_threads_for(setup->options, p->ns));
    }
    return p->scratch_bytes;
}

// Taps of int4 or int2 weights as int8: the bytes of a word at once, plane after plane.
static inline void unpack_taps(const uint8_t *from, size_t taps, uint32_t bits, int8_t *to) {
    const uint32_t tap = NYB_DEPTHWISE_NR * bits / 8;
    const uint32_t each = UINT32_C(0x01010101);
    const uint32_t field = ((UINT32_C(1) << bits) - 1) * each;
    // Added, it carries into the highest bit where the sign is set.
    const uint32_t sign = (128 - (UINT32_C(1) << (bits - 1))) * each;
    for (size_t i = 0; i < taps; i++) {
        uint32_t word = 0;
        memcpy(&word, from + i * tap, tap);
        for (uint32_t plane = 0; plane < 8 / bits; plane++) {
            const uint32_t weights = (((word >> (plane * bits)) & field) + sign) ^ sign;
            memcpy(to + i * NYB_DEPTHWISE_NR + plane * tap, &weights, tap);
        }
    }
}

// Panels of int4 or int2 weights as int8.
static void unpack(const nyb_weights *w, uint32_t panel, uint32_t panels, int8_t *to) {
    const uint8_t *from = w->data + panel * (size_t)nyb_tap_panel_bytes(w->depth, w->bits, NYB_DEPTHWISE_NR);
    const size_t taps = (size_t)panels * w->depth;
    if (w->bits == 4) {
        unpack_taps(from, taps, 4, to);
    } else {
        unpack_taps(from, taps, 2, to);
    }
}

// Copies the `count` bytes from x on of each pixel of input line iy, which may lie beyond the image, with its
// padding.
static void stage_line(const depthwise_plan *p, const int8_t *x, int64_t iy, size_t count, int8_t *to) {
    const size_t pixel = (size_t)p->channels * p->bytes;
    const size_t pixels = p->line_bytes / p->bytes / p->range;
    const size_t left = p->window.pad_left < pixels ? p->window.pad_left : pixels;
    const size_t middle = pixels - left < p->width ? pixels - left : p->width;
    if (iy < 0 || iy >= p->height) {
        memset(to, p->pad_value, pixels * count);
        return;
    }
    memset(to, p->pad_value, left * count);
    to += left * count;
    x += (size_t)iy * p->width * pixel;
    if (count == pixel) {
        memcpy(to, x, middle * count);
    } else {
        for (size_t i = 0; i < middle; i++) {
            memcpy(to + i * count, x + i * pixel, count);
        }
    }
    memset(to + middle * count, p->pad_value, (pixels - left - middle) * count);
}

typedef struct depthwise_call {
    const depthwise_plan *plan;
    const nyb_run *run;
} depthwise_call;

// One range of channels of one strip of output lines.
static void strip(void *context, uint32_t index, uint32_t thread) {
    const depthwise_call *call = context;
    const depthwise_plan *p = call->plan;
    const nyb_window *v = &p->window;
    const nyb_weights *w = &p->weights;
    int8_t *scratch = (int8_t *)call->run->scratch + thread * call->run->scratch_bytes;
    const uint32_t channel = index % p->ranges * p->range;
    const uint32_t channels = p->channels - channel < p->range ? p->channels - channel : p->range;
    const uint32_t line = index / p->ranges % p->strips * p->strip;
    const uint32_t lines = p->out_height - line < p->strip ? p->out_height - line : p->strip;
    const size_t image = index / p->ranges / p->strips;
    const size_t pixel = (size_t)channels * p->bytes;
    const int8_t *x = p->x + (image * p->height * p->width * p->channels + channel) * p->bytes;
    const size_t out_line = (size_t)p->out_width * p->channels * p->bytes;
    const size_t in_line = p->padded ? p->line_bytes / p->range * channels : p->line_bytes;
    nyb_depthwise_args args = {
        .x = x,
        .x_line = v->stride_height * in_line,
        .x_pixel = v->stride_width * pixel,
        .tap_line = v->dilation_height * in_line,
        .tap_pixel = v->dilation_width * pixel,
        .window_height = v->height,
        .window_width = v->width,
        .weights = (const int8_t *)w->data + (size_t)channel * w->depth,
        .weight_zero_point = w->zero_point,
        .bias = w->bias + channel,
        .multiplier = w->multiplier + channel,
        .shift = w->shift + channel,
        .lines = lines,
        .pixels = p->out_width,
        .channels = channels,
        .narrow = w->bound <= INT32_MAX,
        .output = p->output,
        .c = p->y + (image * p->out_height + line) * out_line + (size_t)channel * p->bytes,
        .c_line = out_line,
        .c_pixel = (size_t)p->channels * p->bytes,
    };
    if (w->bits != 8) {
        unpack(w, channel / NYB_DEPTHWISE_NR, (channels + NYB_DEPTHWISE_NR - 1) / NYB_DEPTHWISE_NR, scratch);
        args.weights = scratch;
    }
    if (p->padded) {
        int8_t *staged = scratch + p->strip_at;
        const int64_t top = (int64_t)line * v->stride_height - v->pad_top;
        const uint64_t count = staged_of(v, lines);
        for (uint64_t i = 0; i < count; i++) {
            stage_line(p, x, top + (int64_t)(i * v->dilation_height), pixel, staged + i * in_line);
        }
        args.x = staged;
        args.tap_line = in_line;
    } else {
        args.x += (size_t)line * v->stride_height * in_line;
    }
    p->kernel->run(&args);
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const depthwise_plan *p = plan_memory;
    depthwise_call call = {p, run_context};
    nyb_parallel_for(run_context->parallel, p->images * p->strips * p->ranges, p->ns, strip, &call);
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
