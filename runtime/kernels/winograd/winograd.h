// SPDX-License-Identifier: Apache-2.0
// Convolution of 3x3 windows at stride 1, requantized to int8, by Winograd's F(4x4, 3x3): 36 products in
// place of 144, and the same bits.
//
//   Y = A^T [(G g G^T) . (B^T d B)] A      g: 3x3 weights, d: 6x6 inputs, Y: 4x4 sums
//   (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, section 4.3)
//
// G has fractions. Here every row of G is multiplied by what makes it whole, (4, 6, 6, 24, 24, 1), and the
// columns of A^T by 24 over that; then common factors of A^T's rows are taken out:
//
//   B^T = 4  0 -5  0  1  0    G =  1  0  0    A^T = 6  4  4  1  1  0  gives 24 Y
//         0 -4 -4  1  1  0        -1 -1 -1          0  2 -2  1 -1  0  gives 12 Y
//         0  4 -4 -1  1  0        -1  1 -1          0  1  1  1  1  0  gives  6 Y
//         0 -2 -1  2  1  0         1  2  4          0  1 -1  2 -2  6  gives  6 Y
//         0  2 -1 -2  1  0         1 -2  4
//         0  4  0 -5  0  1         0  0  1
//
// Transformed inputs are within 10 * 10 * 128 = 12800, transformed weights within 7 * 7 * 511 = 25039: both
// fit int16. All sums are taken modulo 2^32. The 16 results are multiples 9 * 2^k * Y with k from 2 to 6: a
// multiplication by the inverse of 9 modulo 2^32 and an arithmetic shift by k give Y wherever |Y| < 2^25,
// which holds where the |w| of an output sum to less than 2^18.
#ifndef NYB_KERNELS_WINOGRAD_H
#define NYB_KERNELS_WINOGRAD_H

#include "base/fixedpoint.h"
#include "nybble.h"

#include <stddef.h>

enum {
    NYB_WINOGRAD_TILE = 4,      // outputs of a tile, along each side
    NYB_WINOGRAD_PATCH = 6,     // inputs of a tile, along each side
    NYB_WINOGRAD_POINTS = 36,   // products of a tile, per channel
    NYB_WINOGRAD_CHANNELS = 16, // that input channels are padded to a multiple of
    NYB_WINOGRAD_SUM_BITS = 18, // the |w| of an output sum to less than 2^18
};

// c[y][x][j] = finish(sum over i, l, k of x[y + i][x + l][k] * w[j][i][l][k] + bias[j])
//                                                          y < height, x < width, j < outputs, k < channels
//
// x: 4 * ceil(height / 4) + 2 lines, `line` bytes apart, of 4 * ceil(width / 4) + 2 pixels of `channels`,
// which is a
//   multiple of NYB_WINOGRAD_CHANNELS; padded by the caller. Not read beyond.
// weights: of nyb_winograd_transform, ceil(outputs / nr) panels, aligned to NYB_ALIGNMENT. The |w| of an
// output sum to less than 2^18. bias, multiplier, shift: one int32 per output, readable up to a multiple
// of 8. Sums with the bias wrap. c: height * width pixels of `outputs` int8, `c_stride` bytes apart; nothing
// else is written. scratch: nyb_winograd_scratch bytes, aligned to NYB_ALIGNMENT. Any size may be 0.
typedef struct nyb_winograd_args {
    const int8_t *x;
    size_t line;
    uint32_t channels;
    uint32_t height;
    uint32_t width;
    uint32_t outputs;
    const int16_t *weights;
    const int32_t *bias;
    const int32_t *multiplier;
    const int32_t *shift;
    nyb_requantize output;
    int8_t *c;
    size_t c_stride;
    void *scratch;
} nyb_winograd_args;

typedef void (*nyb_winograd_fn)(const nyb_winograd_args *args);

// Transformed weights are int16 [panel of nr outputs][point][channels / kr][nr][kr].
typedef struct nyb_winograd_variant {
    const char *name;
    uint32_t needs;  // CPU features
    uint32_t unless; // CPU features with which the direct form is faster
    uint8_t nr;
    uint8_t kr;
    // To be faster than the direct form: tiles of an image, with weights that no cache keeps; outputs.
    uint8_t tiles_min, outputs_min;
    nyb_winograd_fn run;
} nyb_winograd_variant;

#define NYB_WINOGRAD(name, needs, unless, nr, kr, tiles_min, outputs_min)                                    \
    void nyb_winograd_##name(const nyb_winograd_args *args);
#include "kernels/winograd/variants.inc"
#undef NYB_WINOGRAD

// All variants of this build, best first, ended by a row without a name. There is no portable one: without a
// wide multiplier the direct form is as good.
extern const nyb_winograd_variant nyb_winograd_variants[];

// The best variant on a CPU with these features; NULL where there is none.
const nyb_winograd_variant *nyb_winograd_pick(uint32_t cpu);

// Tiles that cover so many outputs along one side.
static inline uint32_t nyb_winograd_tiles(uint32_t size) {
    return size / NYB_WINOGRAD_TILE + (size % NYB_WINOGRAD_TILE != 0);
}

// Bytes of the transformed weights of so many outputs.
static inline uint64_t nyb_winograd_bytes(const nyb_winograd_variant *variant, uint32_t channels,
                                          uint32_t outputs) {
    const uint64_t panels = ((uint64_t)outputs + variant->nr - 1) / variant->nr;
    return panels * variant->nr * NYB_WINOGRAD_POINTS * sizeof(int16_t) * channels;
}

// Writes the weights of output n and input channel k, w[3 * line + column], each within 9 bits and a sign,
// where the variant wants them. Weights that pad the channels have to be written too.
void nyb_winograd_transform(const nyb_winograd_variant *variant, const int32_t w[9], uint32_t channels,
                            uint32_t n, uint32_t k, int16_t *weights);

// Elements from one point to the next where each has `count` of `bytes` bytes: a cache line more, since 36
// streams at multiples of 4096 bytes would share the few places of one cache set.
static inline uint64_t nyb_winograd_point(uint64_t count, uint64_t bytes) {
    return count + NYB_ALIGNMENT / bytes;
}

// Scratch memory for so many tiles: their transformed inputs, then the sums of a panel.
static inline uint64_t nyb_winograd_scratch(const nyb_winograd_variant *variant, uint32_t channels,
                                            uint64_t tiles) {
    const uint64_t inputs = nyb_winograd_point(tiles * channels, sizeof(int16_t)) * sizeof(int16_t);
    const uint64_t sums = nyb_winograd_point(tiles * variant->nr, sizeof(int32_t)) * sizeof(int32_t);
    return NYB_WINOGRAD_POINTS * (inputs + sums);
}

#endif
