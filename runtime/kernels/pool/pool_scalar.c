// SPDX-License-Identifier: Apache-2.0
// The portable gathering, which every variant equals.
#include "base/fixedpoint.h"
#include "kernels/pool/pool.h"

void nyb_max_scalar(const nyb_max_args *args) {
    const nyb_window_taps *t = &args->taps;
    for (uint32_t p = 0; p < args->pixels; p++) {
        const int8_t *a = t->a + p * args->pixel_stride;
        int8_t *c = args->c + (size_t)p * t->channels;
        for (uint32_t k = 0; k < t->channels; k++) {
            int32_t largest = INT8_MIN;
            for (uint32_t i = 0; i < t->rows; i++) {
                for (uint32_t j = 0; j < t->columns; j++) {
                    const int32_t value = a[i * t->row_stride + j * t->column_stride + k];
                    largest = value > largest ? value : largest;
                }
            }
            c[k] = (int8_t)nyb_clamp(largest, args->minimum, args->maximum);
        }
    }
}

void nyb_sum_scalar(const nyb_window_taps *t, int32_t *sums) {
    for (uint32_t i = 0; i < t->rows; i++) {
        for (uint32_t j = 0; j < t->columns; j++) {
            const int8_t *a = t->a + i * t->row_stride + j * t->column_stride;
            for (uint32_t k = 0; k < t->channels; k++) {
                sums[k] += a[k];
            }
        }
    }
}
