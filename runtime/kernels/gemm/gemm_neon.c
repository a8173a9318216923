// SPDX-License-Identifier: Apache-2.0
// AArch64 without dot products: 8 x 8 -> 16 bit multiplications (smull, smlal), widened by sadalp.
#include "kernels/edge.h"
#include "kernels/gemm/panel_neon.h"

// Bytes 4i to 4i + 3 of a vector of weights belong to channel i, so 4 activations go to every lane. A lane of the
// 16-bit sums holds two k of a channel; s[0] to s[3]: channels 0 and 1, 2 and 3, ...
NYB_INLINE int8x16_t load(const uint8_t *weights) { return vreinterpretq_s8_u8(vld1q_u8(weights)); }
NYB_INLINE int8x16_t spread(uint32_t activations) { return vreinterpretq_s8_u32(vdupq_n_u32(activations)); }

typedef struct spread2 {
    int8x16_t a[2];
} spread2;

// 8 activations as two such vectors.
NYB_INLINE spread2 load_spread2(const int8_t *row) {
    const int32x2x2_t none = {{vdup_n_s32(0), vdup_n_s32(0)}};
    (void)none;
    const int32x4x2_t v = vld2q_dup_s32((const int32_t *)(const void *)row);
    return (spread2){{vreinterpretq_s8_s32(v.val[0]), vreinterpretq_s8_s32(v.val[1])}};
}
