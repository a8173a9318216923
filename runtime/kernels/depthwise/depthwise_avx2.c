// SPDX-License-Identifier: Apache-2.0
// AVX2 depthwise: vpmaddwd over the even and over the odd two of four taps.
#include "kernels/depthwise/depthwise_x86.h"

NYB_INLINE void quad(__m256i to[4][NYB_HALVES], const __m256i w[4]) {
    __m256i x[4];
    nyb_interleave(x, w[0], w[1], w[2], w[3]);
    NYB_EACH (v, 4) {
        to[v][0] = _mm256_srai_epi16(_mm256_slli_epi16(x[v], 8), 8);
        to[v][1] = _mm256_srai_epi16(x[v], 8);
    }
}

NYB_INLINE __m256i multiply(__m256i acc, __m256i x, const __m256i w[NYB_HALVES]) {
    const __m256i even = _mm256_and_si256(x, _mm256_set1_epi16(255));
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(even, w[0]));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_srli_epi16(x, 8), w[1]));
}

void nyb_depthwise_avx2(const nyb_depthwise_args *args) {
    if (!nyb_depthwise_channels(args, (nyb_depthwise_x86){2, quad, multiply}, 0, args->channels)) {
        nyb_depthwise_scalar(args);
    }
}
