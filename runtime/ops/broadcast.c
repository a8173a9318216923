// SPDX-License-Identifier: Apache-2.0
#include "ops/broadcast.h"

// Size and stride of dimension d of the output (counted from the last) in an input.
static bool stride_of(const nyb_tensor_info *in, uint32_t from_last, uint32_t extent, uint64_t *elements,
                      uint32_t *stride) {
    const uint32_t size = from_last < in->rank ? in->shape[in->rank - 1 - from_last] : 1;
    *stride = size == 1 ? 0 : (uint32_t)*elements;
    *elements *= size;
    return size == extent || size == 1;
}

bool nyb_broadcast_read(const nyb_tensor_info *a, const nyb_tensor_info *b, const nyb_tensor_info *out,
                        nyb_broadcast *broadcast) {
    uint32_t shape[NYB_MAX_RANK], stride1[NYB_MAX_RANK], stride2[NYB_MAX_RANK];
    uint64_t elements1 = 1, elements2 = 1;
    memset(broadcast, 0, sizeof *broadcast);
    if (a->rank > out->rank || b->rank > out->rank || out->elements > UINT32_MAX ||
        a->elements > UINT32_MAX || b->elements > UINT32_MAX) {
        return false;
    }
    uint32_t rank = 0; // merged dimensions, innermost first
    for (uint32_t d = 0; d < out->rank; d++) {
        const uint32_t extent = out->shape[out->rank - 1 - d];
        uint32_t s1, s2;
        if (!stride_of(a, d, extent, &elements1, &s1) || !stride_of(b, d, extent, &elements2, &s2)) {
            return false;
        }
        if (extent == 1) {
            continue;
        }
        if (rank > 0 && s1 == stride1[rank - 1] * shape[rank - 1] &&
            s2 == stride2[rank - 1] * shape[rank - 1]) {
            shape[rank - 1] *= extent; // both inputs simply go on
            continue;
        }
        shape[rank] = extent;
        stride1[rank] = s1;
        stride2[rank] = s2;
        rank++;
    }
    if (rank == 0) {
        shape[0] = 1;
        stride1[0] = stride2[0] = 0;
        rank = 1;
    }
    broadcast->rank = rank;
    for (uint32_t d = 0; d < rank; d++) {
        broadcast->shape[d] = shape[rank - 1 - d];
        broadcast->stride1[d] = stride1[rank - 1 - d];
        broadcast->stride2[d] = stride2[rank - 1 - d];
    }
    return true;
}

void nyb_broadcast_run(const nyb_broadcast *b, const int8_t *x1, const int8_t *x2, int8_t *y,
                       nyb_elementwise_fn f, const void *plan) {
    const uint32_t inner = b->rank - 1;
    uint32_t index[NYB_MAX_RANK] = {0};
    for (uint32_t d = 0; d < b->rank; d++) {
        if (b->shape[d] == 0) {
            return;
        }
    }
    for (;;) {
        f(plan, x1, b->stride1[inner], x2, b->stride2[inner], y, b->shape[inner]);
        y += b->shape[inner];
        uint32_t d = inner;
        for (;;) {
            if (d == 0) {
                return;
            }
            d--;
            x1 += b->stride1[d];
            x2 += b->stride2[d];
            if (++index[d] < b->shape[d]) {
                break;
            }
            index[d] = 0;
            x1 -= (size_t)b->stride1[d] * b->shape[d];
            x2 -= (size_t)b->stride2[d] * b->shape[d];
        }
    }
}
