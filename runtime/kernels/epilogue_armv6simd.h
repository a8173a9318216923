// SPDX-License-Identifier: Apache-2.0
// nyb_finish for ARMv6, equal to it for every accumulator, multiplier and shift: one smlal where it shifts by
// 33 or more, which real multipliers below 1/4 do. Nested floors are one floor, so the upper word of the
// product and its nudge is all that the rounding needs.
#ifndef NYB_KERNELS_EPILOGUE_ARMV6SIMD_H
#define NYB_KERNELS_EPILOGUE_ARMV6SIMD_H

#include "base/fixedpoint.h"
#include "kernels/unroll.h"

// Rare, so it is not inlined into every tile.
static __attribute__((noinline, unused)) int32_t nyb_scale_any(int32_t acc, int32_t multiplier, int32_t shift,
                                                               int32_t nudge) {
    return nyb_scale(acc, multiplier, shift, nudge);
}

NYB_INLINE int8_t nyb_finish_word(int32_t acc, int32_t multiplier, int32_t shift,
                                  const nyb_requantize *output) {
    int32_t x;
    if (shift > 32 && shift < 64) {
        const int32_t sign = acc >> 31;
        const int64_t product = (int64_t)acc * multiplier + ((output->nudge ^ sign) - sign);
        x = ((int32_t)(product >> 32) + (1 << (shift - 33))) >> (shift - 32);
    } else {
        x = nyb_scale_any(acc, multiplier, shift, output->nudge);
    }
    return (int8_t)nyb_clamp(nyb_add(x, output->zero_point), output->minimum, output->maximum);
}

#endif
