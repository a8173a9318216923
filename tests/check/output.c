// SPDX-License-Identifier: Apache-2.0
// Everything behind the accumulators: constants of the channels, space for c, the comparison.
#include "check.h"

#include <string.h>

enum { BESIDE_BYTES = 64 }; // compared on the side of c that has no guard at once

static check_memory memory_bias = {.name = "bias"};
static check_memory memory_multiplier = {.name = "multiplier"};
static check_memory memory_shift = {.name = "shift"};
static check_memory memory_c = {.name = "c"};
static check_memory memory_expected = {.name = "the expected c"};

// One int32 per channel, readable up to a multiple of nr; the padding may be anything.
static int32_t *place_channels(check *c, check_memory *memory, uint32_t channels, uint32_t nr,
                               check_place place) {
    const size_t bytes = (size_t)((channels + nr - 1) / nr) * nr * sizeof(int32_t);
    int32_t *values = check_memory_place(memory, bytes, place);
    check_fill(c, values, bytes);
    return values;
}

void check_output_draw(check *c, check_output *o, uint32_t nr, check_shifts shifts, check_place place) {
    int32_t *bias = place_channels(c, &memory_bias, o->columns, nr, place);
    int32_t *multiplier = place_channels(c, &memory_multiplier, o->columns, nr, place);
    int32_t *shift = place_channels(c, &memory_shift, o->columns, nr, place);
    c->modest = check_below(c, 2) == 0;
    for (uint32_t j = 0; j < o->columns; j++) {
        const int32_t sum = o->rows > 0 ? o->sum(o->context, check_below(c, o->rows), j) : 0;
        check_draw_channel(c, shifts, sum, &bias[j], &multiplier[j], &shift[j]);
    }
    o->bias = bias;
    o->multiplier = multiplier;
    o->shift = shift;
    o->requantize = check_draw_requantize(c);
    o->c_stride = o->columns + (check_below(c, 2) ? check_below(c, 40) : 0);
    const size_t span = o->rows > 0 ? (o->rows - 1) * o->c_stride + o->columns : 0;
    const size_t before = place == CHECK_GUARD_BEHIND ? BESIDE_BYTES : 0;
    o->bytes = span + BESIDE_BYTES;
    o->found = check_memory_place(&memory_c, o->bytes, place);
    o->expected = check_memory_place(&memory_expected, o->bytes, place);
    check_fill(c, o->found, o->bytes);
    memcpy(o->expected, o->found, o->bytes);
    o->c = (int8_t *)o->found + before;
    o->expected_c = (int8_t *)o->expected + before;
}

static int32_t accumulator(const check_output *o, uint32_t i, uint32_t j) {
    return nyb_add(o->sum(o->context, i, j), o->bias[j]);
}

void check_output_define(const check_output *o) {
    for (uint32_t i = 0; i < o->rows; i++) {
        for (uint32_t j = 0; j < o->columns; j++) {
            o->expected_c[i * o->c_stride + j] =
                nyb_finish(accumulator(o, i, j), o->multiplier[j], o->shift[j], &o->requantize);
        }
    }
}

bool check_output_compare(check *c, const check_output *o) {
    size_t at = 0;
    while (at < o->bytes && o->found[at] == o->expected[at]) {
        at++;
    }
    if (at == o->bytes) {
        return true;
    }
    const ptrdiff_t offset = (const int8_t *)o->found + at - o->c;
    if (offset >= 0 && o->c_stride > 0) {
        const size_t i = (size_t)offset / o->c_stride;
        const size_t j = (size_t)offset % o->c_stride;
        if (i < o->rows && j < o->columns) {
            return check_fail(c, "c[%zu][%zu] is %d, expected %d (accumulator %d, multiplier %d, shift %d)",
                              i, j, o->c[offset], o->expected_c[offset],
                              accumulator(o, (uint32_t)i, (uint32_t)j), o->multiplier[j], o->shift[j]);
        }
    }
    return check_fail(c, "writes to c + %td, which is not an output", offset);
}
