// SPDX-License-Identifier: Apache-2.0
// The proof of the proof: kernels that are wrong in one way each, which the check has to catch.
#include "check.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"
#include "kernels/lookup/lookup.h"
#include "kernels/pool/pool.h"
#include "kernels/resize/resize.h"
#include "kernels/winograd/winograd.h"
#include "platform/platform.h"

#include <stdio.h>

static volatile int8_t sink;

// Double rounding instead of single, and the other way round.
static void gemm_rounding(const nyb_gemm_args *args) {
    nyb_gemm_args wrong = *args;
    wrong.output.nudge = args->output.nudge ? 0 : INT32_C(1) << 30;
    nyb_gemm_w8_scalar(&wrong);
}

static void gemm_no_row_bias(const nyb_gemm_args *args) {
    nyb_gemm_args wrong = *args;
    wrong.row_bias = NULL;
    nyb_gemm_w8_scalar(&wrong);
}

static int8_t first_row(const nyb_gemm_args *args, uint32_t k) {
    return (int8_t)args->a[0][k / args->segment * args->pitch + k % args->segment];
}

// Wrong only where all activations and weights are at their minimum, like a sum that saturates.
static void gemm_saturates(const nyb_gemm_args *args) {
    nyb_gemm_w8_scalar(args);
    for (uint32_t k = 0; k < args->depth; k++) {
        if (args->rows == 0 || args->columns == 0 || first_row(args, k) != INT8_MIN) {
            return;
        }
    }
    if (args->depth > 0 && args->weight_sum[0] == INT8_MIN * (int32_t)args->depth) {
        args->c[0] ^= 1;
    }
}

// Takes the stretches of a row as if they touched.
static void gemm_no_pitch(const nyb_gemm_args *args) {
    nyb_gemm_args wrong = *args;
    wrong.pitch = args->segment;
    nyb_gemm_w8_scalar(&wrong);
}

// One byte beyond each row but the last: a gap that belongs to others.
static void gemm_writes_gap(const nyb_gemm_args *args) {
    nyb_gemm_w8_scalar(args);
    if (args->rows > 1 && args->c_stride > args->columns) {
        args->c[args->columns] ^= 1;
    }
}

static void gemm_writes_beyond(const nyb_gemm_args *args) {
    nyb_gemm_w8_scalar(args);
    if (args->rows > 0) {
        args->c[(args->rows - 1) * args->c_stride + args->columns] = 0;
    }
}

static void gemm_writes_before(const nyb_gemm_args *args) {
    nyb_gemm_w8_scalar(args);
    args->c[-1] = 0;
}

static void gemm_reads_beyond_a(const nyb_gemm_args *args) {
    nyb_gemm_w8_scalar(args);
    if (args->rows > 0) {
        const size_t padded = (args->segment + 3) / 4 * 4;
        sink = (int8_t)args->a[args->rows - 1][(args->segments - 1) * args->pitch + padded];
    }
}

static void gemm_reads_before_a(const nyb_gemm_args *args) {
    nyb_gemm_w8_scalar(args);
    if (args->rows > 0) {
        sink = (int8_t)args->a[0][-1];
    }
}

static void gemm_reads_beyond_bias(const nyb_gemm_args *args) {
    nyb_gemm_w8_scalar(args);
    sink = (int8_t)args->bias[(args->columns + 7) / 8 * 8];
}

static void gemm_illegal_instruction(const nyb_gemm_args *args) {
    if (args->rows > 0) {
        __builtin_trap();
    }
}

static void depthwise_rounding(const nyb_depthwise_args *args) {
    nyb_depthwise_args wrong = *args;
    wrong.output.nudge = args->output.nudge ? 0 : INT32_C(1) << 30;
    nyb_depthwise_scalar(&wrong);
}

static void depthwise_forgets_tap(const nyb_depthwise_args *args) {
    nyb_depthwise_args wrong = *args;
    wrong.window_width =
        args->window_height * args->window_width == 35 ? args->window_width - 1 : args->window_width;
    nyb_depthwise_scalar(&wrong);
}

static void depthwise_reads_beyond_x(const nyb_depthwise_args *args) {
    nyb_depthwise_scalar(args);
    if (args->lines > 0 && args->pixels > 0) {
        sink = args->x[(args->lines - 1) * args->x_line + (args->pixels - 1) * args->x_pixel +
                       (args->window_height - 1) * args->tap_line +
                       (args->window_width - 1) * args->tap_pixel + args->channels];
    }
}

static void depthwise_reads_beyond_weights(const nyb_depthwise_args *args) {
    nyb_depthwise_scalar(args);
    sink = args->weights[(size_t)(args->channels + 7) / 8 * 8 * args->window_height * args->window_width];
}

// Sums of 16 bits instead of 32 behind the fraction.
static void add_rounds_slope(const nyb_elements *e, const nyb_add_args *args) {
    nyb_add_args wrong = *args;
    wrong.slope_b &= ~0xff;
    nyb_add_scalar(e, &wrong);
}

// A last vector that overlaps the one before reads what is written already.
static void add_twice_in_place(const nyb_elements *e, const nyb_add_args *args) {
    nyb_add_scalar(e, args);
    if (e->rows == 1 && e->columns > 16) {
        const uint32_t from = e->columns - 16;
        const nyb_elements last = {e->a + from, e->b + from, e->c + from, 0, 0, 1, 16};
        nyb_add_scalar(&last, args);
    }
}

static void add_reads_beyond(const nyb_elements *e, const nyb_add_args *args) {
    nyb_add_scalar(e, args);
    if (e->rows > 0) {
        sink = e->b[(e->rows - 1) * e->b_stride + e->columns];
    }
}

static void mul_rounding(const nyb_elements *e, const nyb_mul_args *args) {
    nyb_mul_args wrong = *args;
    wrong.output.nudge = args->output.nudge ? 0 : INT32_C(1) << 30;
    nyb_mul_scalar(e, &wrong);
}

// The product of 255 and 255 has seventeen bits with its sign.
static void mul_sixteen_bits(const nyb_elements *e, const nyb_mul_args *args) {
    nyb_mul_scalar(e, args);
    if (e->rows > 0 && e->columns > 0 && (e->a[0] - args->zero_a) * (e->b[0] - args->zero_b) > INT16_MAX) {
        e->c[0] ^= 1;
    }
}

// Winograd has no portable row: the wrong ones call this machine's best, and there are none without one.
static const nyb_winograd_variant *best_winograd;

static void winograd_rounding(const nyb_winograd_args *args) {
    nyb_winograd_args wrong = *args;
    wrong.output.nudge = args->output.nudge ? 0 : INT32_C(1) << 30;
    best_winograd->run(&wrong);
}

// As if a sum were one step off where a shift lost its last bit.
static void winograd_off_by_one(const nyb_winograd_args *args) {
    best_winograd->run(args);
    if (args->height > 4 && args->width > 4 && args->outputs > 8 && args->c[8] < args->output.maximum) {
        args->c[8]++;
    }
}

static void winograd_writes_beyond(const nyb_winograd_args *args) {
    best_winograd->run(args);
    if (args->height * args->width > 0) {
        args->c[((size_t)args->height * args->width - 1) * args->c_stride + args->outputs] = 0;
    }
}

static void winograd_reads_beyond_x(const nyb_winograd_args *args) {
    best_winograd->run(args);
    if (args->height * args->width > 0) {
        const size_t lines = 4 * (size_t)nyb_winograd_tiles(args->height) + 2;
        const size_t pixels = 4 * (size_t)nyb_winograd_tiles(args->width) + 2;
        sink = args->x[(lines - 1) * args->line + pixels * args->channels];
    }
}

#define GEMM(function)                                                                                       \
    {#function, 0, 8, 8, 4, 4, &nyb_form_s8, &nyb_form_s8, true, NYB_PAIRS_ANY, false, function, false, NULL}
#define DEPTHWISE(function) {#function, 0, function}
// The subtraction of lookup_avx2.c without its saturation: an index of 127 comes round again.
static void lookup_wraps(const nyb_lookup_args *args) {
    const bool last = args->count > 0 && args->a[args->count - 1] == 127;
    nyb_lookup_scalar(args);
    if (last) {
        args->c[args->count - 1] ^= 1;
    }
}

static void lookup_reads_beyond(const nyb_lookup_args *args) {
    nyb_lookup_scalar(args);
    sink = (int8_t)args->a[args->count];
}

// Sums of more than 256 bytes in 16 bits.
static void pool_sum_wraps(const nyb_window_taps *taps, int32_t *sums) {
    const int32_t before = taps->channels > 0 ? sums[0] : 0;
    nyb_sum_scalar(taps, sums);
    if (taps->channels > 0) {
        sums[0] = before + (int16_t)(sums[0] - before);
    }
}

static void pool_forgets_clamp(const nyb_max_args *args) {
    nyb_max_args wrong = *args;
    wrong.minimum = INT8_MIN;
    nyb_max_scalar(&wrong);
}

static void pool_reads_beyond(const nyb_max_args *args) {
    const nyb_window_taps *t = &args->taps;
    nyb_max_scalar(args);
    if (args->pixels > 0 && t->rows > 0 && t->columns > 0) {
        sink = t->a[(args->pixels - 1) * args->pixel_stride + (t->rows - 1) * t->row_stride +
                    (t->columns - 1) * t->column_stride + t->channels];
    }
}

static void resize_ties(const nyb_resize_args *args) {
    nyb_resize_args wrong = *args;
    wrong.away = !args->away;
    nyb_resize_scalar(&wrong);
}

// Eight channels at a time, the last eight beyond the last pixel.
static void resize_writes_beyond(const nyb_resize_args *args) {
    nyb_resize_scalar(args);
    if (args->out_width > 0 && args->channels % 8 != 0) {
        args->c[(size_t)args->out_width * args->channels] ^= 1;
    }
}

#define RESIZE(function) {#function, 0, function}
#define POOL_MAX(function) {#function, 0, function, nyb_sum_scalar}
#define POOL_SUM(function) {#function, 0, nyb_max_scalar, function}
#define LOOKUP(function) {#function, 0, function}
#define ADD(function) {#function, 0, function, nyb_mul_scalar}
#define MUL(function) {#function, 0, nyb_add_scalar, function}

static const nyb_gemm_variant right_gemm = GEMM(nyb_gemm_w8_scalar);
static const nyb_depthwise_variant right_depthwise = DEPTHWISE(nyb_depthwise_scalar);
static const nyb_elementwise_variant right_elementwise = ADD(nyb_add_scalar);
static const nyb_lookup_variant right_lookup = LOOKUP(nyb_lookup_scalar);
static const nyb_pool_variant right_pool = POOL_MAX(nyb_max_scalar);
static const nyb_resize_variant right_resize = RESIZE(nyb_resize_scalar);

static const struct {
    nyb_gemm_variant row;
    check_outcome expected;
} wrong_gemm[] = {
    {GEMM(gemm_rounding), CHECK_DIFFERS},
    {GEMM(gemm_no_row_bias), CHECK_DIFFERS},
    {GEMM(gemm_no_pitch), CHECK_DIFFERS},
    {GEMM(gemm_saturates), CHECK_DIFFERS},
    {GEMM(gemm_writes_gap), CHECK_DIFFERS},
    {GEMM(gemm_writes_beyond), CHECK_CRASHED},
    {GEMM(gemm_writes_before), CHECK_DIFFERS},
    {GEMM(gemm_reads_beyond_a), CHECK_CRASHED},
    {GEMM(gemm_reads_before_a), CHECK_CRASHED},
    {GEMM(gemm_reads_beyond_bias), CHECK_CRASHED},
    {GEMM(gemm_illegal_instruction), CHECK_CRASHED},
};

static const struct {
    nyb_depthwise_variant row;
    check_outcome expected;
} wrong_depthwise[] = {
    {DEPTHWISE(depthwise_rounding), CHECK_DIFFERS},
    {DEPTHWISE(depthwise_forgets_tap), CHECK_DIFFERS},
    {DEPTHWISE(depthwise_reads_beyond_x), CHECK_CRASHED},
    {DEPTHWISE(depthwise_reads_beyond_weights), CHECK_CRASHED},
};

static const struct {
    nyb_elementwise_variant row;
    check_outcome expected;
} wrong_elementwise[] = {
    {ADD(add_rounds_slope), CHECK_DIFFERS}, {ADD(add_twice_in_place), CHECK_DIFFERS},
    {ADD(add_reads_beyond), CHECK_CRASHED}, {MUL(mul_rounding), CHECK_DIFFERS},
    {MUL(mul_sixteen_bits), CHECK_DIFFERS},
};

static const struct {
    nyb_lookup_variant row;
    check_outcome expected;
} wrong_lookup[] = {
    {LOOKUP(lookup_wraps), CHECK_DIFFERS},
    {LOOKUP(lookup_reads_beyond), CHECK_CRASHED},
};

static const struct {
    nyb_pool_variant row;
    check_outcome expected;
} wrong_pool[] = {
    {POOL_SUM(pool_sum_wraps), CHECK_DIFFERS},
    {POOL_MAX(pool_forgets_clamp), CHECK_DIFFERS},
    {POOL_MAX(pool_reads_beyond), CHECK_CRASHED},
};

static const struct {
    nyb_resize_variant row;
    check_outcome expected;
} wrong_resize[] = {
    {RESIZE(resize_ties), CHECK_DIFFERS},
    {RESIZE(resize_writes_beyond), CHECK_CRASHED},
};

static const struct {
    const char *name;
    nyb_winograd_fn run;
    check_outcome expected;
} wrong_winograd[] = {
    {"winograd_rounding", winograd_rounding, CHECK_DIFFERS},
    {"winograd_off_by_one", winograd_off_by_one, CHECK_DIFFERS},
    {"winograd_writes_beyond", winograd_writes_beyond, CHECK_CRASHED},
    {"winograd_reads_beyond_x", winograd_reads_beyond_x, CHECK_CRASHED},
};

static void gemm16_forgets_k(const nyb_gemm_args *args) {
    nyb_gemm_args wrong = *args;
    wrong.segment = args->segments == 1 && args->segment > 2000 ? args->segment - 8 : args->segment;
    nyb_gemm_x16w8_scalar(&wrong);
}

static void gemm16_clamps_to_less(const nyb_gemm_args *args) {
    nyb_gemm_args wrong = *args;
    wrong.output.maximum -= args->output.maximum > args->output.minimum;
    nyb_gemm_x16w8_scalar(&wrong);
}

static void depthwise16_forgets_tap(const nyb_depthwise_args *args) {
    nyb_depthwise_args wrong = *args;
    wrong.window_width = args->window_width > 100 ? args->window_width - 1 : args->window_width;
    nyb_depthwise_x16_scalar(&wrong);
}

// 1 where the outcome is not the expected one.
static uint32_t expect(const check_family *family, const void *row, const char *name, check_outcome expected,
                       uint64_t seed) {
    static const char *const words[] = {"passes", "differs", "crashes"};
    static check c;
    const check_outcome found = check_run(&c, family, row, seed, CHECK_ROUNDS);
    printf("%-32s %8u cases  %s", name, c.cases, words[found]);
    if (found != expected) {
        printf("  FAILED: expected that it %s", words[expected]);
    }
    putchar('\n');
    if (found != CHECK_OK) {
        printf("    %s\n    %s\n", c.failure, c.shape);
    }
    return found != expected;
}

static uint32_t test_winograd(uint64_t seed, uint32_t *tests) {
    enum { WINOGRADS = sizeof wrong_winograd / sizeof wrong_winograd[0] };
    best_winograd = nyb_winograd_pick(nyb_cpu_detect());
    if (best_winograd == NULL) {
        return 0;
    }
    uint32_t failed = 0;
    for (size_t i = 0; i < WINOGRADS; i++) {
        nyb_winograd_variant row = *best_winograd;
        row.run = wrong_winograd[i].run;
        failed += expect(&check_winograd, &row, wrong_winograd[i].name, wrong_winograd[i].expected, seed);
    }
    *tests += WINOGRADS;
    return failed;
}

static uint32_t test_wide(uint64_t seed, uint32_t *tests) {
    const nyb_gemm_layer layer = {.bytes = 2, .bits = 8, .nr = 8, .kr = 4, .pairs = NYB_PAIRS_ANY};
    nyb_gemm_variant gemm = *nyb_gemm_pick(0, &layer);
    nyb_depthwise_variant depthwise = *nyb_depthwise_pick(0, 2);
    gemm.run = gemm16_forgets_k;
    uint32_t failed = expect(&check_gemm16, &gemm, "gemm16_forgets_k", CHECK_DIFFERS, seed);
    gemm.run = gemm16_clamps_to_less;
    failed += expect(&check_gemm16, &gemm, "gemm16_clamps_to_less", CHECK_DIFFERS, seed);
    depthwise.run = depthwise16_forgets_tap;
    failed += expect(&check_depthwise16, &depthwise, "depthwise16_forgets_tap", CHECK_DIFFERS, seed);
    *tests += 3;
    return failed;
}

uint32_t check_self_test(uint64_t seed) {
    enum {
        GEMMS = sizeof wrong_gemm / sizeof wrong_gemm[0],
        DEPTHWISES = sizeof wrong_depthwise / sizeof wrong_depthwise[0],
        ELEMENTWISES = sizeof wrong_elementwise / sizeof wrong_elementwise[0],
        LOOKUPS = sizeof wrong_lookup / sizeof wrong_lookup[0],
        POOLS = sizeof wrong_pool / sizeof wrong_pool[0],
        RESIZES = sizeof wrong_resize / sizeof wrong_resize[0],
    };
    uint32_t failed = expect(&check_gemm, &right_gemm, right_gemm.name, CHECK_OK, seed);
    failed += expect(&check_depthwise, &right_depthwise, right_depthwise.name, CHECK_OK, seed);
    failed += expect(&check_elementwise, &right_elementwise, right_elementwise.name, CHECK_OK, seed);
    failed += expect(&check_lookup, &right_lookup, right_lookup.name, CHECK_OK, seed);
    failed += expect(&check_pool, &right_pool, right_pool.name, CHECK_OK, seed);
    failed += expect(&check_resize, &right_resize, right_resize.name, CHECK_OK, seed);
    for (size_t i = 0; i < GEMMS; i++) {
        failed +=
            expect(&check_gemm, &wrong_gemm[i].row, wrong_gemm[i].row.name, wrong_gemm[i].expected, seed);
    }
    for (size_t i = 0; i < DEPTHWISES; i++) {
        failed += expect(&check_depthwise, &wrong_depthwise[i].row, wrong_depthwise[i].row.name,
                         wrong_depthwise[i].expected, seed);
    }
    for (size_t i = 0; i < ELEMENTWISES; i++) {
        failed += expect(&check_elementwise, &wrong_elementwise[i].row, wrong_elementwise[i].row.name,
                         wrong_elementwise[i].expected, seed);
    }
    for (size_t i = 0; i < LOOKUPS; i++) {
        failed += expect(&check_lookup, &wrong_lookup[i].row, wrong_lookup[i].row.name,
                         wrong_lookup[i].expected, seed);
    }
    for (size_t i = 0; i < POOLS; i++) {
        failed +=
            expect(&check_pool, &wrong_pool[i].row, wrong_pool[i].row.name, wrong_pool[i].expected, seed);
    }
    for (size_t i = 0; i < RESIZES; i++) {
        failed += expect(&check_resize, &wrong_resize[i].row, wrong_resize[i].row.name,
                         wrong_resize[i].expected, seed);
    }
    uint32_t tests = GEMMS + DEPTHWISES + ELEMENTWISES + LOOKUPS + POOLS + RESIZES + 6;
    failed += test_winograd(seed, &tests);
    failed += test_wide(seed, &tests);
    printf("%u as expected, %u not\n", tests - failed, failed);
    return failed;
}
