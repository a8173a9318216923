// SPDX-License-Identifier: Apache-2.0
// Elementwise operators on two inputs of unequal shapes, numpy's broadcasting rule.
#ifndef NYB_OPS_BROADCAST_H
#define NYB_OPS_BROADCAST_H

#include "ops/op.h"

// The output's dimensions, merged where both inputs allow it, outermost first. A stride of 0 repeats an
// input.
typedef struct nyb_broadcast {
    uint32_t rank; // at least 1
    uint32_t shape[NYB_MAX_RANK];
    uint32_t stride1[NYB_MAX_RANK];
    uint32_t stride2[NYB_MAX_RANK];
} nyb_broadcast;

// False where the shapes do not broadcast to the output's, or it has 2^32 elements or more.
bool nyb_broadcast_read(const nyb_tensor_info *a, const nyb_tensor_info *b, const nyb_tensor_info *out,
                        nyb_broadcast *broadcast);

// One run of `count` elements: c[i] = f(a[i * stride1], b[i * stride2]), strides 0 or 1.
typedef void (*nyb_elementwise_fn)(const void *plan, const int8_t *a, uint32_t stride1, const int8_t *b,
                                   uint32_t stride2, int8_t *c, uint32_t count);

// Calls f for every run of the output, in order.
void nyb_broadcast_run(const nyb_broadcast *broadcast, const int8_t *a, const int8_t *b, int8_t *c,
                       nyb_elementwise_fn f, const void *plan);

#endif
