// SPDX-License-Identifier: Apache-2.0
// The portable depthwise convolution, which every variant equals.
#include "kernels/depthwise/depthwise.h"

void nyb_depthwise_scalar(const nyb_depthwise_args *args) {
    enum { NR = NYB_DEPTHWISE_NR };
    for (uint32_t p = 0; p < args->pixels; p++) {
        const int8_t *const *taps = args->taps + (size_t)p * args->tap_count;
        int8_t *c = args->c + p * args->c_stride;
        for (uint32_t first = 0; first < args->channels; first += NR) {
            const int16_t *w = args->weights + (size_t)first * args->tap_count;
            const uint32_t width = args->channels - first < NR ? args->channels - first : NR;
            int32_t acc[NR];
            for (uint32_t j = 0; j < width; j++) {
                acc[j] = args->bias[first + j];
            }
            for (uint32_t t = 0; t < args->tap_count; t++, w += NR) {
                for (uint32_t j = 0; j < width; j++) {
                    acc[j] = nyb_add(acc[j], taps[t][first + j] * w[j]);
                }
            }
            for (uint32_t j = 0; j < width; j++) {
                c[first + j] =
                    nyb_finish(acc[j], args->multiplier[first + j], args->shift[first + j], &args->output);
            }
        }
    }
}
