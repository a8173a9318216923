// SPDX-License-Identifier: Apache-2.0
// Output bytes and what is beside them.
#include "check.h"

#include <string.h>

enum { BESIDE_BYTES = 64 }; // compared on the side that has no guard at once

static check_memory memory_found = {.name = "the output"};
static check_memory memory_expected = {.name = "the expected output"};

void check_target_place(check *c, check_target *t, size_t size, check_place place) {
    const size_t before = place == CHECK_GUARD_BEHIND ? BESIDE_BYTES : 0;
    t->bytes = size + BESIDE_BYTES;
    t->size = size;
    t->found = check_memory_place(&memory_found, t->bytes, place);
    t->expected = check_memory_place(&memory_expected, t->bytes, place);
    check_fill(c, t->found, t->bytes);
    memcpy(t->expected, t->found, t->bytes);
    t->c = (int8_t *)t->found + before;
    t->expected_c = (int8_t *)t->expected + before;
}

bool check_target_compare(check *c, const check_target *t) {
    size_t at = 0;
    while (at < t->bytes && t->found[at] == t->expected[at]) {
        at++;
    }
    if (at == t->bytes) {
        return true;
    }
    const ptrdiff_t offset = (const int8_t *)t->found + at - t->c;
    if (offset >= 0 && (size_t)offset < t->size) {
        return check_fail(c, "c[%td] is %d, expected %d", offset, t->c[offset], t->expected_c[offset]);
    }
    return check_fail(c, "writes to c + %td, which is not an output", offset);
}

int8_t *check_place_bytes(check *c, check_memory *memory, check_pattern pattern, size_t size,
                          check_place place) {
    static check_memory memory_draws = {.name = "draws"};
    int32_t *values = check_memory_place(&memory_draws, size * sizeof(int32_t), place);
    int8_t *bytes = check_memory_place(memory, size, place);
    check_draw(c, pattern, INT8_MIN, INT8_MAX, values, size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (int8_t)values[i];
    }
    return bytes;
}
