// SPDX-License-Identifier: Apache-2.0
// Hammers pools of 1 to 4 threads with rounds of 0 to 300 tasks, back to back and after pauses in which the
// threads fall asleep, from one caller and from three at once. Every task must run exactly once, before its
// round returns, on a thread index that no other task of its round has at the same time. Then the threads
// must come where they are worth it, and sleep where they are not.
#define _GNU_SOURCE // sched_getaffinity
#include "platform/platform.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    THREADS_MAX = 4,
    TASKS_MAX = 300,
    ROUNDS = 4000,
    CALLERS = 3,
    SMALL_NS = 10000,
    LARGE_NS = 1000000000
};

#define PROMISE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition);                  \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

typedef struct shared {
    nyb_parallel *pool;
    uint32_t rounds;
} shared;

typedef struct round_of_tasks {
    shared *shared;
    atomic_bool taken[THREADS_MAX]; // thread indices that a task runs on
    uint8_t *runs; // of each task: plain memory, so that the thread sanitizer sees who writes and reads when
    uint32_t work;
} round_of_tasks;

static void task(void *context, uint32_t index, uint32_t thread) {
    round_of_tasks *round = context;
    PROMISE(thread < round->shared->pool->threads);
    PROMISE(!atomic_exchange(&round->taken[thread], true));
    for (uint32_t i = 0; i < round->work; i++) {
        __asm__ volatile("" : : "r"(i));
    }
    round->runs[index]++;
    atomic_store(&round->taken[thread], false);
}

static void *call(void *argument) {
    shared *s = argument;
    uint8_t runs[TASKS_MAX];
    uint32_t random = 1;
    for (uint32_t r = 0; r < s->rounds; r++) {
        random = random * 1664525u + 1013904223u;
        const uint32_t tasks =
            (random >> 24) % 3 == 0 ? (random >> 16) % (TASKS_MAX + 1) : (random >> 16) % 6;
        round_of_tasks round = {.shared = s, .runs = runs, .work = (random >> 8) % 500};
        for (uint32_t i = 0; i < tasks; i++) {
            runs[i] = 0;
        }
        s->pool->run(s->pool->pool, tasks, (random >> 20) % 2 ? SMALL_NS : LARGE_NS, task, &round);
        for (uint32_t i = 0; i < tasks; i++) {
            PROMISE(runs[i] == 1);
        }
        if (r % 64 == 0) { // longer or shorter than threads look out for work
            nanosleep(&(struct timespec){0, random % 2 ? 200000 : 20000}, NULL);
        }
    }
    return NULL;
}

static void pause_ns(uint64_t ns) {
    const uint64_t start = nyb_clock_ns();
    while (nyb_clock_ns() - start < ns) {
    }
}

static void begin_together(void *context, uint32_t index, uint32_t thread) {
    atomic_uint *missing = context;
    (void)index;
    (void)thread;
    atomic_fetch_sub(missing, 1);
    while (atomic_load(missing) > 0) {
        sched_yield();
    }
}

// Work for every thread, at the moments when they fall asleep: a wake-up that is lost never returns.
static void wake_for_large_rounds(nyb_parallel *pool) {
    for (uint32_t r = 0; r < 1000; r++) {
        atomic_uint missing = pool->threads;
        pause_ns(r % 100 * 1000);
        pool->run(pool->pool, pool->threads, LARGE_NS, begin_together, &missing);
    }
}

static void note_others(void *context, uint32_t index, uint32_t thread) {
    (void)index;
    pause_ns(SMALL_NS);
    if (thread > 0) {
        atomic_fetch_add((atomic_uint *)context, 1);
    }
}

static bool has_cores(int count) {
    cpu_set_t cores;
    return sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) >= count;
}

// Small rounds, one after the other, wake another thread at last; those that come now and then do not.
static void wake_for_many_small_rounds(void) {
    nyb_parallel *pool = nyb_pool_create(2);
    PROMISE(pool != NULL);
    for (int i = 0; i < 10; i++) {
        atomic_uint others = 0;
        nanosleep(&(struct timespec){0, 5000000}, NULL);
        while (atomic_load(&others) == 0) {
            pool->run(pool->pool, 2, SMALL_NS, note_others, &others);
        }
    }
    atomic_uint others = 0;
    for (int i = 0; i < 100; i++) {
        nanosleep(&(struct timespec){0, 5000000}, NULL);
        pool->run(pool->pool, 30, SMALL_NS, note_others, &others);
    }
    // A thread that looks out for work may have lost its core for so long.
    PROMISE(atomic_load(&others) <= 30 * 10);
    nyb_pool_destroy(pool);
}

// The child of a process has none of its threads: its rounds run on the caller, and the pool can be
// destroyed.
static void outlive_a_fork(void) {
#if !defined(__SANITIZE_THREAD__) // which ends a child of several threads
    for (int asleep = 0; asleep < 2; asleep++) {
        shared s = {.pool = nyb_pool_create(2), .rounds = 50};
        PROMISE(s.pool != NULL);
        call(&s);
        pause_ns(asleep ? 20000000 : 0);
        const pid_t child = fork();
        if (child == 0) {
            alarm(60); // ends a child that waits for threads that are not there
            call(&s);
            nyb_pool_destroy(s.pool);
            s.pool = nyb_pool_create(2);
            call(&s);
            nyb_pool_destroy(s.pool);
            _exit(0);
        }
        int status = 1;
        PROMISE(child > 0 && waitpid(child, &status, 0) == child && status == 0);
        call(&s);
        nyb_pool_destroy(s.pool);
    }
#endif
}

int main(void) {
    for (uint32_t threads = 1; threads <= THREADS_MAX; threads++) {
        shared s = {.pool = nyb_pool_create(threads), .rounds = ROUNDS};
        PROMISE(s.pool != NULL && s.pool->threads == threads);
        call(&s);
        pthread_t callers[CALLERS];
        s.rounds = ROUNDS / CALLERS;
        for (int i = 0; i < CALLERS; i++) {
            PROMISE(pthread_create(&callers[i], NULL, call, &s) == 0);
        }
        for (int i = 0; i < CALLERS; i++) {
            pthread_join(callers[i], NULL);
        }
        wake_for_large_rounds(s.pool);
        nyb_pool_destroy(s.pool);
    }
    if (has_cores(2)) {
        wake_for_many_small_rounds();
    }
    for (int i = 0; i < 200; i++) { // destroyed while threads start, look out or sleep
        nyb_pool_destroy(nyb_pool_create(THREADS_MAX));
    }
    outlive_a_fork();
    puts("ok: every task once, no wake-up lost");
    return 0;
}
