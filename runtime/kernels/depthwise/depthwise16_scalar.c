// SPDX-License-Identifier: Apache-2.0
// The portable depthwise convolution of 16-bit activations, which every variant equals.
#include "kernels/depthwise/depthwise.h"

// A product has at most 2^22: RUN of them fit 32 bits.
enum { NR = NYB_DEPTHWISE_NR, RUN = 256 };

// `width` channels of one output pixel. x, w: of its first tap, in the first of these channels.
static void pixel(const nyb_depthwise_args *args, const int8_t *x, const int8_t *w, uint32_t first,
                  uint32_t width, int16_t *c) {
    int64_t acc[NR];
    for (uint32_t j = 0; j < width; j++) {
        acc[j] = args->bias[first + j];
    }
    for (uint32_t i = 0; i < args->window_height; i++) {
        const int8_t *at = x + i * args->tap_line;
        for (uint32_t k = 0; k < args->window_width;) {
            const uint32_t end = args->window_width - k < RUN ? args->window_width : k + RUN;
            int32_t sums[NR] = {0};
            for (; k < end; k++, w += NR, at += args->tap_pixel) {
                const int16_t *tap = (const int16_t *)(const void *)at;
                for (uint32_t j = 0; j < width; j++) {
                    sums[j] += tap[j] * w[j];
                }
            }
            for (uint32_t j = 0; j < width; j++) {
                acc[j] += sums[j];
            }
        }
    }
    for (uint32_t j = 0; j < width; j++) {
        c[j] = nyb_finish16(acc[j], args->multiplier[first + j], args->shift[first + j], &args->output);
    }
}

void nyb_depthwise_x16_scalar(const nyb_depthwise_args *args) {
    const size_t panel_bytes = (size_t)args->window_height * args->window_width * NR;
    for (uint32_t y = 0; y < args->lines; y++) {
        for (uint32_t p = 0; p < args->pixels; p++) {
            const int8_t *x = args->x + y * args->x_line + p * args->x_pixel;
            int16_t *c = (int16_t *)(void *)(args->c + y * args->c_line + p * args->c_pixel);
            const int8_t *w = args->weights;
            for (uint32_t first = 0; first < args->channels; first += NR, w += panel_bytes) {
                const uint32_t width = args->channels - first < NR ? args->channels - first : NR;
                pixel(args, x + first * sizeof(int16_t), w, first, width, c + first);
            }
        }
    }
}
