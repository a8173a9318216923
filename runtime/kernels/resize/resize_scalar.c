// SPDX-License-Identifier: Apache-2.0
// The portable resize, which every variant equals.
#include "kernels/resize/resize.h"

void nyb_resize_scalar(const nyb_resize_args *args) {
    const size_t channels = args->channels;
    int8_t *c = args->c;
    for (size_t i = 0; i < args->width * channels; i++) {
        args->row[i] = args->above[i] * args->above_weight + args->below[i] * args->below_weight;
    }
    for (uint32_t x = 0; x < args->out_width; x++) {
        const int32_t *left = args->row + args->lower[x] * channels;
        const int32_t *right = args->row + args->upper[x] * channels;
        for (size_t j = 0; j < channels; j++) {
            const int32_t sum = left[j] * args->lower_weight[x] + right[j] * args->upper_weight[x];
            *c++ = nyb_resize_round(sum, args->away);
        }
    }
}
