// SPDX-License-Identifier: Apache-2.0
// AVX2 depthwise: vpmaddwd over the even and over the odd two of four taps.
#include "kernels/depthwise/depthwise_x86.h"

// int16 holds every weight.
NYB_INLINE nyb_weight32 part(nyb_weight32 w) { return w; }

NYB_INLINE void quad(__m256i to[4][NYB_HALVES], const nyb_weight32 w[4]) {
    NYB_EACH (odd, 2) {
        to[0][odd] = _mm256_unpacklo_epi16(w[odd].low, w[odd + 2].low);
        to[1][odd] = _mm256_unpackhi_epi16(w[odd].low, w[odd + 2].low);
        to[2][odd] = _mm256_unpacklo_epi16(w[odd].high, w[odd + 2].high);
        to[3][odd] = _mm256_unpackhi_epi16(w[odd].high, w[odd + 2].high);
    }
}

NYB_INLINE __m256i multiply(__m256i acc, __m256i x, const __m256i w[NYB_HALVES]) {
    const __m256i even = _mm256_and_si256(x, _mm256_set1_epi16(255));
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(even, w[0]));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_srli_epi16(x, 8), w[1]));
}

void nyb_depthwise_avx2(const nyb_depthwise_args *args) {
    nyb_depthwise_run(args, (nyb_depthwise_x86){2, part, quad, multiply});
}
