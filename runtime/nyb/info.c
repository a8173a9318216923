// SPDX-License-Identifier: Apache-2.0
// nyb info: what a model is. The JSON has the names of Python's `nybble info --json`.
#include "nyb/command.h"

#include <math.h>
#include <string.h>

typedef struct totals {
    uint64_t macs;
    uint64_t weight_bytes;
} totals;

static totals sum(const loaded *m) {
    totals result = {0, 0};
    for (uint32_t i = 0; i < m->model.operators; i++) {
        const nyb_op_info op = nyb_describe(&m->session, i);
        result.macs += op.macs;
        result.weight_bytes += op.weight_bytes;
    }
    return result;
}

static void json_port(const nyb_tensor *port, const char *separator) {
    printf("%s\n    {\"name\": ", separator);
    text_json(port->name, port->name_length);
    fputs(", \"shape\": [", stdout);
    for (uint32_t i = 0; i < port->rank; i++) {
        printf("%s%lu", i > 0 ? ", " : "", (unsigned long)port->shape[i]);
    }
    printf("], \"dtype\": \"%s\", \"scale\": ", type_name(port->type));
    if (isfinite(port->scale)) {
        printf("%.9g", (double)port->scale);
    } else { // JSON has no word for what a hostile file can hold
        fputs("null", stdout);
    }
    printf(", \"zero_point\": %ld, \"real\": %s, \"bytes\": %llu}", (long)port->zero_point,
           port->real ? "true" : "false", (unsigned long long)port->bytes);
}

static void json_operator(const loaded *m, uint32_t i) {
    const nyb_op_info op = nyb_describe(&m->session, i);
    const nyb_tensor output = nyb_op_output(&m->session, i, 0);
    printf("%s\n    {\"index\": %lu, \"kind\": \"%s\", \"variant\": \"%s\", \"name\": ", i > 0 ? "," : "",
           (unsigned long)i, op.kind, op.variant);
    text_json(op.name, op.name_length);
    fputs(", \"output\": [", stdout);
    for (uint32_t d = 0; d < output.rank; d++) {
        printf("%s%lu", d > 0 ? ", " : "", (unsigned long)output.shape[d]);
    }
    printf("], \"macs\": %llu, \"weight_bits\": %lu, \"weight_bytes\": %llu}", (unsigned long long)op.macs,
           (unsigned long)op.weight_bits, (unsigned long long)op.weight_bytes);
}

static void print_json(const loaded *m) {
    const totals all = sum(m);
    fputs("{\n  \"file\": ", stdout);
    text_json(m->path, strlen(m->path));
    printf(",\n  \"file_bytes\": %llu,\n  \"inputs\": [", (unsigned long long)m->file.size);
    for (uint32_t i = 0; i < m->model.inputs; i++) {
        const nyb_tensor port = nyb_input(&m->session, i);
        json_port(&port, i > 0 ? "," : "");
    }
    fputs("\n  ],\n  \"outputs\": [", stdout);
    for (uint32_t i = 0; i < m->model.outputs; i++) {
        const nyb_tensor port = nyb_output(&m->session, i);
        json_port(&port, i > 0 ? "," : "");
    }
    fputs("\n  ],\n  \"operators\": [", stdout);
    for (uint32_t i = 0; i < m->model.operators; i++) {
        json_operator(m, i);
    }
    printf("\n  ],\n  \"macs\": %llu,\n  \"weight_bytes\": %llu,\n  \"activation_bytes\": %llu,\n"
           "  \"session_bytes\": %llu\n}\n",
           (unsigned long long)all.macs, (unsigned long long)all.weight_bytes,
           (unsigned long long)m->model.arena_bytes, (unsigned long long)m->arena_bytes);
}

static void print_port(const char *what, const nyb_tensor *port) {
    printf("%s '", what);
    text_print(port->name, port->name_length);
    fputs("': ", stdout);
    tensor_print(port, stdout);
    if (port->scale != 0) {
        printf(", %.9g * (q - %ld)", (double)port->scale, (long)port->zero_point);
    }
    puts(port->real ? ", float32 in the source network" : "");
}

static void print_table(const loaded *m) {
    const totals all = sum(m);
    printf("%s: %llu bytes\n", m->path, (unsigned long long)m->file.size);
    for (uint32_t i = 0; i < m->model.inputs; i++) {
        const nyb_tensor port = nyb_input(&m->session, i);
        print_port("input", &port);
    }
    for (uint32_t i = 0; i < m->model.outputs; i++) {
        const nyb_tensor port = nyb_output(&m->session, i);
        print_port("output", &port);
    }
    printf("\n%3s  %-17s  %-15s  %-28s  %-14s  %12s  %4s  %12s\n", "#", "kind", "variant", "name", "output",
           "MACs", "bits", "weight bytes");
    for (uint32_t i = 0; i < m->model.operators; i++) {
        const nyb_op_info op = nyb_describe(&m->session, i);
        const nyb_tensor output = nyb_op_output(&m->session, i, 0);
        char shape[72];
        tensor_shape(&output, shape);
        printf("%3lu  %-17s  %-15s  ", (unsigned long)i, op.kind, op.variant);
        text_print_column(op.name, op.name_length, 28);
        printf("  %-14s  %12llu  %4lu  %12llu\n", shape, (unsigned long long)op.macs,
               (unsigned long)op.weight_bits, (unsigned long long)op.weight_bytes);
    }
    printf("\noperators        %13lu\nMACs             %13llu\nweight bytes     %13llu\n"
           "activation bytes %13llu\nsession arena    %13llu\n",
           (unsigned long)m->model.operators, (unsigned long long)all.macs,
           (unsigned long long)all.weight_bytes, (unsigned long long)m->model.arena_bytes,
           (unsigned long long)m->arena_bytes);
}

int info_run(const command *self, int count, char **arguments) {
    bool json = false;
    const machine here = MACHINE_DEFAULT;
    const option options[] = {{"--json", NULL, "print JSON", .flag = &json}, {.name = NULL}};
    loaded m;
    int code;
    if (!options_read(self, options, &count, arguments, &code)) {
        return code;
    }
    code = model_load(&m, arguments[0], &here);
    if (code != EXIT_OK) {
        return code;
    }
    if (json) {
        print_json(&m);
    } else {
        print_table(&m);
    }
    model_unload(&m);
    return EXIT_OK;
}
