// SPDX-License-Identifier: Apache-2.0
// The portable elementwise operators, which every variant equals.
#include "kernels/elementwise/elementwise.h"

void nyb_add_scalar(const nyb_elements *e, const nyb_add_args *args) {
    int8_t *c = e->c;
    for (uint32_t i = 0; i < e->rows; i++, c += e->columns) {
        const int8_t *a = e->a + i * e->a_stride;
        const int8_t *b = e->b + i * e->b_stride;
        for (uint32_t j = 0; j < e->columns; j++) {
            const int64_t sum = (int64_t)a[j] * args->slope_a + (int64_t)b[j] * args->slope_b + args->offset;
            c[j] = (int8_t)nyb_clamp((int32_t)(sum >> NYB_ADD_FRACTION_BITS), args->minimum, args->maximum);
        }
    }
}

void nyb_mul_scalar(const nyb_elements *e, const nyb_mul_args *args) {
    int8_t *c = e->c;
    for (uint32_t i = 0; i < e->rows; i++, c += e->columns) {
        const int8_t *a = e->a + i * e->a_stride;
        const int8_t *b = e->b + i * e->b_stride;
        for (uint32_t j = 0; j < e->columns; j++) {
            const int32_t product = (a[j] - args->zero_a) * (b[j] - args->zero_b);
            c[j] = nyb_finish(product, args->multiplier, args->shift, &args->output);
        }
    }
}
