// SPDX-License-Identifier: Apache-2.0
// NEON for both architectures: what the kernels use of AArch64 alone, made of what ARMv7 has. The names are
// ACLE's, which gives none of them to ARMv7.
#ifndef NYB_KERNELS_NEON_H
#define NYB_KERNELS_NEON_H

#include "kernels/unroll.h"

#include <arm_neon.h>

#if !defined(__aarch64__)

// The upper half of a vector.
NYB_INLINE int16x8_t vmull_high_s8(int8x16_t a, int8x16_t b) {
    return vmull_s8(vget_high_s8(a), vget_high_s8(b));
}
NYB_INLINE int16x8_t vmlal_high_s8(int16x8_t c, int8x16_t a, int8x16_t b) {
    return vmlal_s8(c, vget_high_s8(a), vget_high_s8(b));
}
NYB_INLINE int32x4_t vmull_high_s16(int16x8_t a, int16x8_t b) {
    return vmull_s16(vget_high_s16(a), vget_high_s16(b));
}
NYB_INLINE int32x4_t vmlal_high_s16(int32x4_t c, int16x8_t a, int16x8_t b) {
    return vmlal_s16(c, vget_high_s16(a), vget_high_s16(b));
}
NYB_INLINE int64x2_t vmull_high_s32(int32x4_t a, int32x4_t b) {
    return vmull_s32(vget_high_s32(a), vget_high_s32(b));
}
NYB_INLINE int16x8_t vmovl_high_s8(int8x16_t a) { return vmovl_s8(vget_high_s8(a)); }
NYB_INLINE int64x2_t vmovl_high_s32(int32x4_t a) { return vmovl_s32(vget_high_s32(a)); }
NYB_INLINE int16x8_t vaddw_high_s8(int16x8_t a, int8x16_t b) { return vaddw_s8(a, vget_high_s8(b)); }
NYB_INLINE int32x4_t vaddw_high_s16(int32x4_t a, int16x8_t b) { return vaddw_s16(a, vget_high_s16(b)); }
NYB_INLINE int64x2_t vaddw_high_s32(int64x2_t a, int32x4_t b) { return vaddw_s32(a, vget_high_s32(b)); }
NYB_INLINE int16x8_t vsubl_high_s8(int8x16_t a, int8x16_t b) {
    return vsubl_s8(vget_high_s8(a), vget_high_s8(b));
}
NYB_INLINE int8x16_t vqmovn_high_s16(int8x8_t low, int16x8_t a) { return vcombine_s8(low, vqmovn_s16(a)); }
NYB_INLINE int16x8_t vqmovn_high_s32(int16x4_t low, int32x4_t a) { return vcombine_s16(low, vqmovn_s32(a)); }
NYB_INLINE int16x8_t vaddhn_high_s32(int16x4_t low, int32x4_t a, int32x4_t b) {
    return vcombine_s16(low, vaddhn_s32(a, b));
}
#define vshll_high_n_s8(a, n) vshll_n_s8(vget_high_s8(a), n)

// A lane of a whole vector; lane: a constant.
#define NYB_LANE_S16(v, lane)                                                                                \
    ((lane) < 4 ? vdup_lane_s16(vget_low_s16(v), (lane) & 3) : vdup_lane_s16(vget_high_s16(v), (lane) & 3))
#define vmull_laneq_s16(a, v, lane) vmull_s16(a, NYB_LANE_S16(v, lane))
#define vmlal_laneq_s16(c, a, v, lane) vmlal_s16(c, a, NYB_LANE_S16(v, lane))
#define vmull_high_laneq_s16(a, v, lane) vmull_s16(vget_high_s16(a), NYB_LANE_S16(v, lane))
#define vmlal_high_laneq_s16(c, a, v, lane) vmlal_s16(c, vget_high_s16(a), NYB_LANE_S16(v, lane))

// Across a vector, and the rest.
NYB_INLINE int32x4_t vpaddq_s32(int32x4_t a, int32x4_t b) {
    return vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)),
                        vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
}
NYB_INLINE uint32_t vmaxvq_u32(uint32x4_t a) {
    const uint32x2_t m = vmax_u32(vget_low_u32(a), vget_high_u32(a));
    return vget_lane_u32(vpmax_u32(m, m), 0);
}
NYB_INLINE int16_t vmaxvq_s16(int16x8_t a) {
    int16x4_t m = vmax_s16(vget_low_s16(a), vget_high_s16(a));
    m = vpmax_s16(m, m);
    return vget_lane_s16(vpmax_s16(m, m), 0);
}
NYB_INLINE int32x4_t vuzp1q_s32(int32x4_t a, int32x4_t b) { return vuzpq_s32(a, b).val[0]; }
NYB_INLINE uint32x4_t vcgezq_s32(int32x4_t a) { return vcgeq_s32(a, vdupq_n_s32(0)); }
NYB_INLINE int64x2_t vnegq_s64(int64x2_t a) { return vsubq_s64(vdupq_n_s64(0), a); }

#endif
#endif
