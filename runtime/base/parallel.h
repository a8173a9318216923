// SPDX-License-Identifier: Apache-2.0
// The seam that threads fit behind.
#ifndef NYB_BASE_PARALLEL_H
#define NYB_BASE_PARALLEL_H

#include "nybble.h"

// Threads that a session of these options uses.
static inline uint32_t nyb_threads(const nyb_options *options) {
    return options->parallel != NULL && options->parallel->threads > 1 ? options->parallel->threads : 1;
}

// Calls task(context, i, thread) for every i < tasks.
static inline void nyb_parallel_for(const nyb_parallel *parallel, uint32_t tasks, nyb_task task,
                                    void *context) {
    if (parallel != NULL && parallel->threads > 1 && tasks > 1) {
        parallel->run(parallel->pool, tasks, task, context);
        return;
    }
    for (uint32_t i = 0; i < tasks; i++) {
        task(context, i, 0);
    }
}

#endif
