// SPDX-License-Identifier: Apache-2.0
#include "ops/strided.h"

void nyb_strides_of(const nyb_tensor_info *tensor, int64_t *strides) {
    uint64_t bytes = nyb_type_bytes(tensor->type);
    for (uint32_t d = tensor->rank; d-- > 0;) {
        strides[d] = (int64_t)bytes;
        bytes *= tensor->shape[d];
    }
}

void nyb_strided_merge(nyb_strided *copy) {
    uint32_t rank = 0;
    for (uint32_t d = 0; d < copy->rank; d++) {
        const uint32_t extent = copy->shape[d];
        const int64_t from = copy->from[d], to = copy->to[d];
        if (extent == 1) {
            continue;
        }
        if (rank > 0 && copy->from[rank - 1] == from * extent && copy->to[rank - 1] == to * extent &&
            (uint64_t)copy->shape[rank - 1] * extent <= UINT32_MAX) {
            copy->shape[rank - 1] *= extent;
        } else {
            copy->shape[rank++] = extent;
        }
        copy->from[rank - 1] = from;
        copy->to[rank - 1] = to;
    }
    copy->rank = rank;
}

// With a constant size the compiler turns memcpy into a load and a store.
#define NYB_COPY_EACH(size)                                                                                  \
    for (uint32_t i = 0; i < count; i++) {                                                                   \
        memcpy(to + i * to_stride, from + i * from_stride, size);                                            \
    }                                                                                                        \
    break

static void copy_line(const uint8_t *from, int64_t from_stride, uint8_t *to, int64_t to_stride,
                      uint32_t count, uint32_t bytes) {
    if (from_stride == bytes && to_stride == bytes) {
        memcpy(to, from, (size_t)count * bytes);
        return;
    }
    switch (bytes) {
    case 1:
        NYB_COPY_EACH(1);
    case 2:
        NYB_COPY_EACH(2);
    case 4:
        NYB_COPY_EACH(4);
    default:
        NYB_COPY_EACH(8);
    }
}

void nyb_strided_copy(const nyb_strided *copy, const uint8_t *from, uint8_t *to) {
    uint32_t index[NYB_MAX_RANK] = {0};
    for (uint32_t d = 0; d < copy->rank; d++) {
        if (copy->shape[d] == 0) {
            return;
        }
    }
    if (copy->rank == 0) {
        memcpy(to, from, copy->bytes);
        return;
    }
    const uint32_t inner = copy->rank - 1;
    for (;;) {
        copy_line(from, copy->from[inner], to, copy->to[inner], copy->shape[inner], copy->bytes);
        uint32_t d = inner;
        for (;;) {
            if (d == 0) {
                return;
            }
            d--;
            if (++index[d] < copy->shape[d]) {
                from += copy->from[d];
                to += copy->to[d];
                break;
            }
            index[d] = 0;
            from -= copy->from[d] * (copy->shape[d] - 1);
            to -= copy->to[d] * (copy->shape[d] - 1);
        }
    }
}
