// SPDX-License-Identifier: Apache-2.0
#include "model/reader.h"

static uint16_t load_u16(const nyb_model *model, uint64_t at) {
    uint16_t value = 0;
    if (at + sizeof value <= model->size) {
        memcpy(&value, model->data + at, sizeof value);
    }
    return value;
}

static uint32_t load_u32(const nyb_model *model, uint64_t at) {
    uint32_t value = 0;
    if (at + sizeof value <= model->size) {
        memcpy(&value, model->data + at, sizeof value);
    }
    return value;
}

// Where an offset field points; 0 (nothing) where that is outside of the file.
static uint32_t follow(const nyb_model *model, uint32_t at) {
    const uint32_t offset = load_u32(model, at);
    const uint64_t target = (uint64_t)at + offset;
    return offset != 0 && target + 4 <= model->size && target <= UINT32_MAX ? (uint32_t)target : 0;
}

nyb_table nyb_table_at(const nyb_model *model, uint32_t at) {
    nyb_table table = {model, 0, 0, 0};
    if (at == 0 || (uint64_t)at + 4 > model->size) {
        return table;
    }
    const int64_t vtable = (int64_t)at - (int32_t)load_u32(model, at);
    if (vtable < 0 || vtable > UINT32_MAX || (uint64_t)vtable + 4 > model->size) {
        return table;
    }
    const uint32_t size = load_u16(model, (uint64_t)vtable);
    if (size < 4 || (uint64_t)vtable + size > model->size) {
        return table;
    }
    table.at = at;
    table.vtable = (uint32_t)vtable;
    table.vtable_size = size;
    return table;
}

nyb_table nyb_root(const nyb_model *model) { return nyb_table_at(model, follow(model, 0)); }

// Position of a field of so many bytes, 0 where it is absent or passes the end of the file.
static uint32_t field(const nyb_table *table, uint32_t slot, uint32_t bytes) {
    const uint32_t entry = 4 + 2 * slot;
    if (table->at == 0 || entry + 2 > table->vtable_size) {
        return 0;
    }
    const uint32_t offset = load_u16(table->model, (uint64_t)table->vtable + entry);
    const uint64_t at = (uint64_t)table->at + offset;
    return offset != 0 && at + bytes <= table->model->size && at <= UINT32_MAX ? (uint32_t)at : 0;
}

bool nyb_get_bool(const nyb_table *table, uint32_t slot) { return nyb_get_u8(table, slot) != 0; }

uint8_t nyb_get_u8(const nyb_table *table, uint32_t slot) {
    const uint32_t at = field(table, slot, 1);
    return at ? table->model->data[at] : 0;
}

uint32_t nyb_get_u32(const nyb_table *table, uint32_t slot) {
    const uint32_t at = field(table, slot, 4);
    return at ? load_u32(table->model, at) : 0;
}

int32_t nyb_get_i32(const nyb_table *table, uint32_t slot) { return (int32_t)nyb_get_u32(table, slot); }

uint64_t nyb_get_u64(const nyb_table *table, uint32_t slot, uint64_t absent) {
    const uint32_t at = field(table, slot, 8);
    return at ? nyb_member_u64(table->model->data, at) : absent;
}

nyb_table nyb_get_table(const nyb_table *table, uint32_t slot) {
    const uint32_t at = field(table, slot, 4);
    return nyb_table_at(table->model, at ? follow(table->model, at) : 0);
}

nyb_vector nyb_get_vector(const nyb_table *table, uint32_t slot, uint32_t element_bytes) {
    nyb_vector vector = {0, 0};
    const uint32_t at = field(table, slot, 4);
    const uint32_t start = at ? follow(table->model, at) : 0;
    if (start != 0) {
        const uint32_t count = load_u32(table->model, start);
        if ((uint64_t)start + 4 + (uint64_t)count * element_bytes <= table->model->size) {
            vector.at = start + 4;
            vector.count = count;
        }
    }
    return vector;
}

const uint8_t *nyb_get_struct(const nyb_table *table, uint32_t slot, uint32_t bytes) {
    const uint32_t at = field(table, slot, bytes);
    return at ? table->model->data + at : NULL;
}

nyb_span nyb_get_span(const nyb_table *table, uint32_t slot) {
    nyb_span span = {NULL, 0};
    const uint8_t *raw = nyb_get_struct(table, slot, NYB_SPAN_BYTES);
    if (raw != NULL) {
        const uint64_t offset = nyb_member_u64(raw, NYB_SPAN_OFFSET_AT);
        const uint64_t size = nyb_member_u64(raw, NYB_SPAN_SIZE_AT);
        const uint64_t whole = table->model->size;
        if (offset % NYB_ALIGNMENT == 0 && offset <= whole && size <= whole - offset) {
            span.data = table->model->data + offset;
            span.size = (size_t)size;
        }
    }
    return span;
}

uint32_t nyb_element_u32(const nyb_model *model, nyb_vector vector, uint32_t i) {
    return i < vector.count ? load_u32(model, (uint64_t)vector.at + 4 * (uint64_t)i) : 0;
}

uint64_t nyb_element_u64(const nyb_model *model, nyb_vector vector, uint32_t i) {
    return i < vector.count ? nyb_member_u64(model->data + vector.at + 8 * (size_t)i, 0) : 0;
}

nyb_table nyb_element_table(const nyb_model *model, nyb_vector vector, uint32_t i) {
    const uint64_t at = (uint64_t)vector.at + 4 * (uint64_t)i;
    return nyb_table_at(model, i < vector.count && at <= UINT32_MAX ? follow(model, (uint32_t)at) : 0);
}

nyb_table nyb_tensor_table(const nyb_model *model, uint32_t i) {
    const nyb_vector vector = {model->tensors_at, model->tensors};
    return nyb_element_table(model, vector, i);
}

nyb_table nyb_operator_table(const nyb_model *model, uint32_t i) {
    const nyb_vector vector = {model->operators_at, model->operators};
    return nyb_element_table(model, vector, i);
}

uint32_t nyb_type_bytes(uint32_t type) {
    static const uint8_t bytes[NYB_DATA_TYPE_COUNT] = {1, 1, 2, 4, 8, 1, 1, 1};
    return type < NYB_DATA_TYPE_COUNT ? bytes[type] : 0;
}

bool nyb_tensor_read(const nyb_model *model, uint32_t i, nyb_tensor_info *info) {
    // Large enough for any network, small enough that products of sizes fit 64 bits.
    const uint64_t limit = UINT64_C(1) << 47;
    const nyb_table table = nyb_tensor_table(model, i);
    memset(info, 0, sizeof *info);
    info->type = nyb_get_u8(&table, NYB_TENSOR_TYPE);
    const nyb_vector shape = nyb_get_vector(&table, NYB_TENSOR_SHAPE, 4);
    if (table.at == 0 || nyb_type_bytes(info->type) == 0 || shape.count > NYB_MAX_RANK) {
        return false;
    }
    info->rank = shape.count;
    info->elements = 1;
    for (uint32_t d = 0; d < shape.count; d++) {
        info->shape[d] = nyb_element_u32(model, shape, d);
        if (info->shape[d] != 0 && info->elements > limit / info->shape[d]) {
            return false;
        }
        info->elements *= info->shape[d];
    }
    info->bytes = info->elements * nyb_type_bytes(info->type);
    info->arena = nyb_get_u64(&table, NYB_TENSOR_ARENA, NYB_NO_ARENA);
    if (info->arena == NYB_NO_ARENA) {
        info->data = nyb_get_span(&table, NYB_TENSOR_DATA);
        return info->data.data != NULL && info->data.size == info->bytes;
    }
    return info->arena % NYB_ALIGNMENT == 0 && info->arena <= model->arena_bytes &&
           info->bytes <= model->arena_bytes - info->arena;
}

nyb_status nyb_fail(nyb_error *why, nyb_status status, int64_t op, int64_t tensor, const char *what,
                    int64_t expected, int64_t found) {
    if (why != NULL) {
        why->status = status;
        why->op = (int32_t)op;
        why->tensor = (int32_t)tensor;
        why->what = what;
        why->expected = expected;
        why->found = found;
    }
    return status;
}
