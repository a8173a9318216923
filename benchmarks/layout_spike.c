// SPDX-License-Identifier: Apache-2.0
// The measurement behind docs/adr/0001-packed-weight-layout.md: integer matrix multiply tiles that
// read candidate packed weight layouts in place. Every tile is compared (==) with a scalar loop.
//
// x86-64:  gcc -O3 -fno-tree-reassoc -o layout_spike layout_spike.c && taskset -c 1 ./layout_spike
// aarch64: aarch64-linux-gnu-gcc -O3 -fno-tree-reassoc -fno-schedule-insns -mcpu=cortex-a53 -static
//          -o layout_spike layout_spike.c && qemu-aarch64 -cpu max ./layout_spike
// Without these flags gcc 12 reassociates sums and spills accumulators.
//
// x86-64 prints GMAC/s, best of many. aarch64 runs each tile once between two prctl(0x6e79626c)
// marks, so that a QEMU plugin can count instructions between them, and prints the MACs.
//
// Layouts. Four bytes of a channel hold 4 (8 bits), 8 (4 bits) or 16 (2 bits) neighbouring k:
//   n8, n16   panels of 8 or 16 channels: four bytes of each channel, then the next k
//   ALONG_K   4 bits: byte j = w[k + j] low, w[k + 4 + j] high; 2 bits: four planes of 4 k
//   ALONG_N   4 bits: byte j = w[n][k + j] low, w[n + 8][k + j] high; panels of 16, 4 k
//   BYTES_8   8 bits: eight bytes of a channel side by side
// Codes: two's complement, or offset (w + 8, w + 2).
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_ROWS = 16, MAX_K = 1024, MAX_N = 512 };
// How a tile reads activations. U8 is s8 + 128; EVEN_ODD holds k, k + 2, k + 1, k + 3 of every 4.
typedef enum { S8, U8, S16, S16_EVEN_ODD } acts;
typedef enum { TWOS, OFFSET } code;
typedef enum { ALONG_K, ALONG_N, BYTES_8 } order;
// What becomes of a stored code: a table or shifts give the value (VALUE), minus the offset gives
// it (SUBTRACT), the code itself is used (CODE: sums hold 8 or 2 times the sum of activations too),
// two's complement is turned into the code first (FLIP), the value stays at the top of the byte
// (TOP).
typedef enum { VALUE, SUBTRACT, CODE, FLIP, TOP } decoding;

typedef struct tile {
    const uint8_t *a; // rows of activations
    size_t lda;       // bytes from row to row
    const uint8_t *w; // packed weights
    size_t groups;    // groups along k
    size_t n;         // channels, a multiple of the tile's
    int32_t *out;     // [rows][n]
} tile;

typedef struct row {
    const char *isa, *name;
    void (*run)(const tile *);
    int bits, mr, nr;
    acts act;
    code code;
    order order;
    int k_multiple;
} row;

static inline int32_t load32(const void *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return v;
}

// First bytes of eight channels; their next k are nr * 4 bytes on.
static inline const uint8_t *block8(const tile *t, size_t nr, size_t n) {
    return t->w + n / nr * t->groups * nr * 4 + n % nr * 4;
}

static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }

// Unrolled, so that an array of accumulators lives in registers.
#if defined(__clang__)
#define EACH(i, count) _Pragma("clang loop unroll(full)") for (int i = 0; i < (count); i++)
#else
#define EACH(i, count) _Pragma("GCC unroll 16") for (int i = 0; i < (count); i++)
#endif
#define TILE(NAME, TARGET, CALL)                                                                             \
    TARGET __attribute__((noinline)) static void NAME(const tile *t) { CALL; }

#if defined(__x86_64__)
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#define VNNI __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline))

AVX2 INLINE __m256i load(const uint8_t *p) { return _mm256_loadu_si256((const void *)p); }
AVX2 INLINE __m256i spread(const uint8_t *p) { return _mm256_set1_epi32(load32(p)); }
AVX2 INLINE __m256i even(__m256i x) { return _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8); }
AVX2 INLINE __m256i odd(__m256i x) { return _mm256_srai_epi16(x, 8); }
AVX2 INLINE void store(const tile *t, int i, size_t n, __m256i v) {
    _mm256_storeu_si256((void *)(t->out + (size_t)i * t->n + n), v);
}

// ---- AVX2, 8 bits, exact for all of s8 ----------------------------------------------------------

// Widening loads. Two accumulators for eight channels, one per pair of k, joined at the end.
AVX2 INLINE void w8_widen(const tile *t, const size_t nr, const int mr) {
    for (size_t n = 0; n < t->n; n += 8) {
        const uint8_t *w = block8(t, nr, n);
        __m256i c[12][2];
        EACH(i, mr) c[i][0] = c[i][1] = _mm256_setzero_si256();
        for (size_t g = 0; g < t->groups; g++, w += nr * 4) {
            const __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)w));
            const __m256i y = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(w + 16)));
            EACH(i, mr) {
                int64_t four;
                memcpy(&four, t->a + (size_t)i * t->lda + 8 * g, 8);
                const __m256i a = _mm256_set1_epi64x(four);
                c[i][0] = _mm256_add_epi32(c[i][0], _mm256_madd_epi16(a, x));
                c[i][1] = _mm256_add_epi32(c[i][1], _mm256_madd_epi16(a, y));
            }
        }
        EACH(i, mr)
        store(t, i, n, _mm256_permute4x64_epi64(_mm256_hadd_epi32(c[i][0], c[i][1]), 0xd8));
    }
}

// Even and odd k of a group by shifts: one accumulator for eight channels, no shuffle. Activations
// are S16_EVEN_ODD, or S8 and widened here.
AVX2 INLINE void w8_even_odd(const tile *t, const size_t nr, const int mr, const int blocks, const acts act) {
    for (size_t n = 0; n < t->n; n += 8 * (size_t)blocks) {
        const uint8_t *w = block8(t, nr, n);
        ptrdiff_t block[4];
        __m256i c[12][4];
        EACH(b, blocks) block[b] = block8(t, nr, n + 8 * (size_t)b) - w;
        EACH(i, mr)
        EACH(b, blocks) c[i][b] = _mm256_setzero_si256();
        for (size_t g = 0; g < t->groups; g++, w += nr * 4) {
            __m256i x[4], y[4];
            EACH(b, blocks) x[b] = even(load(w + block[b])), y[b] = odd(load(w + block[b]));
            EACH(i, mr) {
                const uint8_t *a = t->a + (size_t)i * t->lda;
                const __m256i s = spread(a + 4 * g);
                const __m256i e = act == S8 ? even(s) : spread(a + 8 * g);
                const __m256i o = act == S8 ? odd(s) : spread(a + 8 * g + 4);
                EACH(b, blocks) c[i][b] = _mm256_add_epi32(c[i][b], _mm256_madd_epi16(e, x[b]));
                EACH(b, blocks) c[i][b] = _mm256_add_epi32(c[i][b], _mm256_madd_epi16(o, y[b]));
            }
        }
        EACH(i, mr)
        EACH(b, blocks) store(t, i, n + 8 * (size_t)b, c[i][b]);
    }
}

// abs(a) * sign(w, a): needs w >= -127.
AVX2 INLINE void w8_sign(const tile *t, const size_t nr, const int mr, const int blocks) {
    for (size_t n = 0; n < t->n; n += 8 * (size_t)blocks) {
        const uint8_t *w = block8(t, nr, n);
        ptrdiff_t block[4];
        __m256i c[12][4];
        EACH(b, blocks) block[b] = block8(t, nr, n + 8 * (size_t)b) - w;
        EACH(i, mr)
        EACH(b, blocks) c[i][b] = _mm256_setzero_si256();
        for (size_t g = 0; g < t->groups; g++, w += nr * 4)
            EACH(i, mr) {
                const __m256i a = spread(t->a + (size_t)i * t->lda + 4 * g);
                EACH(b, blocks) {
                    const __m256i pairs =
                        _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(load(w + block[b]), a));
                    c[i][b] = _mm256_add_epi32(c[i][b], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
                }
            }
        EACH(i, mr)
        EACH(b, blocks) store(t, i, n + 8 * (size_t)b, c[i][b]);
    }
}

// ---- AVX2, 4 and 2 bits: 16-bit sums, widened every 32 k (4 bits) or 128 k (2 bits)
// -------------- u8 x s4: 255 * 8 * 2 * 8 = 32640. u8 x s2: 255 * 2 * 2 * 32 = 32640. u4 x s8: 128
// * 15 * 2 * 8.

#define TABLE(...) _mm256_broadcastsi128_si256(_mm_setr_epi8(__VA_ARGS__))
AVX2 INLINE __m256i plane(__m256i x, const int bits, const int p, const decoding how) {
    const __m256i s4 = TABLE(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
    const __m256i s2_low = TABLE(0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1);
    const __m256i s2_high = TABLE(0, 0, 0, 0, 1, 1, 1, 1, -2, -2, -2, -2, -1, -1, -1, -1);
    const __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
    if (how == TOP) {
        const int up = 8 - bits - bits * p;
        return _mm256_and_si256(up ? _mm256_slli_epi16(x, up) : x,
                                _mm256_set1_epi8((char)(256 - (1 << (8 - bits)))));
    }
    if (how == VALUE) {
        const int high = bits * p & 4;
        const __m256i nibble = _mm256_and_si256(high ? _mm256_srli_epi16(x, 4) : x, _mm256_set1_epi8(15));
        return _mm256_shuffle_epi8(bits == 4 ? s4 : p % 2 ? s2_high : s2_low, nibble);
    }
    if (how == FLIP)
        x = _mm256_xor_si256(x, _mm256_set1_epi8((char)(bits == 4 ? 0x88 : 0xaa)));
    x = _mm256_and_si256(p ? _mm256_srli_epi16(x, bits * p) : x, mask);
    return how == SUBTRACT ? _mm256_sub_epi8(x, _mm256_set1_epi8((char)(1 << (bits - 1)))) : x;
}

AVX2 INLINE void sums16(const tile *t, const size_t nr, const int mr, const int blocks, const int bits,
                        const decoding how) {
    const int planes = 8 / bits;
    const size_t run = bits == 4 ? 4 : 8;
    for (size_t n = 0; n < t->n; n += 8 * (size_t)blocks) {
        const uint8_t *w = block8(t, nr, n);
        ptrdiff_t block[4];
        __m256i c[8][4], s[8][4];
        EACH(b, blocks) block[b] = block8(t, nr, n + 8 * (size_t)b) - w;
        EACH(i, mr)
        EACH(b, blocks) c[i][b] = _mm256_setzero_si256();
        for (size_t g = 0; g < t->groups;) {
            EACH(i, mr)
            EACH(b, blocks) s[i][b] = _mm256_setzero_si256();
            for (const size_t end = least(g + run, t->groups); g < end; g++, w += nr * 4) {
                __m256i x[4];
                EACH(b, blocks) x[b] = load(w + block[b]);
                EACH(p, planes) {
                    __m256i v[4];
                    EACH(b, blocks) v[b] = plane(x[b], bits, p, how);
                    EACH(i, mr) {
                        const __m256i a =
                            spread(t->a + (size_t)i * t->lda + 4 * ((size_t)planes * g + (size_t)p));
                        EACH(b, blocks)
                        s[i][b] = _mm256_add_epi16(s[i][b], how == CODE || how == FLIP
                                                                ? _mm256_maddubs_epi16(v[b], a)
                                                                : _mm256_maddubs_epi16(a, v[b]));
                    }
                }
            }
            EACH(i, mr)
            EACH(b, blocks)
            c[i][b] = _mm256_add_epi32(c[i][b], _mm256_madd_epi16(s[i][b], _mm256_set1_epi16(1)));
        }
        EACH(i, mr)
        EACH(b, blocks) store(t, i, n + 8 * (size_t)b, c[i][b]);
    }
}

// Planes along n: 32 bytes are 4 k of 16 channels.
AVX2 INLINE void sums16_along_n(const tile *t, const int mr) {
    const uint8_t *w = t->w;
    for (size_t n = 0; n < t->n; n += 16) {
        __m256i c[8][2], s[8][2];
        EACH(i, mr)
        EACH(p, 2) c[i][p] = _mm256_setzero_si256();
        for (size_t g = 0; g < t->groups;) {
            EACH(i, mr)
            EACH(p, 2) s[i][p] = _mm256_setzero_si256();
            for (const size_t end = least(g + 8, t->groups); g < end; g++, w += 32) {
                const __m256i v[2] = {plane(load(w), 4, 0, VALUE), plane(load(w), 4, 1, VALUE)};
                EACH(i, mr) {
                    const __m256i a = spread(t->a + (size_t)i * t->lda + 4 * g);
                    EACH(p, 2) s[i][p] = _mm256_add_epi16(s[i][p], _mm256_maddubs_epi16(a, v[p]));
                }
            }
            EACH(i, mr)
            EACH(p, 2)
            c[i][p] = _mm256_add_epi32(c[i][p], _mm256_madd_epi16(s[i][p], _mm256_set1_epi16(1)));
        }
        EACH(i, mr)
        EACH(p, 2) store(t, i, n + 8 * (size_t)p, c[i][p]);
    }
}

// ---- VNNI: u8 x s8 in 32 bits. TOP: 16 or 64 times the value, an exact shift at the end
// ----------

VNNI INLINE void vnni256(const tile *t, const size_t nr, const int mr, const int blocks, const int bits,
                         const decoding how) {
    const int planes = 8 / bits;
    for (size_t n = 0; n < t->n; n += 8 * (size_t)blocks) {
        const uint8_t *w = block8(t, nr, n);
        ptrdiff_t block[4];
        __m256i c[12][4];
        EACH(b, blocks) block[b] = block8(t, nr, n + 8 * (size_t)b) - w;
        EACH(i, mr)
        EACH(b, blocks) c[i][b] = _mm256_setzero_si256();
        for (size_t g = 0; g < t->groups; g++, w += nr * 4) {
            __m256i x[4];
            EACH(b, blocks) x[b] = load(w + block[b]);
            EACH(p, planes) {
                __m256i v[4];
                EACH(b, blocks) v[b] = bits == 8 ? x[b] : plane(x[b], bits, p, how);
                EACH(i, mr) {
                    const __m256i a =
                        spread(t->a + (size_t)i * t->lda + 4 * ((size_t)planes * g + (size_t)p));
                    EACH(b, blocks)
                    c[i][b] = how == CODE ? _mm256_dpbusd_epi32(c[i][b], v[b], a)
                                          : _mm256_dpbusd_epi32(c[i][b], a, v[b]);
                }
            }
        }
        EACH(i, mr)
        EACH(b, blocks)
        store(t, i, n + 8 * (size_t)b, how == TOP ? _mm256_srai_epi32(c[i][b], 8 - bits) : c[i][b]);
    }
}

VNNI INLINE void vnni256_along_n(const tile *t, const int mr) {
    const uint8_t *w = t->w;
    for (size_t n = 0; n < t->n; n += 16) {
        __m256i c[12][2];
        EACH(i, mr)
        EACH(p, 2) c[i][p] = _mm256_setzero_si256();
        for (size_t g = 0; g < t->groups; g++, w += 32) {
            const __m256i v[2] = {plane(load(w), 4, 0, TOP), plane(load(w), 4, 1, TOP)};
            EACH(i, mr) {
                const __m256i a = spread(t->a + (size_t)i * t->lda + 4 * g);
                EACH(p, 2) c[i][p] = _mm256_dpbusd_epi32(c[i][p], a, v[p]);
            }
        }
        EACH(i, mr)
        EACH(p, 2) store(t, i, n + 8 * (size_t)p, _mm256_srai_epi32(c[i][p], 4));
    }
}

// A panel of 16 is one register; two panels of 8 are joined by an insert from memory.
VNNI INLINE void vnni512(const tile *t, const size_t nr, const int mr, const int bits) {
    const int planes = 8 / bits;
    for (size_t n = 0; n < t->n; n += 16) {
        const uint8_t *w = block8(t, nr, n);
        const ptrdiff_t next = block8(t, nr, n + 8) - w;
        __m512i c[16];
        EACH(i, mr) c[i] = _mm512_setzero_si512();
        for (size_t g = 0; g < t->groups; g++, w += nr * 4) {
            const __m512i x = nr == 16
                                  ? _mm512_loadu_si512(w)
                                  : _mm512_inserti64x4(_mm512_castsi256_si512(load(w)), load(w + next), 1);
            EACH(p, planes) {
                const int up = 8 - bits - bits * p;
                const __m512i v = bits == 8
                                      ? x
                                      : _mm512_and_si512(up ? _mm512_slli_epi16(x, (unsigned)up) : x,
                                                         _mm512_set1_epi8((char)(256 - (1 << (8 - bits)))));
                EACH(i, mr)
                c[i] = _mm512_dpbusd_epi32(c[i],
                                           _mm512_set1_epi32(load32(t->a + (size_t)i * t->lda +
                                                                    4 * ((size_t)planes * g + (size_t)p))),
                                           v);
            }
        }
        EACH(i, mr)
        _mm512_storeu_si512(t->out + (size_t)i * t->n + n,
                            bits == 8 ? c[i] : _mm512_srai_epi32(c[i], 8 - bits));
    }
}

TILE(tile_0, AVX2, w8_widen(t, 8, 4))
TILE(tile_1, AVX2, w8_widen(t, 8, 6))
TILE(tile_2, AVX2, w8_even_odd(t, 8, 8, 1, S16_EVEN_ODD))
TILE(tile_3, AVX2, w8_even_odd(t, 8, 4, 2, S16_EVEN_ODD))
TILE(tile_4, AVX2, w8_even_odd(t, 8, 4, 2, S8))
TILE(tile_5, AVX2, w8_sign(t, 8, 4, 2))
TILE(tile_6, AVX2, w8_widen(t, 16, 4))
TILE(tile_7, AVX2, w8_widen(t, 16, 6))
TILE(tile_8, AVX2, w8_even_odd(t, 16, 8, 1, S16_EVEN_ODD))
TILE(tile_9, AVX2, w8_even_odd(t, 16, 4, 2, S16_EVEN_ODD))
TILE(tile_10, AVX2, w8_even_odd(t, 16, 4, 2, S8))
TILE(tile_11, AVX2, w8_sign(t, 16, 4, 2))
TILE(tile_12, AVX2, sums16(t, 8, 4, 1, 4, VALUE))
TILE(tile_13, AVX2, sums16(t, 8, 6, 1, 4, VALUE))
TILE(tile_14, AVX2, sums16(t, 8, 4, 2, 4, VALUE))
TILE(tile_15, AVX2, sums16(t, 16, 4, 1, 4, VALUE))
TILE(tile_16, AVX2, sums16(t, 16, 6, 1, 4, VALUE))
TILE(tile_17, AVX2, sums16(t, 16, 4, 2, 4, VALUE))
TILE(tile_18, AVX2, sums16(t, 8, 4, 1, 4, SUBTRACT))
TILE(tile_19, AVX2, sums16(t, 8, 4, 1, 4, CODE))
TILE(tile_20, AVX2, sums16(t, 8, 4, 1, 4, FLIP))
TILE(tile_21, AVX2, sums16_along_n(t, 4))
TILE(tile_22, AVX2, sums16(t, 8, 4, 1, 2, VALUE))
TILE(tile_23, AVX2, sums16(t, 16, 4, 1, 2, VALUE))
TILE(tile_24, AVX2, sums16(t, 8, 6, 1, 2, VALUE))
TILE(tile_25, AVX2, sums16(t, 8, 4, 1, 2, SUBTRACT))
TILE(tile_26, AVX2, sums16(t, 8, 4, 1, 2, CODE))
TILE(tile_27, VNNI, vnni256(t, 8, 8, 1, 8, VALUE))
TILE(tile_28, VNNI, vnni256(t, 8, 6, 2, 8, VALUE))
TILE(tile_29, VNNI, vnni256(t, 16, 8, 1, 8, VALUE))
TILE(tile_30, VNNI, vnni256(t, 16, 6, 2, 8, VALUE))
TILE(tile_31, VNNI, vnni256(t, 8, 8, 1, 4, TOP))
TILE(tile_32, VNNI, vnni256(t, 8, 6, 2, 4, TOP))
TILE(tile_33, VNNI, vnni256(t, 16, 8, 1, 4, TOP))
TILE(tile_34, VNNI, vnni256(t, 16, 6, 2, 4, TOP))
TILE(tile_35, VNNI, vnni256(t, 8, 8, 1, 2, TOP))
TILE(tile_36, VNNI, vnni256(t, 8, 6, 2, 2, TOP))
TILE(tile_37, VNNI, vnni256(t, 16, 8, 1, 2, TOP))
TILE(tile_38, VNNI, vnni256(t, 16, 6, 2, 2, TOP))
TILE(tile_39, VNNI, vnni256(t, 8, 6, 2, 4, SUBTRACT))
TILE(tile_40, VNNI, vnni256(t, 8, 6, 2, 4, CODE))
TILE(tile_41, VNNI, vnni256_along_n(t, 6))
TILE(tile_42, VNNI, vnni512(t, 8, 8, 8))
TILE(tile_43, VNNI, vnni512(t, 16, 8, 8))
TILE(tile_44, VNNI, vnni512(t, 8, 12, 8))
TILE(tile_45, VNNI, vnni512(t, 16, 12, 8))
TILE(tile_46, VNNI, vnni512(t, 8, 8, 4))
TILE(tile_47, VNNI, vnni512(t, 16, 8, 4))
TILE(tile_48, VNNI, vnni512(t, 8, 12, 4))
TILE(tile_49, VNNI, vnni512(t, 16, 12, 4))
TILE(tile_50, VNNI, vnni512(t, 8, 8, 2))
TILE(tile_51, VNNI, vnni512(t, 16, 8, 2))
TILE(tile_52, VNNI, vnni512(t, 8, 12, 2))
TILE(tile_53, VNNI, vnni512(t, 16, 12, 2))
TILE(tile_54, AVX2, w8_even_odd(t, 8, 1, 4, S16_EVEN_ODD))
TILE(tile_55, AVX2, sums16(t, 8, 1, 4, 4, VALUE))
TILE(tile_56, AVX2, sums16(t, 8, 1, 4, 2, VALUE))
TILE(tile_57, VNNI, vnni256(t, 8, 1, 4, 8, VALUE))
TILE(tile_58, VNNI, vnni256(t, 8, 1, 4, 4, TOP))
TILE(tile_59, VNNI, vnni256(t, 8, 1, 4, 2, TOP))
TILE(tile_60, AVX2, w8_even_odd(t, 16, 1, 4, S16_EVEN_ODD))
TILE(tile_61, AVX2, sums16(t, 16, 1, 4, 4, VALUE))
TILE(tile_62, AVX2, sums16(t, 16, 1, 4, 2, VALUE))
TILE(tile_63, VNNI, vnni256(t, 16, 1, 4, 8, VALUE))
TILE(tile_64, VNNI, vnni256(t, 16, 1, 4, 4, TOP))
TILE(tile_65, VNNI, vnni256(t, 16, 1, 4, 2, TOP))
TILE(tile_66, AVX2, sums16(t, 8, 1, 4, 4, CODE))
TILE(tile_67, AVX2, sums16(t, 8, 1, 4, 4, FLIP))

static const row rows[] = {
    {"avx2", "w8 vpmovsxbw 4x8", tile_0, 8, 4, 8, S16, TWOS, ALONG_K, 4},
    {"avx2", "w8 vpmovsxbw 6x8", tile_1, 8, 6, 8, S16, TWOS, ALONG_K, 4},
    {"avx2", "w8 even/odd 8x8", tile_2, 8, 8, 8, S16_EVEN_ODD, TWOS, ALONG_K, 4},
    {"avx2", "w8 even/odd 4x16", tile_3, 8, 4, 8, S16_EVEN_ODD, TWOS, ALONG_K, 4},
    {"avx2", "w8 even/odd, s8 acts 4x16", tile_4, 8, 4, 8, S8, TWOS, ALONG_K, 4},
    {"avx2", "w8 sign, w >= -127 4x16", tile_5, 8, 4, 8, S8, TWOS, ALONG_K, 4},
    {"avx2", "w8 vpmovsxbw 4x8", tile_6, 8, 4, 16, S16, TWOS, ALONG_K, 4},
    {"avx2", "w8 vpmovsxbw 6x8", tile_7, 8, 6, 16, S16, TWOS, ALONG_K, 4},
    {"avx2", "w8 even/odd 8x8", tile_8, 8, 8, 16, S16_EVEN_ODD, TWOS, ALONG_K, 4},
    {"avx2", "w8 even/odd 4x16", tile_9, 8, 4, 16, S16_EVEN_ODD, TWOS, ALONG_K, 4},
    {"avx2", "w8 even/odd, s8 acts 4x16", tile_10, 8, 4, 16, S8, TWOS, ALONG_K, 4},
    {"avx2", "w8 sign, w >= -127 4x16", tile_11, 8, 4, 16, S8, TWOS, ALONG_K, 4},
    {"avx2", "w4 table 4x8", tile_12, 4, 4, 8, U8, TWOS, ALONG_K, 8},
    {"avx2", "w4 table 6x8", tile_13, 4, 6, 8, U8, TWOS, ALONG_K, 8},
    {"avx2", "w4 table 4x16", tile_14, 4, 4, 8, U8, TWOS, ALONG_K, 8},
    {"avx2", "w4 table 4x8", tile_15, 4, 4, 16, U8, TWOS, ALONG_K, 8},
    {"avx2", "w4 table 6x8", tile_16, 4, 6, 16, U8, TWOS, ALONG_K, 8},
    {"avx2", "w4 table 4x16", tile_17, 4, 4, 16, U8, TWOS, ALONG_K, 8},
    {"avx2", "w4 offset, subtract 4x8", tile_18, 4, 4, 8, U8, OFFSET, ALONG_K, 8},
    {"avx2", "w4 offset, row sums 4x8", tile_19, 4, 4, 8, S8, OFFSET, ALONG_K, 8},
    {"avx2", "w4 flip, row sums 4x8", tile_20, 4, 4, 8, S8, TWOS, ALONG_K, 8},
    {"avx2", "w4 table, planes along n 4x16", tile_21, 4, 4, 16, U8, TWOS, ALONG_N, 4},
    {"avx2", "w2 table 4x8", tile_22, 2, 4, 8, U8, TWOS, ALONG_K, 16},
    {"avx2", "w2 table 4x8", tile_23, 2, 4, 16, U8, TWOS, ALONG_K, 16},
    {"avx2", "w2 table 6x8", tile_24, 2, 6, 8, U8, TWOS, ALONG_K, 16},
    {"avx2", "w2 offset, subtract 4x8", tile_25, 2, 4, 8, U8, OFFSET, ALONG_K, 16},
    {"avx2", "w2 offset, row sums 4x8", tile_26, 2, 4, 8, S8, OFFSET, ALONG_K, 16},
    {"vnni256", "w8 8x8", tile_27, 8, 8, 8, U8, TWOS, ALONG_K, 4},
    {"vnni256", "w8 6x16", tile_28, 8, 6, 8, U8, TWOS, ALONG_K, 4},
    {"vnni256", "w8 8x8", tile_29, 8, 8, 16, U8, TWOS, ALONG_K, 4},
    {"vnni256", "w8 6x16", tile_30, 8, 6, 16, U8, TWOS, ALONG_K, 4},
    {"vnni256", "w4 8x8", tile_31, 4, 8, 8, U8, TWOS, ALONG_K, 8},
    {"vnni256", "w4 6x16", tile_32, 4, 6, 8, U8, TWOS, ALONG_K, 8},
    {"vnni256", "w4 8x8", tile_33, 4, 8, 16, U8, TWOS, ALONG_K, 8},
    {"vnni256", "w4 6x16", tile_34, 4, 6, 16, U8, TWOS, ALONG_K, 8},
    {"vnni256", "w2 8x8", tile_35, 2, 8, 8, U8, TWOS, ALONG_K, 16},
    {"vnni256", "w2 6x16", tile_36, 2, 6, 8, U8, TWOS, ALONG_K, 16},
    {"vnni256", "w2 8x8", tile_37, 2, 8, 16, U8, TWOS, ALONG_K, 16},
    {"vnni256", "w2 6x16", tile_38, 2, 6, 16, U8, TWOS, ALONG_K, 16},
    {"vnni256", "w4 offset, subtract 6x16", tile_39, 4, 6, 8, U8, OFFSET, ALONG_K, 8},
    {"vnni256", "w4 offset, row sums 6x16", tile_40, 4, 6, 8, S8, OFFSET, ALONG_K, 8},
    {"vnni256", "w4 planes along n 6x16", tile_41, 4, 6, 16, U8, TWOS, ALONG_N, 4},
    {"vnni512", "w8 8x16", tile_42, 8, 8, 8, U8, TWOS, ALONG_K, 4},
    {"vnni512", "w8 8x16", tile_43, 8, 8, 16, U8, TWOS, ALONG_K, 4},
    {"vnni512", "w8 12x16", tile_44, 8, 12, 8, U8, TWOS, ALONG_K, 4},
    {"vnni512", "w8 12x16", tile_45, 8, 12, 16, U8, TWOS, ALONG_K, 4},
    {"vnni512", "w4 8x16", tile_46, 4, 8, 8, U8, TWOS, ALONG_K, 8},
    {"vnni512", "w4 8x16", tile_47, 4, 8, 16, U8, TWOS, ALONG_K, 8},
    {"vnni512", "w4 12x16", tile_48, 4, 12, 8, U8, TWOS, ALONG_K, 8},
    {"vnni512", "w4 12x16", tile_49, 4, 12, 16, U8, TWOS, ALONG_K, 8},
    {"vnni512", "w2 8x16", tile_50, 2, 8, 8, U8, TWOS, ALONG_K, 16},
    {"vnni512", "w2 8x16", tile_51, 2, 8, 16, U8, TWOS, ALONG_K, 16},
    {"vnni512", "w2 12x16", tile_52, 2, 12, 8, U8, TWOS, ALONG_K, 16},
    {"vnni512", "w2 12x16", tile_53, 2, 12, 16, U8, TWOS, ALONG_K, 16},
    {"avx2", "w8 even/odd 1x32", tile_54, 8, 1, 8, S16_EVEN_ODD, TWOS, ALONG_K, 4},
    {"avx2", "w4 table 1x32", tile_55, 4, 1, 8, U8, TWOS, ALONG_K, 8},
    {"avx2", "w2 table 1x32", tile_56, 2, 1, 8, U8, TWOS, ALONG_K, 16},
    {"vnni256", "w8 1x32", tile_57, 8, 1, 8, U8, TWOS, ALONG_K, 4},
    {"vnni256", "w4 1x32", tile_58, 4, 1, 8, U8, TWOS, ALONG_K, 8},
    {"vnni256", "w2 1x32", tile_59, 2, 1, 8, U8, TWOS, ALONG_K, 16},
    {"avx2", "w8 even/odd 1x32", tile_60, 8, 1, 16, S16_EVEN_ODD, TWOS, ALONG_K, 4},
    {"avx2", "w4 table 1x32", tile_61, 4, 1, 16, U8, TWOS, ALONG_K, 8},
    {"avx2", "w2 table 1x32", tile_62, 2, 1, 16, U8, TWOS, ALONG_K, 16},
    {"vnni256", "w8 1x32", tile_63, 8, 1, 16, U8, TWOS, ALONG_K, 4},
    {"vnni256", "w4 1x32", tile_64, 4, 1, 16, U8, TWOS, ALONG_K, 8},
    {"vnni256", "w2 1x32", tile_65, 2, 1, 16, U8, TWOS, ALONG_K, 16},
    {"avx2", "w4 offset, row sums 1x32", tile_66, 4, 1, 8, S8, OFFSET, ALONG_K, 8},
    {"avx2", "w4 flip, row sums 1x32", tile_67, 4, 1, 8, S8, TWOS, ALONG_K, 8},
};
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/prctl.h>
#define NEON
#define DOT __attribute__((target("arch=armv8.2-a+dotprod")))
#define I8MM __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))
#define INLINE static inline __attribute__((always_inline))

INLINE int8x16_t load(const uint8_t *p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
INLINE int8x16_t spread(const uint8_t *p) { return vreinterpretq_s8_s32(vdupq_n_s32(load32(p))); }
INLINE void store(const tile *t, int i, size_t n, int32x4_t v) {
    vst1q_s32(t->out + (size_t)i * t->n + n, v);
}
INLINE int16x8_t mul_low(int8x16_t w, int8x16_t a) { return vmull_s8(vget_low_s8(w), vget_low_s8(a)); }
INLINE int16x8_t mla_low(int16x8_t s, int8x16_t w, int8x16_t a) {
    return vmlal_s8(s, vget_low_s8(w), vget_low_s8(a));
}

// ---- NEON, 8 bits ------------------------------------------------------------------------------

// Two products in 16 bits (needs w >= -127), then sadalp. Two rows at a time hide the latency.
INLINE void w8_pair(const tile *t, const size_t nr, const int mr) {
    for (size_t n = 0; n < t->n; n += 8) {
        const uint8_t *w = block8(t, nr, n);
        int32x4_t c[4][4];
        EACH(i, mr) { EACH(j, 4) c[i][j] = vdupq_n_s32(0); }
        for (size_t k = 0; k < t->groups * 4; k += 8, w += nr * 8) {
            const int8x16_t x[2] = {load(w), load(w + 16)};
            const int8x16_t y[2] = {load(w + nr * 4), load(w + nr * 4 + 16)};
            EACH(h, (mr + 1) / 2) {
                const int rows = mr - 2 * h < 2 ? 1 : 2;
                int16x8_t s[2][4];
                EACH(i, rows) {
                    const int8x16_t a = spread(t->a + (size_t)(2 * h + i) * t->lda + k);
                    EACH(q, 2) s[i][2 * q] = mul_low(x[q], a);
                    EACH(q, 2) s[i][2 * q + 1] = vmull_high_s8(x[q], a);
                }
                EACH(i, rows) {
                    const int8x16_t a = spread(t->a + (size_t)(2 * h + i) * t->lda + k + 4);
                    EACH(q, 2) s[i][2 * q] = mla_low(s[i][2 * q], y[q], a);
                    EACH(q, 2) s[i][2 * q + 1] = vmlal_high_s8(s[i][2 * q + 1], y[q], a);
                }
                EACH(i, rows) { EACH(j, 4) c[2 * h + i][j] = vpadalq_s16(c[2 * h + i][j], s[i][j]); }
            }
        }
        EACH(i, mr) { EACH(q, 2) store(t, i, n + 4 * (size_t)q, vpaddq_s32(c[i][2 * q], c[i][2 * q + 1])); }
    }
}

// One product in 16 bits: all of s8.
INLINE void w8_exact(const tile *t, const size_t nr, const int mr) {
    for (size_t n = 0; n < t->n; n += 8) {
        const uint8_t *w = block8(t, nr, n);
        int32x4_t c[4][4];
        EACH(i, mr) { EACH(j, 4) c[i][j] = vdupq_n_s32(0); }
        for (size_t k = 0; k < t->groups * 4; k += 4, w += nr * 4) {
            const int8x16_t x[2] = {load(w), load(w + 16)};
            EACH(i, mr) {
                const int8x16_t a = spread(t->a + (size_t)i * t->lda + k);
                int16x8_t s[4];
                EACH(q, 2) s[2 * q] = mul_low(x[q], a), s[2 * q + 1] = vmull_high_s8(x[q], a);
                EACH(j, 4) c[i][j] = vpadalq_s16(c[i][j], s[j]);
            }
        }
        EACH(i, mr) { EACH(q, 2) store(t, i, n + 4 * (size_t)q, vpaddq_s32(c[i][2 * q], c[i][2 * q + 1])); }
    }
}

// BYTES_8: no spreading of activations, but an accumulator per channel.
INLINE void w8_bytes_8(const tile *t, const int mr) {
    const uint8_t *w = t->w;
    for (size_t n = 0; n < t->n; n += 8) {
        int32x4_t c[2][8];
        EACH(i, mr) { EACH(j, 8) c[i][j] = vdupq_n_s32(0); }
        for (size_t k = 0; k < t->groups * 8; k += 16, w += 128)
            EACH(i, mr) {
                const int8x16_t a = load(t->a + (size_t)i * t->lda + k);
                EACH(j, 8) {
                    const int8x8_t x = vreinterpret_s8_u8(vld1_u8(w + 8 * j));
                    const int8x8_t y = vreinterpret_s8_u8(vld1_u8(w + 64 + 8 * j));
                    c[i][j] = vpadalq_s16(c[i][j], vmlal_s8(vmull_s8(x, vget_low_s8(a)), y, vget_high_s8(a)));
                }
            }
        EACH(i, mr) {
            EACH(q, 2)
            store(t, i, n + 4 * (size_t)q,
                  vpaddq_s32(vpaddq_s32(c[i][4 * q], c[i][4 * q + 1]),
                             vpaddq_s32(c[i][4 * q + 2], c[i][4 * q + 3])));
        }
    }
}

// ---- 4 and 2 bits ------------------------------------------------------------------------------

INLINE int8x16_t up(int8x16_t x, const int count) {
    switch (count) {
    case 2:
        return vshlq_n_s8(x, 2);
    case 4:
        return vshlq_n_s8(x, 4);
    case 6:
        return vshlq_n_s8(x, 6);
    default:
        return x;
    }
}
INLINE int8x16_t plane(int8x16_t x, const int bits, const int p, const decoding how) {
    const int8x16_t top = up(x, 8 - bits - bits * p);
    if (how == TOP)
        return p ? vandq_s8(top, vdupq_n_s8((int8_t)(256 - (1 << (8 - bits))))) : top;
    if (how == SUBTRACT) {
        const uint8x16_t u = vreinterpretq_u8_s8(top);
        return vsubq_s8(vreinterpretq_s8_u8(bits == 4 ? vshrq_n_u8(u, 4) : vshrq_n_u8(u, 6)),
                        vdupq_n_s8((int8_t)(1 << (bits - 1))));
    }
    return bits == 4 ? vshrq_n_s8(top, 4) : vshrq_n_s8(top, 6);
}

// 16-bit sums of 30 products (4 bits: 30 * 8 * 128) or 124 (2 bits: 124 * 2 * 128) in a lane.
INLINE void sums16(const tile *t, const size_t nr, const int mr, const int blocks, const int bits,
                   const order order, const decoding how) {
    const int planes = order == ALONG_N ? 1 : 8 / bits;
    const size_t run = order == ALONG_N ? 30 : bits == 4 ? 15 : 31;
    const size_t step = order == ALONG_N ? 32 : nr * 4;
    for (size_t n = 0; n < t->n; n += 8 * (size_t)blocks) {
        const uint8_t *w = order == ALONG_N ? t->w + n / 16 * t->groups * 32 : block8(t, nr, n);
        const ptrdiff_t next = order == ALONG_N || blocks == 1 ? 0 : block8(t, nr, n + 8) - w;
        EACH(i, mr) { EACH(j, 2 * blocks) store(t, i, n + 4 * (size_t)j, vdupq_n_s32(0)); }
        for (size_t g = 0; g < t->groups;) {
            int16x8_t s[4][8];
            EACH(i, mr) { EACH(j, 4 * blocks) s[i][j] = vdupq_n_s16(0); }
            for (const size_t end = least(g + run, t->groups); g < end; g++, w += step) {
                int8x16_t x[4];
                EACH(q, 2 * blocks) x[q] = load(w + q / 2 * next + q % 2 * 16);
                EACH(p, planes) {
                    int8x16_t v[4], a[4];
                    EACH(q, 2 * blocks)
                    v[q] = plane(x[q], bits, order == ALONG_N ? q / 2 : p, how);
                    EACH(i, mr)
                    a[i] = spread(t->a + (size_t)i * t->lda + 4 * ((size_t)planes * g + (size_t)p));
                    EACH(i, mr) {
                        EACH(q, 2 * blocks) {
                            s[i][2 * q] = mla_low(s[i][2 * q], v[q], a[i]);
                            s[i][2 * q + 1] = vmlal_high_s8(s[i][2 * q + 1], v[q], a[i]);
                        }
                    }
                }
            }
            EACH(i, mr) {
                EACH(j, 2 * blocks) {
                    const int32_t *at = t->out + (size_t)i * t->n + n + 4 * (size_t)j;
                    store(t, i, n + 4 * (size_t)j,
                          vaddq_s32(vld1q_s32(at),
                                    vpaddq_s32(vpaddlq_s16(s[i][2 * j]), vpaddlq_s16(s[i][2 * j + 1]))));
                }
            }
        }
    }
}

// ---- sdot --------------------------------------------------------------------------------------

DOT INLINE int32x4_t dot_lane(int32x4_t c, int8x16_t w, int8x16_t a, const int lane) {
    switch (lane) {
    case 0:
        return vdotq_laneq_s32(c, w, a, 0);
    case 1:
        return vdotq_laneq_s32(c, w, a, 1);
    case 2:
        return vdotq_laneq_s32(c, w, a, 2);
    default:
        return vdotq_laneq_s32(c, w, a, 3);
    }
}
INLINE int32x4_t down(int32x4_t v, const int bits, const decoding how) {
    return how != TOP ? v : bits == 4 ? vshrq_n_s32(v, 4) : vshrq_n_s32(v, 6);
}

// 16 k a turn.
DOT INLINE void dot(const tile *t, const size_t nr, const int mr, const int blocks, const int bits,
                    const decoding how) {
    const int planes = 8 / bits;
    for (size_t n = 0; n < t->n; n += 8 * (size_t)blocks) {
        const uint8_t *w = block8(t, nr, n);
        const ptrdiff_t next = nr == 16 ? 32 : block8(t, nr, n + 8) - w;
        int32x4_t c[8][4];
        EACH(i, mr) { EACH(j, 2 * blocks) c[i][j] = vdupq_n_s32(0); }
        for (size_t k = 0; k < t->groups * 4 * (size_t)planes; k += 16) {
            int8x16_t a[8];
            EACH(i, mr) a[i] = load(t->a + (size_t)i * t->lda + k);
            EACH(g, 4 / planes) {
                int8x16_t x[4];
                EACH(q, 2 * blocks) x[q] = load(w + q / 2 * next + q % 2 * 16);
                EACH(p, planes) {
                    int8x16_t v[4];
                    EACH(q, 2 * blocks) v[q] = bits == 8 ? x[q] : plane(x[q], bits, p, how);
                    EACH(i, mr) {
                        EACH(q, 2 * blocks)
                        c[i][q] = dot_lane(c[i][q], v[q], a[i], planes * g + p);
                    }
                }
                w += nr * 4;
            }
        }
        EACH(i, mr) { EACH(q, 2 * blocks) store(t, i, n + 4 * (size_t)q, down(c[i][q], bits, how)); }
    }
}

// ---- smmla: 2 rows x 8 k times 2 channels x 8 k. Neighbouring k of the layout are zipped.
// --------

I8MM INLINE void matmul(const tile *t, const size_t nr, const int bits) {
    for (size_t n = 0; n < t->n; n += 8) {
        const uint8_t *w = block8(t, nr, n);
        int32x4_t c[4][4];
        EACH(h, 4) { EACH(j, 4) c[h][j] = vdupq_n_s32(0); }
        for (size_t k = 0; k < t->groups * 32 / (size_t)bits; k += 8) {
            int8x16_t v[4];
            EACH(q, 2) {
                const int8x16_t x = load(w + 16 * q);
                const int32x4_t lo = vreinterpretq_s32_s8(bits == 8 ? x : plane(x, 4, 0, TOP));
                const int32x4_t hi =
                    vreinterpretq_s32_s8(bits == 8 ? load(w + nr * 4 + 16 * q) : plane(x, 4, 1, TOP));
                v[2 * q] = vreinterpretq_s8_s32(vzip1q_s32(lo, hi));
                v[2 * q + 1] = vreinterpretq_s8_s32(vzip2q_s32(lo, hi));
            }
            w += nr * 4 * (size_t)bits / 4;
            EACH(h, 4) {
                const uint8_t *a = t->a + 2 * (size_t)h * t->lda + k;
                const int8x16_t rows = vreinterpretq_s8_u8(vcombine_u8(vld1_u8(a), vld1_u8(a + t->lda)));
                EACH(j, 4) c[h][j] = vmmlaq_s32(c[h][j], rows, v[j]);
            }
        }
        EACH(h, 4) {
            EACH(q, 2) {
                const int32x4_t u = down(c[h][2 * q], bits, bits == 8 ? VALUE : TOP);
                const int32x4_t v = down(c[h][2 * q + 1], bits, bits == 8 ? VALUE : TOP);
                store(t, 2 * h, n + 4 * (size_t)q, vcombine_s32(vget_low_s32(u), vget_low_s32(v)));
                store(t, 2 * h + 1, n + 4 * (size_t)q, vcombine_s32(vget_high_s32(u), vget_high_s32(v)));
            }
        }
    }
}

TILE(tile_0, NEON, w8_pair(t, 8, 4))
TILE(tile_1, NEON, w8_pair(t, 16, 4))
TILE(tile_2, NEON, w8_bytes_8(t, 2))
TILE(tile_3, NEON, w8_exact(t, 8, 4))
TILE(tile_4, NEON, sums16(t, 8, 4, 1, 4, ALONG_K, VALUE))
TILE(tile_5, NEON, sums16(t, 16, 4, 1, 4, ALONG_K, VALUE))
TILE(tile_6, NEON, sums16(t, 8, 4, 1, 4, ALONG_K, SUBTRACT))
TILE(tile_7, NEON, sums16(t, 8, 2, 2, 4, ALONG_K, VALUE))
TILE(tile_8, NEON, sums16(t, 16, 2, 2, 4, ALONG_N, VALUE))
TILE(tile_9, NEON, sums16(t, 8, 4, 1, 2, ALONG_K, VALUE))
TILE(tile_10, NEON, sums16(t, 16, 4, 1, 2, ALONG_K, VALUE))
TILE(tile_11, NEON, w8_pair(t, 8, 1))
TILE(tile_12, NEON, sums16(t, 8, 1, 2, 4, ALONG_K, VALUE))
TILE(tile_13, NEON, sums16(t, 8, 1, 2, 2, ALONG_K, VALUE))
TILE(tile_14, DOT, dot(t, 8, 8, 1, 8, VALUE))
TILE(tile_15, DOT, dot(t, 8, 4, 2, 8, VALUE))
TILE(tile_16, DOT, dot(t, 16, 8, 1, 8, VALUE))
TILE(tile_17, DOT, dot(t, 16, 4, 2, 8, VALUE))
TILE(tile_18, DOT, dot(t, 8, 8, 1, 4, TOP))
TILE(tile_19, DOT, dot(t, 8, 4, 2, 4, TOP))
TILE(tile_20, DOT, dot(t, 16, 8, 1, 4, TOP))
TILE(tile_21, DOT, dot(t, 16, 4, 2, 4, TOP))
TILE(tile_22, DOT, dot(t, 8, 8, 1, 2, TOP))
TILE(tile_23, DOT, dot(t, 8, 4, 2, 2, TOP))
TILE(tile_24, DOT, dot(t, 16, 8, 1, 2, TOP))
TILE(tile_25, DOT, dot(t, 16, 4, 2, 2, TOP))
TILE(tile_26, DOT, dot(t, 8, 8, 1, 4, SUBTRACT))
TILE(tile_27, DOT, dot(t, 8, 1, 2, 8, VALUE))
TILE(tile_28, DOT, dot(t, 8, 1, 2, 4, TOP))
TILE(tile_29, DOT, dot(t, 8, 1, 2, 2, TOP))
TILE(tile_30, I8MM, matmul(t, 8, 8))
TILE(tile_31, I8MM, matmul(t, 16, 8))
TILE(tile_32, I8MM, matmul(t, 8, 4))
TILE(tile_33, I8MM, matmul(t, 16, 4))

static const row rows[] = {
    {"neon", "w8 smull smlal sadalp, w >= -127 4x8", tile_0, 8, 4, 8, S8, TWOS, ALONG_K, 8},
    {"neon", "w8 smull smlal sadalp, w >= -127 4x8", tile_1, 8, 4, 16, S8, TWOS, ALONG_K, 8},
    {"neon", "w8 groups of 8 k, w >= -127 2x8", tile_2, 8, 2, 8, S8, TWOS, BYTES_8, 16},
    {"neon", "w8 smull sadalp 4x8", tile_3, 8, 4, 8, S8, TWOS, ALONG_K, 8},
    {"neon", "w4 4x8", tile_4, 4, 4, 8, S8, TWOS, ALONG_K, 8},
    {"neon", "w4 4x8", tile_5, 4, 4, 16, S8, TWOS, ALONG_K, 8},
    {"neon", "w4 offset, subtract 4x8", tile_6, 4, 4, 8, S8, OFFSET, ALONG_K, 8},
    {"neon", "w4 2x16", tile_7, 4, 2, 8, S8, TWOS, ALONG_K, 8},
    {"neon", "w4 planes along n 2x16", tile_8, 4, 2, 16, S8, TWOS, ALONG_N, 4},
    {"neon", "w2 4x8", tile_9, 2, 4, 8, S8, TWOS, ALONG_K, 16},
    {"neon", "w2 4x8", tile_10, 2, 4, 16, S8, TWOS, ALONG_K, 16},
    {"neon", "w8 smull smlal sadalp, w >= -127 1x8", tile_11, 8, 1, 8, S8, TWOS, ALONG_K, 8},
    {"neon", "w4 1x16", tile_12, 4, 1, 8, S8, TWOS, ALONG_K, 8},
    {"neon", "w2 1x16", tile_13, 2, 1, 8, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w8 8x8", tile_14, 8, 8, 8, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w8 4x16", tile_15, 8, 4, 8, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w8 8x8", tile_16, 8, 8, 16, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w8 4x16", tile_17, 8, 4, 16, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w4 8x8", tile_18, 4, 8, 8, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w4 4x16", tile_19, 4, 4, 8, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w4 8x8", tile_20, 4, 8, 16, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w4 4x16", tile_21, 4, 4, 16, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w2 8x8", tile_22, 2, 8, 8, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w2 4x16", tile_23, 2, 4, 8, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w2 8x8", tile_24, 2, 8, 16, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w2 4x16", tile_25, 2, 4, 16, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w4 offset, subtract 8x8", tile_26, 4, 8, 8, S8, OFFSET, ALONG_K, 16},
    {"dotprod", "w8 1x16", tile_27, 8, 1, 8, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w4 1x16", tile_28, 4, 1, 8, S8, TWOS, ALONG_K, 16},
    {"dotprod", "w2 1x16", tile_29, 2, 1, 8, S8, TWOS, ALONG_K, 16},
    {"i8mm", "w8 zip 8x8", tile_30, 8, 8, 8, S8, TWOS, ALONG_K, 8},
    {"i8mm", "w8 zip 8x8", tile_31, 8, 8, 16, S8, TWOS, ALONG_K, 8},
    {"i8mm", "w4 zip 8x8", tile_32, 4, 8, 8, S8, TWOS, ALONG_K, 8},
    {"i8mm", "w4 zip 8x8", tile_33, 4, 8, 16, S8, TWOS, ALONG_K, 8},
};
#endif

// ---- packing, scalar reference, measurement -----------------------------------------------------

static int8_t weights[MAX_N][MAX_K], values[MAX_ROWS][MAX_K];
static uint8_t packed[MAX_N * MAX_K], form[MAX_ROWS][2 * MAX_K + 64];
static int32_t out[MAX_ROWS * MAX_N];

static size_t pack(const row *r, size_t n, size_t k) {
    const size_t bits = (size_t)r->bits, nr = (size_t)r->nr,
                 per = r->order == ALONG_N   ? 4
                       : r->order == BYTES_8 ? 8
                                             : 32 / bits;
    const size_t groups = (k + per - 1) / per;
    memset(packed, 0, sizeof packed);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++) {
            const unsigned v =
                (unsigned)(weights[i][j] + (r->code == OFFSET ? 1 << (bits - 1) : 0)) & ((1u << bits) - 1);
            size_t at = (i / nr * groups + j / per) * nr * 4 + i % nr * 4 + j % 4, plane = j % per / 4;
            if (r->order == ALONG_N)
                at = (i / nr * groups + j / 4) * nr * 2 + i % 8 * 4 + j % 4, plane = i % nr / 8;
            if (r->order == BYTES_8)
                at = (i / nr * groups + j / 8) * nr * 8 + i % nr * 8 + j % 8, plane = 0;
            packed[at] |= (uint8_t)(v << bits * plane);
        }
    return groups;
}

static void fill(const row *r, size_t n, size_t k, int extreme) {
    const int top = (1 << (r->bits - 1)) - 1, low = r->bits == 8 && strstr(r->name, "-127") ? -127 : -top - 1;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
            weights[i][j] = (int8_t)(extreme ? (i & 1 ? low : top) : low + rand() % (top - low + 1));
    for (size_t i = 0; i < MAX_ROWS; i++)
        for (size_t j = 0; j < k; j++)
            values[i][j] = (int8_t)(extreme ? (i & 1 ? -128 : 127) : rand() % 256 - 128);
    for (size_t i = 0; i < MAX_ROWS; i++)
        for (size_t j = 0; j < k; j++) {
            const size_t place = r->act == S16 ? j : j / 4 * 4 + (size_t) "\0\2\1\3"[j % 4];
            const int16_t wide = values[i][j];
            if (r->act >= S16)
                memcpy(form[i] + 2 * place, &wide, 2);
            else
                form[i][j] = (uint8_t)(values[i][j] + (r->act == U8 ? 128 : 0));
        }
}

static tile make(const row *r, size_t n, size_t k, int extreme) {
    fill(r, n, k, extreme);
    tile t = {form[0], sizeof form[0], packed, pack(r, n, k), n, out};
    return t;
}

static int check(const row *r, size_t n, size_t k, int extreme) {
    const tile t = make(r, n, k, extreme);
    int wrong = 0;
    r->run(&t);
    for (size_t i = 0; i < (size_t)r->mr; i++)
        for (size_t c = 0; c < n; c++) {
            int32_t sum = 0;
            const int raw = strstr(r->name, "row sums") ? 1 << (r->bits - 1) : 0;
            for (size_t j = 0; j < k; j++)
                sum += (values[i][j] + (r->act == U8 ? 128 : 0)) * (weights[c][j] + raw);
            wrong += sum != out[i * n + c];
        }
    return wrong;
}

#if defined(__x86_64__)
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double speed(const row *r, size_t n, size_t k) {
    const tile t = make(r, n, k, 0);
    const double macs = (double)r->mr * (double)n * (double)k;
    const int calls = (int)(2e6 / macs) + 1;
    double best = 1e9;
    for (int i = 0; i < 3000; i++) {
        const double start = now();
        for (int j = 0; j < calls; j++)
            r->run(&t);
        const double time = (now() - start) / calls;
        best = time < best ? time : best;
    }
    return macs / best / 1e9;
}
#endif

int main(void) {
    int wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const row *r = rows + i;
        for (size_t k = (size_t)r->k_multiple; k <= 512; k += 3 * (size_t)r->k_multiple)
            for (int extreme = 0; extreme < 2; extreme++) {
                const int bad = check(r, 96, k, extreme);
                if (bad && !wrong)
                    printf("%s %s nr %d k %zu: %d wrong\n", r->isa, r->name, r->nr, k, bad);
                wrong += bad;
            }
    }
    printf("%d sums differ from the scalar loop\n", wrong);
#if defined(__x86_64__)
    printf("%-8s %-36s %4s %9s %9s %9s\n", "GMAC/s", "", "nr", "N32 K64", "N32 K256", "N512 K512");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const row *r = rows + i;
        printf("%-8s %-36s %4d %9.1f %9.1f %9.1f\n", r->isa, r->name, r->nr, speed(r, 32, 64),
               speed(r, 32, 256), speed(r, 512, 512));
        fflush(stdout);
    }
#else
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const tile t = make(rows + i, 96, 240, 0);
        prctl(0x6e79626c, 1, 0, 0, 0);
        rows[i].run(&t);
        prctl(0x6e79626c, 0, 0, 0, 0);
        printf("%s\t%s\t%d\t%d\n", rows[i].isa, rows[i].name, rows[i].nr, rows[i].mr * 96 * 240);
    }
#endif
    return wrong != 0;
}
