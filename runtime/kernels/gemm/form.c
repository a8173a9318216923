// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/form.h"

#include <string.h>

static void stage_s8(void *to, const int8_t *from, size_t count, size_t padded) {
    memcpy(to, from, count);
    memset((int8_t *)to + count, 0, padded - count);
}

static int32_t sum_s8(const void *elements, size_t count) {
    const int8_t *a = elements;
    int32_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += a[i];
    }
    return sum;
}

const nyb_form nyb_form_s8 = {"s8", 1, stage_s8, sum_s8};
