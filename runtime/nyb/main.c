// SPDX-License-Identifier: Apache-2.0
// The command on the board.
#include "nyb/command.h"

#include <string.h>

static const command commands[] = {
    {"info", "MODEL", "what a model is: operators, shapes, multiply-accumulates, bytes", 1, 1, info_run},
    {"run", "MODEL [INPUT.raw ...]", "run a model on its own integers, little endian", 1, 256, run_run},
    {"verify", "MODEL", "prove the file, and that this machine computes its bits", 1, 1, verify_run},
    {"bench", "MODEL", "how long a model takes, as a whole and by operator", 1, 1, bench_run},
    {"doctor", "", "what this machine offers: CPU levels, kernels, clock", 0, 0, doctor_run},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void usage(FILE *out) {
    fputs("usage: nyb COMMAND ...\n\nInteger-only neural networks: the same bits on every CPU.\n\n", out);
    for (int i = 0; i < COMMANDS; i++) {
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
    }
    fputs("\nnyb COMMAND --help, nyb --version.\n"
          "Exit codes: 0 success; 1 a file is at fault or a verification failed; 2 wrong command line.\n",
          out);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("nyb " NYB_VERSION);
        return EXIT_OK;
    }
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            const int code = commands[i].run(&commands[i], argc - 2, argv + 2);
            if (fflush(stdout) != 0 || ferror(stdout)) {
                fputs("nyb: standard output: cannot be written\n", stderr);
                return EXIT_FAULT;
            }
            return code;
        }
    }
    fprintf(stderr, "nyb: expected a command (nyb --help lists them), found '%s'\n", argv[1]);
    return EXIT_USAGE;
}
