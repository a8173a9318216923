// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "platform/platform.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__) && (defined(__aarch64__) || defined(__arm__))
#include <sys/auxv.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

// Whether the CPU has tiles of int8 and the system lets this process use them, which it must ask for. Numbers
// are those of the kernel's user ABI (asm/prctl.h: ARCH_REQ_XCOMP_PERM; XTILEDATA), which old headers lack.
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>

static bool amx_granted(void) {
    unsigned int a, b, c, d;
    const unsigned int needed = 3u << 24; // AMX-TILE, AMX-INT8
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & needed) == needed &&
           syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}
#else
static bool amx_granted(void) { return false; }
#endif
#endif

uint32_t nyb_cpu_detect(void) {
    uint32_t cpu = 0;
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) {
        cpu |= NYB_CPU_AVX2;
        // AVX-VNNI has no name in every compiler. The registers it needs are those of AVX2.
        unsigned int a, b, c, d;
        if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4))) {
            cpu |= NYB_CPU_AVXVNNI;
        }
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl")) {
        cpu |= __builtin_cpu_supports("avx512vnni") ? NYB_CPU_AVX512VNNI : 0;
        cpu |= __builtin_cpu_supports("avx512vbmi") ? NYB_CPU_AVX512VBMI : 0;
        cpu |= (cpu & NYB_CPU_AVX512VNNI) && amx_granted() ? NYB_CPU_AMX : 0;
    }
#elif defined(__aarch64__)
    cpu |= NYB_CPU_NEON;
#if defined(__linux__)
    // Bits of the kernel's user ABI (asm/hwcap.h), written out because old headers lack them.
    if (getauxval(AT_HWCAP) & (1ul << 20)) {
        cpu |= NYB_CPU_DOTPROD;
    }
    if (getauxval(AT_HWCAP2) & (1ul << 13)) {
        cpu |= NYB_CPU_I8MM;
    }
#endif
#elif defined(__arm__)
#if defined(__ARM_FEATURE_SIMD32)
    cpu |= NYB_CPU_ARMV6_SIMD;
#endif
#if defined(__linux__)
    if (getauxval(AT_HWCAP) & (1ul << 12)) {
        cpu |= NYB_CPU_NEON;
    }
#endif
#endif
    return cpu;
}

size_t nyb_page_bytes(void) {
    const long bytes = sysconf(_SC_PAGESIZE);
    return bytes > 0 ? (size_t)bytes : 0;
}

size_t nyb_resident_bytes(void) {
    // Linux, exact; /proc/self/statm may lag by some hundred pages.
    FILE *sums = fopen("/proc/self/smaps_rollup", "r");
    char line[128];
    unsigned long kilobytes = 0;
    while (sums != NULL && fgets(line, sizeof line, sums) != NULL &&
           sscanf(line, "Rss: %lu", &kilobytes) != 1) {
    }
    if (sums != NULL) {
        fclose(sums);
    }
    return (size_t)kilobytes * 1024;
}

uint64_t nyb_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

bool nyb_file_map(nyb_file *file, const char *path) {
    struct stat status;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    file->data = NULL;
    file->size = 0;
    if (descriptor < 0) {
        return false;
    }
    bool ok = fstat(descriptor, &status) == 0;
    if (ok && status.st_size > 0) {
        void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        ok = data != MAP_FAILED;
        if (ok) {
            file->data = data;
            file->size = (size_t)status.st_size;
        }
    }
    close(descriptor);
    return ok;
}

void nyb_file_unmap(nyb_file *file) {
    if (file->data != NULL) {
        munmap((void *)(uintptr_t)file->data, file->size);
    }
    file->data = NULL;
    file->size = 0;
}

// Advice for the whole pages of some memory, which the system may ignore.
static __attribute__((unused)) void advise(void *memory, size_t bytes, int advice) {
    const uintptr_t page = nyb_page_bytes();
    const uintptr_t start = ((uintptr_t)memory + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)memory + bytes) / page * page;
    if (end > start) {
        madvise((void *)start, end - start, advice);
    }
}

void *nyb_memory(size_t bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, NYB_ALIGNMENT, bytes ? bytes : 1) != 0) {
        return NULL;
    }
#if defined(MADV_HUGEPAGE)
    // An arena of this size holds prepacked weights, whose pages are all read once per inference.
    if (bytes >= (size_t)4 << 20) {
        advise(memory, bytes, MADV_HUGEPAGE);
    }
#endif
#if defined(MADV_POPULATE_WRITE)
    // All of it is about to be written: its pages come in one call, not in one fault each. A larger arena may
    // be more than the machine has, and fails when it is used.
    if (bytes <= (size_t)64 << 20) {
        advise(memory, bytes, MADV_POPULATE_WRITE);
    }
#endif
    return memory;
}

void nyb_memory_free(void *memory) { free(memory); }
