// SPDX-License-Identifier: Apache-2.0
// The seam that threads fit behind.
#ifndef NYB_BASE_PARALLEL_H
#define NYB_BASE_PARALLEL_H

#include "nybble.h"

// Threads that a session of these options uses.
static inline uint32_t nyb_threads(const nyb_options *options) {
    return options->parallel != NULL && options->parallel->threads > 1 ? options->parallel->threads : 1;
}

// Nanoseconds that so many multiply-accumulates take at best in a kernel that needs these CPU features. Only
// the order of magnitude counts.
static inline uint64_t nyb_macs_ns(uint64_t macs, uint32_t needs) {
    uint64_t ns = macs;
#define NYB_CPU_LEVEL(name, bit, macs_a_ns, ...) ns = needs & bit ? macs / macs_a_ns : ns;
#include "base/cpu_levels.inc"
#undef NYB_CPU_LEVEL
    return ns;
}

// Threads that share an operator which takes so many nanoseconds on one: what is not to be handed over need
// not be split.
static inline uint32_t nyb_threads_for(const nyb_options *options, uint64_t ns) {
    const uint32_t threads = nyb_threads(options);
    return threads > 1 && ns >= options->parallel->handover_ns ? threads : 1;
}

// Calls task(context, i, thread) for every i < tasks. ns: roughly what all of them take on one thread; where
// that is less than handing them over would cost, they run here, one after the other.
static inline void nyb_parallel_for(const nyb_parallel *parallel, uint32_t tasks, uint64_t ns, nyb_task task,
                                    void *context) {
    if (parallel != NULL && parallel->threads > 1 && tasks > 1 && ns >= parallel->handover_ns) {
        parallel->run(parallel->pool, tasks, ns, task, context);
        return;
    }
    for (uint32_t i = 0; i < tasks; i++) {
        task(context, i, 0);
    }
}

#endif
