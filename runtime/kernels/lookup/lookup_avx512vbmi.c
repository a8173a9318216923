// SPDX-License-Identifier: Apache-2.0
// AVX-512 VBMI: vpermi2b looks up 128 entries, the highest bit of an index chooses between two of them.
#include "kernels/lookup/lookup.h"

#include <immintrin.h>

enum { STEP = 64 };

static inline __m512i look_up(const __m512i table[4], __m512i x) {
    const __m512i low = _mm512_permutex2var_epi8(table[0], x, table[1]);
    const __m512i high = _mm512_permutex2var_epi8(table[2], x, table[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
}

void nyb_lookup_avx512vbmi(const nyb_lookup_args *args) {
    __m512i table[4];
    for (int i = 0; i < 4; i++) {
        table[i] = _mm512_loadu_si512(args->table + i * STEP);
    }
    size_t i = 0;
    for (; args->count - i >= STEP; i += STEP) {
        _mm512_storeu_si512(args->c + i, look_up(table, _mm512_loadu_si512(args->a + i)));
    }
    if (i < args->count) {
        const __mmask64 rest = (UINT64_C(1) << (args->count - i)) - 1;
        const __m512i x = _mm512_maskz_loadu_epi8(rest, args->a + i);
        _mm512_mask_storeu_epi8(args->c + i, rest, look_up(table, x));
    }
}
