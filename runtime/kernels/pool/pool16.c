// SPDX-License-Identifier: Apache-2.0
// The gathering of int16.
#include "base/fixedpoint.h"
#include "kernels/pool/pool.h"

static const int16_t *tap(const nyb_window_taps *t, const int8_t *a, uint32_t i, uint32_t j) {
    return (const int16_t *)(const void *)(a + i * t->row_stride + j * t->column_stride);
}

static void max(const nyb_max_args *args) {
    const nyb_window_taps *t = &args->taps;
    for (uint32_t p = 0; p < args->pixels; p++) {
        int16_t *c = (int16_t *)(void *)args->c + (size_t)p * t->channels;
        for (uint32_t k = 0; k < t->channels; k++) {
            int32_t largest = INT16_MIN;
            for (uint32_t i = 0; i < t->rows; i++) {
                for (uint32_t j = 0; j < t->columns; j++) {
                    const int32_t value = tap(t, t->a + p * args->pixel_stride, i, j)[k];
                    largest = value > largest ? value : largest;
                }
            }
            c[k] = (int16_t)nyb_clamp(largest, args->minimum, args->maximum);
        }
    }
}

static void sum(const nyb_window_taps *t, int32_t *sums) {
    for (uint32_t i = 0; i < t->rows; i++) {
        for (uint32_t j = 0; j < t->columns; j++) {
            const int16_t *a = tap(t, t->a, i, j);
            for (uint32_t k = 0; k < t->channels; k++) {
                sums[k] += a[k];
            }
        }
    }
}

const nyb_pool_variant nyb_pool16 = {"x16_scalar", 0, max, sum};
