// SPDX-License-Identifier: Apache-2.0
// What an operator must provide. To add one: its table in nybble.fbs, its row in ops.inc, its file here.
//
// Three steps, in this order:
//   check  once per model: everything that run relies on. After NYB_OK nothing below can fail.
//   plan   once per session: read the node, resolve pointers, pick kernels; returns scratch bytes per thread.
//   run    at every invoke: plan + pointers -> kernel calls.
#ifndef NYB_OPS_OP_H
#define NYB_OPS_OP_H

#include "base/fixedpoint.h"
#include "base/parallel.h"
#include "model/reader.h"

// One operator of the file. options: the table of its union member.
typedef struct nyb_node {
    const nyb_model *model;
    uint32_t index;
    uint32_t kind; // NYB_OPTIONS_...
    nyb_table table;
    nyb_table options;
    nyb_vector inputs;
    nyb_vector outputs;
} nyb_node;

// Memory of a session that operators keep from init on.
typedef struct nyb_kept {
    uint8_t *base; // NULL while only measuring
    uint64_t bytes;
} nyb_kept;

// Where a session is being built. arena: NULL while only measuring; plans then hold pointers that nobody
// follows.
typedef struct nyb_setup {
    uint8_t *arena;
    const nyb_options *options;
    nyb_kept *kept; // valid during plan only
} nyb_setup;

// `bytes` of the session's own memory, aligned to NYB_ALIGNMENT, for plan to fill; NULL while only measuring.
void *nyb_keep(const nyb_setup *setup, uint64_t bytes);

// What run gets besides its plan: scratch memory per thread (aligned to NYB_ALIGNMENT) and the threads.
typedef struct nyb_run {
    uint8_t *scratch;
    size_t scratch_bytes;
    const nyb_parallel *parallel;
} nyb_run;

typedef struct nyb_op {
    const char *kind;
    uint32_t inputs_min;
    uint32_t inputs_max;
    bool in_place; // the output may start where the first or second input starts
    uint32_t plan_bytes;
    nyb_status (*check)(const nyb_node *node, nyb_error *why);
    size_t (*plan)(const nyb_node *node, const nyb_setup *setup, void *plan);
    void (*run)(const void *plan, const nyb_run *run);
    // NULL, or what full verification proves of a node beyond check.
    nyb_status (*certify)(const nyb_node *node, nyb_error *why);
    const char *(*variant)(const void *plan); // name of the kernel that runs
} nyb_op;

#define NYB_OP(kind, name) extern const nyb_op nyb_op_##name;
#include "ops/ops.inc"
#undef NYB_OP

// The largest plan of any operator.
enum { NYB_PLAN_BYTES_MAX = 512 };

// The operator of a node's kind; NULL where this build has none.
const nyb_op *nyb_op_of(uint32_t kind);

nyb_node nyb_node_at(const nyb_model *model, uint32_t index);
nyb_tensor_info nyb_node_input(const nyb_node *node, uint32_t i);
nyb_tensor_info nyb_node_output(const nyb_node *node, uint32_t i);

// Zero point of a node's first input, 0 where the file states none.
int32_t nyb_node_zero_point(const nyb_node *node);

// The bytes of a tensor in a session, or in the file for constants.
uint8_t *nyb_tensor_data(const nyb_setup *setup, const nyb_tensor_info *info);

// Refuses a node: `what` was expected to be `expected`.
nyb_status nyb_node_fail(const nyb_node *node, nyb_error *why, const char *what, int64_t expected,
                         int64_t found);

// Whether a tensor's type is one that arithmetic takes: int8, or int16 with a zero point of 0.
static inline bool nyb_is_activation(uint32_t type) { return type == NYB_INT8 || type == NYB_INT16; }
static inline int32_t nyb_lowest(uint32_t type) { return type == NYB_INT16 ? INT16_MIN : INT8_MIN; }
static inline int32_t nyb_highest(uint32_t type) { return type == NYB_INT16 ? INT16_MAX : INT8_MAX; }

// What may stand outside of an image: the zero point.
static inline bool nyb_pad_valid(uint32_t type, int32_t value) {
    return type == NYB_INT16 ? value == 0 : value >= INT8_MIN && value <= INT8_MAX;
}

// Whether minimum to maximum is a range within a type.
static inline bool nyb_clamp_valid(uint32_t type, int32_t minimum, int32_t maximum) {
    return minimum >= nyb_lowest(type) && minimum <= maximum && maximum <= nyb_highest(type);
}

// The Requantize struct of an options table for an output of this type: false where it is absent, its clamp
// or its zero point (0 in int16) is not within the type, or a field is unknown.
bool nyb_requantize_read(const nyb_table *options, uint32_t slot, uint32_t type, nyb_requantize *out);

static inline size_t nyb_aligned(size_t bytes) {
    return (bytes + NYB_ALIGNMENT - 1) / NYB_ALIGNMENT * NYB_ALIGNMENT;
}

bool nyb_same_shape(const nyb_tensor_info *a, const nyb_tensor_info *b);

// A variant function for operators with one implementation.
const char *nyb_variant_scalar(const void *plan);

#endif
