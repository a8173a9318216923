// SPDX-License-Identifier: Apache-2.0
#define _POSIX_C_SOURCE 200112L // posix_memalign
#include "invoke_any.h"

#include "base/sha256.h"
#include "nybble.h"
#include "ops/op.h"
#include "platform/platform.h"
#include "session/certify.h"

#include <stdio.h>
#include <stdlib.h>

#if defined(__has_include)
#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#endif
#endif
#if !defined(ASAN_POISON_MEMORY_REGION) // only AddressSanitizer can forbid
#define ASAN_POISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#endif

enum { ARENA_LIMIT = 64 << 20, WORK_LIMIT = 4 << 20 };

#define PROMISE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                          \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static volatile uint8_t sink;

static void touch(const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        sink ^= ((const uint8_t *)data)[i];
    }
}

// Memory whose first byte behind `bytes` is out of bounds.
static uint8_t *allocate(size_t bytes) {
    void *memory = NULL;
    PROMISE(posix_memalign(&memory, NYB_ALIGNMENT, bytes) == 0);
    return memory;
}

// Tasks from the last to the first, on threads in turns.
static void run_backwards(void *pool, uint32_t tasks, uint64_t ns, nyb_task task, void *context) {
    (void)ns;
    const uint32_t threads = *(const uint32_t *)pool;
    for (uint32_t i = tasks; i-- > 0;) {
        task(context, i, i % threads);
    }
}

static void fill_inputs(nyb_session *session) {
    uint32_t random = 1;
    for (uint32_t i = 0; i < session->model->inputs; i++) {
        const nyb_tensor input = nyb_input(session, i);
        PROMISE(input.data != NULL);
        for (size_t at = 0; at < input.bytes; at++) {
            random = random * 1664525u + 1013904223u;
            ((uint8_t *)input.data)[at] = (uint8_t)(random >> 24);
        }
    }
}

// What running costs, about.
static uint64_t describe(const nyb_session *session) {
    uint64_t work = 0;
    for (uint32_t op = 0; op < session->model->operators && work < WORK_LIMIT; op++) {
        const nyb_op_info info = nyb_describe(session, op);
        PROMISE(info.kind != NULL && info.variant != NULL && info.outputs == 1);
        touch(info.name, info.name_length);
        const nyb_tensor output = nyb_op_output(session, op, 0);
        PROMISE(output.data != NULL);
        touch(output.name, output.name_length);
        work += info.macs < WORK_LIMIT ? info.macs : WORK_LIMIT;
        work += output.bytes;
        for (uint32_t i = 0; i < info.inputs; i++) {
            const nyb_tensor input = nyb_op_input(session, op, i);
            PROMISE(input.data != NULL);
            touch(input.name, input.name_length);
            const uint8_t *to = output.data, *from = input.data;
            PROMISE(to + output.bytes <= from || from + input.bytes <= to ||
                    (to == from && output.bytes == input.bytes));
            // A window can hold the whole input; a concatenation takes a step for each row of each input.
            const bool pool = strstr(info.kind, "Pool") != NULL || strcmp(info.kind, "Concat") == 0;
            work += pool ? (input.bytes + 1) * output.bytes / 8 : input.bytes;
        }
    }
    return work;
}

// Runs step by step. Of the activations an operator may touch its inputs and its output only, and it may
// change nothing but its output in front of the scratch memory.
static void run_watched(nyb_session *session) {
    const size_t bytes = (size_t)(session->scratch - session->arena);
    uint8_t *before = allocate(bytes);
    for (uint32_t op = 0; op < session->model->operators; op++) {
        const nyb_tensor output = nyb_op_output(session, op, 0);
        memcpy(before, session->arena, bytes);
        ASAN_POISON_MEMORY_REGION(session->arena, session->model->arena_bytes);
        ASAN_UNPOISON_MEMORY_REGION(output.data, output.bytes);
        for (uint32_t i = 0; i < nyb_describe(session, op).inputs; i++) {
            const nyb_tensor input = nyb_op_input(session, op, i);
            ASAN_UNPOISON_MEMORY_REGION(input.data, input.bytes);
        }
        nyb_invoke_step(session, op);
        ASAN_UNPOISON_MEMORY_REGION(session->arena, session->model->arena_bytes);
        const size_t start = (size_t)((const uint8_t *)output.data - session->arena);
        const size_t end = start + output.bytes;
        PROMISE(memcmp(before, session->arena, start) == 0);
        PROMISE(memcmp(before + end, session->arena + end, bytes - end) == 0);
    }
    free(before);
}

// One session in an arena that is full of `dirt`: all outputs, one after the other, or NULL where it is too
// much.
static uint8_t *outputs_of(const nyb_model *model, const nyb_options *options, uint8_t dirt) {
    nyb_session session;
    nyb_error why;
    const size_t bytes = nyb_session_bytes(model, options);
    if (bytes == 0 || bytes > ARENA_LIMIT) {
        return NULL;
    }
    uint8_t *arena = allocate(bytes);
    memset(arena, dirt, bytes);
    PROMISE(nyb_session_init(&session, model, options, arena, bytes - 1, &why) == NYB_ERROR_ARENA);
    PROMISE(nyb_session_init(&session, model, options, arena, bytes, &why) == NYB_OK);
    uint8_t *result = NULL;
    if (describe(&session) < WORK_LIMIT) {
        fill_inputs(&session);
        if (options->parallel == NULL) {
            run_watched(&session);
        } else {
            nyb_invoke(&session);
        }
        size_t total = 0;
        for (uint32_t i = 0; i < model->outputs; i++) {
            const nyb_tensor output = nyb_output(&session, i);
            PROMISE(output.data != NULL || output.bytes == 0);
            if (total + output.bytes > ARENA_LIMIT) {
                break; // many ports may name one tensor
            }
            result = realloc(result, total + output.bytes + 1);
            PROMISE(result != NULL);
            memcpy(result + total, output.data, output.bytes);
            total += output.bytes;
        }
    }
    free(arena);
    return result;
}

static size_t outputs_size(const nyb_model *model) {
    const nyb_session session = {.model = model};
    size_t total = 0;
    for (uint32_t i = 0; i < model->outputs; i++) {
        const size_t bytes = nyb_output(&session, i).bytes;
        if (total + bytes > ARENA_LIMIT) {
            break;
        }
        total += bytes;
    }
    return total;
}

static bool keeps_certificates(const nyb_model *model) {
    nyb_error why;
    for (uint32_t i = 0; i < model->operators; i++) {
        const nyb_node node = nyb_node_at(model, i);
        if (nyb_certify(&node, &why) != NYB_OK) {
            return false;
        }
    }
    return true;
}

static void verify(const nyb_model *model, const nyb_options *options) {
    nyb_error why;
    const size_t bytes = nyb_session_bytes(model, options);
    uint8_t *arena = allocate(bytes);
    const nyb_status status = nyb_model_verify(model, options, arena, bytes, &why);
    PROMISE(status == NYB_OK || why.what != NULL);
    free(arena);
}

// Makes the stored hash right, so that verification looks at what is behind it.
static void repair_hash(uint8_t *data, size_t size, const nyb_model *model) {
    const nyb_table root = nyb_root(model);
    const nyb_vector stored = nyb_get_vector(&root, NYB_MODEL_HASH, 1);
    if (stored.count == NYB_SHA256_BYTES) {
        nyb_sha256 hash;
        uint8_t digest[NYB_SHA256_BYTES];
        memset(data + stored.at, 0, NYB_SHA256_BYTES);
        nyb_sha256_init(&hash);
        nyb_sha256_add(&hash, data, size);
        nyb_sha256_finish(&hash, digest);
        memcpy(data + stored.at, digest, sizeof digest);
    }
}

// The outputs of other options against those of the scalar code.
static void compare(const nyb_model *model, const nyb_options *options, const uint8_t *wanted, size_t bytes) {
    uint8_t *found = outputs_of(model, options, 0x55);
    PROMISE(found == NULL || memcmp(found, wanted, bytes) == 0);
    free(found);
}

static void run_all(uint8_t *data, size_t size, const nyb_model *model) {
    static uint32_t three = 3;
    const nyb_parallel parallel = {run_backwards, &three, three, 0};
    const nyb_options scalar = {0, NULL, false};
    uint8_t *wanted = outputs_of(model, &scalar, 0xAA);
    if (wanted == NULL) {
        return;
    }
    const size_t bytes = outputs_size(model);
    compare(model, &(nyb_options){0, &parallel, false}, wanted, bytes);
    const uint32_t cpu = nyb_cpu_detect();
    const bool same_everywhere = keeps_certificates(model);
    for (uint32_t level = 1; level != 0; level <<= 1) {
        if ((cpu & level) != 0 && same_everywhere) {
            compare(model, &(nyb_options){level, NULL, false}, wanted, bytes);
            compare(model, &(nyb_options){level, &parallel, false}, wanted, bytes);
            compare(model, &(nyb_options){level, &parallel, true}, wanted, bytes);
        } else if ((cpu & level) != 0) {
            free(outputs_of(model, &(nyb_options){level, NULL, true}, 0x55));
        }
    }
    free(wanted);
    verify(model, &(nyb_options){cpu, NULL, true});
    repair_hash(data, size, model);
    nyb_model repaired;
    nyb_error why;
    if (nyb_model_open(&repaired, data, size, &why) == NYB_OK) { // the hash may lie in something else
        verify(&repaired, &scalar);
    }
}

void invoke_any(const uint8_t *data, size_t size) {
    nyb_model model;
    nyb_error why;
    uint8_t *copy = allocate(size);
    memcpy(copy, data, size);
    const nyb_status status = nyb_model_open(&model, copy, size, &why);
    PROMISE(nyb_model_open(&model, copy, size, NULL) == status);
    nyb_model misaligned;
    PROMISE(size < 2 || nyb_model_open(&misaligned, copy + 1, size - 1, NULL) != NYB_OK);
    if (status == NYB_OK) {
        uint32_t length;
        for (size_t i = 0; i < 4; i++) {
            const char *label = nyb_label(&model, i, &length);
            touch(label, length);
        }
        run_all(copy, size, &model);
    } else {
        PROMISE(why.status == status && why.what != NULL);
    }
    free(copy);
}
