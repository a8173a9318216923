// SPDX-License-Identifier: Apache-2.0
// nyb_check: the command line, guarded memory, and signals as failures.
#define _DEFAULT_SOURCE // MAP_ANONYMOUS
#include "check.h"

#include "platform/platform.h"

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// CPU features whose instructions this build emulates.
#ifndef CHECK_EMULATED
#define CHECK_EMULATED 0
#endif

static const check_family *const families[] = {&check_gemm,     &check_depthwise, &check_elementwise,
                                               &check_lookup,   &check_pool,      &check_resize,
                                               &check_winograd, &check_gemm16,    &check_depthwise16};
enum { FAMILIES = sizeof families / sizeof families[0] };

void check_begin(check *c, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->shape, sizeof c->shape, format, arguments);
    va_end(arguments);
    c->cases++;
}

bool check_fail(check *c, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->failure, sizeof c->failure, format, arguments);
    va_end(arguments);
    return false;
}

// A multiple of every page size in use, so that the guards need not ask for it.
enum { GUARD_BYTES = 65536 };

static check_memory *memories;

const char *const check_place_names[CHECK_PLACES] = {"behind", "before"};

void *check_memory_place(check_memory *memory, size_t bytes, check_place place) {
    if (memory->mapped == NULL) {
        memory->next = memories;
        memories = memory;
    }
    if (memory->mapped == NULL || bytes > memory->size) {
        const size_t size = bytes / GUARD_BYTES * GUARD_BYTES + GUARD_BYTES;
        if (memory->mapped != NULL) {
            munmap(memory->mapped, memory->size + 2 * GUARD_BYTES);
        }
        void *mapped = mmap(NULL, size + 2 * GUARD_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED ||
            mprotect((uint8_t *)mapped + GUARD_BYTES, size, PROT_READ | PROT_WRITE) != 0) {
            perror("nyb_check: guarded memory");
            exit(2);
        }
        memory->mapped = mapped;
        memory->size = size;
    }
    uint8_t *first = memory->mapped + GUARD_BYTES;
    memory->start = place == CHECK_GUARD_BEFORE ? first : first + memory->size - bytes;
    memory->bytes = bytes;
    return memory->start;
}

// Illegal instructions are SIGILL, but for __builtin_trap on aarch64, which is SIGTRAP.
static const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE};
static sigjmp_buf before_crash;
static volatile sig_atomic_t armed;
static volatile sig_atomic_t crash_signal;
static void *volatile crash_address;

static void on_signal(int number, siginfo_t *information, void *context) {
    (void)context;
    if (!armed) { // a fault of this program: let it die of it
        signal(number, SIG_DFL);
        return;
    }
    crash_signal = number;
    crash_address = information->si_addr;
    siglongjmp(before_crash, 1);
}

static void catch_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
        sigaction(caught[i], &action, NULL);
    }
}

// Names the guard that was touched, if it was one.
static void describe_crash(check *c) {
    const char *name = strsignal(crash_signal);
    const uintptr_t at = (uintptr_t)crash_address;
    if (crash_signal == SIGSEGV || crash_signal == SIGBUS) {
        for (const check_memory *m = memories; m != NULL; m = m->next) {
            const uintptr_t mapped = (uintptr_t)m->mapped;
            const uintptr_t start = (uintptr_t)m->start;
            const uintptr_t end = start + m->bytes;
            if (at >= mapped && at < start) {
                check_fail(c, "%s: %zu bytes before the first of %s", name, (size_t)(start - at), m->name);
                return;
            }
            if (at >= end && at < mapped + m->size + 2 * GUARD_BYTES) {
                check_fail(c, "%s: %zu bytes behind the last of %s", name, (size_t)(at - end) + 1, m->name);
                return;
            }
        }
    }
    check_fail(c, "%s at address %p", name, crash_address);
}

check_outcome check_run(check *c, const check_family *family, const void *row, uint64_t seed,
                        uint32_t rounds) {
    memset(c, 0, sizeof *c);
    c->random = seed;
    if (sigsetjmp(before_crash, 1) != 0) {
        armed = 0;
        describe_crash(c);
        return CHECK_CRASHED;
    }
    armed = 1;
    bool ok = true;
    for (; ok && c->round < rounds; c->round++) {
        ok = family->round(c, row);
    }
    armed = 0;
    return ok ? CHECK_OK : CHECK_DIFFERS;
}

double check_speed(uint64_t macs, void (*once)(const void *), const void *context) {
    enum { SAMPLES = 15, SAMPLE_NS = 2000000 };
    uint64_t best = UINT64_MAX;
    uint64_t calls = 1;
    for (uint32_t sample = 0; sample < SAMPLES; sample++) {
        const uint64_t start = nyb_clock_ns();
        for (uint64_t i = 0; i < calls; i++) {
            once(context);
        }
        const uint64_t elapsed = nyb_clock_ns() - start;
        if (elapsed < SAMPLE_NS) { // too short to measure: more calls, and from the beginning
            calls *= 2;
            best = UINT64_MAX;
            sample = 0;
        } else if (elapsed < best) {
            best = elapsed;
        }
    }
    return (double)macs * (double)calls / (double)best;
}

typedef struct options {
    const char *family;  // NULL: all
    const char *variant; // NULL: all
    uint64_t seed;
    uint32_t rounds;
    bool list;
    bool bench;
    bool self_test;
} options;

typedef struct tally {
    uint32_t passed;
    uint32_t failed;
    uint32_t skipped;
} tally;

static void check_one(const options *o, const check_family *family, const check_row *row, uint32_t cpu,
                      tally *t) {
    static check c;
    char name[64];
    snprintf(name, sizeof name, "%s/%s", family->name, row->name);
    if ((row->needs & ~cpu) != 0) {
        printf("%-32s %s\n", name, "not on this CPU");
        t->skipped++;
        return;
    }
    if (o->list) {
        printf("%s\n", name);
        return;
    }
    const bool ok = check_run(&c, family, row->row, o->seed, o->rounds) == CHECK_OK;
    const bool emulated = (row->needs & (CHECK_EMULATED)) != 0;
    printf("%-32s %8" PRIu32 " cases  %s%s\n", name, c.cases, ok ? "ok" : "FAILED",
           emulated ? ", emulated" : "");
    if (ok) {
        t->passed++;
        if (o->bench && !emulated) {
            c.typical = true;
            family->bench(&c, row->row);
        }
    } else {
        t->failed++;
        printf("    %s\n    %s\n", c.failure, c.shape);
        printf("    again: nyb_check --seed %" PRIu64 " --family %s --variant %s\n", o->seed, family->name,
               row->name);
    }
    fflush(stdout);
}

static int run(const options *o) {
    const uint32_t cpu = nyb_cpu_detect() | (CHECK_EMULATED);
    tally t = {0, 0, 0};
    bool found = false;
    for (size_t f = 0; f < FAMILIES; f++) {
        if (o->family != NULL && strcmp(o->family, families[f]->name) != 0) {
            continue;
        }
        check_row row = families[f]->row(0);
        for (uint32_t i = 0; row.name != NULL; row = families[f]->row(++i)) {
            if (o->variant == NULL || strcmp(o->variant, row.name) == 0) {
                found = true;
                check_one(o, families[f], &row, cpu, &t);
            }
        }
    }
    if (!found) {
        fputs("nyb_check: this build has no variant of that family and name; see --list\n", stderr);
        return 2;
    }
    if (!o->list) {
        printf("%" PRIu32 " passed, %" PRIu32 " failed, %" PRIu32 " not on this CPU\n", t.passed, t.failed,
               t.skipped);
    }
    return t.failed != 0;
}

static const char usage[] =
    "usage: nyb_check [--seed N] [--rounds N] [--bench] [--family NAME] [--variant NAME]\n"
    "       nyb_check --list [--family NAME] [--variant NAME]\n"
    "       nyb_check --self-test [--seed N]\n";

// A decimal number without anything before or behind it.
static bool parse_number(const char *text, uint64_t limit, uint64_t *number) {
    *number = 0;
    if (*text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        const uint64_t digit = (uint64_t)*text - '0';
        if (*text < '0' || *text > '9' || *number > (limit - digit) / 10) {
            return false;
        }
        *number = *number * 10 + digit;
    }
    return true;
}

static bool parse(int count, char **words, options *o) {
    for (int i = 1; i < count; i++) {
        const char *word = words[i];
        const char *value = i + 1 < count ? words[i + 1] : NULL;
        uint64_t number = 0;
        if (strcmp(word, "--list") == 0) {
            o->list = true;
        } else if (strcmp(word, "--bench") == 0) {
            o->bench = true;
        } else if (strcmp(word, "--self-test") == 0) {
            o->self_test = true;
        } else if (value == NULL) {
            return false;
        } else if (strcmp(word, "--family") == 0) {
            o->family = value;
            i++;
        } else if (strcmp(word, "--variant") == 0) {
            o->variant = value;
            i++;
        } else if (strcmp(word, "--seed") == 0 && parse_number(value, UINT64_MAX, &number)) {
            o->seed = number;
            i++;
        } else if (strcmp(word, "--rounds") == 0 && parse_number(value, UINT32_MAX, &number)) {
            o->rounds = (uint32_t)number;
            i++;
        } else {
            return false;
        }
    }
    return true;
}

int main(int count, char **words) {
    options o = {.seed = nyb_clock_ns(), .rounds = CHECK_ROUNDS};
    if (!parse(count, words, &o)) {
        fputs(usage, stderr);
        return 2;
    }
    catch_signals();
    if (!o.list) {
        printf("seed %" PRIu64 "\n", o.seed);
    }
    return o.self_test ? check_self_test(o.seed) != 0 : run(&o);
}
