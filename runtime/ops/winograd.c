// SPDX-License-Identifier: Apache-2.0
#include "ops/winograd.h"

#include "base/packed.h"
#include "ops/conv2d.h"

// Transformed inputs of one kernel call: they stay in the second-level cache while all weights pass.
enum { BLOCK_BYTES = 196608 };

// Below these the transforms cost more than they save.
enum { CHANNELS_MIN = 8, TILES_MIN = 4 };

// Transformed weights that a cache keeps from one inference to the next; larger ones have to be used more
// often.
enum { CACHED_BYTES = 524288 };

// The certificate bounds sum |w| * reach, reach being how far inputs may be from their zero point.
static bool certified(const nyb_node *node, const nyb_weights *w) {
    const int32_t zero = nyb_clamp(nyb_node_zero_point(node), INT8_MIN, INT8_MAX);
    const uint64_t reach = (uint64_t)(zero < 0 ? INT8_MAX - zero : zero - INT8_MIN);
    return w->bound < reach << NYB_WINOGRAD_SUM_BITS;
}

static bool fits(const nyb_conv2d *conv, const nyb_winograd_variant *kernel) {
    const nyb_window *v = &conv->windows.window;
    const nyb_weights *w = &conv->matmul.weights;
    const bool shape = v->height == 3 && v->width == 3 && v->stride_height == 1 && v->stride_width == 1 &&
                       v->dilation_height == 1 && v->dilation_width == 1 && conv->groups == 1;
    const uint64_t tiles =
        (uint64_t)nyb_winograd_tiles(conv->windows.out_height) * nyb_winograd_tiles(conv->windows.out_width);
    const bool cached = nyb_winograd_bytes(kernel, conv->windows.channels, w->outputs) <= CACHED_BYTES;
    return shape && conv->matmul.bytes == 1 && w->scale_group == 0 &&
           tiles >= (cached ? TILES_MIN : kernel->tiles_min) && conv->windows.channels >= CHANNELS_MIN &&
           w->outputs >= kernel->outputs_min;
}

// Outputs first to first + count - 1 at input channel c; `padded` channels are written in all.
static void transform_some(const nyb_weights *w, const nyb_winograd_variant *kernel, uint32_t channels,
                           uint32_t padded, uint32_t first, uint32_t count, uint32_t c, int16_t *to) {
    int32_t window[9] = {0};
    uint64_t at[9];
    uint32_t plane[9];
    for (uint32_t tap = 0; tap < 9; tap++) {
        at[tap] = nyb_packed_k(w->bits, w->nr, w->kr, tap * channels + c);
        plane[tap] = nyb_packed_plane(w->bits, w->kr, tap * channels + c);
    }
    for (uint32_t n = first; n < first + count; n++) {
        const uint8_t *row = w->data + nyb_packed_n(w->depth, w->bits, w->nr, w->kr, n);
        for (uint32_t tap = 0; tap < 9 && c < channels; tap++) {
            window[tap] = nyb_unpack(row[at[tap]], w->bits, plane[tap]) - w->zero_point;
        }
        nyb_winograd_transform(kernel, window, padded, n, c, to);
    }
}

// A panel at a time, channel by channel: what is written stays near.
static void transform(const nyb_weights *w, const nyb_winograd_variant *kernel, uint32_t channels,
                      uint32_t padded, int16_t *to) {
    for (uint32_t n = 0; n < w->outputs; n += kernel->nr) {
        const uint32_t count = w->outputs - n < kernel->nr ? w->outputs - n : kernel->nr;
        for (uint32_t c = 0; c < padded; c++) {
            transform_some(w, kernel, channels, padded, n, count, c, to);
        }
    }
}

bool nyb_winograd_plan(nyb_conv2d *conv, const nyb_node *node, const nyb_setup *setup, size_t *scratch) {
    const nyb_winograd_variant *kernel = nyb_winograd_pick(setup->options->cpu);
    if (!setup->options->prepack || kernel == NULL || !fits(conv, kernel) ||
        !certified(node, &conv->matmul.weights)) {
        return false;
    }
    nyb_winograd *p = &conv->winograd;
    const nyb_windows *windows = &conv->windows;
    const nyb_weights *w = &conv->matmul.weights;
    const uint32_t step = NYB_WINOGRAD_CHANNELS;
    p->kernel = kernel;
    p->channels = (windows->channels + step - 1) / step * step;
    void *kept = nyb_keep(setup, nyb_winograd_bytes(kernel, p->channels, w->outputs));
    if (kept != NULL) {
        transform(w, kernel, windows->channels, p->channels, kept);
    }
    p->weights = kept;
    const uint64_t across = nyb_winograd_tiles(windows->out_width),
                   down = nyb_winograd_tiles(windows->out_height);
    const uint64_t row = across * p->channels * NYB_WINOGRAD_POINTS * sizeof(int16_t);
    uint64_t rows = row < BLOCK_BYTES ? BLOCK_BYTES / row : 1;
    rows = rows < down ? rows : down;
    p->lines = (uint32_t)rows * NYB_WINOGRAD_TILE;
    // Few blocks: threads share the columns.
    const uint64_t tasks = 2 * (uint64_t)nyb_threads(setup->options);
    const uint64_t blocks = conv->batches * ((down + rows - 1) / rows);
    const uint64_t shares = tasks == 2 || blocks >= tasks ? 1 : (tasks + blocks - 1) / blocks;
    const uint64_t panels = ((uint64_t)w->outputs + kernel->nr - 1) / kernel->nr;
    p->columns = (uint32_t)((panels + shares - 1) / shares) * kernel->nr;
    const uint64_t line_bytes = (NYB_WINOGRAD_TILE * across + 2) * p->channels;
    const uint64_t all = line_bytes * (p->lines + 2u);
    const uint64_t lines_bytes = (all + NYB_ALIGNMENT - 1) / NYB_ALIGNMENT * NYB_ALIGNMENT;
    const uint64_t bytes = lines_bytes + nyb_winograd_scratch(kernel, p->channels, across * rows);
    p->line_bytes = (size_t)line_bytes;
    p->lines_bytes = (size_t)lines_bytes;
    *scratch = bytes < SIZE_MAX / 2 ? nyb_aligned((size_t)bytes) : SIZE_MAX;
    return true;
}

// One line of the input, y from 0, or of the border, with the pixels beside it and channels that meet weights
// of 0.
static void copy_line(const nyb_conv2d *conv, const int8_t *image, int64_t y, int8_t *to) {
    const nyb_windows *windows = &conv->windows;
    const size_t channels = windows->channels, pixel = conv->winograd.channels;
    const size_t width = conv->winograd.line_bytes / pixel;
    const bool border = y < 0 || y >= windows->height;
    const size_t left = border || windows->window.pad_left > width ? width : windows->window.pad_left;
    const size_t inside = width - left < windows->width ? width - left : windows->width;
    const int8_t *from = border ? image : image + (size_t)y * windows->width * channels;
    memset(to, windows->pad_value, left * pixel);
    to += left * pixel;
    if (pixel == channels) {
        memcpy(to, from, inside * pixel);
        to += inside * pixel;
    } else {
        for (size_t x = 0; x < inside; x++, to += pixel) {
            memcpy(to, from + x * channels, channels);
            memset(to + channels, 0, pixel - channels);
        }
    }
    memset(to, windows->pad_value, (width - left - inside) * pixel);
}

typedef struct winograd_call {
    const nyb_conv2d *conv;
    const nyb_run *run;
    uint32_t blocks; // of an image
    uint32_t shares; // of the columns
} winograd_call;

// One block of output lines, a share of the channels.
static void block(void *context, uint32_t index, uint32_t thread) {
    const winograd_call *call = context;
    const nyb_conv2d *conv = call->conv;
    const nyb_winograd *p = &conv->winograd;
    const nyb_windows *windows = &conv->windows;
    const nyb_weights *w = &conv->matmul.weights;
    const uint32_t batch = index / call->shares / call->blocks;
    const uint32_t line = index / call->shares % call->blocks * p->lines;
    const uint32_t first = index % call->shares * p->columns;
    const uint32_t left = windows->out_height - line;
    const uint32_t lines = left < p->lines ? left : p->lines;
    const int8_t *image = conv->x + (size_t)batch * windows->height * windows->width * windows->channels;
    const size_t pixel = ((size_t)batch * windows->out_height + line) * windows->out_width;
    uint8_t *scratch = call->run->scratch + thread * call->run->scratch_bytes;
    int8_t *x = (int8_t *)scratch;
    const int64_t top = (int64_t)line - windows->window.pad_top;
    const int64_t count = (int64_t)nyb_winograd_tiles(lines) * NYB_WINOGRAD_TILE + 2;
    for (int64_t i = 0; i < count; i++) {
        copy_line(conv, image, top + i, x + (size_t)i * p->line_bytes);
    }
    const nyb_winograd_args args = {
        .x = x,
        .line = p->line_bytes,
        .channels = p->channels,
        .height = lines,
        .width = windows->out_width,
        .outputs = w->outputs - first < p->columns ? w->outputs - first : p->columns,
        .weights = p->weights + nyb_winograd_bytes(p->kernel, p->channels, first) / sizeof *p->weights,
        .bias = w->bias + first,
        .multiplier = w->multiplier + first,
        .shift = w->shift + first,
        .output = conv->matmul.output,
        .c = conv->y + pixel * conv->out_channels + first,
        .c_stride = conv->out_channels,
        .scratch = scratch + p->lines_bytes,
    };
    p->kernel->run(&args);
}

void nyb_winograd_run(const nyb_conv2d *conv, const nyb_run *run) {
    const nyb_winograd *p = &conv->winograd;
    const nyb_windows *windows = &conv->windows;
    const uint32_t outputs = conv->matmul.weights.outputs;
    winograd_call call = {
        .conv = conv,
        .run = run,
        .blocks = windows->out_height / p->lines + (windows->out_height % p->lines != 0),
        .shares = outputs / p->columns + (outputs % p->columns != 0),
    };
    const uint64_t pixels = (uint64_t)conv->batches * windows->out_height * windows->out_width;
    const uint64_t macs = pixels * outputs * windows->channels * 9 / 4;
    nyb_parallel_for(run->parallel, conv->batches * call.blocks * call.shares,
                     nyb_macs_ns(macs, p->kernel->needs), block, &call);
}
