// SPDX-License-Identifier: Apache-2.0
// What an operating system gives: files, a clock, threads, CPU features. The core knows none of it.
#ifndef NYB_PLATFORM_H
#define NYB_PLATFORM_H

#include "nybble.h"

#ifdef __cplusplus
extern "C" {
#endif

// Features of the CPU that runs this, as NYB_CPU_ bits.
uint32_t nyb_cpu_detect(void);

// Reads "avx2", "scalar", ... (names of base/cpu.h): the bits of that feature and of every weaker one of its
// architecture, ANDed with what the CPU has. False for a name that does not exist or that the CPU lacks.
bool nyb_cpu_parse(const char *name, uint32_t *cpu);

// Bytes of a memory page; 0 where memory has no pages.
size_t nyb_page_bytes(void);

// Bytes of this process that are in memory, files that it mapped included; 0 where the system does not say.
size_t nyb_resident_bytes(void);

// Nanoseconds of a clock that only goes forward.
uint64_t nyb_clock_ns(void);

// Maps a file for reading; false with errno set on failure.
typedef struct nyb_file {
    const void *data;
    size_t size;
} nyb_file;
bool nyb_file_map(nyb_file *file, const char *path);
void nyb_file_unmap(nyb_file *file);

// Memory aligned to NYB_ALIGNMENT; NULL on failure. Released with nyb_memory_free.
void *nyb_memory(size_t bytes);
void nyb_memory_free(void *memory);

// What is worth handing over to threads of a pool that are awake: they have to notice, and to fetch the data.
enum { NYB_HANDOVER_NS = 10100 };

// Threads for nyb_options.parallel; the calling thread is one of them. NULL where they cannot be started.
// Calls to one pool from several threads take turns, or run on their own threads alone; so do those of a
// forked child, which has no other thread.
nyb_parallel *nyb_pool_create(uint32_t threads);
void nyb_pool_destroy(nyb_parallel *pool);

#ifdef __cplusplus
}
#endif
#endif
