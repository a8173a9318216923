// SPDX-License-Identifier: Apache-2.0
// Reading at the edge of a row: whole words that lie within it, zeros for what is behind its end.
#ifndef NYB_KERNELS_EDGE_H
#define NYB_KERNELS_EDGE_H

#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "expected the first byte in the lowest bits");

// All of a row of up to 8 bytes. Rare, so it is not inlined.
static __attribute__((noinline, unused)) uint64_t nyb_read_short(const int8_t *row, uint32_t length) {
    uint64_t bytes = 0;
    for (uint32_t i = length; i > 0; i--) {
        bytes = bytes << 8 | (uint8_t)row[i - 1];
    }
    return bytes;
}

// Bytes `at` to `at` + 7 of a row of `length` bytes, those behind its end 0. at: a multiple of 8 below
// length.
static inline uint64_t nyb_read8(const int8_t *row, uint32_t at, uint32_t length) {
    if (length < 8) {
        return nyb_read_short(row, length);
    }
    // A word that ends with the row, and what is before `at` shifted out.
    const uint32_t over = length - at < 8 ? 8 - (length - at) : 0;
    uint64_t bytes;
    memcpy(&bytes, row + at - over, 8);
    return bytes >> 8 * over;
}

#endif
