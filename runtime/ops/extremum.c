// SPDX-License-Identifier: Apache-2.0
// Elementwise maximum and minimum. Meaning: python/nybble/ops/extremum.py.
#include "ops/broadcast.h"

typedef struct extremum_plan {
    nyb_broadcast broadcast;
    const int8_t *x1;
    const int8_t *x2;
    int8_t *y;
    bool largest;
} extremum_plan;

static nyb_status check(const nyb_node *node, nyb_error *why) {
    const nyb_tensor_info a = nyb_node_input(node, 0);
    const nyb_tensor_info b = nyb_node_input(node, 1);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    nyb_broadcast broadcast;
    if (!nyb_broadcast_read(&a, &b, &y, &broadcast)) {
        return nyb_node_fail(node, why,
                             "inputs of the output's type (int8 or int16) that broadcast to its shape",
                             y.rank, a.rank);
    }
    return NYB_OK;
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    extremum_plan *p = memory;
    const nyb_tensor_info a = nyb_node_input(node, 0);
    const nyb_tensor_info b = nyb_node_input(node, 1);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    nyb_broadcast_read(&a, &b, &y, &p->broadcast);
    p->x1 = (const int8_t *)nyb_tensor_data(setup, &a);
    p->x2 = (const int8_t *)nyb_tensor_data(setup, &b);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    p->largest = node->kind == NYB_OPTIONS_MAXIMUM;
    return 0;
}

static void wide_elements(bool largest, const nyb_elements *e) {
    const int16_t *a = (const int16_t *)(const void *)e->a, *b = (const int16_t *)(const void *)e->b;
    int16_t *c = (int16_t *)(void *)e->c;
    for (uint32_t i = 0; i < e->rows; i++, a += e->a_stride, b += e->b_stride, c += e->columns) {
        for (uint32_t j = 0; j < e->columns; j++) {
            c[j] = (a[j] > b[j]) == largest ? a[j] : b[j];
        }
    }
}

static void elements(const void *plan_memory, const nyb_elements *e) {
    const extremum_plan *p = plan_memory;
    const bool largest = p->largest;
    if (p->broadcast.bytes == 2) {
        wide_elements(largest, e);
        return;
    }
    for (uint32_t i = 0; i < e->rows; i++) {
        const int8_t *a = e->a + i * e->a_stride;
        const int8_t *b = e->b + i * e->b_stride;
        for (uint32_t j = 0; j < e->columns; j++) {
            e->c[(size_t)i * e->columns + j] = (a[j] > b[j]) == largest ? a[j] : b[j];
        }
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const extremum_plan *p = plan_memory;
    nyb_broadcast_run(&p->broadcast, p->x1, p->x2, p->y, elements, p, 0, run_context->parallel);
}

_Static_assert(sizeof(extremum_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");
#define NYB_EXTREMUM_LIKE(name)                                                                              \
    {.kind = name,                                                                                           \
     .inputs_min = 2,                                                                                        \
     .inputs_max = 2,                                                                                        \
     .in_place = true,                                                                                       \
     .plan_bytes = sizeof(extremum_plan),                                                                    \
     .check = check,                                                                                         \
     .plan = plan,                                                                                           \
     .run = run,                                                                                             \
     .variant = nyb_variant_scalar}
const nyb_op nyb_op_maximum = NYB_EXTREMUM_LIKE("Maximum");
const nyb_op nyb_op_minimum = NYB_EXTREMUM_LIKE("Minimum");
