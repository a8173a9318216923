// SPDX-License-Identifier: Apache-2.0
// Bounds-checked access to a .nyb file. Nothing here fails: a field that is absent, or does not fit into the
// file, reads as its default, so that a hostile file can be wrong but never be read beyond its end.
// Encoding: FlatBuffers internals (tables with vtables; offsets relative to where they stand; little endian).
#ifndef NYB_MODEL_READER_H
#define NYB_MODEL_READER_H

#include "model/schema.h"
#include "nybble.h"

#include <string.h>

#define NYB_NO_ARENA UINT64_MAX

typedef struct nyb_table {
    const nyb_model *model;
    uint32_t at; // 0: absent; every field reads as its default
    uint32_t vtable;
    uint32_t vtable_size;
} nyb_table;

typedef struct nyb_vector {
    uint32_t at;
    uint32_t count;
} nyb_vector;

// A byte range of the file that is known to lie inside it and to start aligned; data is NULL where it is
// absent or not so.
typedef struct nyb_span {
    const void *data;
    size_t size;
} nyb_span;

// What the file says of a tensor, checked: type known, rank at most NYB_MAX_RANK, sizes within 2^47.
typedef struct nyb_tensor_info {
    uint32_t type;
    uint32_t rank;
    uint32_t shape[NYB_MAX_RANK];
    uint64_t elements;
    uint64_t bytes;
    uint64_t arena; // NYB_NO_ARENA for constants
    nyb_span data;  // of constants
} nyb_tensor_info;

// Requires size >= 12; sets everything but the positions below the root.
nyb_table nyb_root(const nyb_model *model);
nyb_table nyb_table_at(const nyb_model *model, uint32_t at);

bool nyb_get_bool(const nyb_table *table, uint32_t slot);
uint8_t nyb_get_u8(const nyb_table *table, uint32_t slot);
int32_t nyb_get_i32(const nyb_table *table, uint32_t slot);
uint32_t nyb_get_u32(const nyb_table *table, uint32_t slot);
uint64_t nyb_get_u64(const nyb_table *table, uint32_t slot, uint64_t absent);
nyb_table nyb_get_table(const nyb_table *table, uint32_t slot);
nyb_vector nyb_get_vector(const nyb_table *table, uint32_t slot, uint32_t element_bytes);
nyb_span nyb_get_span(const nyb_table *table, uint32_t slot);

// The bytes of a struct field, NULL where absent; members are read with nyb_member_.
const uint8_t *nyb_get_struct(const nyb_table *table, uint32_t slot, uint32_t bytes);

static inline uint32_t nyb_member_u32(const uint8_t *structure, uint32_t at) {
    uint32_t value;
    memcpy(&value, structure + at, sizeof value);
    return value;
}
static inline int32_t nyb_member_i32(const uint8_t *structure, uint32_t at) {
    return (int32_t)nyb_member_u32(structure, at);
}
static inline uint64_t nyb_member_u64(const uint8_t *structure, uint32_t at) {
    uint64_t value;
    memcpy(&value, structure + at, sizeof value);
    return value;
}

// Elements of a vector; 0 or an absent table beyond its end.
uint32_t nyb_element_u32(const nyb_model *model, nyb_vector vector, uint32_t i);
uint64_t nyb_element_u64(const nyb_model *model, nyb_vector vector, uint32_t i);
nyb_table nyb_element_table(const nyb_model *model, nyb_vector vector, uint32_t i);

// The i-th tensor or operator.
nyb_table nyb_tensor_table(const nyb_model *model, uint32_t i);
nyb_table nyb_operator_table(const nyb_model *model, uint32_t i);
// False where the file contradicts itself about this tensor.
bool nyb_tensor_read(const nyb_model *model, uint32_t i, nyb_tensor_info *info);
uint32_t nyb_type_bytes(uint32_t type);

// Fills `why` (where it is not NULL) and returns the status.
nyb_status nyb_fail(nyb_error *why, nyb_status status, int64_t op, int64_t tensor, const char *what,
                    int64_t expected, int64_t found);

#endif
