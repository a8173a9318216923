// SPDX-License-Identifier: Apache-2.0
// Threads that share the tasks of an operator. The caller publishes a round of tasks, draws from it like
// every worker, and waits for those that others still have in hand: a worker that sleeps through a round
// delays nobody. Workers look out for the next round for a moment, which bridges the gaps between the
// operators of a network, and then sleep. To wake one costs the caller several microseconds, so a round is
// shared with those that are awake, and nobody is woken before more time was missed than waking costs.
#define _GNU_SOURCE // sched_getaffinity
#include "platform/platform.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    // How long a thread looks out before it sleeps.
    LOOKOUT_NS = 50000,
    // What a worker must take over before its being woken has paid: waking it took the caller 4 to 20
    // microseconds, and the worker reads from cold caches.
    WAKE_NS = 25000,
    // Where waking goes on not to pay, it is tried after every millisecond of work: at most some 2 percent.
    PATIENCE_NS = 1000000,
    CACHE_LINE = 64
};

typedef struct pool {
    nyb_parallel interface;
    pthread_t *workers;
    uint32_t forks; // before the process that has the workers
    uint64_t lookout_ns;
    pthread_mutex_t turn; // held by the caller whose round it is

    // When to wake workers; guarded by the turn. As in the problem of renting or buying skis: once as much
    // was missed as waking costs.
    uint64_t missed_ns;   // that rounds took which sleepers could have shared, with no gap that would have
                          // sent them to sleep again
    uint64_t missed_at;   // the end of the last of them
    uint64_t patience_ns; // how much may be missed

    // The round. Set while no task is left; read only by who has drawn a task.
    nyb_task task;
    void *context;
    uint32_t tasks;
    uint64_t ns;                                 // that all of them take, roughly
    _Alignas(CACHE_LINE) atomic_uint left;       // tasks that nobody has drawn
    atomic_uint front, back;                     // those drawn from each end
    _Alignas(CACHE_LINE) atomic_uint unfinished; // tasks that somebody has not finished

    // Who sleeps. Each sleeper says so before it looks for the last time, and who would wake it looks here
    // after its own change: in sequential consistency one of them sees the other.
    _Alignas(CACHE_LINE) atomic_uint sleeping; // workers
    atomic_bool caller_sleeps;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_cond_t done;
    uint32_t wakes;   // how often workers were woken; guarded by the lock
    atomic_bool paid; // a worker that was woken has since taken over more than that cost
    atomic_bool stop;
} pool;

typedef struct worker {
    pool *pool;
    uint32_t thread;
} worker;

// How often the process forked on the way to this one. The workers of a pool stay in the process that made
// it: in a child the caller runs all tasks, and locks are left as they are, since others may hold them.
static atomic_uint forks;
static void count_fork(void) { atomic_fetch_add(&forks, 1); }
static void expect_forks(void) { pthread_atfork(NULL, NULL, count_fork); }
static bool has_workers(const pool *p) { return p->forks == atomic_load(&forks); }

static void pause_core(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || (defined(__ARM_ARCH) && __ARM_ARCH >= 7)
    __asm__ volatile("yield");
#endif
}

static bool has_work(pool *p) { return atomic_load(&p->left) > 0 || atomic_load(&p->stop); }

static bool is_done(pool *p) { return atomic_load(&p->unfinished) == 0; }

// Whether the condition came true while looking out for it.
static bool look_out(pool *p, bool (*condition)(pool *)) {
    const uint64_t start = p->lookout_ns > 0 ? nyb_clock_ns() : 0;
    do {
        for (int i = 0; i < 32; i++) {
            if (condition(p)) {
                return true;
            }
            pause_core();
        }
        // Where others want this core, the thread that is waited for may be one of them.
        sched_yield();
    } while (p->lookout_ns > 0 && nyb_clock_ns() - start < p->lookout_ns);
    return false;
}

// Runs tasks until none is left. A draw takes a part of what is left, so that small tasks are drawn together
// and the last ones end at the same time. Threads draw from either end: of two threads each works on its end
// of every tensor, which its cache still holds from the operator before. Returns nanoseconds that its tasks
// take where caches are warm: what it took off the others.
static uint64_t draw(pool *p, uint32_t thread) {
    uint64_t ns = 0;
    uint32_t left = atomic_load_explicit(&p->left, memory_order_relaxed);
    while (left > 0) {
        const uint32_t count = (left - 1) / (2 * p->interface.threads) + 1;
        if (!atomic_compare_exchange_weak_explicit(&p->left, &left, left - count, memory_order_acquire,
                                                   memory_order_relaxed)) {
            continue;
        }
        const uint32_t first = thread % 2 == 0 ? atomic_fetch_add(&p->front, count)
                                               : p->tasks - count - atomic_fetch_add(&p->back, count);
        for (uint32_t i = 0; i < count; i++) {
            p->task(p->context, first + i, thread);
        }
        ns += p->ns * count / p->tasks;
        if (atomic_fetch_sub(&p->unfinished, count) == count && atomic_load(&p->caller_sleeps)) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
        left = atomic_load_explicit(&p->left, memory_order_relaxed);
    }
    return ns;
}

// Whether somebody woke it; false where there was work before it slept.
static bool sleep_until_woken(pool *p) {
    pthread_mutex_lock(&p->lock);
    const uint32_t wakes = p->wakes;
    atomic_fetch_add(&p->sleeping, 1);
    while (p->wakes == wakes && !has_work(p)) {
        pthread_cond_wait(&p->wake, &p->lock);
    }
    const bool woken = p->wakes != wakes;
    if (!woken) {
        atomic_fetch_sub(&p->sleeping, 1);
    }
    pthread_mutex_unlock(&p->lock);
    return woken;
}

static void *work(void *argument) {
    worker *self = argument;
    pool *p = self->pool;
    const uint32_t thread = self->thread;
    uint64_t owed = 0; // nanoseconds of work until its being woken has paid
    free(self);
    while (!atomic_load(&p->stop)) {
        const uint64_t worked = draw(p, thread);
        if (owed > 0 && worked >= owed) {
            atomic_store(&p->paid, true);
        }
        owed = worked < owed ? owed - worked : 0;
        if (!look_out(p, has_work)) {
            owed = sleep_until_woken(p) ? WAKE_NS : owed;
        }
    }
    return NULL;
}

// Wakes all, who count as awake from now on, and draws the lesson of the last time.
static void wake_workers(pool *p) {
    if (atomic_exchange(&p->paid, false)) {
        p->patience_ns = p->patience_ns / 2 > WAKE_NS ? p->patience_ns / 2 : WAKE_NS;
    } else {
        p->patience_ns = p->patience_ns < PATIENCE_NS / 2 ? p->patience_ns * 2 : PATIENCE_NS;
    }
    p->missed_ns = 0;
    pthread_mutex_lock(&p->lock);
    p->wakes++;
    atomic_store(&p->sleeping, 0);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

static void wait_for_others(pool *p) {
    if (look_out(p, is_done)) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (!is_done(p)) {
        pthread_cond_wait(&p->done, &p->lock);
    }
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

static void run_alone(uint32_t tasks, nyb_task task, void *context) {
    for (uint32_t i = 0; i < tasks; i++) {
        task(context, i, 0);
    }
}

// Whether somebody sleeps who would find a task.
static bool misses_sleepers(pool *p, uint32_t tasks) {
    const uint32_t sleeping = atomic_load(&p->sleeping);
    return sleeping > 0 && tasks > p->interface.threads - sleeping;
}

static void run_shared(pool *p, uint32_t tasks, uint64_t ns, nyb_task task, void *context, bool wake) {
    p->task = task;
    p->context = context;
    p->tasks = tasks;
    p->ns = ns;
    atomic_store(&p->front, 0);
    atomic_store(&p->back, 0);
    atomic_store(&p->unfinished, tasks);
    atomic_store(&p->left, tasks);
    // Looked for once more: who fell asleep since cannot have seen these tasks.
    if (wake && misses_sleepers(p, tasks)) {
        wake_workers(p);
    }
    draw(p, 0);
    wait_for_others(p);
}

static void run(void *context, uint32_t tasks, uint64_t ns, nyb_task task, void *task_context) {
    pool *p = context;
    if (!has_workers(p)) {
        run_alone(tasks, task, task_context);
        return;
    }
    if (ns >= WAKE_NS) {
        pthread_mutex_lock(&p->turn);
    } else if (pthread_mutex_trylock(&p->turn) != 0) {
        run_alone(tasks, task, task_context);
        return;
    }
    const bool missed = misses_sleepers(p, tasks);
    const uint64_t start = missed ? nyb_clock_ns() : 0;
    if (missed && start - p->missed_at >= p->lookout_ns) {
        p->missed_ns = 0;
    }
    const bool wake = ns + (missed ? p->missed_ns : 0) >= p->patience_ns;
    if (tasks > 1 && (wake || atomic_load(&p->sleeping) + 1 < p->interface.threads)) {
        run_shared(p, tasks, ns, task, task_context, wake);
    } else {
        run_alone(tasks, task, task_context);
    }
    if (missed && !wake) {
        p->missed_at = nyb_clock_ns();
        p->missed_ns += p->missed_at - start;
    }
    pthread_mutex_unlock(&p->turn);
}

// A thread that looks out where it takes the core from the one that works is in its way.
static bool cores_for(uint32_t threads) {
#if defined(__linux__)
    cpu_set_t cores;
    return sched_getaffinity(0, sizeof cores, &cores) != 0 || (uint32_t)CPU_COUNT(&cores) >= threads;
#else
    return threads > 0;
#endif
}

nyb_parallel *nyb_pool_create(uint32_t threads) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (threads == 0 || pthread_once(&once, expect_forks) != 0) {
        return NULL;
    }
    pool *p = nyb_memory(sizeof *p);
    if (p == NULL) {
        return NULL;
    }
    *p = (pool){.interface = {run, p, 1, NYB_HANDOVER_NS},
                .forks = atomic_load(&forks),
                .lookout_ns = cores_for(threads) ? LOOKOUT_NS : 0,
                .patience_ns = WAKE_NS,
                .paid = true};
    p->workers = calloc(threads, sizeof *p->workers);
    pthread_mutex_init(&p->turn, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    uint32_t started = 0;
    p->interface.threads = threads;
    while (p->workers != NULL && started + 1 < threads) {
        worker *self = malloc(sizeof *self);
        if (self == NULL) {
            break;
        }
        *self = (worker){p, started + 1};
        if (pthread_create(&p->workers[started], NULL, work, self) != 0) {
            free(self);
            break;
        }
        started++;
    }
    if (started + 1 < threads) {
        p->interface.threads = started + 1;
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
    if (has_workers(p)) {
        pthread_mutex_lock(&p->lock);
        atomic_store(&p->stop, true);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
        for (uint32_t i = 0; i + 1 < p->interface.threads; i++) {
            pthread_join(p->workers[i], NULL);
        }
        pthread_cond_destroy(&p->done);
        pthread_cond_destroy(&p->wake);
        pthread_mutex_destroy(&p->lock);
        pthread_mutex_destroy(&p->turn);
    }
    free(p->workers);
    nyb_memory_free(p);
}
