// SPDX-License-Identifier: Apache-2.0
// ARMv6 without NEON: four channels of a tap are a word, which sxtb16 widens to two pairs of 16 bits; smlabb
// and smlatt multiply the lower and the upper halves of such words.
#include "kernels/depthwise/depthwise.h"
#include "kernels/epilogue_armv6simd.h"

#include <arm_acle.h>
#include <string.h>

enum { NR = NYB_DEPTHWISE_NR, CHANNELS = 4, TAPS_MAX = 128 };

// Weights of four channels less their zero point, which take 10 bits: of channels 0 and 2, and of 1 and 3.
typedef struct tap {
    int16x2_t even;
    int16x2_t odd;
} tap;

static void widen_weights(const nyb_depthwise_args *args, uint32_t first, uint32_t taps, tap *to) {
    for (uint32_t t = 0; t < taps; t++) {
        int32_t w[CHANNELS];
        for (uint32_t j = 0; j < CHANNELS; j++) {
            const uint32_t channel = first + j;
            w[j] = args->weights[(channel / NR * taps + t) * NR + channel % NR] - args->weight_zero_point;
        }
        to[t].even = (int16x2_t)(((uint32_t)w[0] & 0xffffu) | (uint32_t)w[2] << 16);
        to[t].odd = (int16x2_t)(((uint32_t)w[1] & 0xffffu) | (uint32_t)w[3] << 16);
    }
}

// Four channels of one output. x: of its first tap.
NYB_INLINE void pixel(const nyb_depthwise_args *args, const int8_t *x, const tap *w, uint32_t first,
                      int8_t *c) {
    int32_t acc[CHANNELS];
    NYB_EACH (j, CHANNELS)
        acc[j] = args->bias[first + (uint32_t)j];
    for (uint32_t i = args->window_height; i > 0; i--, x += args->tap_line) {
        const int8_t *at = x;
        for (uint32_t k = args->window_width; k > 0; k--, at += args->tap_pixel, w++) {
            uint32_t word;
            int16x2_t even, odd;
            memcpy(&word, at, sizeof word);
            __asm__("sxtb16 %0, %1" : "=r"(even) : "r"(word));
            __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(word));
            acc[0] = __smlabb(even, w->even, acc[0]);
            acc[2] = __smlatt(even, w->even, acc[2]);
            acc[1] = __smlabb(odd, w->odd, acc[1]);
            acc[3] = __smlatt(odd, w->odd, acc[3]);
        }
    }
    NYB_EACH (j, CHANNELS) {
        const uint32_t channel = first + (uint32_t)j;
        c[j] = nyb_finish_word(acc[j], args->multiplier[channel], args->shift[channel], &args->output);
    }
}

// The last four channels may be computed in part for the second time, which changes nothing.
void nyb_depthwise_armv6simd(const nyb_depthwise_args *args) {
    const uint64_t taps = (uint64_t)args->window_height * args->window_width;
    if (args->channels < CHANNELS || taps > TAPS_MAX) {
        nyb_depthwise_scalar(args);
        return;
    }
    tap w[TAPS_MAX];
    for (uint32_t begin = 0; begin < args->channels; begin += CHANNELS) {
        const uint32_t first = args->channels - begin < CHANNELS ? args->channels - CHANNELS : begin;
        widen_weights(args, first, (uint32_t)taps, w);
        for (uint32_t y = 0; y < args->lines; y++) {
            const int8_t *x = args->x + y * args->x_line + first;
            int8_t *c = args->c + y * args->c_line + first;
            for (uint32_t p = 0; p < args->pixels; p++, x += args->x_pixel, c += args->c_pixel)
                pixel(args, x, w, first, c);
        }
    }
}
