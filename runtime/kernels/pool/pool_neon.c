// SPDX-License-Identifier: Apache-2.0
// AArch64: 16 or 8 channels side by side.
#include "kernels/neon.h"
#include "kernels/pool/pool.h"

// The largest of 16 channels, or of 8.
NYB_INLINE int8x16_t largest(const nyb_window_taps *t, const int8_t *a, const int width) {
    int8x16_t most = vdupq_n_s8(INT8_MIN);
    for (uint32_t i = 0; i < t->rows; i++, a += t->row_stride) {
        const int8_t *tap = a;
        for (uint32_t j = 0; j < t->columns; j++, tap += t->column_stride) {
            most = vmaxq_s8(most, width == 16 ? vld1q_s8(tap) : vcombine_s8(vld1_s8(tap), vld1_s8(tap)));
        }
    }
    return most;
}

void nyb_max_neon(const nyb_max_args *args) {
    const nyb_window_taps t = args->taps;
    const int8x16_t minimum = vdupq_n_s8((int8_t)args->minimum);
    const int8x16_t maximum = vdupq_n_s8((int8_t)args->maximum);
    for (uint32_t p = 0; p < args->pixels; p++) {
        const int8_t *a = t.a + p * args->pixel_stride;
        int8_t *c = args->c + (size_t)p * t.channels;
        uint32_t k = 0;
        for (; t.channels - k >= 16; k += 16) {
            vst1q_s8(c + k, vminq_s8(vmaxq_s8(largest(&t, a + k, 16), minimum), maximum));
        }
        if (t.channels - k >= 8) {
            const int8x16_t y = vminq_s8(vmaxq_s8(largest(&t, a + k, 8), minimum), maximum);
            vst1_s8(c + k, vget_low_s8(y));
            k += 8;
        }
        if (k < t.channels) {
            nyb_max_args rest = *args;
            rest.taps = nyb_taps_from(&t, k);
            rest.taps.a += p * args->pixel_stride;
            rest.pixels = 1;
            rest.c = c + k;
            nyb_max_scalar(&rest);
        }
    }
}

static inline void add8(int32_t *sums, int16x8_t words) {
    vst1q_s32(sums, vaddw_s16(vld1q_s32(sums), vget_low_s16(words)));
    vst1q_s32(sums + 4, vaddw_high_s16(vld1q_s32(sums + 4), words));
}

// `count` taps of one row, at most NYB_SUM_TAPS, of `vectors` times 16 channels.
NYB_INLINE void sum16(const int8_t *tap, size_t stride, uint32_t count, int32_t *sums, const int vectors) {
    int16x8_t sum[4][2];
    NYB_EACH (v, vectors)
        sum[v][0] = sum[v][1] = vdupq_n_s16(0);
    for (uint32_t j = 0; j < count; j++, tap += stride) {
        NYB_EACH (v, vectors) {
            const int8x16_t x = vld1q_s8(tap + 16 * v);
            sum[v][0] = vaddw_s8(sum[v][0], vget_low_s8(x));
            sum[v][1] = vaddw_high_s8(sum[v][1], x);
        }
    }
    NYB_EACH (v, vectors) {
        add8(sums + 16 * v, sum[v][0]);
        add8(sums + 16 * v + 8, sum[v][1]);
    }
}

static void sum_taps(const int8_t *tap, size_t stride, uint32_t count, uint32_t channels, int32_t *sums) {
    uint32_t k = 0;
    for (; channels - k >= 64; k += 64) {
        sum16(tap + k, stride, count, sums + k, 4);
    }
    for (; channels - k >= 16; k += 16) {
        sum16(tap + k, stride, count, sums + k, 1);
    }
    if (channels - k >= 8) {
        int16x8_t sum = vdupq_n_s16(0);
        const int8_t *x = tap + k;
        for (uint32_t j = 0; j < count; j++, x += stride) {
            sum = vaddw_s8(sum, vld1_s8(x));
        }
        add8(sums + k, sum);
        k += 8;
    }
    if (k < channels) {
        const nyb_window_taps rest = {tap + k, 0, stride, 1, count, channels - k};
        nyb_sum_scalar(&rest, sums + k);
    }
}

void nyb_sum_neon(const nyb_window_taps *t, int32_t *sums) {
    for (uint32_t i = 0; i < t->rows; i++) {
        const int8_t *a = t->a + i * t->row_stride;
        for (uint32_t j = 0; j < t->columns; j += NYB_SUM_TAPS) {
            const uint32_t count = t->columns - j < NYB_SUM_TAPS ? t->columns - j : NYB_SUM_TAPS;
            sum_taps(a + j * t->column_stride, t->column_stride, count, t->channels, sums);
        }
    }
}
