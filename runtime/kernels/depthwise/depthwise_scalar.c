// SPDX-License-Identifier: Apache-2.0
// The portable depthwise convolution, which every variant equals.
#include "kernels/depthwise/depthwise.h"

enum { NR = NYB_DEPTHWISE_NR };

// `width` channels of one output pixel. x, w: of its first tap, in the first of these channels.
static void pixel(const nyb_depthwise_args *args, const int8_t *x, const int8_t *w, uint32_t first,
                  uint32_t width, int8_t *c) {
    const int32_t zero_point = args->weight_zero_point;
    int32_t acc[NR];
    for (uint32_t j = 0; j < width; j++) {
        acc[j] = args->bias[first + j];
    }
    for (uint32_t i = 0; i < args->window_height; i++) {
        const int8_t *tap = x + i * args->tap_line;
        for (uint32_t k = 0; k < args->window_width; k++, w += NR, tap += args->tap_pixel) {
            for (uint32_t j = 0; j < width; j++) {
                acc[j] = nyb_add(acc[j], tap[j] * (w[j] - zero_point));
            }
        }
    }
    for (uint32_t j = 0; j < width; j++) {
        c[j] = nyb_finish(acc[j], args->multiplier[first + j], args->shift[first + j], &args->output);
    }
}

void nyb_depthwise_scalar(const nyb_depthwise_args *args) {
    const size_t panel_bytes = (size_t)args->window_height * args->window_width * NR;
    for (uint32_t y = 0; y < args->lines; y++) {
        for (uint32_t p = 0; p < args->pixels; p++) {
            const int8_t *x = args->x + y * args->x_line + p * args->x_pixel;
            int8_t *c = args->c + y * args->c_line + p * args->c_pixel;
            const int8_t *w = args->weights;
            for (uint32_t first = 0; first < args->channels; first += NR, w += panel_bytes) {
                const uint32_t width = args->channels - first < NR ? args->channels - first : NR;
                pixel(args, x + first, w, first, width, c + first);
            }
        }
    }
}
