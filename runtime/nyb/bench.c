// SPDX-License-Identifier: Apache-2.0
// nyb bench: whole invocations first, then as many operator by operator. The JSON has the names of Python's
// `nybble bench --json`.
#include "nyb/command.h"

#include <stdlib.h>
#include <string.h>

typedef struct times {
    uint64_t median;
    uint64_t minimum;
    uint64_t maximum;
} times;

static int ascending(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static times sorted(uint64_t *samples, uint32_t runs) {
    qsort(samples, runs, sizeof *samples, ascending);
    return (times){samples[runs / 2], samples[0], samples[runs - 1]};
}

// What the first load and the first invocation took of this process.
typedef struct loading {
    uint64_t nanoseconds; // from the path to a session ready to run
    size_t resident;      // bytes that came into memory until the end of the first invocation
} loading;

// Random bytes (xorshift32, Marsaglia 2003); inputs have to be written before every invocation.
static void write_inputs(const loaded *m) {
    uint32_t state = 2463534242u;
    for (uint32_t i = 0; i < m->model.inputs; i++) {
        const nyb_tensor input = nyb_input(&m->session, i);
        for (size_t at = 0; at < input.bytes; at++) {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            ((uint8_t *)input.data)[at] = (uint8_t)(input.type == NYB_BOOL ? state & 1 : state);
        }
    }
}

static int load_and_invoke(loaded *m, const char *path, const machine *here, loading *load) {
    const size_t before = nyb_resident_bytes();
    const uint64_t start = nyb_clock_ns();
    const int code = model_load(m, path, here);
    load->nanoseconds = nyb_clock_ns() - start;
    if (code == EXIT_OK) {
        write_inputs(m);
        nyb_invoke(&m->session);
        load->resident = nyb_resident_bytes() - before;
    }
    return code;
}

// samples: `runs` of whole invocations, then `runs` of each operator.
static void measure(loaded *m, uint32_t runs, uint64_t *samples) {
    for (uint32_t r = 0; r < runs; r++) {
        write_inputs(m);
        const uint64_t start = nyb_clock_ns();
        nyb_invoke(&m->session);
        samples[r] = nyb_clock_ns() - start;
    }
    for (uint32_t r = 0; r < runs; r++) {
        write_inputs(m);
        for (uint32_t op = 0; op < m->model.operators; op++) {
            const uint64_t start = nyb_clock_ns();
            nyb_invoke_step(&m->session, op);
            samples[(size_t)(op + 1) * runs + r] = nyb_clock_ns() - start;
        }
    }
}

// Multiply-accumulates per nanosecond, which is 10^9 a second.
static double gmacs(uint64_t macs, uint64_t nanoseconds) {
    return nanoseconds > 0 ? (double)macs / (double)nanoseconds : 0;
}

enum { WEIGHT_BITS_MAX = 8 };

typedef struct report {
    const loaded *m;
    const loading *load;
    uint32_t threads;
    uint32_t runs;
    times whole;
    uint64_t macs;
    uint64_t sum;           // of the operators' medians
    const uint64_t *sorted; // samples of each operator, `runs` each
    bool explain;
    ceiling ceilings[WEIGHT_BITS_MAX + 1]; // by the bits of the weights, of one core
} report;

static uint64_t median(const report *r, uint32_t op) { return r->sorted[(size_t)op * r->runs + r->runs / 2]; }

static double share(const report *r, uint32_t op) {
    return r->sum > 0 ? (double)median(r, op) / (double)r->sum : 0;
}

// Where the ceiling of an operator stands; NULL where it has no gemm.
static const ceiling *ceiling_of(const report *r, const nyb_op_info *op) {
    const bool gemm = strcmp(op->kind, "Conv2d") == 0 || strcmp(op->kind, "FullyConnected") == 0;
    return gemm && op->weight_bits <= WEIGHT_BITS_MAX ? &r->ceilings[op->weight_bits] : NULL;
}

// How much of its ceiling an operator reaches; 0 where it has none.
static double reached(const report *r, uint32_t op) {
    const nyb_op_info info = nyb_describe(&r->m->session, op);
    const ceiling *best = ceiling_of(r, &info);
    return best != NULL && best->variant != NULL
               ? gmacs(info.macs, median(r, op)) / (best->gmacs * r->threads)
               : 0;
}

static void explain(report *r) {
    r->explain = true;
    for (uint32_t i = 0; i < r->m->model.operators; i++) {
        const nyb_op_info op = nyb_describe(&r->m->session, i);
        const ceiling *best = ceiling_of(r, &op);
        if (best != NULL && best->variant == NULL) {
            r->ceilings[op.weight_bits] = ceiling_measure(r->m->options.cpu, op.weight_bits);
        }
    }
}

static report evaluate(const loaded *m, const loading *load, const machine *here, uint32_t runs,
                       uint64_t *samples) {
    report r = {m, load, here->threads,  runs,  sorted(samples, runs),
                0, 0,    samples + runs, false, {{NULL, 0}}};
    for (uint32_t i = 0; i < m->model.operators; i++) {
        sorted(samples + (size_t)(i + 1) * runs, runs);
        r.macs += nyb_describe(&m->session, i).macs;
        r.sum += median(&r, i);
    }
    return r;
}

static void print_ceilings_json(const report *r) {
    const char *separator = "";
    fputs(",\n  \"ceilings\": [", stdout);
    for (uint32_t bits = 0; bits <= WEIGHT_BITS_MAX; bits++) {
        const ceiling *best = &r->ceilings[bits];
        if (best->variant != NULL) {
            printf("%s\n    {\"family\": \"gemm\", \"weight_bits\": %lu, \"variant\": \"%s\", "
                   "\"gmacs_per_second\": %.6g}",
                   separator, (unsigned long)bits, best->variant, best->gmacs);
            separator = ",";
        }
    }
    fputs("\n  ]", stdout);
}

static void print_json(const report *r) {
    fputs("{\n  \"file\": ", stdout);
    text_json(r->m->path, strlen(r->m->path));
    printf(",\n  \"cpu\": \"%s\",\n  \"threads\": %lu,\n  \"prepack\": %s,\n  \"runs\": %lu,\n",
           cpu_level(r->m->options.cpu), (unsigned long)r->threads, r->m->options.prepack ? "true" : "false",
           (unsigned long)r->runs);
    printf("  \"median_ns\": %llu,\n  \"min_ns\": %llu,\n  \"max_ns\": %llu,\n",
           (unsigned long long)r->whole.median, (unsigned long long)r->whole.minimum,
           (unsigned long long)r->whole.maximum);
    printf("  \"load_ns\": %llu,\n  \"resident_bytes\": %llu,\n  \"arena_bytes\": %llu,\n",
           (unsigned long long)r->load->nanoseconds, (unsigned long long)r->load->resident,
           (unsigned long long)r->m->arena_bytes);
    printf("  \"macs\": %llu,\n  \"gmacs_per_second\": %.6g,\n  \"operators\": [",
           (unsigned long long)r->macs, gmacs(r->macs, r->whole.median));
    for (uint32_t i = 0; i < r->m->model.operators; i++) {
        const nyb_op_info op = nyb_describe(&r->m->session, i);
        printf("%s\n    {\"index\": %lu, \"kind\": \"%s\", \"variant\": \"%s\", \"name\": ", i > 0 ? "," : "",
               (unsigned long)i, op.kind, op.variant);
        text_json(op.name, op.name_length);
        printf(", \"macs\": %llu, \"median_ns\": %llu, \"share\": %.6g, \"gmacs_per_second\": %.6g",
               (unsigned long long)op.macs, (unsigned long long)median(r, i), share(r, i),
               gmacs(op.macs, median(r, i)));
        if (r->explain) {
            printf(", \"ceiling_share\": %.6g", reached(r, i));
        }
        putchar('}');
    }
    fputs("\n  ]", stdout);
    if (r->explain) {
        print_ceilings_json(r);
    }
    puts("\n}");
}

static void print_table(const report *r) {
    printf("%s: %lu runs, %s, threads: %lu%s\n", r->m->path, (unsigned long)r->runs,
           cpu_level(r->m->options.cpu), (unsigned long)r->threads,
           r->m->options.prepack ? ", prepacked" : "");
    printf("median %llu ns, min %llu ns, max %llu ns; %.3f GMAC/s\n", (unsigned long long)r->whole.median,
           (unsigned long long)r->whole.minimum, (unsigned long long)r->whole.maximum,
           gmacs(r->macs, r->whole.median));
    printf("loaded in %llu ns; memory grew by %llu bytes: arena %llu, file %llu\n\n",
           (unsigned long long)r->load->nanoseconds, (unsigned long long)r->load->resident,
           (unsigned long long)r->m->arena_bytes, (unsigned long long)r->m->file.size);
    printf("%3s  %-17s  %-15s  %-28s  %12s  %12s  %6s  %7s%s\n", "#", "kind", "variant", "name", "MACs", "ns",
           "share", "GMAC/s", r->explain ? "  of ceiling" : "");
    for (uint32_t i = 0; i < r->m->model.operators; i++) {
        const nyb_op_info op = nyb_describe(&r->m->session, i);
        printf("%3lu  %-17s  %-15s  ", (unsigned long)i, op.kind, op.variant);
        text_print_column(op.name, op.name_length, 28);
        printf("  %12llu  %12llu  %5.1f%%  %7.3f", (unsigned long long)op.macs,
               (unsigned long long)median(r, i), 100 * share(r, i), gmacs(op.macs, median(r, i)));
        if (reached(r, i) > 0) {
            printf("  %9.0f%%", 100 * reached(r, i));
        }
        putchar('\n');
    }
    for (uint32_t bits = 0; bits <= WEIGHT_BITS_MAX; bits++) {
        if (r->ceilings[bits].variant != NULL) {
            printf(
                "\nceiling of a core, from its first-level cache: %.1f GMAC/s (gemm, %lu-bit weights, %s)\n",
                r->ceilings[bits].gmacs, (unsigned long)bits, r->ceilings[bits].variant);
        }
    }
}

int bench_run(const command *self, int count, char **arguments) {
    machine here = MACHINE_DEFAULT;
    bool json = false, explained = false;
    uint32_t runs = 50;
    const option options[] = {
        {"--runs", "N", "measured invocations (50)", .number = &runs, .maximum = 1000000},
        {"--explain", NULL, "compare convolutions and fully connected layers with what this core can do",
         .flag = &explained},
        THREADS_OPTION(here),
        CPU_OPTION(here),
        PREPACK_OPTION(here),
        {"--json", NULL, "print JSON", .flag = &json},
        {.name = NULL},
    };
    loaded m;
    int code;
    if (!options_read(self, options, &count, arguments, &code)) {
        return code;
    }
    loading load;
    code = load_and_invoke(&m, arguments[0], &here, &load);
    if (code != EXIT_OK) {
        return code;
    }
    const uint64_t bytes = ((uint64_t)m.model.operators + 1) * runs * sizeof(uint64_t);
    uint64_t *samples = bytes <= SIZE_MAX ? nyb_memory((size_t)bytes) : NULL;
    if (samples == NULL) {
        fprintf(stderr, "nyb bench: not enough memory for the times of %lu runs\n", (unsigned long)runs);
        code = EXIT_FAULT;
    } else {
        measure(&m, runs, samples);
        report result = evaluate(&m, &load, &here, runs, samples);
        if (explained) {
            explain(&result);
        }
        if (json) {
            print_json(&result);
        } else {
            print_table(&result);
        }
    }
    nyb_memory_free(samples);
    model_unload(&m);
    return code;
}
