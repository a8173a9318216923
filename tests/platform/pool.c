// SPDX-License-Identifier: Apache-2.0
// Hammers pools of 1 to 4 threads with rounds of 0 to 300 tasks, back to back and after pauses in which the
// threads fall asleep, from one caller and from three at once. Every task must run exactly once, before its
// round returns, on a thread index that no other task of the pool has at the same time.
#define _POSIX_C_SOURCE 200809L
#include "platform/platform.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { THREADS_MAX = 4, TASKS_MAX = 300, ROUNDS = 4000, CALLERS = 3 };

#define PROMISE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition);                  \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

typedef struct shared {
    nyb_parallel *pool;
    atomic_bool taken[THREADS_MAX]; // thread indices that a task runs on
    uint32_t rounds;
} shared;

typedef struct round_of_tasks {
    shared *shared;
    uint8_t *runs; // of each task: plain memory, so that the thread sanitizer sees who writes and reads when
    uint32_t work;
} round_of_tasks;

static void task(void *context, uint32_t index, uint32_t thread) {
    const round_of_tasks *round = context;
    PROMISE(thread < round->shared->pool->threads);
    PROMISE(!atomic_exchange(&round->shared->taken[thread], true));
    for (uint32_t i = 0; i < round->work; i++) {
        __asm__ volatile("" : : "r"(i));
    }
    round->runs[index]++;
    atomic_store(&round->shared->taken[thread], false);
}

static void *call(void *argument) {
    shared *s = argument;
    uint8_t runs[TASKS_MAX];
    uint32_t random = 1;
    for (uint32_t r = 0; r < s->rounds; r++) {
        random = random * 1664525u + 1013904223u;
        const uint32_t tasks =
            (random >> 24) % 3 == 0 ? (random >> 16) % (TASKS_MAX + 1) : (random >> 16) % 6;
        round_of_tasks round = {s, runs, (random >> 8) % 500};
        for (uint32_t i = 0; i < tasks; i++) {
            runs[i] = 0;
        }
        s->pool->run(s->pool->pool, tasks, task, &round);
        for (uint32_t i = 0; i < tasks; i++) {
            PROMISE(runs[i] == 1);
        }
        if (r % 64 == 0) { // longer or shorter than threads look out for work
            nanosleep(&(struct timespec){0, random % 2 ? 200000 : 20000}, NULL);
        }
    }
    return NULL;
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
        nyb_pool_destroy(s.pool);
    }
    for (int i = 0; i < 200; i++) { // destroyed while threads start, look out or sleep
        nyb_pool_destroy(nyb_pool_create(THREADS_MAX));
    }
    puts("ok: every task once");
    return 0;
}
