// SPDX-License-Identifier: Apache-2.0
// AVX-512 VNNI depthwise: vpdpbusd multiplies four taps and adds them in one instruction.
#include "kernels/depthwise/depthwise_x86.h"

// What int8 holds of a weight.
NYB_INLINE nyb_weight32 part(nyb_weight32 w) {
    const __m256i bytes = _mm256_packs_epi16(w.low, w.high);
    const __m256i negative = _mm256_movm_epi8(_mm256_movepi8_mask(bytes));
    return (nyb_weight32){_mm256_unpacklo_epi8(bytes, negative), _mm256_unpackhi_epi8(bytes, negative)};
}

NYB_INLINE void quad(__m256i to[4][NYB_HALVES], const nyb_weight32 w[4]) {
    __m256i bytes[4];
    NYB_EACH (t, 4) {
        bytes[t] = _mm256_packs_epi16(w[t].low, w[t].high);
    }
    nyb_interleave(bytes, bytes[0], bytes[1], bytes[2], bytes[3]);
    NYB_EACH (v, 4) {
        to[v][0] = bytes[v];
    }
}

NYB_INLINE __m256i multiply(__m256i acc, __m256i x, const __m256i w[NYB_HALVES]) {
    return _mm256_dpbusd_epi32(acc, x, w[0]);
}

void nyb_depthwise_avx512vnni(const nyb_depthwise_args *args) {
    nyb_depthwise_run(args, (nyb_depthwise_x86){1, part, quad, multiply});
}
