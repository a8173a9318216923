// SPDX-License-Identifier: Apache-2.0
// The platform of a machine without an operating system: no files, no threads, no memory to give away. The
// CPU's features are those that the compiler was told of. The core needs nothing from here: a program with
// static memory can do without this file (examples/bare.c).
#include "platform/platform.h"

uint32_t nyb_cpu_detect(void) {
    uint32_t cpu = 0;
#if defined(__ARM_FEATURE_SIMD32)
    cpu |= NYB_CPU_ARMV6_SIMD;
#endif
#if defined(__ARM_NEON)
    cpu |= NYB_CPU_NEON;
#endif
#if defined(__ARM_FEATURE_DOTPROD)
    cpu |= NYB_CPU_DOTPROD;
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
    cpu |= NYB_CPU_I8MM;
#endif
    return cpu;
}

size_t nyb_page_bytes(void) { return 0; }

size_t nyb_resident_bytes(void) { return 0; }

// A clock that stands still; a program that measures defines its own.
__attribute__((weak)) uint64_t nyb_clock_ns(void) { return 0; }

bool nyb_file_map(nyb_file *file, const char *path) {
    (void)path;
    *file = (nyb_file){NULL, 0};
    return false;
}

void nyb_file_unmap(nyb_file *file) { *file = (nyb_file){NULL, 0}; }

void *nyb_memory(size_t bytes) {
    (void)bytes;
    return NULL;
}

void nyb_memory_free(void *memory) { (void)memory; }

nyb_parallel *nyb_pool_create(uint32_t threads) {
    (void)threads;
    return NULL;
}

void nyb_pool_destroy(nyb_parallel *pool) { (void)pool; }
