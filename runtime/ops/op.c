// SPDX-License-Identifier: Apache-2.0
#include "ops/op.h"

const nyb_op *nyb_op_of(uint32_t kind) {
#define NYB_OP(kind, name) [NYB_OPTIONS_##kind] = &nyb_op_##name,
    static const nyb_op *const table[NYB_OPTIONS_COUNT] = {
#include "ops/ops.inc"
    };
#undef NYB_OP
    return kind < NYB_OPTIONS_COUNT ? table[kind] : NULL;
}

nyb_node nyb_node_at(const nyb_model *model, uint32_t index) {
    nyb_node node = {.model = model, .index = index, .table = nyb_operator_table(model, index)};
    node.kind = nyb_get_u8(&node.table, NYB_OPERATOR_OPTIONS_TYPE);
    node.options = nyb_get_table(&node.table, NYB_OPERATOR_OPTIONS);
    node.inputs = nyb_get_vector(&node.table, NYB_OPERATOR_INPUTS, 4);
    node.outputs = nyb_get_vector(&node.table, NYB_OPERATOR_OUTPUTS, 4);
    return node;
}

static nyb_tensor_info info(const nyb_node *node, nyb_vector list, uint32_t i) {
    nyb_tensor_info result;
    nyb_tensor_read(node->model, nyb_element_u32(node->model, list, i), &result);
    return result;
}

nyb_tensor_info nyb_node_input(const nyb_node *node, uint32_t i) { return info(node, node->inputs, i); }

nyb_tensor_info nyb_node_output(const nyb_node *node, uint32_t i) { return info(node, node->outputs, i); }

int32_t nyb_node_zero_point(const nyb_node *node) {
    const nyb_table tensor = nyb_tensor_table(node->model, nyb_element_u32(node->model, node->inputs, 0));
    const nyb_table quantization = nyb_get_table(&tensor, NYB_TENSOR_QUANTIZATION);
    const nyb_vector zero = nyb_get_vector(&quantization, NYB_QUANTIZATION_ZERO_POINT, 4);
    return (int32_t)nyb_element_u32(node->model, zero, 0);
}

uint8_t *nyb_tensor_data(const nyb_setup *setup, const nyb_tensor_info *tensor) {
    if (tensor->arena == NYB_NO_ARENA) {
        // Constants are only read; the cast is undone by every operator that takes a const pointer.
        return (uint8_t *)(uintptr_t)tensor->data.data;
    }
    return setup->arena != NULL ? setup->arena + tensor->arena : NULL;
}

void *nyb_keep(const nyb_setup *setup, uint64_t bytes) {
    nyb_kept *kept = setup->kept;
    const uint64_t limit = UINT64_C(1) << 62;
    const uint64_t at = (kept->bytes + NYB_ALIGNMENT - 1) / NYB_ALIGNMENT * NYB_ALIGNMENT;
    kept->bytes = at > limit || bytes > limit ? UINT64_MAX - NYB_ALIGNMENT : at + bytes;
    return kept->base != NULL ? kept->base + at : NULL;
}

nyb_status nyb_node_fail(const nyb_node *node, nyb_error *why, const char *what, int64_t expected,
                         int64_t found) {
    return nyb_fail(why, NYB_ERROR_FORMAT, node->index, -1, what, expected, found);
}

bool nyb_requantize_read(const nyb_table *options, uint32_t slot, uint32_t type, nyb_requantize *out) {
    const uint8_t *raw = nyb_get_struct(options, slot, NYB_REQUANTIZE_BYTES);
    if (raw == NULL || raw[NYB_REQUANTIZE_ROUNDING_AT] >= NYB_ROUNDING_COUNT) {
        return false;
    }
    out->zero_point = nyb_member_i32(raw, NYB_REQUANTIZE_ZERO_POINT_AT);
    out->minimum = nyb_member_i32(raw, NYB_REQUANTIZE_MINIMUM_AT);
    out->maximum = nyb_member_i32(raw, NYB_REQUANTIZE_MAXIMUM_AT);
    out->nudge = raw[NYB_REQUANTIZE_ROUNDING_AT] == NYB_ROUNDING_DOUBLE ? INT32_C(1) << 30 : 0;
    const int32_t lowest = type == NYB_INT16 ? 0 : INT8_MIN, highest = type == NYB_INT16 ? 0 : INT8_MAX;
    return nyb_clamp_valid(type, out->minimum, out->maximum) && out->zero_point >= lowest &&
           out->zero_point <= highest;
}

bool nyb_same_shape(const nyb_tensor_info *a, const nyb_tensor_info *b) {
    return a->rank == b->rank && memcmp(a->shape, b->shape, sizeof a->shape) == 0;
}

const char *nyb_variant_scalar(const void *plan) {
    (void)plan;
    return "scalar";
}
