// SPDX-License-Identifier: Apache-2.0
// Matrix product of int8 rows and packed weights, requantized to int8.
//
//   c[i][j] = finish(sum over k of a[i][k] * w[j][k] + bias[j] + row_bias[i])      i < rows, j < columns, k <
//   depth
//
// a: one pointer per row, to its activations in `form`: the variant's own, or its form of copies. A row is
//   `segments` stretches of `segment` activations, `pitch` bytes apart, as the lines of a convolution's
//   window lie in an image; rows may overlap. depth = segments * segment, and segment is a multiple of the
//   layout's step (kr * 8 / weight bits) where there are several. A stretch is readable up to a multiple of
//   the step, where it meets weights that are 0, and not read beyond that.
// line, stride: `rows` is a multiple of `line`, rows of a line lie `stride` bytes apart; 0: they may lie
//   anywhere. gap: lines lie as if so many rows were between one and the next, which can be read as rows
//   too; 0: they may lie anywhere.
// weights: ceil(columns / nr) panels in the variant's layout (base/packed.h), aligned to nr * kr bytes; what
//   pads the depth is 0. Any size may be 0.
// bias, multiplier, shift, weight_sum: one int32 per column, readable up to a multiple of nr.
// weight_sum: of each column's weights, each times its factor.
// weight_minimum: no weight is smaller. Sums of a lying caller may be wrong.
// row_bias: one int32 per row, or NULL.
// factors: with scale_group > 0 (a multiple of the layout's step), each partial sum over scale_group k is
//   multiplied by its factor before it is added: int8 [panel][group][nr].
// prepacked: what the variant's `prepack` wrote of these weights, segments and columns, or NULL.
// c: rows of `columns` int8, `c_stride` bytes apart; nothing else is written. Must not overlap what is
//   read of a.
// Sums wrap in 32 bits; the compiler has proven that they do not.
//
// The variants for 16-bit activations (variants16.inc) take int16 as they are in a tensor and write int16,
// both aligned to 2 bytes; weights and constants are the same, without row_bias and factors. Sums are of 64
// bits.
// multiplier_low: one int32 per column, 31 more bits behind the multiplier's, the nudge being 0; or NULL.
#ifndef NYB_KERNELS_GEMM_H
#define NYB_KERNELS_GEMM_H

#include "base/fixedpoint.h"
#include "kernels/gemm/form.h"
#include "nybble.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct nyb_gemm_args {
    const uint8_t *const *a;
    uint32_t segments;
    uint32_t segment;
    size_t pitch;
    uint32_t line;
    uint32_t gap;
    size_t stride;
    const nyb_form *form;
    const uint8_t *weights;
    const void *prepacked;
    const int32_t *bias;
    const int32_t *multiplier;
    const int32_t *multiplier_low;
    const int32_t *shift;
    const int32_t *weight_sum;
    int32_t weight_minimum;
    const int32_t *row_bias;
    const int8_t *factors;
    uint32_t scale_group;
    nyb_requantize output;
    uint32_t rows;
    uint32_t columns;
    uint32_t depth;
    int8_t *c;
    size_t c_stride;
} nyb_gemm_args;

// Pairs of any int8, and those whose products with two u8 fit 16 bits: 255 * 128 < 2^15.
enum { NYB_PAIRS_ANY = 256, NYB_PAIRS_S16 = 128 };

typedef void (*nyb_gemm_fn)(const nyb_gemm_args *args);

// Writes weights, depth, segments, segment and columns of `args` in the variant's own form, aligned to
// NYB_ALIGNMENT; returns its bytes. to: NULL to learn the bytes. What NYB_PREPACKED_COLUMNS take, and
// multiples, is a part of its own.
typedef uint64_t (*nyb_gemm_prepack_fn)(const nyb_gemm_args *args, void *to);
enum { NYB_PREPACKED_COLUMNS = 32 };

typedef struct nyb_gemm_variant {
    const char *name;
    uint32_t needs; // CPU features
    uint8_t weight_bits;
    uint8_t nr; // layout of the weights
    uint8_t kr;
    uint8_t mr; // rows that it prefers to get a multiple of
    const nyb_form *form;
    const nyb_form *copied; // the form that it prefers where activations are copied anyway
    bool scale_groups;      // takes scale_group > 0
    uint32_t pairs;         // the largest |w[j][k]| + |w[j][k + 1]|, k even, for which it is exact
    bool narrow;            // of 16-bit activations: only without multiplier_low, where all sums fit 32 bits
    nyb_gemm_fn run;
    bool tiled;                  // takes tiles of rows, and prepares weights in each call: wants many rows
    nyb_gemm_prepack_fn prepack; // NULL: none
} nyb_gemm_variant;

#define NYB_GEMM(name, needs, bits, nr, kr, mr, form, copied, groups, pairs)                                 \
    void nyb_gemm_##name(const nyb_gemm_args *args);
#define NYB_GEMM_TILED(name, ...)                                                                            \
    void nyb_gemm_##name(const nyb_gemm_args *args);                                                         \
    uint64_t nyb_gemm_##name##_prepack(const nyb_gemm_args *args, void *to);
#define NYB_GEMM_NARROW(name, ...) void nyb_gemm_##name(const nyb_gemm_args *args);
#include "kernels/gemm/variants.inc"
#include "kernels/gemm/variants16.inc"
#undef NYB_GEMM
#undef NYB_GEMM_TILED
#undef NYB_GEMM_NARROW

// All variants of this build for activations of 8 and of 16 bits, best first for each number of bits, ended
// by a row without a name.
extern const nyb_gemm_variant nyb_gemm_variants[];
extern const nyb_gemm_variant nyb_gemm16_variants[];

// What a variant must take: activations of so many bytes (1 or 2), weights of this layout with pairs of at
// most `pairs`.
typedef struct nyb_gemm_layer {
    uint32_t bytes;
    uint32_t bits;
    uint32_t nr;
    uint32_t kr;
    bool scale_groups;
    uint32_t pairs;
    bool narrow; // all sums fit 32 bits, and there is no multiplier_low
} nyb_gemm_layer;

// The best variant for this layer on a CPU with these features; NULL where there is none.
const nyb_gemm_variant *nyb_gemm_pick(uint32_t cpu, const nyb_gemm_layer *layer);

#endif
