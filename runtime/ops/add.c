// SPDX-License-Identifier: Apache-2.0
// Elementwise sum, difference and squared difference. Meaning: python/nybble/ops/add.py,
// squared_difference.py.
#include "ops/broadcast.h"

typedef struct add_plan {
    nyb_broadcast broadcast;
    nyb_requantize output;
    const int8_t *x1;
    const int8_t *x2;
    int8_t *y;
    uint32_t left_shift;
    int32_t zero_point1, multiplier1, shift1;
    int32_t zero_point2, multiplier2, shift2;
    int32_t multiplier, shift;
    bool subtract;
    bool square;
    bool is_linear;
    nyb_add_args linear;
    const nyb_elementwise_variant *kernel;
} add_plan;

// The linear form of a sum or difference, where the file has one.
static nyb_status read_linear(const nyb_node *node, add_plan *plan, nyb_error *why) {
    const uint8_t *raw = nyb_get_struct(&node->options, NYB_ADD_LINEAR, NYB_LINEAR_BYTES);
    plan->is_linear = raw != NULL;
    if (raw == NULL) {
        return NYB_OK;
    }
    const int32_t slope1 = nyb_member_i32(raw, NYB_LINEAR_SLOPE1_AT);
    const int32_t slope2 = nyb_member_i32(raw, NYB_LINEAR_SLOPE2_AT);
    const int32_t limit = INT32_C(1) << 30;
    if (plan->broadcast.bytes != 1 || plan->square || slope1 < -limit || slope1 >= limit || slope2 < -limit ||
        slope2 >= limit || plan->zero_point1 < INT8_MIN || plan->zero_point1 > INT8_MAX ||
        plan->zero_point2 < INT8_MIN || plan->zero_point2 > INT8_MAX) {
        return nyb_node_fail(node, why,
                             "linear: a sum of int8 with slopes below 2^30 and zero points within int8",
                             limit, slope1);
    }
    const int64_t one = INT64_C(1) << NYB_ADD_FRACTION_BITS;
    plan->linear = (nyb_add_args){
        .slope_a = slope1,
        .slope_b = slope2,
        .offset = nyb_member_i32(raw, NYB_LINEAR_ROUND_AT) + plan->output.zero_point * one -
                  (int64_t)plan->zero_point1 * slope1 - (int64_t)plan->zero_point2 * slope2,
        .minimum = plan->output.minimum,
        .maximum = plan->output.maximum,
    };
    return NYB_OK;
}

static nyb_status read(const nyb_node *node, add_plan *plan, nyb_error *why) {
    const nyb_tensor_info a = nyb_node_input(node, 0);
    const nyb_tensor_info b = nyb_node_input(node, 1);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_table *options = &node->options;
    memset(plan, 0, sizeof *plan);
    if (!nyb_broadcast_read(&a, &b, &y, &plan->broadcast)) {
        return nyb_node_fail(node, why,
                             "inputs of the output's type (int8 or int16) that broadcast to its shape",
                             y.rank, a.rank);
    }
    if (!nyb_requantize_read(options, NYB_ADD_OUTPUT, y.type, &plan->output)) {
        return nyb_node_fail(node, why, "output: a rounding, a zero point and a clamp within its type", 1, 0);
    }
    plan->left_shift = nyb_get_u32(options, NYB_ADD_LEFT_SHIFT);
    plan->zero_point1 = nyb_get_i32(options, NYB_ADD_ZERO_POINT1);
    plan->multiplier1 = nyb_get_i32(options, NYB_ADD_MULTIPLIER1);
    plan->shift1 = nyb_get_i32(options, NYB_ADD_SHIFT1);
    plan->zero_point2 = nyb_get_i32(options, NYB_ADD_ZERO_POINT2);
    plan->multiplier2 = nyb_get_i32(options, NYB_ADD_MULTIPLIER2);
    plan->shift2 = nyb_get_i32(options, NYB_ADD_SHIFT2);
    plan->multiplier = nyb_get_i32(options, NYB_ADD_MULTIPLIER);
    plan->shift = nyb_get_i32(options, NYB_ADD_SHIFT);
    plan->square = node->kind == NYB_OPTIONS_SQUARED_DIFFERENCE;
    plan->subtract = node->kind == NYB_OPTIONS_SUB || plan->square;
    if (!nyb_shift_valid(plan->shift1) || !nyb_shift_valid(plan->shift2) || !nyb_shift_valid(plan->shift)) {
        return nyb_node_fail(node, why, "shifts from 1 to 62", 62, plan->shift);
    }
    if (plan->left_shift > 15 && y.type == NYB_INT16) {
        return nyb_node_fail(node, why, "left_shift of at most 15 in int16", 15, plan->left_shift);
    }
    if (plan->left_shift > 22) {
        return nyb_node_fail(node, why, "left_shift of at most 22", 22, plan->left_shift);
    }
    return read_linear(node, plan, why);
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    add_plan plan;
    return read(node, &plan, why);
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    add_plan *p = memory;
    read(node, p, NULL);
    const nyb_tensor_info a = nyb_node_input(node, 0);
    const nyb_tensor_info b = nyb_node_input(node, 1);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x1 = (const int8_t *)nyb_tensor_data(setup, &a);
    p->x2 = (const int8_t *)nyb_tensor_data(setup, &b);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    p->kernel = nyb_elementwise_pick(p->is_linear ? setup->options->cpu : 0);
    return 0;
}

// The operator by its definition; in int16 zero points are 0, and results of the type need no more than the
// clamp.
static int32_t exact(const add_plan *p, int32_t a, int32_t b) {
    const int32_t one = (int32_t)1 << p->left_shift;
    const int32_t x1 = nyb_mul(nyb_sub(a, p->zero_point1), one);
    const int32_t x2 = nyb_mul(nyb_sub(b, p->zero_point2), one);
    const int32_t s1 = nyb_scale(x1, p->multiplier1, p->shift1, p->output.nudge);
    const int32_t s2 = nyb_scale(x2, p->multiplier2, p->shift2, p->output.nudge);
    const int32_t sum = p->subtract ? nyb_sub(s1, s2) : nyb_add(s1, s2);
    const int32_t scaled =
        nyb_scale(p->square ? nyb_mul(sum, sum) : sum, p->multiplier, p->shift, p->output.nudge);
    return nyb_clamp(nyb_add(scaled, p->output.zero_point), p->output.minimum, p->output.maximum);
}

static void wide_elements(const add_plan *p, const nyb_elements *e) {
    const int16_t *a = (const int16_t *)(const void *)e->a, *b = (const int16_t *)(const void *)e->b;
    int16_t *c = (int16_t *)(void *)e->c;
    for (uint32_t i = 0; i < e->rows; i++, a += e->a_stride, b += e->b_stride, c += e->columns) {
        for (uint32_t j = 0; j < e->columns; j++) {
            c[j] = (int16_t)exact(p, a[j], b[j]);
        }
    }
}

static void elements(const void *plan_memory, const nyb_elements *e) {
    const add_plan *p = plan_memory;
    if (p->is_linear) {
        p->kernel->add(e, &p->linear);
        return;
    }
    if (p->broadcast.bytes == 2) {
        wide_elements(p, e);
        return;
    }
    for (uint32_t i = 0; i < e->rows; i++) {
        for (uint32_t j = 0; j < e->columns; j++) {
            e->c[(size_t)i * e->columns + j] =
                (int8_t)exact(p, e->a[i * e->a_stride + j], e->b[i * e->b_stride + j]);
        }
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const add_plan *p = plan_memory;
    nyb_broadcast_run(&p->broadcast, p->x1, p->x2, p->y, elements, p, p->kernel->needs,
                      run_context->parallel);
}

// The linear form equals the definition for all pairs of inputs.
static nyb_status certify(const nyb_node *node, nyb_error *why) {
    add_plan plan;
    const nyb_status status = read(node, &plan, why);
    if (status != NYB_OK || !plan.is_linear) {
        return status;
    }
    int8_t row[256], all[256], sums[256];
    for (int32_t i = 0; i < 256; i++) {
        all[i] = (int8_t)(i - 128);
    }
    for (int32_t a = INT8_MIN; a <= INT8_MAX; a++) {
        memset(row, a, sizeof row);
        nyb_add_scalar(&(nyb_elements){.a = row, .b = all, .c = sums, .rows = 1, .columns = 256},
                       &plan.linear);
        for (int32_t b = INT8_MIN; b <= INT8_MAX; b++) {
            const int32_t expected = exact(&plan, a, b);
            if (sums[b + 128] != expected) {
                return nyb_fail(why, NYB_ERROR_MISMATCH, node->index, -1, "a linear form equal to the sum",
                                expected, sums[b + 128]);
            }
        }
    }
    return NYB_OK;
}

static const char *variant(const void *plan_memory) { return ((const add_plan *)plan_memory)->kernel->name; }

_Static_assert(sizeof(add_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");
#define NYB_ADD_LIKE(name)                                                                                   \
    {.kind = name,                                                                                           \
     .inputs_min = 2,                                                                                        \
     .inputs_max = 2,                                                                                        \
     .in_place = true,                                                                                       \
     .plan_bytes = sizeof(add_plan),                                                                         \
     .check = check,                                                                                         \
     .plan = plan,                                                                                           \
     .run = run,                                                                                             \
     .certify = certify,                                                                                     \
     .variant = variant}
const nyb_op nyb_op_add = NYB_ADD_LIKE("Add");
const nyb_op nyb_op_sub = NYB_ADD_LIKE("Sub");
const nyb_op nyb_op_squared_difference = NYB_ADD_LIKE("SquaredDifference");
