// SPDX-License-Identifier: Apache-2.0
// What the gemm for weights of so many bits reaches on this core with everything in the first-level cache:
// the small layer of python/nybble/measure/explain.py.
#include "nyb/command.h"

#include "kernels/gemm/gemm.h"

#include <string.h>

enum { ROWS = 24, DEPTH = 512, COLUMNS = 32, NR = 8, KR = 4, RUNS = 300 };

typedef struct layer {
    _Alignas(NYB_ALIGNMENT) uint8_t weights[COLUMNS * DEPTH];
    _Alignas(NYB_ALIGNMENT) uint8_t a[ROWS][2 * DEPTH]; // in the widest form
    const uint8_t *rows[ROWS];
    int32_t bias[COLUMNS];
    int32_t multiplier[COLUMNS];
    int32_t shift[COLUMNS];
    int32_t weight_sum[COLUMNS];
    int8_t c[ROWS * COLUMNS];
} layer;

ceiling ceiling_measure(uint32_t cpu, uint32_t bits) {
    const nyb_gemm_layer wanted = {.bytes = 1, .bits = bits, .nr = NR, .kr = KR, .pairs = NYB_PAIRS_ANY};
    const nyb_gemm_variant *gemm = nyb_gemm_pick(cpu, &wanted);
    layer *l = nyb_memory(sizeof *l);
    ceiling result = {NULL, 0};
    if (gemm == NULL || l == NULL) {
        nyb_memory_free(l);
        return result;
    }
    memset(l, 0, sizeof *l);
    for (uint32_t i = 0; i < ROWS; i++) {
        l->rows[i] = l->a[i];
    }
    for (uint32_t j = 0; j < COLUMNS; j++) {
        l->multiplier[j] = INT32_C(1) << 30;
        l->shift[j] = 40;
    }
    const nyb_gemm_args args = {
        .a = l->rows,
        .segments = 1,
        .segment = DEPTH,
        .line = ROWS,
        .stride = sizeof l->a[0],
        .form = gemm->form,
        .weights = l->weights,
        .bias = l->bias,
        .multiplier = l->multiplier,
        .shift = l->shift,
        .weight_sum = l->weight_sum,
        .rows = ROWS,
        .columns = COLUMNS,
        .depth = DEPTH,
        .output = {.minimum = INT8_MIN, .maximum = INT8_MAX},
        .c = l->c,
        .c_stride = COLUMNS,
    };
    uint64_t best = UINT64_MAX;
    for (int run = 0; run < RUNS; run++) {
        const uint64_t start = nyb_clock_ns();
        gemm->run(&args);
        const uint64_t time = nyb_clock_ns() - start;
        best = time > 0 && time < best ? time : best;
    }
    nyb_memory_free(l);
    result.variant = gemm->name;
    result.gmacs = (double)ROWS * DEPTH * COLUMNS / (double)best;
    return result;
}
