// SPDX-License-Identifier: Apache-2.0
// AVX2: vpshufb looks up 16 entries and gives 0 where the highest bit of an index is set.
//
// Let T[k] be entries 16 k to 16 k + 15, and subtract 16 from the indices before each next lookup. The
// results of the 16 lookups are combined by exclusive or, so each is of a difference E[k]. An index of chunk
// j < 8 counts in steps 0 to j and is negative from then on (the subtraction saturates from step 9 on): T[j]
// = E[0] ^
// ... ^ E[j]. An index of chunk j >= 8 begins as negative, becomes positive in step j - 7 and counts until
// step j: T[j] = E[j - 7] ^ ... ^ E[j]. Hence E[j] = T[j] ^ T[j - 1], and from j = 8 on ^ E[j - 8].
#include "kernels/lookup/lookup.h"
#include "kernels/unroll.h"

#include <immintrin.h>

enum { CHUNKS = 16, STEP = 64 };

static inline __m256i load256(const uint8_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

void nyb_lookup_avx2(const nyb_lookup_args *args) {
    size_t i = 0;
    if (args->count >= STEP) {
        __m256i t[CHUNKS], e[CHUNKS];
        NYB_EACH (k, CHUNKS) {
            t[k] = _mm256_broadcastsi128_si256(
                _mm_loadu_si128((const __m128i *)(const void *)(args->table + 16 * k)));
            e[k] = k == 0 ? t[k] : _mm256_xor_si256(t[k], t[k - 1]);
            e[k] = k < 8 ? e[k] : _mm256_xor_si256(e[k], e[k - 8]);
        }
        const __m256i sixteen = _mm256_set1_epi8(16);
        for (; args->count - i >= STEP; i += STEP) {
            __m256i x = load256(args->a + i);
            __m256i y = load256(args->a + i + 32);
            __m256i u = _mm256_shuffle_epi8(e[0], x);
            __m256i v = _mm256_shuffle_epi8(e[0], y);
            NYB_EACH (k, CHUNKS - 1) {
                x = k < 8 ? _mm256_sub_epi8(x, sixteen) : _mm256_subs_epi8(x, sixteen);
                y = k < 8 ? _mm256_sub_epi8(y, sixteen) : _mm256_subs_epi8(y, sixteen);
                u = _mm256_xor_si256(u, _mm256_shuffle_epi8(e[k + 1], x));
                v = _mm256_xor_si256(v, _mm256_shuffle_epi8(e[k + 1], y));
            }
            _mm256_storeu_si256((__m256i *)(void *)(args->c + i), u);
            _mm256_storeu_si256((__m256i *)(void *)(args->c + i + 32), v);
        }
    }
    for (; i < args->count; i++) {
        args->c[i] = args->table[args->a[i]];
    }
}
