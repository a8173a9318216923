// SPDX-License-Identifier: Apache-2.0
// What the commands share: exit codes, arguments, a model with its session, text.
#ifndef NYB_NYB_COMMAND_H
#define NYB_NYB_COMMAND_H

#include "platform/platform.h"

#include <stdio.h>

enum { EXIT_OK = 0, EXIT_FAULT = 1, EXIT_USAGE = 2 };

typedef struct command {
    const char *name;
    const char *arguments; // as the usage line shows them
    const char *summary;
    int arguments_min;
    int arguments_max;
    int (*run)(const struct command *self, int count, char **arguments);
} command;

int info_run(const command *self, int count, char **arguments);
int run_run(const command *self, int count, char **arguments);
int verify_run(const command *self, int count, char **arguments);
int bench_run(const command *self, int count, char **arguments);
int doctor_run(const command *self, int count, char **arguments);

// The best that a gemm does on one core, in 10^9 multiply-accumulates a second; variant: NULL where there is
// none.
typedef struct ceiling {
    const char *variant;
    double gmacs;
} ceiling;
ceiling ceiling_measure(uint32_t cpu, uint32_t bits);

// One option; which of flag, number and text is set says what it takes. They keep their values
// where the option is not given. Numbers are 1 to maximum. A table ends with a row without a name.
typedef struct option {
    const char *name;
    const char *value;
    const char *help;
    bool *flag;
    uint32_t *number;
    uint32_t maximum;
    const char **text;
} option;

// Reads the options and moves the other arguments to the front, `count` of them. False where the
// command is to end with *exit_code: help was asked for, or the command line is wrong (printed).
bool options_read(const command *self, const option *options, int *count, char **arguments, int *exit_code);

// How a model is to be run, from the command line. cpu: NULL for the best level.
typedef struct machine {
    uint32_t threads;
    const char *cpu;
    bool prepack;
} machine;

#define MACHINE_DEFAULT {1, NULL, false}
#define THREADS_OPTION(machine)                                                                              \
    {"--threads", "N", "threads (1)", .number = &(machine).threads, .maximum = 256}
#define PREPACK_OPTION(machine)                                                                              \
    {"--prepack", NULL, "rewrite weights at load: faster layers, more memory", .flag = &(machine).prepack}
#define CPU_OPTION(machine)                                                                                  \
    {"--cpu", "LEVEL", "highest CPU level to use (the best; see nyb doctor)", .text = &(machine).cpu}

// A model with a session of it.
typedef struct loaded {
    const char *path;
    nyb_file file;
    nyb_model model;
    nyb_parallel *pool;
    nyb_options options;
    void *arena;
    size_t arena_bytes;
    nyb_session session;
} loaded;

// Returns an exit code; on a failure what is wrong was printed and nothing stays open.
int model_load(loaded *m, const char *path, const machine *machine);
void model_unload(loaded *m);

// Prints why the model was refused.
void model_refused(const char *path, const nyb_error *why);

// Name of the strongest level among CPU features.
const char *cpu_level(uint32_t cpu);

// Names and labels come from files that anyone may have written: what could steer a terminal, or is
// not UTF-8, prints as '?'; text_json escapes for JSON and adds the quotes.
void text_print(const char *text, size_t length);
void text_json(const char *text, size_t length);
// The last `columns` characters at most, "..." in front where some are left out, padded with spaces.
void text_print_column(const char *text, size_t length, int columns);

// "int8 [1, 96, 96, 3]" of a tensor; the shape alone as "1x96x96x3" into `out`.
void tensor_print(const nyb_tensor *tensor, FILE *out);
void tensor_shape(const nyb_tensor *tensor, char out[72]);
const char *type_name(nyb_type type);
size_t tensor_elements(const nyb_tensor *tensor);

#endif
