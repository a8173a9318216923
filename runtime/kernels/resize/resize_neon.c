// SPDX-License-Identifier: Apache-2.0
// NEON: 8 channels side by side in 32 bits.
#include "kernels/resize/resize.h"

#include <arm_neon.h>
#include <string.h>

static void mix_rows(const nyb_resize_args *args, size_t count) {
    const int16_t above = (int16_t)args->above_weight, below = (int16_t)args->below_weight;
    size_t i = 0;
    for (; count - i >= 8; i += 8) {
        const int16x8_t a = vmovl_s8(vld1_s8(args->above + i));
        const int16x8_t b = vmovl_s8(vld1_s8(args->below + i));
        vst1q_s32(args->row + i, vmlal_n_s16(vmull_n_s16(vget_low_s16(a), above), vget_low_s16(b), below));
        vst1q_s32(args->row + i + 4,
                  vmlal_n_s16(vmull_n_s16(vget_high_s16(a), above), vget_high_s16(b), below));
    }
    for (; i < count; i++) {
        args->row[i] = args->above[i] * args->above_weight + args->below[i] * args->below_weight;
    }
}

static inline int16x4_t mix4(const int32_t *left, const int32_t *right, int32_t lower, int32_t upper,
                             int32x4_t away) {
    const int32x4_t sum = vmlaq_n_s32(vmulq_n_s32(vld1q_s32(left), lower), vld1q_s32(right), upper);
    const int32x4_t less = vandq_s32(vshrq_n_s32(sum, 31), away);
    return vmovn_s32(vrshrq_n_s32(vaddq_s32(sum, less), NYB_RESIZE_SHIFT));
}

void nyb_resize_neon(const nyb_resize_args *args) {
    const uint32_t channels = args->channels;
    const int32x4_t away = vdupq_n_s32(args->away ? -1 : 0);
    int8_t *c = args->c;
    mix_rows(args, (size_t)args->width * channels);
    for (uint32_t x = 0; x < args->out_width; x++, c += channels) {
        const int32_t *left = args->row + (size_t)args->lower[x] * channels;
        const int32_t *right = args->row + (size_t)args->upper[x] * channels;
        const int32_t lower = args->lower_weight[x], upper = args->upper_weight[x];
        for (uint32_t j = 0; j < channels; j += 8) {
            const int16x8_t y = vcombine_s16(mix4(left + j, right + j, lower, upper, away),
                                             mix4(left + j + 4, right + j + 4, lower, upper, away));
            if (channels - j >= 8) {
                vst1_s8(c + j, vmovn_s16(y));
            } else {
                int8_t bytes[8];
                vst1_s8(bytes, vmovn_s16(y));
                memcpy(c + j, bytes, channels - j);
            }
        }
    }
}
