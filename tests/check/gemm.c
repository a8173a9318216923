// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/gemm.h"

#include "base/packed.h"
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EDGES = 6 }; // sizes that `edge` knows

static check_memory memory_a = {.name = "a"};
static check_memory memory_weights = {.name = "weights"};
static check_memory memory_prepacked = {.name = "prepacked weights"};
static check_memory memory_weight_sum = {.name = "weight_sum"};
static check_memory memory_row_bias = {.name = "row_bias"};
static check_memory memory_factors = {.name = "factors"};
static check_memory memory_factor_draws = {.name = "draws of factors"};
static check_memory memory_rows = {.name = "pointers to rows of a"};
static check_memory memory_scalar_rows = {.name = "pointers to rows of int8"};
static check_memory memory_draws = {.name = "draws of a"};
static check_memory memory_int8 = {.name = "a in int8"};
static check_memory memory_plain = {.name = "plain weights"};

typedef struct gemm_shape {
    uint32_t rows;
    uint32_t columns;
    uint32_t depth;
    check_pattern a;
    check_pattern w;
    bool dense; // rows of one stretch, one behind the other
} gemm_shape;

typedef struct gemm_case {
    const nyb_gemm_variant *row;
    nyb_gemm_args args;
    const int8_t *a;      // the activations before they took the row's form
    size_t a_stride;      // activations from a row to the next
    uint32_t a_line;      // rows that are as far apart
    size_t a_jump;        // activations from one such line to the next, beyond its rows
    size_t a_pitch;       // and from a stretch of a row to the next
    const int32_t *plain; // [columns][depth], the weights before packing
    check_output output;
} gemm_case;

static check_row gemm_row(uint32_t index) {
    const nyb_gemm_variant *v = &nyb_gemm_variants[index];
    return (check_row){v->name, v->needs, v};
}

static uint32_t panels(const gemm_case *g) { return (g->args.columns + g->row->nr - 1) / g->row->nr; }

static uint32_t scale_groups(const gemm_case *g) {
    return (g->args.depth + g->args.scale_group - 1) / g->args.scale_group;
}

static size_t row_start(const gemm_case *g, uint32_t i) {
    return i * g->a_stride + i / g->a_line * g->a_jump;
}

// The accumulator of c[i][j] by the definition in gemm.h but for bias[j].
static int32_t sum(const void *context, uint32_t i, uint32_t j) {
    const gemm_case *g = context;
    const nyb_gemm_args *args = &g->args;
    const uint32_t nr = g->row->nr;
    int32_t total = args->row_bias != NULL ? args->row_bias[i] : 0;
    for (uint32_t k = 0; k < args->depth; k++) {
        const size_t at = row_start(g, i) + k / args->segment * g->a_pitch + k % args->segment;
        int32_t product = g->a[at] * g->plain[(size_t)j * args->depth + k];
        if (args->scale_group > 0) {
            const size_t group = (size_t)(j / nr) * scale_groups(g) + k / args->scale_group;
            product = nyb_mul(product, args->factors[group * nr + j % nr]);
        }
        total = nyb_add(total, product);
    }
    return total;
}

// The scalar row of the same layout; NULL where the table has none.
static const nyb_gemm_variant *scalar_row(const nyb_gemm_variant *row) {
    const nyb_gemm_variant *v = nyb_gemm_variants;
    while (v->name != NULL &&
           (v->needs != 0 || v->weight_bits != row->weight_bits || v->nr != row->nr || v->kr != row->kr)) {
        v++;
    }
    return v->name != NULL ? v : NULL;
}

// How many stretches the rows have: any count that leaves whole steps in each.
static uint32_t draw_segments(check *c, uint32_t depth, uint32_t step) {
    const uint32_t segments = 1 + check_below(c, 5);
    return depth % (segments * step) == 0 ? segments : 1;
}

static void draw_activations(check *c, gemm_case *g, gemm_shape shape, check_place place) {
    nyb_gemm_args *args = &g->args;
    const nyb_form *form = shape.dense || check_below(c, 2) ? g->row->form : g->row->copied;
    const uint32_t step = g->row->kr * (8u / g->row->weight_bits);
    const size_t align = form->element == 1 ? 1 : 4; // pieces of a form begin at multiples of four
    args->segments = shape.dense ? 1 : draw_segments(c, args->depth, step);
    args->segment = args->depth / args->segments;
    switch (shape.dense ? 2 : check_below(c, 4)) {
    case 0:
        g->a_stride = args->depth + check_below(c, 40);
        break;
    case 1:
        g->a_stride = check_below(c, args->depth + 1);
        break; // windows that overlap
    default:
        g->a_stride = args->depth;
        break;
    }
    g->a_stride = (g->a_stride + align - 1) / align * align;
    // One line, short ones, or long ones that the last row may break off.
    g->a_line = 1 + check_below(c, check_below(c, 2) ? 8 : 2 * args->rows + 1);
    g->a_jump = !shape.dense && check_below(c, 2) ? check_below(c, 64) / align * align : 0;
    args->gap = 0;
    if (g->a_jump > 0 && g->a_stride > 0 && check_below(c, 2)) {
        args->gap = 1 + check_below(c, 4);
        g->a_jump = args->gap * g->a_stride;
    }
    g->a_pitch = (args->segment + check_below(c, 20) + align - 1) / align * align;
    const size_t padded = (args->segment + step - 1) / step * step;
    const size_t count =
        args->rows > 0 ? row_start(g, args->rows - 1) + (args->segments - 1) * g->a_pitch + padded : 0;
    args->stride = g->a_stride * form->element;
    args->line = g->a_jump == 0 ? args->rows : g->a_line;
    if (args->rows % (args->line > 0 ? args->line : 1) != 0 || (!shape.dense && check_below(c, 8) == 0)) {
        args->line = 0; // says nothing of where they lie
    }
    int32_t *values = check_memory_place(&memory_draws, count * sizeof(int32_t), place);
    int8_t *a = check_memory_place(&memory_int8, count, place);
    uint8_t *formed = check_memory_place(&memory_a, count * form->element, place);
    const uint8_t **rows = check_memory_place(&memory_rows, args->rows * sizeof(uint8_t *), place);
    check_draw(c, shape.a, INT8_MIN, INT8_MAX, values, count);
    for (size_t i = 0; i < count; i++) {
        a[i] = (int8_t)values[i];
    }
    form->stage(formed, a, count, count);
    for (uint32_t i = 0; i < args->rows; i++) {
        rows[i] = formed + row_start(g, i) * form->element;
    }
    args->a = rows;
    args->form = form;
    args->pitch = g->a_pitch * form->element;
    g->a = a;
}

// Weights in the layout of docs/adr/0001, aligned to one step of a panel and no more: a portion of
// the columns (ops/matmul.c) begins at any panel.
static void draw_weights(check *c, gemm_case *g, check_pattern pattern, check_place place) {
    nyb_gemm_args *args = &g->args;
    const uint32_t bits = g->row->weight_bits, nr = g->row->nr, kr = g->row->kr;
    const uint32_t step = kr * (8 / bits);
    const int32_t half = INT32_C(1) << (bits - 1);
    const size_t count = (size_t)args->columns * args->depth;
    int32_t *plain = check_memory_place(&memory_plain, count * sizeof(int32_t), place);
    check_draw(c, pattern, -half, half - 1, plain, count);
    for (size_t at = 0; at < count; at++) {
        // The second of a pair gives way, unless the row takes any.
        const int32_t first = at % args->depth % 2 ? abs(plain[at - 1]) : 0;
        const int32_t room = (int32_t)g->row->pairs - first;
        plain[at] = plain[at] > room ? room : (plain[at] < -room ? -room : plain[at]);
    }
    const size_t panel_bytes = (size_t)nyb_panel_bytes(args->depth, bits, nr, kr);
    const size_t channels_bytes = (size_t)panels(g) * nr * sizeof(int32_t);
    uint8_t *weights = check_memory_place(&memory_weights, panels(g) * panel_bytes, place);
    int32_t *weight_sum = check_memory_place(&memory_weight_sum, channels_bytes, place);
    memset(weights, 0, panels(g) * panel_bytes);
    check_fill(c, weight_sum, channels_bytes);
    for (uint32_t j = 0; j < args->columns; j++) {
        weight_sum[j] = 0;
        for (uint32_t k = 0; k < args->depth; k++) {
            const int32_t w = plain[(size_t)j * args->depth + k];
            const uint32_t field = (uint32_t)w & ((UINT32_C(1) << bits) - 1);
            uint8_t *byte =
                weights + j / nr * panel_bytes + (size_t)(k / step) * nr * kr + j % nr * kr + k % kr;
            *byte = (uint8_t)(*byte | field << (k % step / kr * bits));
            weight_sum[j] += w;
        }
    }
    int32_t minimum = 0;
    for (size_t i = 0; i < count; i++) {
        minimum = plain[i] < minimum ? plain[i] : minimum;
    }
    args->weight_minimum = check_below(c, 4) == 0 ? INT8_MIN : minimum;
    args->weights = weights;
    args->weight_sum = weight_sum;
    g->plain = plain;
}

static uint32_t draw_scale_group(check *c, const nyb_gemm_variant *row) {
    if (!row->scale_groups || check_below(c, 4) == 0) {
        return 0;
    }
    return row->kr * (8u / row->weight_bits) * (1 + check_below(c, check_below(c, 2) ? 20 : 4));
}

// The factors of `scale_group` k each, which weight_sum counts too.
static void draw_factors(check *c, gemm_case *g, uint32_t scale_group, check_place place) {
    nyb_gemm_args *args = &g->args;
    args->factors = NULL;
    args->scale_group = scale_group;
    if (scale_group == 0) {
        return;
    }
    const uint32_t nr = g->row->nr;
    const size_t count = (size_t)panels(g) * scale_groups(g) * nr;
    const size_t channels_bytes = (size_t)panels(g) * nr * sizeof(int32_t);
    int32_t *draws = check_memory_place(&memory_factor_draws, count * sizeof(int32_t), place);
    int8_t *factors = check_memory_place(&memory_factors, count, place);
    int32_t *weight_sum = check_memory_place(&memory_weight_sum, channels_bytes, place);
    check_draw(c, (check_pattern)check_below(c, CHECK_PATTERNS), INT8_MIN, INT8_MAX, draws, count);
    for (size_t at = 0; at < count; at++) {
        factors[at] = (int8_t)draws[at];
    }
    check_fill(c, weight_sum, channels_bytes);
    for (uint32_t j = 0; j < args->columns; j++) {
        weight_sum[j] = 0;
        for (uint32_t k = 0; k < args->depth; k++) {
            const size_t group = (size_t)(j / nr) * scale_groups(g) + k / scale_group;
            const int32_t w = g->plain[(size_t)j * args->depth + k];
            weight_sum[j] = nyb_add(weight_sum[j], nyb_mul(w, factors[group * nr + j % nr]));
        }
    }
    args->factors = factors;
    args->weight_sum = weight_sum;
}

static void draw_row_bias(check *c, gemm_case *g, check_place place) {
    g->args.row_bias = NULL;
    if (check_below(c, 2)) {
        int32_t *row_bias = check_memory_place(&memory_row_bias, g->args.rows * sizeof(int32_t), place);
        const int32_t reach = check_below(c, 4) == 0 ? INT32_MAX : 1 << 20;
        check_draw(c, CHECK_UNIFORM, -reach, reach, row_bias, g->args.rows);
        g->args.row_bias = row_bias;
    }
}

static void draw_case(check *c, const nyb_gemm_variant *row, gemm_shape shape, check_place place,
                      gemm_case *g) {
    const check_shifts shifts = (check_shifts)check_below(c, CHECK_SHIFTS);
    *g = (gemm_case){
        .row = row,
        .args = {.rows = shape.rows, .columns = shape.columns, .depth = shape.depth},
        .output = {.rows = shape.rows, .columns = shape.columns, .sum = sum, .context = g},
    };
    nyb_gemm_args *args = &g->args;
    check_output *o = &g->output;
    draw_activations(c, g, shape, place);
    draw_weights(c, g, shape.w, place);
    draw_factors(c, g, draw_scale_group(c, row), place);
    draw_row_bias(c, g, place);
    check_output_draw(c, o, row->nr, shifts, place);
    args->bias = o->bias;
    args->multiplier = o->multiplier;
    args->shift = o->shift;
    args->output = o->requantize;
    args->c = o->c;
    args->c_stride = o->c_stride;
    check_begin(c,
                "case %u: %u x %u x %u, a %s (%s, stride %zu, jump of %zu every %u rows, %u segments), "
                "weights %s, scale group %u, %s, "
                "shifts %s, nudge %d, zero point %d, clamp %d to %d, c stride %zu, guard %s",
                c->cases, shape.rows, shape.columns, shape.depth, check_pattern_names[shape.a],
                args->form->name, g->a_stride, g->a_jump, g->a_line, args->segments,
                check_pattern_names[shape.w], args->scale_group,
                args->row_bias != NULL ? "row bias" : "no row bias", check_shifts_names[shifts],
                args->output.nudge, args->output.zero_point, args->output.minimum, args->output.maximum,
                args->c_stride, check_place_names[place]);
}

// The scalar row reads int8: the rows before they took their form.
static void run_scalar(const gemm_case *g, const nyb_gemm_variant *scalar) {
    nyb_gemm_args args = g->args;
    const uint8_t **rows =
        check_memory_place(&memory_scalar_rows, args.rows * sizeof(uint8_t *), CHECK_GUARD_BEHIND);
    for (uint32_t i = 0; i < args.rows; i++) {
        rows[i] = (const uint8_t *)g->a + row_start(g, i);
    }
    args.a = rows;
    args.form = scalar->form;
    args.pitch = g->a_pitch;
    args.c = g->output.expected_c;
    scalar->run(&args);
}

// Half of the cases, where the row has a form of its own for weights.
static void prepack(check *c, gemm_case *g, check_place place) {
    if (g->row->prepack != NULL && check_below(c, 2)) {
        const size_t bytes = (size_t)g->row->prepack(&g->args, NULL);
        void *prepacked = check_memory_place(&memory_prepacked, bytes, place);
        g->row->prepack(&g->args, prepacked);
        g->args.prepacked = prepacked;
    }
}

static bool check_shape(check *c, const nyb_gemm_variant *row, gemm_shape shape, check_place place) {
    const nyb_gemm_variant *scalar = scalar_row(row);
    if (scalar == NULL) {
        return check_fail(c, "no scalar row of %u bits, nr %u, kr %u", row->weight_bits, row->nr, row->kr);
    }
    gemm_case g;
    draw_case(c, row, shape, place, &g);
    if (scalar == row) {
        check_output_define(&g.output);
    } else {
        run_scalar(&g, scalar);
    }
    prepack(c, &g, place);
    row->run(&g.args);
    return check_output_compare(c, &g.output);
}

// Sizes at which a kernel changes its way: 0 (a tensor may be empty), 1, `tile` and its neighbours.
static uint32_t edge(check *c, uint32_t index, uint32_t tile, uint32_t limit) {
    const uint32_t edges[EDGES - 1] = {0, 1, tile > 0 ? tile - 1 : 0, tile, tile + 1};
    return index < EDGES - 1 ? edges[index] : 1 + check_below(c, limit);
}

static gemm_shape draw_patterns(check *c) {
    return (gemm_shape){
        .a = (check_pattern)check_below(c, CHECK_PATTERNS),
        .w = (check_pattern)check_below(c, CHECK_PATTERNS),
    };
}

static bool gemm_round(check *c, const void *record) {
    const nyb_gemm_variant *row = record;
    const uint32_t step = row->kr * (8u / row->weight_bits);
    for (uint32_t place = 0; place < CHECK_PLACES; place++) {
        for (uint32_t i = 0; i < EDGES; i++) {
            for (uint32_t j = 0; j < EDGES; j++) {
                for (uint32_t k = 0; k < EDGES + 2; k++) {
                    gemm_shape shape = draw_patterns(c);
                    shape.rows = edge(c, i, row->mr, 3u * row->mr);
                    // One row takes more columns at once.
                    shape.columns = edge(c, j, row->nr, (shape.rows == 1 ? 18u : 6u) * row->nr);
                    shape.depth = k < EDGES ? edge(c, k, step, 300) : row->kr - (k - EDGES);
                    if (!check_shape(c, row, shape, (check_place)place)) {
                        return false;
                    }
                }
            }
        }
    }
    // Depths at which a kernel may divide the sum: any data, and the sums that grow fastest.
    for (uint32_t bits = 9; bits <= 13; bits++) {
        for (uint32_t i = 0; i < 8; i++) {
            gemm_shape deep = draw_patterns(c);
            deep.rows = 1 + check_below(c, row->mr + 1u);
            deep.columns = 1 + check_below(c, 2u * row->nr);
            deep.depth = (UINT32_C(1) << bits) - 1 + check_below(c, 3);
            if (i < 4) {
                deep.a = i % 2 ? CHECK_MAXIMUM : CHECK_MINIMUM;
                deep.w = i / 2 ? CHECK_MAXIMUM : CHECK_MINIMUM;
            }
            if (!check_shape(c, row, deep, CHECK_GUARD_BEHIND)) {
                return false;
            }
        }
    }
    // More rows than a kernel keeps something of for each.
    for (uint32_t i = 0; i < 4; i++) {
        gemm_shape many = {.a = CHECK_UNIFORM, .w = (check_pattern)check_below(c, CHECK_PATTERNS)};
        many.rows = 1020 + check_below(c, 40);
        many.columns = 1 + check_below(c, 2u * row->nr);
        many.depth = 1 + check_below(c, 200);
        if (!check_shape(c, row, many, CHECK_GUARD_BEHIND)) {
            return false;
        }
    }
    // More weights than a kernel expects in a cache, several of its strips.
    for (uint32_t i = 0; i < 2; i++) {
        gemm_shape large = draw_patterns(c);
        large.rows = 2u * row->mr + check_below(c, 2u * row->mr);
        large.columns = 8u * row->nr + check_below(c, 2u * row->nr);
        large.depth = (8u / row->weight_bits) * (1024 + check_below(c, 100));
        if (!check_shape(c, row, large, CHECK_GUARD_BEHIND)) {
            return false;
        }
    }
    // One row of more activations than a kernel lays out at once.
    for (uint32_t i = 0; i < 2; i++) {
        gemm_shape deep = draw_patterns(c);
        deep.rows = 1;
        deep.columns = 6u * row->nr + check_below(c, 8u * row->nr);
        deep.depth = 2000 + check_below(c, 2400);
        if (!check_shape(c, row, deep, CHECK_GUARD_BEHIND)) {
            return false;
        }
    }
    // Beyond 65,535 products a sum passes 32 bits where a kernel leaves the weights of 4 or 2 bits
    // at the top of their bytes.
    const gemm_shape deepest = {1,    row->nr, 65536 + check_below(c, 65536), CHECK_MINIMUM, CHECK_MINIMUM,
                                false};
    return c->round > 0 || check_shape(c, row, deepest, CHECK_GUARD_BEHIND);
}

static void once(const void *context) {
    const gemm_case *g = context;
    g->row->run(&g->args);
}

static void bench_shape(check *c, const nyb_gemm_variant *row, gemm_shape s, uint32_t scale_group) {
    if (scale_group > 0 && (!row->scale_groups || s.depth < scale_group)) {
        return;
    }
    gemm_case g;
    draw_case(c, row, s, CHECK_GUARD_BEFORE, &g);
    g.args.row_bias = NULL;
    draw_factors(c, &g, scale_group, CHECK_GUARD_BEFORE);
    const uint64_t macs = (uint64_t)s.rows * s.columns * s.depth;
    printf("    %4u x %4u x %4u, groups of %3u %8.2f GMAC/s\n", s.rows, s.columns, s.depth, scale_group,
           check_speed(macs, once, &g));
}

static void gemm_bench(check *c, const void *record) {
    static const gemm_shape shapes[] = {
        {64, 64, 64, CHECK_UNIFORM, CHECK_UNIFORM, true},
        {64, 64, 576, CHECK_UNIFORM, CHECK_UNIFORM, true},
        {64, 24, 27, CHECK_UNIFORM, CHECK_UNIFORM, true},
        {1024, 16, 144, CHECK_UNIFORM, CHECK_UNIFORM, true},
        {784, 24, 96, CHECK_UNIFORM, CHECK_UNIFORM, true},
        {1, 128, 128, CHECK_UNIFORM, CHECK_UNIFORM, true},
        {1, 256, 1024, CHECK_UNIFORM, CHECK_UNIFORM, true},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        bench_shape(c, record, shapes[i], 0);
        bench_shape(c, record, shapes[i], 32);
        bench_shape(c, record, shapes[i], 128);
    }
}

const check_family check_gemm = {"gemm", gemm_row, gemm_round, gemm_bench};
