// SPDX-License-Identifier: Apache-2.0
// A classifier without an operating system: the model in read-only memory, everything else in one static
// arena.
//
// Build, with the compiler of the board; no library but memcpy, memset, memmove and memcmp is used:
//   xxd -i < model.nyb > model.inc
//   cc -std=c11 -O2 -I. -Iruntime -Iruntime/include -DARENA_BYTES=262144 -o bare examples/bare.c
//      runtime/base/*.c runtime/model/*.c runtime/ops/*.c runtime/session/*.c
//      runtime/kernels/*/*_scalar.c $(ls runtime/kernels/*/*.c | grep -v _)
#include "nybble.h"

_Alignas(NYB_ALIGNMENT) static const uint8_t model_data[] = {
#include "model.inc"
};

// nyb_session_bytes says how much a model takes.
_Alignas(NYB_ALIGNMENT) static uint8_t arena[ARENA_BYTES];
static nyb_model model;
static nyb_session session;

// Where a real board reads its camera or microphone: here, a ramp.
static void read_sensor(int8_t *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (int8_t)((int)(i % 256) - 128);
    }
}

static int classify(void) {
    const nyb_tensor input = nyb_input(&session, 0);
    const nyb_tensor output = nyb_output(&session, 0);
    read_sensor(input.data, input.bytes);
    nyb_invoke(&session);
    const int8_t *scores = output.data;
    size_t best = 0;
    for (size_t i = 1; i < output.bytes; i++) {
        best = scores[i] > scores[best] ? i : best;
    }
    return (int)best;
}

// The class, as the exit code where there is something to exit to; 255 where the model or the arena is wrong.
int main(void) {
    static const nyb_options scalar = {0};
    if (nyb_model_open(&model, model_data, sizeof model_data, NULL) != NYB_OK ||
        nyb_session_init(&session, &model, &scalar, arena, sizeof arena, NULL) != NYB_OK) {
        return 255;
    }
    return classify();
}
