// SPDX-License-Identifier: Apache-2.0
#include "base/cpu.h"
#include "nyb/command.h"

#include <errno.h>
#include <string.h>

const char *cpu_level(uint32_t cpu) {
    const char *level = "scalar";
    for (const nyb_cpu_feature *f = nyb_cpu_features; f->name != NULL; f++) {
        level = cpu & f->bit ? f->name : level;
    }
    return level;
}

void model_refused(const char *path, const nyb_error *why) {
    fprintf(stderr, "nyb: %s: expected %s", path, why->what);
    if (why->expected != why->found) {
        fprintf(stderr, " (expected %lld, found %lld)", (long long)why->expected, (long long)why->found);
    }
    if (why->op >= 0) {
        fprintf(stderr, ", operator %ld", (long)why->op);
    }
    if (why->tensor >= 0) {
        fprintf(stderr, ", tensor %ld", (long)why->tensor);
    }
    fputc('\n', stderr);
}

static int choose_cpu(const char *name, uint32_t *cpu) {
    *cpu = nyb_cpu_detect();
    if (name == NULL || nyb_cpu_parse(name, cpu)) {
        return EXIT_OK;
    }
    fputs("nyb: --cpu: expected a level of this machine (scalar", stderr);
    for (const nyb_cpu_feature *f = nyb_cpu_features; f->name != NULL; f++) {
        if (*cpu & f->bit) {
            fprintf(stderr, ", %s", f->name);
        }
    }
    fprintf(stderr, "), found '%s'\n", name);
    return EXIT_USAGE;
}

static int start(loaded *m, uint32_t threads) {
    nyb_error why;
    if (!nyb_file_map(&m->file, m->path)) {
        fprintf(stderr, "nyb: %s: %s\n", m->path, strerror(errno));
        return EXIT_FAULT;
    }
    if (m->file.size == 0) {
        fprintf(stderr, "nyb: %s: expected a .nyb model, found an empty file\n", m->path);
        return EXIT_FAULT;
    }
    if (nyb_model_open(&m->model, m->file.data, m->file.size, &why) != NYB_OK) {
        model_refused(m->path, &why);
        return EXIT_FAULT;
    }
    if (threads > 1) {
        m->pool = nyb_pool_create(threads);
        m->options.parallel = m->pool;
        if (m->pool == NULL) {
            fprintf(stderr, "nyb: --threads: %lu threads cannot be started\n", (unsigned long)threads);
            return EXIT_FAULT;
        }
    }
    m->arena_bytes = nyb_session_bytes(&m->model, &m->options);
    m->arena = m->arena_bytes > 0 ? nyb_memory(m->arena_bytes) : NULL;
    if (m->arena == NULL) {
        fprintf(stderr, "nyb: %s: not enough memory for an arena of %llu bytes (activations %llu)\n", m->path,
                (unsigned long long)m->arena_bytes, (unsigned long long)m->model.arena_bytes);
        return EXIT_FAULT;
    }
    if (nyb_session_init(&m->session, &m->model, &m->options, m->arena, m->arena_bytes, &why) != NYB_OK) {
        model_refused(m->path, &why);
        return EXIT_FAULT;
    }
    return EXIT_OK;
}

int model_load(loaded *m, const char *path, const machine *machine) {
    memset(m, 0, sizeof *m);
    m->path = path;
    m->options.prepack = machine->prepack;
    int code = choose_cpu(machine->cpu, &m->options.cpu);
    if (code == EXIT_OK) {
        code = start(m, machine->threads);
        if (code != EXIT_OK) {
            model_unload(m);
        }
    }
    return code;
}

void model_unload(loaded *m) {
    nyb_pool_destroy(m->pool);
    nyb_memory_free(m->arena);
    nyb_file_unmap(&m->file);
}
