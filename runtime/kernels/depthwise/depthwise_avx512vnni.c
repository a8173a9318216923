// SPDX-License-Identifier: Apache-2.0
// AVX-512 VNNI depthwise: vpdpwssd multiplies pairs of taps and adds them in one instruction.
#include "kernels/depthwise/depthwise_x86.h"

static inline __attribute__((always_inline)) __m256i pairs(__m256i acc, __m256i x, __m256i w) {
    return _mm256_dpwssd_epi32(acc, x, w);
}

void nyb_depthwise_avx512vnni(const nyb_depthwise_args *args) { nyb_depthwise_x86(args, pairs); }
