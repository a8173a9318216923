// SPDX-License-Identifier: Apache-2.0
// AVX2 depthwise: vpmaddwd over pairs of taps.
#include "kernels/depthwise/depthwise_x86.h"

static inline __attribute__((always_inline)) __m256i pairs(__m256i acc, __m256i x, __m256i w) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(x, w));
}

void nyb_depthwise_avx2(const nyb_depthwise_args *args) { nyb_depthwise_x86(args, pairs); }
