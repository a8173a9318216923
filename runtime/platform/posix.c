// SPDX-License-Identifier: Apache-2.0
#define _POSIX_C_SOURCE 200809L
#include "platform/platform.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__) && (defined(__aarch64__) || defined(__arm__))
#include <sys/auxv.h>
#endif

uint32_t nyb_cpu_detect(void) {
    uint32_t cpu = 0;
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) {
        cpu |= NYB_CPU_AVX2;
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni")) {
        cpu |= NYB_CPU_AVX512VNNI;
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

void *nyb_memory(size_t bytes) {
    void *memory = NULL;
    return posix_memalign(&memory, NYB_ALIGNMENT, bytes ? bytes : 1) == 0 ? memory : NULL;
}

void nyb_memory_free(void *memory) { free(memory); }

typedef struct pool {
    nyb_parallel interface; // first: a pointer to it is a pointer to the pool
    pthread_t *workers;
    pthread_mutex_t turn; // held by the caller whose tasks run
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_cond_t done;
    // Guarded by lock, but for `next`, which the threads of one round draw tasks from.
    uint64_t round;
    uint32_t busy;
    bool stop;
    nyb_task task;
    void *context;
    uint32_t tasks;
    atomic_uint next;
} pool;

typedef struct worker {
    pool *pool;
    uint32_t thread;
} worker;

static void draw(pool *p, uint32_t thread) {
    for (;;) {
        const uint32_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (i >= p->tasks) {
            return;
        }
        p->task(p->context, i, thread);
    }
}

static void *work(void *argument) {
    worker *self = argument;
    pool *p = self->pool;
    const uint32_t thread = self->thread;
    free(self);
    uint64_t seen = 0;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->round == seen) {
            pthread_cond_wait(&p->wake, &p->lock);
        }
        if (p->stop) {
            pthread_mutex_unlock(&p->lock);
            return NULL;
        }
        seen = p->round;
        pthread_mutex_unlock(&p->lock);
        draw(p, thread);
        pthread_mutex_lock(&p->lock);
        if (--p->busy == 0) {
            pthread_cond_signal(&p->done);
        }
    }
}

static void run(void *context, uint32_t tasks, nyb_task task, void *task_context) {
    pool *p = context;
    pthread_mutex_lock(&p->turn);
    pthread_mutex_lock(&p->lock);
    p->task = task;
    p->context = task_context;
    p->tasks = tasks;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    p->busy = p->interface.threads - 1;
    p->round++;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    draw(p, 0);
    pthread_mutex_lock(&p->lock);
    while (p->busy > 0) {
        pthread_cond_wait(&p->done, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->turn);
}

nyb_parallel *nyb_pool_create(uint32_t threads) {
    if (threads == 0) {
        return NULL;
    }
    pool *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return NULL;
    }
    p->interface = (nyb_parallel){run, p, 1};
    p->workers = calloc(threads, sizeof *p->workers);
    pthread_mutex_init(&p->turn, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    while (p->workers != NULL && p->interface.threads < threads) {
        worker *self = malloc(sizeof *self);
        if (self == NULL) {
            break;
        }
        *self = (worker){p, p->interface.threads};
        if (pthread_create(&p->workers[p->interface.threads - 1], NULL, work, self) != 0) {
            free(self);
            break;
        }
        p->interface.threads++;
    }
    if (p->interface.threads < threads) {
        nyb_pool_destroy(&p->interface);
        return NULL;
    }
    return &p->interface;
}

void nyb_pool_destroy(nyb_parallel *parallel) {
    if (parallel == NULL) {
        return;
    }
    pool *p = parallel->pool;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i + 1 < p->interface.threads; i++) {
        pthread_join(p->workers[i], NULL);
    }
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->turn);
    free(p->workers);
    free(p);
}
