// SPDX-License-Identifier: Apache-2.0
// Classifies one raw input: classify MODEL.nyb INPUT.raw
//
// Build, after cmake --preset release && cmake --build --preset release:
//   cc -std=c11 -O2 -Iruntime -Iruntime/include -o classify examples/classify.c
//      build/release/libnybble_platform.a build/release/libnybble.a -lpthread
#include "nybble.h"
#include "platform/platform.h"

#include <stdio.h>
#include <string.h>

static int fail(const char *where, const char *what) {
    fprintf(stderr, "classify: %s: expected %s\n", where, what);
    return 1;
}

int main(int argc, char **argv) {
    nyb_file file, image;
    nyb_model model;
    nyb_session session;
    nyb_error why;
    if (argc != 3) {
        return fail("arguments", "MODEL.nyb INPUT.raw");
    }
    if (!nyb_file_map(&file, argv[1]) || !nyb_file_map(&image, argv[2])) {
        return fail("arguments", "two files that can be read");
    }
    if (nyb_model_open(&model, file.data, file.size, &why) != NYB_OK) {
        return fail(argv[1], why.what);
    }
    const nyb_options options = {.cpu = nyb_cpu_detect()};
    const size_t bytes = nyb_session_bytes(&model, &options);
    void *arena = nyb_memory(bytes);
    if (nyb_session_init(&session, &model, &options, arena, bytes, &why) != NYB_OK) {
        return fail(argv[1], why.what);
    }
    const nyb_tensor input = nyb_input(&session, 0);
    const nyb_tensor output = nyb_output(&session, 0);
    if (model.inputs != 1 || image.size != input.bytes || output.type != NYB_INT8) {
        return fail(argv[2], "the bytes of the only input of a network with int8 scores");
    }
    memcpy(input.data, image.data, input.bytes);
    nyb_invoke(&session);
    const int8_t *scores = output.data;
    size_t best = 0;
    for (size_t i = 1; i < output.bytes; i++) {
        best = scores[i] > scores[best] ? i : best;
    }
    uint32_t length;
    const char *label = nyb_label(&model, best, &length);
    printf("%u %d %.*s\n", (unsigned)best, scores[best], (int)length, label != NULL ? label : "");
    nyb_memory_free(arena);
    nyb_file_unmap(&image);
    nyb_file_unmap(&file);
    return 0;
}
