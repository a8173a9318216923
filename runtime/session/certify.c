// SPDX-License-Identifier: Apache-2.0
#include "session/certify.h"

#include "base/packed.h"
#include "ops/weights.h"

// Slot of the Weights table among a node's options, and the groups of its weights; false where it has none.
static bool find_weights(const nyb_node *node, uint32_t *slot, uint32_t *groups) {
    *groups = 1;
    switch (node->kind) {
    case NYB_OPTIONS_CONV2D:
        *slot = NYB_CONV2D_WEIGHTS;
        *groups = nyb_get_u32(&node->options, NYB_CONV2D_GROUPS);
        *groups = *groups == 0 ? 1 : *groups;
        return true;
    case NYB_OPTIONS_DEPTHWISE_CONV2D:
        *slot = NYB_DEPTHWISE_CONV2D_WEIGHTS;
        return true;
    case NYB_OPTIONS_FULLY_CONNECTED:
        *slot = NYB_FULLY_CONNECTED_WEIGHTS;
        return true;
    default:
        return false;
    }
}

nyb_certified nyb_certify_describe(const nyb_node *node) {
    nyb_certified result = {0, 0, 0};
    uint32_t slot, groups;
    nyb_weights weights;
    if (find_weights(node, &slot, &groups) && nyb_weights_read(&node->options, slot, groups, &weights)) {
        result.macs = nyb_node_output(node, 0).elements * weights.depth;
        result.bytes = (uint64_t)weights.group_bytes * groups;
        if (weights.scale_group != 0) {
            result.bytes += (uint64_t)groups * weights.padded_outputs * nyb_scale_groups(&weights);
        }
        result.bits = weights.bits;
    }
    return result;
}

// The weight of channel n at k; both count within one group's packed weights.
static int32_t weight(const nyb_weights *w, const uint8_t *data, uint32_t n, uint32_t k) {
    if (w->order == 1) {
        return nyb_unpack(data[nyb_tap_byte(w->depth, w->bits, w->nr, n, k)], w->bits,
                          nyb_tap_plane(w->bits, w->nr, n));
    }
    const uint64_t byte =
        nyb_packed_n(w->depth, w->bits, w->nr, w->kr, n) + nyb_packed_k(w->bits, w->nr, w->kr, k);
    return nyb_unpack(data[byte], w->bits, nyb_packed_plane(w->bits, w->kr, k));
}

static uint32_t magnitude(int32_t x) { return x < 0 ? (uint32_t)-x : (uint32_t)x; }

// The factor of a channel's scale group at k; 1 without scale groups.
static int64_t scale_factor(const nyb_weights *w, uint32_t channel, uint32_t k) {
    if (w->scale_group == 0) {
        return 1;
    }
    const size_t group = (size_t)(channel / w->nr) * nyb_scale_groups(w) + k / w->scale_group;
    return w->factors[group * w->nr + channel % w->nr];
}

nyb_status nyb_certify(const nyb_node *node, nyb_error *why) {
    uint32_t slot, groups;
    nyb_weights w;
    const nyb_op *op = nyb_op_of(node->kind);
    if (op != NULL && op->certify != NULL) {
        return op->certify(node, why);
    }
    if (!find_weights(node, &slot, &groups) || !nyb_weights_read(&node->options, slot, groups, &w)) {
        return NYB_OK;
    }
    const nyb_table table = nyb_get_table(&node->options, slot);
    const uint8_t *stated = nyb_get_struct(&table, NYB_WEIGHTS_CERTIFICATE, NYB_CERTIFICATE_BYTES);
    if (stated == NULL) {
        return nyb_node_fail(node, why, "a certificate", 1, 0);
    }
    const uint64_t accumulator = nyb_member_u64(stated, NYB_CERTIFICATE_ACCUMULATOR_AT);
    const uint32_t pair_limit = nyb_member_u32(stated, NYB_CERTIFICATE_PAIR_AT);
    const uint32_t quad_limit = nyb_member_u32(stated, NYB_CERTIFICATE_QUAD_AT);
    const int32_t zero = nyb_node_zero_point(node);
    const bool wide = nyb_node_input(node, 0).type == NYB_INT16; // its zero point is 0
    if (accumulator > (wide ? UINT64_C(1) << 62 : INT32_MAX) || zero < INT8_MIN || zero > INT8_MAX) {
        return nyb_fail(why, NYB_ERROR_MISMATCH, node->index, -1,
                        "accumulators within int32 (int64 of int16), an int8 zero point", INT32_MAX,
                        (int64_t)accumulator);
    }
    // Inputs are at most this far from their zero point.
    const int64_t reach = wide ? 1 << 15 : (zero < 0 ? INT8_MAX - zero : zero - INT8_MIN);
    for (uint32_t g = 0; g < groups; g++) {
        const uint8_t *data = w.data + g * w.group_bytes;
        for (uint32_t n = 0; n < w.outputs; n++) {
            const size_t channel = (size_t)g * w.padded_outputs + n;
            int64_t sum = 0, effective = 0, absolute = 0;
            if (!nyb_shift_valid(w.shift[channel])) {
                return nyb_fail(why, NYB_ERROR_MISMATCH, node->index, -1, "shifts from 1 to 62", 62,
                                w.shift[channel]);
            }
            uint32_t pair = 0, quad = 0;
            for (uint32_t k = 0; k < w.depth; k++) {
                const int32_t value = weight(&w, data, n, k);
                const int64_t used = (int64_t)(value - w.zero_point) * scale_factor(&w, (uint32_t)channel, k);
                pair = (k % 2 ? pair : 0) + magnitude(value);
                quad = (k % 4 ? quad : 0) + magnitude(value);
                sum += value * scale_factor(&w, (uint32_t)channel, k);
                effective += used;
                absolute += used < 0 ? -used : used;
                if (value < w.minimum) {
                    return nyb_fail(why, NYB_ERROR_MISMATCH, node->index, -1, "weights from the minimum on",
                                    w.minimum, value);
                }
                if (pair > pair_limit || quad > quad_limit || absolute > INT32_MAX) {
                    return nyb_fail(why, NYB_ERROR_MISMATCH, node->index, -1,
                                    "pairs and quads within the certificate", pair_limit, pair);
                }
            }
            if (w.multiplier[channel] < 0) {
                return nyb_fail(why, NYB_ERROR_MISMATCH, node->index, -1, "a multiplier of at least 0", 0,
                                w.multiplier[channel]);
            }
            if (w.multiplier_low != NULL && (w.multiplier_low[channel] < 0 || accumulator > INT32_MAX)) {
                return nyb_fail(why, NYB_ERROR_MISMATCH, node->index, -1,
                                "longer multipliers of at least 0 beside accumulators within int32", 0,
                                w.multiplier_low[channel]);
            }
            // Kernels multiply the padding with whatever activations stand there.
            const uint32_t step = w.order == 1 ? 1 : w.kr * (8 / w.bits);
            for (uint32_t k = w.depth; k < (w.depth + step - 1) / step * step; k++) {
                if (weight(&w, data, n, k) != 0) {
                    return nyb_fail(why, NYB_ERROR_MISMATCH, node->index, -1, "padding weights of 0", 0, k);
                }
            }
            if (w.weight_sum[channel] != sum) {
                return nyb_fail(why, NYB_ERROR_MISMATCH, node->index, -1, "the sum of a channel's weights",
                                sum, w.weight_sum[channel]);
            }
            // The stored bias has -zero * effective folded in; the bound speaks of the bias before that.
            const int64_t bias = w.bias[channel] + zero * effective;
            const int64_t bound = absolute * reach + (bias < 0 ? -bias : bias);
            if ((uint64_t)bound > accumulator) {
                return nyb_fail(why, NYB_ERROR_MISMATCH, node->index, -1,
                                "accumulators within the certificate", (int64_t)accumulator, bound);
            }
            if (bound != 0 && w.multiplier[channel] > (INT64_C(1) << 62) / bound) {
                return nyb_fail(why, NYB_ERROR_MISMATCH, node->index, -1,
                                "accumulators whose product with the multiplier is at most 2^62",
                                (INT64_C(1) << 62) / bound, w.multiplier[channel]);
            }
        }
    }
    return NYB_OK;
}
