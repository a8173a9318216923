// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/form.h"

#include <string.h>

static void stage_s8(void *to, const int8_t *from, size_t count, size_t padded) {
    memcpy(to, from, count);
    if (padded > count) {
        memset((int8_t *)to + count, 0, padded - count);
    }
}

// Eight activations at a time: 128 larger they are unsigned bytes, whose sums of two fill four lanes of 16
// bits 128 times before one may overflow.
static int32_t sum_s8(const void *elements, size_t count) {
    const int8_t *a = elements;
    const uint64_t bytes = UINT64_C(0x00ff00ff00ff00ff), lanes = UINT64_C(0x0000ffff0000ffff);
    int32_t sum = 0;
    while (count >= 8) {
        const size_t words = count / 8 < 128 ? count / 8 : 128;
        uint64_t sums = 0;
        for (size_t i = 0; i < words; i++, a += 8) {
            uint64_t x;
            memcpy(&x, a, 8);
            x ^= UINT64_C(0x8080808080808080);
            sums += (x & bytes) + (x >> 8 & bytes);
        }
        sums = (sums & lanes) + (sums >> 16 & lanes);
        sum += (int32_t)((uint32_t)sums + (uint32_t)(sums >> 32)) - (int32_t)(8 * 128 * words);
        count -= 8 * words;
    }
    for (size_t i = 0; i < count; i++) {
        sum += a[i];
    }
    return sum;
}

const nyb_form nyb_form_s8 = {"s8", 1, stage_s8, sum_s8};
