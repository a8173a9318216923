// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as a model. How to run it: docs/robustness.md.
#include "invoke_any.h"

#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t next(uint32_t *random) {
    *random = *random * 1664525u + 1013904223u;
    return *random >> 8;
}

static const uint32_t EXTREMES[] = {
    0,          1,          2,
    3,          4,          5,
    7,          8,          9,
    15,         16,         31,
    62,         63,         64,
    65,         127,        128,
    255,        256,        1024,
    4095,       4096,       1u << 16,
    1u << 20,   1u << 22,   (1u << 22) + 1,
    1u << 23,   1u << 24,   (1u << 24) + 1,
    1u << 28,   1u << 30,   0x7FFFFFFF,
    0x80000000, 0x80000001, 0xFFFFFF80,
    0xFFFFFFC0, 0xFFFFFFFC, 0xFFFFFFFE,
    0xFFFFFFFF,
};

// Fields of FlatBuffers stand at multiples of their size, so most mutations overwrite one: with an extreme
// value, a value near the old one, a field from elsewhere, or the place of a span.
static void overwrite_field(uint8_t *data, size_t size, uint32_t *random) {
    const size_t bytes = next(random) % 4 == 0 ? 1 : (next(random) % 8 == 0 ? 8 : 4);
    if (size < bytes) {
        return;
    }
    // The structure comes first and is what the reader has to doubt.
    const size_t reach = next(random) % 4 == 0 || size < 64 ? size : size / 2;
    const size_t at = next(random) % (reach / bytes) * bytes;
    uint64_t value = 0;
    memcpy(&value, data + at, bytes);
    switch (next(random) % 5) {
    case 0:
        value += next(random) % 17 - 8u;
        break;
    case 1:
        memcpy(&value, data + next(random) % (size / bytes) * bytes, bytes);
        break;
    case 2: // what spans are made of: aligned positions near the end of the file
        value = size / 64 * 64 - next(random) % 4 * 64;
        break;
    default:
        value = EXTREMES[next(random) % (sizeof EXTREMES / sizeof EXTREMES[0])];
        value |= bytes == 8 && next(random) % 4 == 0 ? value << 32 : 0;
    }
    memcpy(data + at, &value, bytes);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    uint32_t random = seed;
    if (next(&random) % 8 == 0) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    for (uint32_t i = 1 + next(&random) % 3; i > 0; i--) {
        overwrite_field(data, size, &random);
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    invoke_any(data, size);
    return 0;
}
