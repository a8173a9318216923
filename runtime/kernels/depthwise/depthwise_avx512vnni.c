// SPDX-License-Identifier: Apache-2.0
// AVX-512 VNNI depthwise: vpdpbusd multiplies four taps and adds them in one instruction.
#include "kernels/depthwise/depthwise_x86.h"

NYB_INLINE void quad(__m256i to[4][NYB_HALVES], const __m256i w[4]) {
    __m256i x[4];
    nyb_interleave(x, w[0], w[1], w[2], w[3]);
    NYB_EACH (v, 4)
        to[v][0] = x[v];
}

NYB_INLINE __m256i multiply(__m256i acc, __m256i x, const __m256i w[NYB_HALVES]) {
    return _mm256_dpbusd_epi32(acc, x, w[0]);
}

void nyb_depthwise_avx512vnni(const nyb_depthwise_args *args) {
    nyb_depthwise_run(args, (nyb_depthwise_x86){1, quad, multiply});
}
