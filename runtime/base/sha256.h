// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4).
#ifndef NYB_BASE_SHA256_H
#define NYB_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { NYB_SHA256_BYTES = 32 };

typedef struct nyb_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
} nyb_sha256;

void nyb_sha256_init(nyb_sha256 *hash);
void nyb_sha256_add(nyb_sha256 *hash, const void *data, size_t bytes);
void nyb_sha256_finish(nyb_sha256 *hash, uint8_t digest[NYB_SHA256_BYTES]);

#endif
