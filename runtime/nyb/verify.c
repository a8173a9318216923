// SPDX-License-Identifier: Apache-2.0
// nyb verify: the file's structure, hash and certificates, and the digests of what this machine computes.
#include "nyb/command.h"

static int verify(loaded *m, const machine *here) {
    nyb_error why;
    if (nyb_model_verify(&m->model, &m->options, m->arena, m->arena_bytes, &why) != NYB_OK) {
        model_refused(m->path, &why);
        if (why.op >= 0) {
            const nyb_op_info op = nyb_describe(&m->session, (uint32_t)why.op);
            printf("%s: differs first in operator %ld: %s '", m->path, (long)why.op, op.kind);
            text_print(op.name, op.name_length);
            printf("', kernel %s, %s\n", op.variant, cpu_level(m->options.cpu));
        }
        return EXIT_FAULT;
    }
    if (nyb_has_golden(&m->model)) {
        printf("%s: bit-exact with the machine that built it (%lu operators, %s, threads: %lu)\n", m->path,
               (unsigned long)m->model.operators, cpu_level(m->options.cpu), (unsigned long)here->threads);
    } else {
        printf("%s: structure, hash and certificates hold; the file has no golden outputs to compare with\n",
               m->path);
    }
    return EXIT_OK;
}

int verify_run(const command *self, int count, char **arguments) {
    machine here = MACHINE_DEFAULT;
    const option options[] = {THREADS_OPTION(here), CPU_OPTION(here), PREPACK_OPTION(here), {.name = NULL}};
    loaded m;
    int code;
    if (!options_read(self, options, &count, arguments, &code)) {
        return code;
    }
    code = model_load(&m, arguments[0], &here);
    if (code == EXIT_OK) {
        code = verify(&m, &here);
        model_unload(&m);
    }
    return code;
}
