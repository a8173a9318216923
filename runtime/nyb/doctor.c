// SPDX-License-Identifier: Apache-2.0
// nyb doctor: what this machine offers.
#include "base/cpu.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"
#include "kernels/lookup/lookup.h"
#include "kernels/pool/pool.h"
#include "kernels/resize/resize.h"
#include "kernels/winograd/winograd.h"
#include "nyb/command.h"

#if defined(__x86_64__)
#define ARCHITECTURE "x86-64"
#elif defined(__aarch64__)
#define ARCHITECTURE "aarch64"
#elif defined(__arm__)
#define ARCHITECTURE "arm"
#elif defined(__riscv)
#define ARCHITECTURE "riscv"
#else
#define ARCHITECTURE "another architecture"
#endif

// The smallest step that the clock was seen to make.
static uint64_t clock_step(void) {
    uint64_t smallest = UINT64_MAX;
    for (int i = 0; i < 1000; i++) {
        const uint64_t start = nyb_clock_ns();
        uint64_t now = start;
        for (int reads = 0; now == start && reads < 1000000; reads++) {
            now = nyb_clock_ns();
        }
        smallest = now - start < smallest ? now - start : smallest;
    }
    return smallest;
}

static void print_features(uint32_t cpu) {
    fputs("CPU levels: scalar", stdout);
    for (const nyb_cpu_feature *f = nyb_cpu_features; f->name != NULL; f++) {
        if (cpu & f->bit) {
            printf(" %s", f->name);
        }
    }
    printf("\nused unless --cpu says otherwise: %s\n", cpu_level(cpu));
}

static void print_variant(const char *family, const char *name, uint32_t needs, uint32_t cpu) {
    printf("  %-12s %-20s ", family, name);
    if ((needs & ~cpu) == 0) {
        puts("runs here");
        return;
    }
    fputs("needs", stdout);
    for (const nyb_cpu_feature *f = nyb_cpu_features; f->name != NULL; f++) {
        if (needs & ~cpu & f->bit) {
            printf(" %s", f->name);
        }
    }
    putchar('\n');
}

#define PRINT_FAMILY(family)                                                                                 \
    for (const nyb_##family##_variant *v = nyb_##family##_variants; v->name != NULL; v++) {                  \
        print_variant(#family, v->name, v->needs, cpu);                                                      \
    }

int doctor_run(const command *self, int count, char **arguments) {
    const option options[] = {{.name = NULL}};
    int code;
    if (!options_read(self, options, &count, arguments, &code)) {
        return code;
    }
    const uint32_t cpu = nyb_cpu_detect();
    printf("nyb %s, %s, %d-bit\n", NYB_VERSION, ARCHITECTURE, (int)(8 * sizeof(void *)));
    printf("page size %llu bytes, clock step %llu ns\n", (unsigned long long)nyb_page_bytes(),
           (unsigned long long)clock_step());
    print_features(cpu);
    puts("kernels of this build, best first:");
    PRINT_FAMILY(gemm)
    PRINT_FAMILY(depthwise)
    PRINT_FAMILY(elementwise)
    PRINT_FAMILY(lookup)
    PRINT_FAMILY(pool)
    PRINT_FAMILY(resize)
    PRINT_FAMILY(winograd)
    return EXIT_OK;
}
