// SPDX-License-Identifier: Apache-2.0
#include "ops/windows.h"

#include "kernels/unroll.h"

// Copies go by 16 bytes, over the end of what they copy.
enum { CHUNK = 16 };

// Sizes that a hostile file may drive anywhere stay at 2^62.
static const uint64_t limit = UINT64_C(1) << 62;
static uint64_t times(uint64_t a, uint64_t b) { return b != 0 && a > limit / b ? limit : a * b; }
static uint64_t plus(uint64_t a, uint64_t b) { return a > limit - b ? limit : a + b; }

// Positions from the first to the last that `count` windows touch.
static uint64_t extent(uint64_t count, uint64_t stride, uint64_t taps, uint64_t dilation) {
    return plus(plus(times(count - 1, stride), times(taps - 1, dilation)), 1);
}

static uint64_t extent_lines(const nyb_windows *w, uint64_t lines) {
    return extent(lines, w->window.stride_height, w->window.height, w->window.dilation_height);
}

static uint64_t depth(const nyb_windows *w) {
    return (uint64_t)w->window.height * w->window.width * w->per_group;
}

// How many copies a line of a window takes.
static uint32_t pieces(const nyb_windows *w) { return w->window.dilation_width == 1 ? 1 : w->window.width; }

static uint64_t padded(uint64_t count, uint32_t step) { return count + (step - count % step) % step; }

// Windows that are gathered from lines change their form afterwards if its elements are not bytes.
static const nyb_form *line_form(const nyb_windows *w) {
    return w->kind == NYB_WINDOWS_GATHERED && w->form->element > 1 ? &nyb_form_s8 : w->form;
}

static uint64_t lines_bytes(const nyb_windows *w, uint64_t lines) {
    const bool copied = w->kind == NYB_WINDOWS_LINES || w->kind == NYB_WINDOWS_GATHERED;
    return copied ? plus(times(extent_lines(w, lines), w->line_bytes), CHUNK) : 0;
}

static uint64_t rows_bytes(const nyb_windows *w, uint64_t lines) {
    const bool copied = w->kind == NYB_WINDOWS_PIXELS || w->kind == NYB_WINDOWS_GATHERED;
    return copied ? plus(times(times(lines, w->out_width), w->row_bytes), CHUNK) : 0;
}

static uint64_t pointers_bytes(const nyb_windows *w) {
    return padded(times(times(w->lines, w->out_width), sizeof(uint8_t *)), NYB_ALIGNMENT);
}

// A line of rows before they change their form.
static uint64_t plain_bytes(const nyb_windows *w) {
    const uint64_t row = padded(depth(w), w->step);
    return line_form(w) == w->form ? 0 : plus(times(w->out_width, row), CHUNK);
}

void nyb_windows_plan(nyb_windows *w, size_t block_bytes) {
    const nyb_window *v = &w->window;
    w->copy_width = extent(w->out_width, v->stride_width, v->width, v->dilation_width);
    const bool pixel = v->height == 1 && v->width == 1;
    const bool unpadded = v->pad_top == 0 && v->pad_left == 0 &&
                          extent_lines(w, w->out_height) <= w->height && w->copy_width <= w->width;
    const bool whole_lines = pixel || (w->per_group == w->channels && v->dilation_width == 1);
    const bool whole_steps = (uint64_t)v->width * w->per_group % w->step == 0;
    const bool strided = v->stride_width > v->width || v->stride_height > v->height;
    const bool copied = pixel && v->stride_width > 1 && w->unbroken;
    if (w->own == &nyb_form_s8 && unpadded && whole_lines && whole_steps && !copied) {
        w->kind = NYB_WINDOWS_IN_PLACE;
    } else if (whole_lines && whole_steps && w->per_group % 4 == 0 && !strided) {
        w->kind = NYB_WINDOWS_LINES;
    } else {
        w->kind = pixel && unpadded ? NYB_WINDOWS_PIXELS : NYB_WINDOWS_GATHERED;
    }
    w->form = w->kind == NYB_WINDOWS_LINES || w->kind == NYB_WINDOWS_GATHERED ? w->copied : w->own;
    const bool one = w->kind == NYB_WINDOWS_PIXELS || w->kind == NYB_WINDOWS_GATHERED;
    w->segments = one ? 1 : v->height;
    w->segment = one ? (uint32_t)depth(w) : v->width * w->per_group;
    w->line_bytes = times(times(w->copy_width, w->per_group), line_form(w)->element);
    w->row_bytes = padded(depth(w), w->step) * w->form->element;
    const uint64_t in_place = (uint64_t)w->width * w->channels;
    w->lines = 1;
    while (w->lines < w->out_height) {
        const uint64_t lines = w->lines + 1u;
        const uint64_t read = w->kind == NYB_WINDOWS_IN_PLACE ? times(extent_lines(w, lines), in_place) : 0;
        if (plus(read, plus(lines_bytes(w, lines), rows_bytes(w, lines))) > block_bytes) {
            break;
        }
        w->lines++;
    }
}

size_t nyb_windows_scratch(const nyb_windows *w) {
    const uint64_t copies = plus(lines_bytes(w, w->lines), rows_bytes(w, w->lines));
    const uint64_t bytes = plus(plus(pointers_bytes(w), plain_bytes(w)), copies);
    return bytes < SIZE_MAX / 2 ? nyb_aligned((size_t)bytes) : SIZE_MAX;
}

// An element of a border in the form of lines.
typedef struct border {
    size_t element;
    uint8_t bytes[8]; // four of them
} border;

static border border_of(const nyb_form *form, int8_t value) {
    const int8_t values[4] = {value, value, value, value};
    border b = {form->element, {0}};
    form->stage(b.bytes, values, 4, 4);
    return b;
}

static void fill(const border *b, uint8_t *to, size_t count) {
    if (b->element == 1) {
        memset(to, b->bytes[0], count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        memcpy(to + 2 * i, b->bytes, 2);
    }
}

// Lines of the input, each with its borders. What lies between the pixels of one and of the next is filled at
// once.
static void copy_lines(const nyb_windows *w, const int8_t *image, uint32_t first, uint32_t lines,
                       uint8_t *to) {
    const nyb_form *form = line_form(w);
    const border pad = border_of(form, w->pad_value);
    const size_t channels = w->per_group, pixel = channels * form->element, width = (size_t)w->copy_width;
    const size_t left = w->window.pad_left < width ? w->window.pad_left : width;
    const size_t inside = width - left < w->width ? width - left : w->width;
    const size_t right = width - left - inside;
    const bool whole = channels == w->channels;
    const int64_t top = (int64_t)first * w->window.stride_height - w->window.pad_top;
    const int64_t bottom = top + (int64_t)extent_lines(w, lines);
    fill(&pad, to, left * channels);
    to += left * pixel;
    for (int64_t y = top; y < bottom; y++) {
        const bool exists = y >= 0 && y < w->height;
        const int8_t *line = exists ? image + (size_t)y * w->width * w->channels : NULL;
        if (!exists) {
            fill(&pad, to, inside * channels);
        } else if (whole) {
            form->stage(to, line, inside * channels, inside * channels);
        } else {
            for (size_t x = 0; x < inside; x++) {
                form->stage(to + x * pixel, line + x * w->channels, channels, channels);
            }
        }
        to += inside * pixel;
        const size_t between = y + 1 < bottom ? right + left : right;
        fill(&pad, to, between * channels);
        to += between * pixel;
    }
    memset(to, 0, CHUNK);
}

// Windows out of copied lines into rows of their own.
typedef struct gathering {
    const uint8_t *from; // the first window
    size_t stride;       // to the next window
    size_t line, pixel;  // to the next piece of a window: below, beside
    size_t piece;
    uint8_t *to; // the first row
    size_t row;  // to the next row
    uint32_t count;
} gathering;

// What compilers copy through vector registers where there are some.
typedef uint8_t chunk __attribute__((vector_size(CHUNK), aligned(1), may_alias));

// A copy goes over its end, where the next one follows. Inlined for the usual windows.
NYB_INLINE void gather_of(const gathering *g, const uint32_t height, const uint32_t parts,
                          const size_t chunks) {
    const size_t stride = g->stride, line = g->line, pixel = g->pixel, piece = g->piece, row = g->row;
    const uint8_t *at = g->from;
    uint8_t *rows = g->to;
    for (uint32_t x = g->count; x > 0; x--, at += stride, rows += row) {
        const uint8_t *from = at;
        uint8_t *to = rows;
        for (uint32_t i = 0; i < height; i++, from += line) {
            for (uint32_t j = 0; j < parts; j++, to += piece) {
                for (size_t k = 0; k < chunks; k++) {
                    *(chunk *)(to + k * CHUNK) = *(const chunk *)(from + j * pixel + k * CHUNK);
                }
            }
        }
    }
}

static void gather(const nyb_windows *w, const uint8_t *at, size_t stride, uint8_t *rows, size_t row) {
    const nyb_window *v = &w->window;
    const uint32_t parts = pieces(w);
    const size_t piece = (size_t)(v->width / parts) * w->per_group;
    const size_t chunks = (size_t)padded(piece, CHUNK) / CHUNK;
    const gathering g = {
        .from = at,
        .stride = stride,
        .line = (size_t)w->line_bytes * v->dilation_height,
        .pixel = (size_t)v->dilation_width * w->per_group,
        .piece = piece,
        .to = rows,
        .row = row,
        .count = w->out_width,
    };
    if (parts == 1 && chunks == 1 && v->height == 3) {
        gather_of(&g, 3, 1, 1);
    } else if (parts == 1 && chunks == 1) {
        gather_of(&g, v->height, 1, 1);
    } else if (parts == 1 && chunks == 2) {
        gather_of(&g, v->height, 1, 2);
    } else {
        gather_of(&g, v->height, parts, chunks);
    }
}

// Pixels that one chunk holds: what follows in the tensor meets weights of 0 as well as zeros do. end: of
// the tensor.
static void copy_small_pixels(const nyb_windows *w, const uint8_t *at, const uint8_t *end, size_t stride,
                              uint8_t *rows) {
    const size_t row = (size_t)w->row_bytes;
    for (uint32_t x = 0; x < w->out_width; x++, at += stride, rows += row) {
        if (end - at >= CHUNK) {
            *(chunk *)rows = *(const chunk *)at;
        } else {
            w->form->stage(rows, (const int8_t *)at, (size_t)depth(w), row);
        }
    }
}

// A line of output windows, `stride` bytes apart from `at` on, each into a row of its own. end: of the
// tensor, where pixels are copied from it.
static void copy_windows(const nyb_windows *w, const uint8_t *at, const uint8_t *end, size_t stride,
                         uint8_t *plain, uint8_t *rows) {
    const size_t row = (size_t)w->row_bytes;
    const size_t elements = row / w->form->element;
    if (w->kind == NYB_WINDOWS_PIXELS && w->form == &nyb_form_s8 && row <= CHUNK) {
        copy_small_pixels(w, at, end, stride, rows);
    } else if (w->kind == NYB_WINDOWS_PIXELS) {
        for (uint32_t x = 0; x < w->out_width; x++, at += stride, rows += row) {
            w->form->stage(rows, (const int8_t *)at, (size_t)depth(w), elements);
        }
    } else if (line_form(w) == w->form) {
        gather(w, at, stride, rows, row);
    } else {
        gather(w, at, stride, plain, elements);
        w->form->stage(rows, (const int8_t *)plain, w->out_width * elements, w->out_width * elements);
    }
}

nyb_rows nyb_windows_rows(const nyb_windows *w, const int8_t *image, uint32_t channel, uint32_t first,
                          uint32_t lines, uint8_t *scratch) {
    const nyb_window *v = &w->window;
    const uint8_t **row = (const uint8_t **)(void *)scratch;
    uint8_t *plain = scratch + pointers_bytes(w);
    uint8_t *copied = plain + plain_bytes(w);
    uint8_t *to = copied + lines_bytes(w, w->lines);
    const bool one = w->kind == NYB_WINDOWS_PIXELS || w->kind == NYB_WINDOWS_GATHERED;
    const bool in_lines = w->kind == NYB_WINDOWS_LINES || w->kind == NYB_WINDOWS_GATHERED;
    // Where the block's first window begins, and the way to its neighbours.
    const uint8_t *begin = copied;
    const uint8_t *end = (const uint8_t *)image + (size_t)w->height * w->width * w->channels;
    size_t pixel = w->per_group * line_form(w)->element;
    size_t line = (size_t)w->line_bytes;
    if (in_lines) {
        copy_lines(w, image + channel, first, lines, copied);
    } else {
        pixel = w->channels;
        line = (size_t)w->width * pixel;
        begin = (const uint8_t *)image + (size_t)first * v->stride_height * line + channel;
    }
    const size_t next = v->stride_width * pixel, below = v->stride_height * line;
    const size_t stride = one ? (size_t)w->row_bytes : next;
    for (uint32_t y = 0; y < lines; y++, row += w->out_width) {
        const uint8_t *at = begin + y * below;
        if (one) {
            copy_windows(w, at, end, next, plain, to);
            at = to;
            to += w->out_width * stride;
        }
        uint32_t x = 0;
        for (; x + 4 <= w->out_width; x += 4, at += 4 * stride) { // by independent sums
            row[x] = at;
            row[x + 1] = at + stride;
            row[x + 2] = at + 2 * stride;
            row[x + 3] = at + 3 * stride;
        }
        for (; x < w->out_width; x++, at += stride) {
            row[x] = at;
        }
    }
    const bool unbroken = one || below == w->out_width * next;
    const size_t apart = below / next; // rows from a line to the next
    const bool even = !unbroken && below % next == 0 && apart > w->out_width && apart < UINT32_MAX;
    return (nyb_rows){
        .a = (const uint8_t *const *)(const void *)scratch,
        .count = lines * w->out_width,
        .segments = w->segments,
        .segment = w->segment,
        .pitch = line * v->dilation_height,
        .line = unbroken ? lines * w->out_width : w->out_width,
        .gap = even ? (uint32_t)(apart - w->out_width) : 0,
        .stride = stride,
        .form = w->form,
    };
}
