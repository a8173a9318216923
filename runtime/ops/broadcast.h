// SPDX-License-Identifier: Apache-2.0
// Elementwise operators on two inputs of unequal shapes, numpy's broadcasting rule.
#ifndef NYB_OPS_BROADCAST_H
#define NYB_OPS_BROADCAST_H

#include "kernels/elementwise/elementwise.h"
#include "ops/op.h"

// The output's dimensions, merged where both inputs allow it, outermost first. A stride of 0 repeats an
// input.
typedef struct nyb_broadcast {
    uint32_t bytes; // of an element, in and out: 1 or 2
    uint32_t rank;  // at least 1
    uint32_t shape[NYB_MAX_RANK];
    uint32_t stride1[NYB_MAX_RANK];
    uint32_t stride2[NYB_MAX_RANK];
} nyb_broadcast;

// False where the three are not all int8 or all int16, the shapes do not broadcast to the output's, or it has
// 2^32 elements or more.
bool nyb_broadcast_read(const nyb_tensor_info *a, const nyb_tensor_info *b, const nyb_tensor_info *out,
                        nyb_broadcast *broadcast);

// elements: in int16 the pointers are to int16; the strides count elements.
typedef void (*nyb_elements_fn)(const void *plan, const nyb_elements *elements);

// Calls f, which needs these CPU features, for portions that together are the output; large outputs on all
// threads.
void nyb_broadcast_run(const nyb_broadcast *broadcast, const int8_t *a, const int8_t *b, int8_t *c,
                       nyb_elements_fn f, const void *plan, uint32_t needs, const nyb_parallel *parallel);

#endif
