// SPDX-License-Identifier: Apache-2.0
// Weights of 4 and 2 bits as signed bytes.
#ifndef NYB_KERNELS_GEMM_PLANES_AVX2_H
#define NYB_KERNELS_GEMM_PLANES_AVX2_H

#include "kernels/unroll.h"

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

// Plane p of 32 bytes as int8, by a table: AVX2 has no arithmetic shift of bytes.
NYB_INLINE __m256i nyb_plane(__m256i x, const uint32_t bits, const int p) {
    const __m256i s4 =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1));
    const __m256i s2_low =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1));
    const __m256i s2_high =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, -2, -2, -2, -2, -1, -1, -1, -1));
    const bool high = (int)bits * p >= 4;
    const __m256i nibble = _mm256_and_si256(high ? _mm256_srli_epi16(x, 4) : x, _mm256_set1_epi8(15));
    return _mm256_shuffle_epi8(bits == 4 ? s4 : (p % 2 ? s2_high : s2_low), nibble);
}

#endif
