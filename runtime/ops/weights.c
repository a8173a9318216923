// SPDX-License-Identifier: Apache-2.0
#include "ops/weights.h"

#include "base/packed.h"

bool nyb_weights_read(const nyb_table *options, uint32_t slot, uint32_t groups, nyb_weights *weights) {
    const nyb_table table = nyb_get_table(options, slot);
    const uint8_t *layout = nyb_get_struct(&table, NYB_WEIGHTS_LAYOUT, NYB_LAYOUT_BYTES);
    memset(weights, 0, sizeof *weights);
    if (layout == NULL || groups == 0) {
        return false;
    }
    weights->bits = layout[NYB_LAYOUT_BITS_AT];
    weights->nr = layout[NYB_LAYOUT_NR_AT];
    weights->kr = layout[NYB_LAYOUT_KR_AT];
    weights->order = layout[NYB_LAYOUT_ORDER_AT];
    weights->outputs = nyb_get_u32(&table, NYB_WEIGHTS_OUTPUTS);
    weights->depth = nyb_get_u32(&table, NYB_WEIGHTS_DEPTH);
    weights->zero_point = nyb_get_i32(&table, NYB_WEIGHTS_ZERO_POINT);
    const int32_t minimum = nyb_get_i32(&table, NYB_WEIGHTS_MINIMUM);
    weights->minimum = minimum < 0 ? minimum : INT8_MIN;
    weights->scale_group = nyb_get_u32(&table, NYB_WEIGHTS_SCALE_GROUP);
    const uint8_t *certificate = nyb_get_struct(&table, NYB_WEIGHTS_CERTIFICATE, NYB_CERTIFICATE_BYTES);
    weights->pairs = certificate ? nyb_member_u32(certificate, NYB_CERTIFICATE_PAIR_AT) : 256;
    weights->bound = certificate ? nyb_member_u64(certificate, NYB_CERTIFICATE_ACCUMULATOR_AT) : UINT64_MAX;
    const uint32_t limit = UINT32_C(1) << 24;
    if ((weights->bits != 8 && weights->bits != 4 && weights->bits != 2) || weights->nr == 0 ||
        weights->kr == 0 || weights->order > 1 || weights->outputs > limit || weights->depth > limit ||
        groups > limit || weights->scale_group > limit || weights->zero_point < -255 ||
        weights->zero_point > 255) {
        return false;
    }
    if (weights->order == 1 &&
        (weights->bits == 8 || weights->kr != 1 || weights->nr % (8 / weights->bits) != 0)) {
        return false;
    }
    const uint64_t panels = (weights->outputs + (uint64_t)weights->nr - 1) / weights->nr;
    const uint64_t group_bytes =
        panels * (weights->order == 1
                      ? nyb_tap_panel_bytes(weights->depth, weights->bits, weights->nr)
                      : nyb_panel_bytes(weights->depth, weights->bits, weights->nr, weights->kr));
    weights->padded_outputs = (uint32_t)(panels * weights->nr);
    weights->group_bytes = (size_t)group_bytes;
    const uint64_t channels = (uint64_t)groups * weights->padded_outputs;
    const nyb_span data = nyb_get_span(&table, NYB_WEIGHTS_DATA);
    const nyb_span constants = nyb_get_span(&table, NYB_WEIGHTS_CHANNELS);
    if (data.data == NULL || constants.data == NULL || group_bytes > UINT64_MAX / limit ||
        data.size != groups * group_bytes || constants.size != 16 * channels) {
        return false;
    }
    weights->data = data.data;
    weights->bias = constants.data;
    weights->multiplier = weights->bias + channels;
    weights->shift = weights->multiplier + channels;
    weights->weight_sum = weights->shift + channels;
    const nyb_span low = nyb_get_span(&table, NYB_WEIGHTS_MULTIPLIER_LOW);
    if (low.data != NULL) {
        if (low.size != 4 * channels) {
            return false;
        }
        weights->multiplier_low = low.data;
    }
    if (weights->scale_group != 0) {
        // A zero point takes its share off whole rows, whose groups have no factor.
        const uint32_t step = weights->kr * (8 / weights->bits);
        const nyb_span factors = nyb_get_span(&table, NYB_WEIGHTS_SCALE_FACTORS);
        if (weights->scale_group % step != 0 || factors.data == NULL ||
            factors.size != channels * nyb_scale_groups(weights) || weights->zero_point != 0) {
            return false;
        }
        weights->factors = factors.data;
    }
    return true;
}

bool nyb_window_read(const nyb_table *options, uint32_t slot, nyb_window *window) {
    const uint8_t *raw = nyb_get_struct(options, slot, NYB_WINDOW_BYTES);
    if (raw == NULL) {
        return false;
    }
    window->height = nyb_member_u32(raw, NYB_WINDOW_HEIGHT_AT);
    window->width = nyb_member_u32(raw, NYB_WINDOW_WIDTH_AT);
    window->stride_height = nyb_member_u32(raw, NYB_WINDOW_STRIDE_HEIGHT_AT);
    window->stride_width = nyb_member_u32(raw, NYB_WINDOW_STRIDE_WIDTH_AT);
    window->dilation_height = nyb_member_u32(raw, NYB_WINDOW_DILATION_HEIGHT_AT);
    window->dilation_width = nyb_member_u32(raw, NYB_WINDOW_DILATION_WIDTH_AT);
    window->pad_top = nyb_member_u32(raw, NYB_WINDOW_PAD_TOP_AT);
    window->pad_left = nyb_member_u32(raw, NYB_WINDOW_PAD_LEFT_AT);
    // Bounds that keep every coordinate, stride * position + dilation * tap, within 63 bits.
    const uint32_t limit = UINT32_C(1) << 24;
    const uint32_t required[6] = {window->height,       window->width,           window->stride_height,
                                  window->stride_width, window->dilation_height, window->dilation_width};
    for (uint32_t i = 0; i < 6; i++) {
        if (required[i] == 0 || required[i] > limit) {
            return false;
        }
    }
    return window->pad_top <= limit && window->pad_left <= limit;
}
