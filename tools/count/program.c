// SPDX-License-Identifier: Apache-2.0
// What tools/count_instructions.py runs: nyb_count MODEL [CPU LEVEL]. One inference is the first counted
// region, then one region for each operator; prints a line for each operator.
#define _GNU_SOURCE
#include "marks.h"
#include "nybble.h"
#include "platform/platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static void fail(const char *what) {
    fprintf(stderr, "nyb_count: %s\n", what);
    exit(1);
}

static void *allocate(size_t bytes) {
    void *memory = aligned_alloc(NYB_ALIGNMENT, (bytes + NYB_ALIGNMENT - 1) / NYB_ALIGNMENT * NYB_ALIGNMENT);
    if (memory == NULL) {
        fail("out of memory");
    }
    memset(memory, 0, bytes);
    return memory;
}

static void *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        fail("cannot read the model");
    }
    *bytes = (size_t)ftell(file);
    void *data = allocate(*bytes);
    rewind(file);
    if (fread(data, 1, *bytes, file) != *bytes) {
        fail("cannot read the model");
    }
    fclose(file);
    return data;
}

static void mark(int what) { prctl(COUNT_OPTION, what, 0, 0, 0); }

int main(int count, char **arguments) {
    nyb_options options = {.cpu = nyb_cpu_detect()};
    options.prepack = count > 2 && strcmp(arguments[count - 1], "prepack") == 0;
    count -= options.prepack;
    if (count < 2 || (count > 2 && !nyb_cpu_parse(arguments[2], &options.cpu))) {
        fail("expected MODEL [CPU LEVEL of this CPU] [prepack]");
    }
    size_t bytes;
    const void *data = read_file(arguments[1], &bytes);
    nyb_model model;
    nyb_session session;
    nyb_error error;
    if (nyb_model_open(&model, data, bytes, &error) != NYB_OK) {
        fail(error.what);
    }
    const size_t arena = nyb_session_bytes(&model, &options);
    if (nyb_session_init(&session, &model, &options, allocate(arena), arena, &error) != NYB_OK) {
        fail(error.what);
    }
    uint32_t random = 1;
    for (uint32_t i = 0; i < model.inputs; i++) {
        const nyb_tensor input = nyb_input(&session, i);
        for (size_t at = 0; at < input.bytes; at++) {
            random = random * 1664525u + 1013904223u;
            ((uint8_t *)input.data)[at] = (uint8_t)(random >> 24);
        }
    }
    mark(COUNT_BEGIN);
    nyb_invoke(&session);
    mark(COUNT_END);
    for (uint32_t i = 0; i < model.operators; i++) {
        const nyb_op_info op = nyb_describe(&session, i);
        mark(COUNT_BEGIN);
        nyb_invoke_step(&session, i);
        mark(COUNT_END);
        printf("%s %s %llu\n", op.kind, op.variant ? op.variant : "-", (unsigned long long)op.macs);
    }
    return 0;
}
