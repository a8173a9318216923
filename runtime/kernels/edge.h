// SPDX-License-Identifier: Apache-2.0
// Reading at the edge of a row: whole words where the row has them, zeros and not one byte behind its end.
#ifndef NYB_KERNELS_EDGE_H
#define NYB_KERNELS_EDGE_H

#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "expected the first byte in the lowest bits");

// Bytes `at` to `at` + 3 of a row of `length` bytes, those behind its end 0.
static inline uint32_t nyb_read4(const int8_t *row, uint32_t at, uint32_t length) {
    uint32_t bytes = 0;
    if (at >= length) {
        return 0;
    }
    if (length - at >= 4) {
        memcpy(&bytes, row + at, 4);
    } else if (length >= 4) { // the last 4 bytes of the row, those before `at` shifted out
        memcpy(&bytes, row + length - 4, 4);
        bytes >>= 8 * (4 - (length - at));
    } else {
        for (uint32_t i = length; i > at; i--) {
            bytes = bytes << 8 | (uint8_t)row[i - 1];
        }
    }
    return bytes;
}

// Bytes `at` to `at` + 7, the same way.
static inline uint64_t nyb_read8(const int8_t *row, uint32_t at, uint32_t length) {
    uint64_t bytes = 0;
    if (at < length && length - at < 8 && length >= 8) {
        memcpy(&bytes, row + length - 8, 8);
        return bytes >> 8 * (8 - (length - at));
    }
    return nyb_read4(row, at, length) | (uint64_t)nyb_read4(row, at + 4, length) << 32;
}

#endif
