// SPDX-License-Identifier: Apache-2.0
// Nearest and bilinear resizing by tables of rows and columns. Meaning: python/nybble/ops/resize.py.
#include "base/float32.h"
#include "kernels/resize/resize.h"
#include "ops/op.h"

// What each output row (or column) reads: int32 lower[], upper[], lower_weight[], upper_weight[].
typedef struct table {
    const uint32_t *lower;
    const uint32_t *upper;
    const int32_t *lower_weight;
    const int32_t *upper_weight;
} table;

typedef struct resize_plan {
    const int8_t *x;
    int8_t *y;
    uint32_t height, width;
    uint32_t out_height, out_width;
    size_t channels; // nearest: bytes of a pixel
    uint32_t lines;  // of the output, over the batch
    uint32_t method;
    table rows, columns; // nearest: only `lower`
    const nyb_resize_variant *kernel;
} resize_plan;

enum { UNIT = 1024 }; // the weight 1

static nyb_status check_shapes(const nyb_node *node, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    if (x.type != y.type || x.rank != 4 || y.rank != 4 || x.shape[0] != y.shape[0] ||
        x.shape[3] != y.shape[3] || y.elements == 0 || (uint64_t)y.shape[0] * y.shape[1] > UINT32_MAX) {
        return nyb_node_fail(node, why, "images of one type, batch and number of channels", 4, x.rank);
    }
    return NYB_OK;
}

static bool within(const uint32_t *indices, uint32_t count, uint32_t extent) {
    for (uint32_t i = 0; i < count; i++) {
        if (indices[i] >= extent) {
            return false;
        }
    }
    return true;
}

static nyb_status check_nearest(const nyb_node *node, nyb_error *why) {
    const nyb_status status = check_shapes(node, why);
    if (status != NYB_OK) {
        return status;
    }
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    for (uint32_t d = 1; d <= 2; d++) {
        const uint32_t slot = d == 1 ? NYB_RESIZE_NEAREST_ROWS : NYB_RESIZE_NEAREST_COLUMNS;
        const nyb_span span = nyb_get_span(&node->options, slot);
        if (span.data == NULL || span.size != 4 * (uint64_t)y.shape[d]) {
            return nyb_node_fail(node, why, "an index for each output row and column", y.shape[d],
                                 (int64_t)span.size / 4);
        }
        if (!within(span.data, y.shape[d], x.shape[d])) {
            return nyb_node_fail(node, why, "rows and columns of the input", x.shape[d], d);
        }
    }
    return NYB_OK;
}

static table table_of(const nyb_node *node, uint32_t slot, uint32_t count) {
    const uint32_t *indices = nyb_get_span(&node->options, slot).data;
    const int32_t *weights = (const int32_t *)(indices + 2 * (size_t)count);
    return (table){indices, indices + count, weights, weights + count};
}

// Weights with which no sum leaves int32 and no result leaves int8: those of a mean, or of one row alone.
static bool fixed_weights(int32_t lower, int32_t upper, bool one_row) {
    return lower >= -UNIT && lower <= 2 * UNIT && lower + (int64_t)upper == UNIT &&
           (one_row || (lower >= 0 && upper >= 0));
}

// The bits of 0 or of a number from 2^-62 to 1.5, of either sign.
static bool float32_weight(int32_t bits) {
    const uint32_t magnitude = (uint32_t)bits & 0x7FFFFFFF;
    return magnitude == 0 || (magnitude >= 0x20800000 && magnitude <= 0x3FC00000);
}

static nyb_status check_bilinear(const nyb_node *node, nyb_error *why) {
    const nyb_status status = check_shapes(node, why);
    if (status != NYB_OK) {
        return status;
    }
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const uint32_t method = nyb_get_u8(&node->options, NYB_RESIZE_BILINEAR_METHOD);
    if (x.type != NYB_INT8 || method >= NYB_RESIZE_METHOD_COUNT) {
        return nyb_node_fail(node, why, "an int8 image and a known method", NYB_RESIZE_METHOD_COUNT, method);
    }
    if ((uint64_t)x.shape[2] * x.shape[3] > SIZE_MAX / 8) {
        return nyb_node_fail(node, why, "rows that fit this machine", (int64_t)(SIZE_MAX / 8), x.shape[2]);
    }
    for (uint32_t d = 1; d <= 2; d++) {
        const uint32_t slot = d == 1 ? NYB_RESIZE_BILINEAR_ROWS : NYB_RESIZE_BILINEAR_COLUMNS;
        const uint32_t count = y.shape[d];
        const nyb_span span = nyb_get_span(&node->options, slot);
        if (span.data == NULL || span.size != 16 * (uint64_t)count) {
            return nyb_node_fail(node, why, "two indices and weights for each output row and column", count,
                                 (int64_t)span.size / 16);
        }
        const table t = table_of(node, slot, count);
        if (!within(t.lower, count, x.shape[d]) || !within(t.upper, count, x.shape[d])) {
            return nyb_node_fail(node, why, "rows and columns of the input", x.shape[d], d);
        }
        for (uint32_t i = 0; i < count; i++) {
            const int32_t lower = t.lower_weight[i], upper = t.upper_weight[i];
            if (method == NYB_RESIZE_METHOD_FLOAT32
                    ? !float32_weight(lower) || !float32_weight(upper)
                    : !fixed_weights(lower, upper, t.lower[i] == t.upper[i])) {
                return nyb_node_fail(node, why, "weights that sum to 1024, or float32 up to 1.5", UNIT,
                                     upper);
            }
        }
    }
    return NYB_OK;
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    resize_plan *p = memory;
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    memset(p, 0, sizeof *p);
    p->x = (const int8_t *)nyb_tensor_data(setup, &x);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    p->height = x.shape[1];
    p->width = x.shape[2];
    p->out_height = y.shape[1];
    p->out_width = y.shape[2];
    p->channels = (size_t)x.shape[3] * nyb_type_bytes(x.type);
    p->lines = y.shape[0] * y.shape[1];
    if (node->kind == NYB_OPTIONS_RESIZE_NEAREST) {
        p->rows.lower = nyb_get_span(&node->options, NYB_RESIZE_NEAREST_ROWS).data;
        p->columns.lower = nyb_get_span(&node->options, NYB_RESIZE_NEAREST_COLUMNS).data;
    } else {
        p->method = nyb_get_u8(&node->options, NYB_RESIZE_BILINEAR_METHOD);
        p->rows = table_of(node, NYB_RESIZE_BILINEAR_ROWS, p->out_height);
        p->columns = table_of(node, NYB_RESIZE_BILINEAR_COLUMNS, p->out_width);
        p->kernel = nyb_resize_pick(setup->options->cpu);
        if (p->method != NYB_RESIZE_METHOD_FLOAT32) {
            return nyb_aligned((p->width * p->channels + NYB_RESIZE_PADDING) * sizeof(int32_t));
        }
    }
    return 0;
}

// The input row that an output line reads by the given indices.
static const int8_t *row_of(const resize_plan *p, uint32_t line, const uint32_t *indices) {
    const size_t row = (size_t)(line / p->out_height) * p->height + indices[line % p->out_height];
    return p->x + row * p->width * p->channels;
}

static int8_t *output_of(const resize_plan *p, uint32_t line) {
    return p->y + (size_t)line * p->out_width * p->channels;
}

static void nearest_line(void *context, uint32_t line, uint32_t thread) {
    const resize_plan *p = context;
    (void)thread;
    const int8_t *row = row_of(p, line, p->rows.lower);
    int8_t *y = output_of(p, line);
    for (uint32_t i = 0; i < p->out_width; i++, y += p->channels) {
        memcpy(y, row + p->columns.lower[i] * p->channels, p->channels);
    }
}

typedef struct resize_call {
    const resize_plan *plan;
    const nyb_run *run;
} resize_call;

static void fixed_line(void *context, uint32_t line, uint32_t thread) {
    const resize_call *call = context;
    const resize_plan *p = call->plan;
    const nyb_resize_args args = {
        .above = row_of(p, line, p->rows.lower),
        .below = row_of(p, line, p->rows.upper),
        .above_weight = p->rows.lower_weight[line % p->out_height],
        .below_weight = p->rows.upper_weight[line % p->out_height],
        .width = p->width,
        .channels = (uint32_t)p->channels,
        .out_width = p->out_width,
        .lower = p->columns.lower,
        .upper = p->columns.upper,
        .lower_weight = p->columns.lower_weight,
        .upper_weight = p->columns.upper_weight,
        .away = p->method == NYB_RESIZE_METHOD_FIXED_AWAY,
        .row = (int32_t *)(void *)(call->run->scratch + thread * call->run->scratch_bytes),
        .c = output_of(p, line),
    };
    p->kernel->run(&args);
}

typedef struct weight {
    nyb_float32 value;
    bool negative;
} weight;

// What one output pixel interpolates: x of each neighbour times its row's and its column's weight.
typedef struct corner {
    const int8_t *x;
    weight row, column;
    int64_t product; // row * column * 2^30, truncated
} corner;

static weight weight_of(int32_t bits) { return (weight){nyb_float32_read((uint32_t)bits), bits < 0}; }

static corner corner_of(const int8_t *x, weight row, weight column) {
    corner c = {x, row, column, 0};
    const uint64_t mantissa = (uint64_t)row.value.mantissa * column.value.mantissa;
    const int32_t shift = -(row.value.exponent + column.value.exponent) - 30; // from 16 on
    if (mantissa != 0 && shift < 64) {
        const int64_t magnitude = (int64_t)(mantissa >> shift);
        c.product = row.negative != column.negative ? -magnitude : magnitude;
    }
    return c;
}

// The contract: every product and sum in float32, in this order, on uint8; 0.5 added, then truncated.
static uint8_t interpolate_float32(const corner *corners, size_t channel) {
    const nyb_float32 half = {UINT32_C(1) << 23, -24};
    nyb_float32 total = {0, 0};
    for (int i = 0; i < 4; i++) {
        const corner *c = &corners[i];
        const uint64_t x = (uint64_t)(c->x[channel] + 128);
        const nyb_float32 scaled = nyb_float32_round(x * c->row.value.mantissa, c->row.value.exponent);
        total = nyb_float32_add(total, nyb_float32_mul(scaled, c->column.value),
                                c->row.negative != c->column.negative);
    }
    // At least 0.5 and below 2^12: the exponent is -24 to -12.
    total = nyb_float32_add(total, half, false);
    return (uint8_t)(total.mantissa >> -total.exponent);
}

// Weights of at most 1.5 make products below 2^10 and sums below 2^12. In float32 the eight products
// are off by at most 2^-15 each, the four sums by 2^-13, and `product` by 2^-30: together less than
// 2^-9. So where the sum in integers is further than 2^-8 from where the result steps, both agree.
static void float32_line(void *context, uint32_t line, uint32_t thread) {
    const resize_plan *p = context;
    (void)thread;
    const int64_t one = INT64_C(1) << 30, margin = INT64_C(1) << 22;
    const int8_t *above = row_of(p, line, p->rows.lower);
    const int8_t *below = row_of(p, line, p->rows.upper);
    const weight wa = weight_of(p->rows.lower_weight[line % p->out_height]);
    const weight wb = weight_of(p->rows.upper_weight[line % p->out_height]);
    int8_t *y = output_of(p, line);
    for (uint32_t i = 0; i < p->out_width; i++, y += p->channels) {
        const size_t left = p->columns.lower[i] * p->channels;
        const size_t right = p->columns.upper[i] * p->channels;
        const weight wl = weight_of(p->columns.lower_weight[i]), wr = weight_of(p->columns.upper_weight[i]);
        const corner corners[4] = {corner_of(above + left, wa, wl), corner_of(below + left, wb, wl),
                                   corner_of(above + right, wa, wr), corner_of(below + right, wb, wr)};
        for (size_t c = 0; c < p->channels; c++) {
            int64_t sum = one / 2;
            for (int k = 0; k < 4; k++) {
                sum += (corners[k].x[c] + 128) * corners[k].product;
            }
            const int64_t rest = sum & (one - 1);
            const bool clear = rest >= margin && rest <= one - margin;
            const uint8_t result = clear ? (uint8_t)(sum >> 30) : interpolate_float32(corners, c);
            y[c] = (int8_t)(result - 128);
        }
    }
}

static uint64_t outputs_of(const resize_plan *p) { return (uint64_t)p->lines * p->out_width * p->channels; }

static void run_nearest(const void *plan_memory, const nyb_run *run) {
    const resize_plan *p = plan_memory;
    // The task only reads the plan.
    nyb_parallel_for(run->parallel, p->lines, outputs_of(p) / 4, nearest_line,
                     (void *)(uintptr_t)plan_memory);
}

static void run_bilinear(const void *plan_memory, const nyb_run *run) {
    const resize_plan *p = plan_memory;
    resize_call call = {p, run};
    if (p->method == NYB_RESIZE_METHOD_FLOAT32) {
        nyb_parallel_for(run->parallel, p->lines, outputs_of(p) * 4, float32_line,
                         (void *)(uintptr_t)plan_memory);
    } else {
        nyb_parallel_for(run->parallel, p->lines, nyb_macs_ns(8 * outputs_of(p), p->kernel->needs),
                         fixed_line, &call);
    }
}

static const char *variant_bilinear(const void *plan_memory) {
    const resize_plan *p = plan_memory;
    return p->method == NYB_RESIZE_METHOD_FLOAT32 ? "scalar_float32" : p->kernel->name;
}

_Static_assert(sizeof(resize_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");

const nyb_op nyb_op_resize_nearest = {
    .kind = "ResizeNearest",
    .inputs_min = 1,
    .inputs_max = 1,
    .in_place = false,
    .plan_bytes = sizeof(resize_plan),
    .check = check_nearest,
    .plan = plan,
    .run = run_nearest,
    .variant = nyb_variant_scalar,
};

const nyb_op nyb_op_resize_bilinear = {
    .kind = "ResizeBilinear",
    .inputs_min = 1,
    .inputs_max = 1,
    .in_place = false,
    .plan_bytes = sizeof(resize_plan),
    .check = check_bilinear,
    .plan = plan,
    .run = run_bilinear,
    .variant = variant_bilinear,
};
