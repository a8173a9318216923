// SPDX-License-Identifier: Apache-2.0
// The gemms and depthwise convolutions of 16-bit activations.
#include "base/packed.h"
#include "check.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/gemm/gemm.h"

#include <stdio.h>
#include <string.h>

static check_memory memory_x = {.name = "activations"};
static check_memory memory_weights = {.name = "weights"};
static check_memory memory_plain = {.name = "plain weights"};
static check_memory memory_draws = {.name = "draws"};
static check_memory memory_rows = {.name = "pointers to rows"};
static check_memory memory_bias = {.name = "bias"};
static check_memory memory_multiplier = {.name = "multiplier"};
static check_memory memory_shift = {.name = "shift"};

enum { NR = 8 };

// What follows the sums: constants per channel, and whether all sums fit 32 bits.
typedef struct constants {
    int32_t *bias, *multiplier, *shift;
    nyb_requantize output;
    bool narrow;
} constants;

static const int16_t *draw_activations(check *c, size_t count, check_place place) {
    const check_pattern pattern = (check_pattern)check_below(c, CHECK_PATTERNS);
    int32_t *values = check_memory_place(&memory_draws, count * sizeof(int32_t), place);
    int16_t *x = check_memory_place(&memory_x, count * sizeof(int16_t), place);
    check_draw(c, pattern, INT16_MIN, INT16_MAX, values, count);
    for (size_t i = 0; i < count; i++) {
        x[i] = (int16_t)values[i];
    }
    return x;
}

static uint32_t bits_of(uint64_t x) {
    uint32_t bits = 0;
    for (; x != 0; x >>= 1) {
        bits++;
    }
    return bits;
}

// Constants as the compiler proves them: products of a bound and its multiplier within 2^62, results within
// int32. magnitudes: of each channel, the sum of the magnitudes of its weights. narrow: biases leave the sums
// within 32 bits, as such weights do.
static constants draw_constants(check *c, uint32_t channels, const uint64_t *magnitudes, bool narrow,
                                check_place place) {
    const size_t bytes = (size_t)(channels + NR - 1) / NR * NR * sizeof(int32_t);
    constants k = {
        .bias = check_memory_place(&memory_bias, bytes, place),
        .multiplier = check_memory_place(&memory_multiplier, bytes, place),
        .shift = check_memory_place(&memory_shift, bytes, place),
        .narrow = true,
    };
    check_fill(c, k.bias, bytes);
    check_fill(c, k.multiplier, bytes);
    check_fill(c, k.shift, bytes);
    const uint32_t most = check_below(c, 2) ? 31 : 15;
    for (uint32_t j = 0; j < channels; j++) {
        int32_t reach = check_below(c, 8) == 0 ? INT32_MAX : 1 << 24;
        if (narrow && INT32_MAX - (magnitudes[j] << 15) < (uint64_t)reach) {
            reach = (int32_t)(INT32_MAX - (magnitudes[j] << 15));
        }
        k.bias[j] = check_between(c, -reach, reach);
        const uint64_t size = (uint64_t)(k.bias[j] < 0 ? -(int64_t)k.bias[j] : k.bias[j]);
        const uint64_t bound = (magnitudes[j] << 15) + size;
        k.narrow = k.narrow && bound <= INT32_MAX;
        const uint32_t length = bits_of(bound);
        const uint32_t width = 62 - length < most ? 62 - length : most;
        const int32_t half = INT32_C(1) << (width - 1);
        k.multiplier[j] = check_below(c, 16) ? half + (int32_t)check_below(c, (uint32_t)half) : 0;
        // Results of 31 bits at most, mostly of 17 or fewer.
        const uint32_t least = length + width > 31 ? length + width - 31 : 1;
        const uint32_t shift = least + check_below(c, 4) * 8 + check_below(c, 8);
        k.shift[j] = (int32_t)(shift > 62 ? 62 : shift);
    }
    const int32_t a = check_between(c, INT16_MIN, INT16_MAX), b = check_between(c, INT16_MIN, INT16_MAX);
    const bool whole = check_below(c, 2) != 0;
    k.output.nudge = most == 31 && check_below(c, 2) ? INT32_C(1) << 30 : 0;
    k.output.minimum = whole ? (check_below(c, 2) ? 0 : INT16_MIN) : (a < b ? a : b);
    k.output.maximum = whole ? INT16_MAX : (a < b ? b : a);
    return k;
}

// Weights of `bits` bits, and for each channel the sum of their magnitudes. narrow: weights beyond which
// sums might pass 32 bits are 0.
static const int32_t *draw_weights(check *c, uint32_t channels, uint32_t depth, uint32_t bits, bool narrow,
                                   uint64_t *magnitudes) {
    const int32_t half = INT32_C(1) << (bits - 1);
    const size_t count = (size_t)channels * depth;
    int32_t *plain = check_memory_place(&memory_plain, count * sizeof(int32_t), CHECK_GUARD_BEHIND);
    check_draw(c, (check_pattern)check_below(c, CHECK_PATTERNS), -half, half - 1, plain, count);
    for (uint32_t j = 0; j < channels; j++) {
        magnitudes[j] = 0;
        for (uint32_t k = 0; k < depth; k++) {
            int32_t *w = &plain[(size_t)j * depth + k];
            const uint64_t magnitude = (uint64_t)(*w < 0 ? -*w : *w);
            *w = narrow && magnitudes[j] + magnitude > INT32_MAX >> 15 ? 0 : *w;
            magnitudes[j] += *w != 0 ? magnitude : 0;
        }
    }
    return plain;
}

// The same in panels of NR channels and kr consecutive k.
static const uint8_t *pack(const int32_t *plain, uint32_t channels, uint32_t depth, uint32_t bits,
                           uint32_t kr, check_place place) {
    const size_t panel = (size_t)nyb_panel_bytes(depth, bits, NR, kr);
    const size_t bytes = (size_t)((channels + NR - 1) / NR) * panel;
    uint8_t *weights = check_memory_place(&memory_weights, bytes, place);
    memset(weights, 0, bytes);
    for (uint32_t j = 0; j < channels; j++) {
        for (uint32_t k = 0; k < depth; k++) {
            const uint32_t field = (uint32_t)plain[(size_t)j * depth + k] & ((UINT32_C(1) << bits) - 1);
            uint8_t *byte = weights + nyb_packed_n(depth, bits, NR, kr, j) + nyb_packed_k(bits, NR, kr, k);
            *byte = (uint8_t)(*byte | field << (nyb_packed_plane(bits, kr, k) * bits));
        }
    }
    return weights;
}

static int16_t finish(const constants *k, int64_t sum, uint32_t j) {
    return nyb_finish16(sum + k->bias[j], k->multiplier[j], k->shift[j], &k->output);
}

enum { COLUMNS_MAX = 64 };

static check_row gemm_row(uint32_t index) {
    const nyb_gemm_variant *v = &nyb_gemm16_variants[index];
    return (check_row){v->name, v->needs, v};
}

typedef struct gemm_case {
    const nyb_gemm_variant *row;
    nyb_gemm_args args;
} gemm_case;

static bool gemm_shape(check *c, const nyb_gemm_variant *row, uint32_t rows, uint32_t columns, uint32_t depth,
                       check_place place, gemm_case *g) {
    const uint32_t step = row->kr * (8u / row->weight_bits);
    const uint32_t wanted = 1 + check_below(c, 4);
    const uint32_t segments = depth % (wanted * step) == 0 ? wanted : 1;
    const uint32_t segment = depth / segments;
    const size_t stride = depth + check_below(c, 20), pitch = segment + check_below(c, 20);
    const size_t padded = (segment + step - 1) / step * step;
    const size_t count = rows > 0 ? (rows - 1) * stride + (segments - 1) * pitch + padded : 0;
    const int16_t *x = draw_activations(c, count, place);
    const uint8_t **a = check_memory_place(&memory_rows, rows * sizeof(uint8_t *), place);
    for (uint32_t i = 0; i < rows; i++) {
        a[i] = (const uint8_t *)(x + i * stride);
    }
    uint64_t magnitudes[COLUMNS_MAX];
    const int32_t *plain = draw_weights(c, columns, depth, row->weight_bits, row->narrow, magnitudes);
    const constants k = draw_constants(c, columns, magnitudes, row->narrow, place);
    const size_t c_stride = columns + check_below(c, 2) * check_below(c, 20);
    check_target target;
    check_target_place(c, &target, rows > 0 ? ((rows - 1) * c_stride + columns) * sizeof(int16_t) : 0, place);
    *g = (gemm_case){
        .row = row,
        .args = {.a = a,
                 .segments = segments,
                 .segment = segment,
                 .pitch = pitch * sizeof(int16_t),
                 .weights = pack(plain, columns, depth, row->weight_bits, row->kr, place),
                 .bias = k.bias,
                 .multiplier = k.multiplier,
                 .shift = k.shift,
                 .rows = rows,
                 .columns = columns,
                 .depth = depth,
                 .output = k.output,
                 .c = target.c,
                 .c_stride = c_stride * sizeof(int16_t)},
    };
    check_begin(c, "case %u: %u x %u x %u, %u segments, %s sums, nudge %d, clamp %d to %d, guard %s",
                c->cases, rows, columns, depth, segments, k.narrow ? "32-bit" : "64-bit", k.output.nudge,
                k.output.minimum, k.output.maximum, check_place_names[place]);
    for (uint32_t i = 0; i < rows; i++) {
        for (uint32_t j = 0; j < columns; j++) {
            int64_t sum = 0;
            for (uint32_t at = 0; at < depth; at++) {
                sum += (int64_t)x[i * stride + at / segment * pitch + at % segment] *
                       plain[(size_t)j * depth + at];
            }
            const int16_t y = finish(&k, sum, j);
            memcpy(target.expected_c + (i * c_stride + j) * sizeof y, &y, sizeof y);
        }
    }
    row->run(&g->args);
    return check_target_compare(c, &target);
}

static bool gemm_round(check *c, const void *record) {
    const nyb_gemm_variant *row = record;
    for (uint32_t place = 0; place < CHECK_PLACES; place++) {
        for (uint32_t i = 0; i < 160; i++) {
            gemm_case g;
            const uint32_t rows = check_below(c, 3u * row->mr), columns = check_below(c, 4 * NR + 1);
            // Deep ones reach over 32 bits.
            const uint32_t depth = check_below(c, i % 8 == 0 ? 3000 : 200);
            if (!gemm_shape(c, row, rows, columns, depth, (check_place)place, &g)) {
                return false;
            }
        }
    }
    return true;
}

static void gemm_once(const void *context) {
    const gemm_case *g = context;
    g->row->run(&g->args);
}

static void gemm_bench(check *c, const void *record) {
    static const uint32_t shapes[][3] = {{60, 64, 64}, {60, 64, 576}, {60, 24, 27}, {1, 64, 1024}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const uint32_t *s = shapes[i];
        gemm_case g;
        gemm_shape(c, record, s[0], s[1], s[2], CHECK_GUARD_BEFORE, &g);
        printf("    %4u x %4u x %4u %8.2f GMAC/s\n", s[0], s[1], s[2],
               check_speed((uint64_t)s[0] * s[1] * s[2], gemm_once, &g));
    }
}

const check_family check_gemm16 = {"gemm16", gemm_row, gemm_round, gemm_bench};

static check_row depthwise_row(uint32_t index) {
    const nyb_depthwise_variant *v = &nyb_depthwise16_variants[index];
    return (check_row){v->name, v->needs, v};
}

typedef struct depthwise_case {
    const nyb_depthwise_variant *row;
    nyb_depthwise_args args;
} depthwise_case;

typedef struct depthwise_shape {
    uint32_t lines, pixels, channels, height, width, stride, dilation;
} depthwise_shape;

static bool depthwise_check(check *c, const nyb_depthwise_variant *row, const depthwise_shape *s,
                            check_place place, depthwise_case *d) {
    const size_t in_pixels = (s->pixels - 1) * s->stride + (s->width - 1) * s->dilation + 1;
    const size_t in_lines = (s->lines - 1) * s->stride + (s->height - 1) * s->dilation + 1;
    const size_t line = in_pixels * s->channels + check_below(c, 2) * check_below(c, 20);
    const uint32_t taps = s->height * s->width;
    const int16_t *x = draw_activations(c, (in_lines - 1) * line + in_pixels * s->channels, place);
    uint64_t magnitudes[COLUMNS_MAX];
    const int32_t *plain = draw_weights(c, s->channels, taps, 8, false, magnitudes);
    const constants k = draw_constants(c, s->channels, magnitudes, false, place);
    const size_t c_pixel = s->channels + check_below(c, 2) * check_below(c, 20);
    check_target target;
    check_target_place(c, &target, ((s->lines * s->pixels - 1) * c_pixel + s->channels) * sizeof(int16_t),
                       place);
    *d = (depthwise_case){
        .row = row,
        .args = {.x = (const int8_t *)x,
                 .x_line = s->stride * line * sizeof(int16_t),
                 .x_pixel = (size_t)s->stride * s->channels * sizeof(int16_t),
                 .tap_line = s->dilation * line * sizeof(int16_t),
                 .tap_pixel = (size_t)s->dilation * s->channels * sizeof(int16_t),
                 .window_height = s->height,
                 .window_width = s->width,
                 .weights = (const int8_t *)pack(plain, s->channels, taps, 8, 1, place),
                 .bias = k.bias,
                 .multiplier = k.multiplier,
                 .shift = k.shift,
                 .lines = s->lines,
                 .pixels = s->pixels,
                 .channels = s->channels,
                 .narrow = k.narrow,
                 .output = k.output,
                 .c = target.c,
                 .c_line = s->pixels * c_pixel * sizeof(int16_t),
                 .c_pixel = c_pixel * sizeof(int16_t)},
    };
    check_begin(
        c,
        "case %u: %u lines of %u pixels, %u channels, window %u x %u, stride %u, dilation %u, %s sums, "
        "nudge %d, clamp %d to %d, guard %s",
        c->cases, s->lines, s->pixels, s->channels, s->height, s->width, s->stride, s->dilation,
        k.narrow ? "32-bit" : "64-bit", k.output.nudge, k.output.minimum, k.output.maximum,
        check_place_names[place]);
    for (uint32_t p = 0; p < s->lines * s->pixels; p++) {
        const int16_t *from = x + p / s->pixels * s->stride * line + p % s->pixels * s->stride * s->channels;
        for (uint32_t j = 0; j < s->channels; j++) {
            int64_t sum = 0;
            for (uint32_t t = 0; t < taps; t++) {
                const size_t at =
                    t / s->width * s->dilation * line + t % s->width * s->dilation * s->channels;
                sum += (int64_t)from[at + j] * plain[(size_t)j * taps + t];
            }
            const int16_t y = finish(&k, sum, j);
            memcpy(target.expected_c + (p * c_pixel + j) * sizeof y, &y, sizeof y);
        }
    }
    row->run(&d->args);
    return check_target_compare(c, &target);
}

static bool depthwise_round(check *c, const void *record) {
    for (uint32_t place = 0; place < CHECK_PLACES; place++) {
        for (uint32_t i = 0; i < 200; i++) {
            const depthwise_shape s = {.lines = 1 + check_below(c, 3),
                                       .pixels = 1 + check_below(c, 10),
                                       .channels = 1 + check_below(c, 40),
                                       .height = 1 + check_below(c, 5),
                                       .width = 1 + check_below(c, i % 16 == 0 ? 120 : 5),
                                       .stride = 1 + check_below(c, 2),
                                       .dilation = 1 + check_below(c, 2)};
            depthwise_case d;
            if (!depthwise_check(c, record, &s, (check_place)place, &d)) {
                return false;
            }
        }
    }
    return true;
}

static void depthwise_once(const void *context) {
    const depthwise_case *d = context;
    d->row->run(&d->args);
}

static void depthwise_bench(check *c, const void *record) {
    static const depthwise_shape shapes[] = {{8, 28, 64, 3, 3, 1, 1}, {8, 28, 64, 3, 3, 2, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const depthwise_shape *s = &shapes[i];
        depthwise_case d;
        depthwise_check(c, record, s, CHECK_GUARD_BEFORE, &d);
        d.args.narrow = true; // as with biases of usual size; the results do not matter here
        const uint64_t macs = (uint64_t)s->lines * s->pixels * s->height * s->width * s->channels;
        printf("    %2u x %2u x %3u, stride %u %8.2f GMAC/s\n", s->lines, s->pixels, s->channels, s->stride,
               check_speed(macs, depthwise_once, &d));
    }
}

const check_family check_depthwise16 = {"depthwise16", depthwise_row, depthwise_round, depthwise_bench};
