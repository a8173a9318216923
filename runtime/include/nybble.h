// SPDX-License-Identifier: Apache-2.0
// nybble: integer-only neural networks in the caller's memory. The whole public interface.
//
//   nyb_model model;                                     // 1. check the file
//   nyb_model_open(&model, data, size, &why);
//   size_t bytes = nyb_session_bytes(&model, &options);  // 2. exactly this much memory
//   nyb_session_init(&session, &model, &options, arena, bytes, &why);
//   memcpy(nyb_input(&session, 0).data, image, ...);     // 3. inputs in, outputs out
//   nyb_invoke(&session);
//   ... nyb_output(&session, 0).data ...
//
// No function allocates, uses floats, calls an operating system or keeps global state. Two threads may
// use two sessions of one model at the same time.
#ifndef NYBBLE_H
#define NYBBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Alignment that the model's data and the arena must have, in bytes.
#define NYB_ALIGNMENT 64
#define NYB_MAX_RANK 6

typedef enum nyb_status {
    NYB_OK = 0,
    NYB_ERROR_FORMAT,      // the file is truncated, corrupt or contradicts itself
    NYB_ERROR_VERSION,     // the file is of another format version
    NYB_ERROR_UNSUPPORTED, // valid, but this build cannot run it
    NYB_ERROR_ARENA,       // the arena is too small or not aligned
    NYB_ERROR_ARGUMENT,    // an argument is wrong
    NYB_ERROR_MISMATCH     // full verification: the outputs or proofs differ from what the file states
} nyb_status;

// Why a call failed. Owned by the caller; `what` is static text. -1 where no operator or tensor is meant.
typedef struct nyb_error {
    nyb_status status;
    int32_t op;
    int32_t tensor;
    const char *what;
    int64_t expected;
    int64_t found;
} nyb_error;

typedef enum nyb_type {
    NYB_INT8,
    NYB_UINT8,
    NYB_INT16,
    NYB_INT32,
    NYB_INT64,
    NYB_INT4,
    NYB_INT2,
    NYB_BOOL
} nyb_type;

// CPU features, as bits of nyb_options.cpu. 0 runs the portable scalar code. nyb_cpu_detect (platform) finds
// them.
enum {
    NYB_CPU_AVX2 = 1u << 0,
    NYB_CPU_AVX512VNNI = 1u << 1, // with AVX-512 F, BW, VL
    NYB_CPU_AVXVNNI = 1u << 2,
    NYB_CPU_AVX512VBMI = 1u << 3, // with AVX-512 F, BW, VL
    NYB_CPU_AMX = 1u << 4,        // tiles of int8, with AVX512VNNI
    NYB_CPU_NEON = 1u << 8,
    NYB_CPU_DOTPROD = 1u << 9,
    NYB_CPU_I8MM = 1u << 10,
    NYB_CPU_ARMV6_SIMD = 1u << 11
};

// A model in memory. Borrowed: `data` must stay unchanged while the model and its sessions are in use.
typedef struct nyb_model {
    const uint8_t *data;
    size_t size;
    uint32_t tensors; // how many of each; the rest are positions in the file
    uint32_t operators;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t root;
    uint32_t tensors_at;
    uint32_t operators_at;
    uint32_t inputs_at;
    uint32_t outputs_at;
    uint64_t arena_bytes; // of the activations alone
} nyb_model;

// A view of one tensor. `data` points into the arena (or the model, for constants).
typedef struct nyb_tensor {
    const char *name; // not terminated: name_length bytes
    uint32_t name_length;
    nyb_type type;
    uint32_t rank;
    uint32_t shape[NYB_MAX_RANK];
    size_t bytes;
    void *data;
    float scale; // real = scale * (integer - zero_point); 0 where the file states none
    int32_t zero_point;
    bool real; // the network that the model came from has float32 here
} nyb_tensor;

// How work is spread over threads: run(pool, tasks, ns, task, context) calls task(context, i, thread) once
// for each i < tasks, with thread < threads, and returns when all are done. ns: roughly what all of them take
// on one thread. Whether they are worth another thread is for run to decide: to call them all with thread 0
// is right as well.
typedef void (*nyb_task)(void *context, uint32_t index, uint32_t thread);
typedef struct nyb_parallel {
    void (*run)(void *pool, uint32_t tasks, uint64_t ns, nyb_task task, void *context);
    void *pool;
    uint32_t threads;
    uint32_t handover_ns; // operators that take less than this are neither split nor handed to run
} nyb_parallel;

// All zero: scalar code, one thread.
typedef struct nyb_options {
    uint32_t cpu; // NYB_CPU_ bits that may be used; may describe another machine when measuring
    const nyb_parallel *parallel; // or NULL
    bool prepack; // rewrite weights at init where that is faster: more memory, the same outputs
} nyb_options;

// A network ready to run. Everything it needs lives in the arena.
typedef struct nyb_session {
    const nyb_model *model;
    uint8_t *arena;
    struct nyb_step *steps;
    uint8_t *scratch;
    size_t scratch_bytes; // per thread
    nyb_options options;
} nyb_session;

// Checks the structure of a model file: offsets, alignment, types, shapes, sizes, the arena plan, the order
// of the operators, each operator's attributes. After NYB_OK every session of the model touches only the
// model's bytes, its own arena and nothing else. data: aligned to NYB_ALIGNMENT. why: may be NULL.
nyb_status nyb_model_open(nyb_model *model, const void *data, size_t size, nyb_error *why);

// Proves what open does not look at: the content hash, the certificates, and (with an arena that fits a
// session of these options) that the golden inputs give the digests in the file.
nyb_status nyb_model_verify(const nyb_model *model, const nyb_options *options, void *arena,
                            size_t arena_bytes, nyb_error *why);

// Whether the file has golden inputs and digests that nyb_model_verify can compare with.
bool nyb_has_golden(const nyb_model *model);

// The label of class i, `length` bytes, not terminated; NULL where the file has none for it.
const char *nyb_label(const nyb_model *model, size_t i, uint32_t *length);

// The exact size of a session's arena; 0 where the sizes do not fit size_t.
size_t nyb_session_bytes(const nyb_model *model, const nyb_options *options);

// Builds a session in `arena`, aligned to NYB_ALIGNMENT. On an error the session is all zero.
nyb_status nyb_session_init(nyb_session *session, const nyb_model *model, const nyb_options *options,
                            void *arena, size_t arena_bytes, nyb_error *why);

// The i-th input or output; i beyond the last gives a tensor with data == NULL. Write inputs before every
// invoke: the bytes of inputs are reused while the network runs.
nyb_tensor nyb_input(const nyb_session *session, size_t i);
nyb_tensor nyb_output(const nyb_session *session, size_t i);

// Runs the network. Cannot fail on an initialized session.
void nyb_invoke(nyb_session *session);

// For profilers and debuggers: run one operator (in order, 0 to model->operators - 1); describe it; view a
// tensor that it reads or writes (valid until a later operator reuses its bytes).
typedef struct nyb_op_info {
    const char *kind;    // terminated
    const char *variant; // terminated: the kernel that runs
    const char *name;    // not terminated: name_length bytes
    uint32_t name_length;
    uint32_t inputs;
    uint32_t outputs;
    uint64_t macs;
    uint64_t weight_bytes;
    uint32_t weight_bits; // 0 where there are no weights
} nyb_op_info;
void nyb_invoke_step(nyb_session *session, uint32_t op);
nyb_op_info nyb_describe(const nyb_session *session, uint32_t op);
nyb_tensor nyb_op_input(const nyb_session *session, uint32_t op, uint32_t i);
nyb_tensor nyb_op_output(const nyb_session *session, uint32_t op, uint32_t i);

#ifdef __cplusplus
}
#endif
#endif
