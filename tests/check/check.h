// SPDX-License-Identifier: Apache-2.0
// The proof of the kernels: every row of every variant table against the scalar row, bit for bit.
//
// A kernel family is one file with one check_family; its rows come from its variants.inc, so a new
// row is checked without a change here. The idea is checkasm's (videolan/dav1d, tests/checkasm).
#ifndef NYB_CHECK_H
#define NYB_CHECK_H

#include "base/fixedpoint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHECK_TEXT_BYTES = 512 };

// The check of one variant.
typedef struct check {
    uint64_t random;                // state of the generator
    uint32_t round;                 // rounds done before
    uint32_t cases;                 // cases begun
    bool typical;                   // constants as trained networks have them, for speeds
    bool modest;                    // no accumulators near the ends of int32, in all channels of a case
    char shape[CHECK_TEXT_BYTES];   // the case under way
    char failure[CHECK_TEXT_BYTES]; // what went wrong in it
} check;

typedef struct check_row {
    const char *name; // NULL behind the last row
    uint32_t needs;   // CPU features
    const void *row;  // the family's own record
} check_row;

typedef struct check_family {
    const char *name;
    check_row (*row)(uint32_t index);
    // One round over all shapes. False after check_fail; may be left by a signal.
    bool (*round)(check *c, const void *row);
    // Prints a few speeds.
    void (*bench)(check *c, const void *row);
} check_family;

extern const check_family check_gemm;
extern const check_family check_depthwise;
extern const check_family check_elementwise;
extern const check_family check_lookup;
extern const check_family check_pool;
extern const check_family check_resize;
extern const check_family check_winograd;
extern const check_family check_gemm16;
extern const check_family check_depthwise16;

typedef enum check_outcome { CHECK_OK, CHECK_DIFFERS, CHECK_CRASHED } check_outcome;

enum { CHECK_ROUNDS = 8 }; // unless the user wants others

// Runs `rounds` rounds of a row. The same seed gives every row the same draws.
check_outcome check_run(check *c, const check_family *family, const void *row, uint64_t seed,
                        uint32_t rounds);

// Proves that broken kernels are caught. The number of those that were not.
uint32_t check_self_test(uint64_t seed);

// Begins a case; the text says what a person needs in order to understand a failure.
__attribute__((format(printf, 2, 3))) void check_begin(check *c, const char *format, ...);

// Notes what is wrong. Returns false.
__attribute__((format(printf, 2, 3))) bool check_fail(check *c, const char *format, ...);

// Billions of multiplications and additions per second of `once`, which does `macs` of them: the
// best of several.
double check_speed(uint64_t macs, void (*once)(const void *), const void *context);

// Guarded memory. Pages without access begin where what is placed ends, or end where it begins; on
// the other side they follow after the rest of the mapping.
typedef enum check_place { CHECK_GUARD_BEHIND, CHECK_GUARD_BEFORE, CHECK_PLACES } check_place;
extern const char *const check_place_names[CHECK_PLACES];

typedef struct check_memory {
    const char *name;
    uint8_t *mapped; // NULL until the first use
    size_t size;     // of the middle, which can be touched
    uint8_t *start;  // of what is placed
    size_t bytes;
    struct check_memory *next;
} check_memory;

// `bytes` bytes of any content, aligned to what `bytes` is a multiple of. Valid until the next call
// with the same memory, which must live as long as the program.
void *check_memory_place(check_memory *memory, size_t bytes, check_place place);

// Random numbers: below(n) in [0, n), between(low, high) inclusive.
uint64_t check_bits(check *c);
uint32_t check_below(check *c, uint32_t n);
int32_t check_between(check *c, int32_t low, int32_t high);
void check_fill(check *c, void *bytes, size_t count);

// A pattern of integers in [low, high].
typedef enum check_pattern {
    CHECK_UNIFORM,
    CHECK_MINIMUM,
    CHECK_MAXIMUM,
    CHECK_SPARSE,      // mostly 0
    CHECK_EXTREMES,    // low or high
    CHECK_ALTERNATING, // low, high, low, ...
    CHECK_RUNS,        // low or high for a while: partial sums that are larger than the whole
    CHECK_PATTERNS
} check_pattern;
extern const char *const check_pattern_names[CHECK_PATTERNS];
void check_draw(check *c, check_pattern pattern, int32_t low, int32_t high, int32_t *values, size_t count);

// Where the shifts of a case come from.
typedef enum check_shifts {
    CHECK_FITTING,  // outputs within int8 and somewhat beyond
    CHECK_UP_TO_31, // no nudge
    CHECK_AT_31,    // no nudge, and products of 32 bits wrap
    CHECK_ABOVE_31, // nudge
    CHECK_32_TO_40, // and, rarely, 41: requantization of 16 bits
    CHECK_ANY,      // 1 to 62
    CHECK_MIXED,    // a choice per channel
    CHECK_SHIFTS
} check_shifts;

extern const char *const check_shifts_names[CHECK_SHIFTS];

// The constants of one channel. sum: one of its accumulators as it is without a bias.
void check_draw_channel(check *c, check_shifts shifts, int32_t sum, int32_t *bias, int32_t *multiplier,
                        int32_t *shift);

// Zero point, clamp and nudge.
nyb_requantize check_draw_requantize(check *c);

// Everything behind the accumulators of a kernel with int8 outputs c[i][j].
typedef struct check_output {
    // By the family: the size of c; accumulator (i, j) by definition, without the bias of column j.
    uint32_t rows;
    uint32_t columns;
    int32_t (*sum)(const void *context, uint32_t i, uint32_t j);
    const void *context;
    // By check_output_draw: what the kernel gets, where the scalar row writes, and both with the
    // bytes beside them, which stay as they are.
    const int32_t *bias;
    const int32_t *multiplier;
    const int32_t *shift;
    nyb_requantize requantize;
    size_t c_stride;
    int8_t *c;
    int8_t *expected_c;
    uint8_t *found;
    uint8_t *expected;
    size_t bytes;
} check_output;

void check_output_draw(check *c, check_output *o, uint32_t nr, check_shifts shifts, check_place place);

// Fills expected_c by definition, for the scalar row itself.
void check_output_define(const check_output *o);

// Whether the outputs, the gaps between them and the bytes beside them are as expected.
bool check_output_compare(check *c, const check_output *o);

// `size` output bytes without constants of channels, and those beside them, which stay as they are.
typedef struct check_target {
    int8_t *c;          // what the kernel gets
    int8_t *expected_c; // where the scalar row writes
    uint8_t *found;
    uint8_t *expected;
    size_t bytes;
    size_t size;
} check_target;

void check_target_place(check *c, check_target *t, size_t size, check_place place);
bool check_target_compare(check *c, const check_target *t);

// `size` int8 of a pattern.
int8_t *check_place_bytes(check *c, check_memory *memory, check_pattern pattern, size_t size,
                          check_place place);

#endif
