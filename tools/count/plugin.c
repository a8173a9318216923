// SPDX-License-Identifier: Apache-2.0
// A plugin for QEMU's user mode that counts the instructions a program executes between two marks, in total
// and by function. Writes to QEMU's log: "region N INSTRUCTIONS", then "function N INSTRUCTIONS NAME" each.
//
// What is used of version 1 of the plugin interface is declared here, since not every distribution ships
// qemu-plugin.h. One thread of the program counts right; several would race for the counters.
#include "marks.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef struct qemu_plugin_tb qemu_plugin_tb;
typedef struct qemu_plugin_insn qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };
typedef void (*qemu_plugin_tb_fn)(uint64_t id, qemu_plugin_tb *tb);
typedef void (*qemu_plugin_syscall_fn)(uint64_t id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2,
                                       uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7,
                                       uint64_t a8);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, qemu_plugin_tb_fn call);
void qemu_plugin_register_vcpu_tb_exec_inline(qemu_plugin_tb *tb, int operation, void *to, uint64_t by);
void qemu_plugin_register_vcpu_syscall_cb(uint64_t id, qemu_plugin_syscall_fn call);
size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb *tb);
qemu_plugin_insn *qemu_plugin_tb_get_insn(const qemu_plugin_tb *tb, size_t index);
const char *qemu_plugin_insn_symbol(const qemu_plugin_insn *insn);
void qemu_plugin_outs(const char *text);

typedef struct function {
    const char *name;
    uint64_t executed;
    uint64_t before; // the region
} function;

enum { FUNCTIONS_MAX = 8192 };
static function functions[FUNCTIONS_MAX] = {{"(others)", 0, 0}};
static size_t function_count = 1;
static unsigned regions;

static function *find(const char *name) {
    for (size_t i = 1; i < function_count && name != NULL; i++) {
        if (strcmp(functions[i].name, name) == 0) {
            return &functions[i];
        }
    }
    if (name == NULL || function_count == FUNCTIONS_MAX) {
        return &functions[0];
    }
    functions[function_count].name = name;
    return &functions[function_count++];
}

// A block of instructions lies in one function: execution leaves it at the first jump.
static void translated(uint64_t id, qemu_plugin_tb *tb) {
    (void)id;
    function *f = find(qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0)));
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &f->executed,
                                             qemu_plugin_tb_n_insns(tb));
}

static void print_region(void) {
    char line[256];
    uint64_t total = 0;
    for (size_t i = 0; i < function_count; i++) {
        total += functions[i].executed - functions[i].before;
    }
    snprintf(line, sizeof line, "region %u %" PRIu64 "\n", regions, total);
    qemu_plugin_outs(line);
    for (size_t i = 0; i < function_count; i++) {
        const function *f = &functions[i];
        if (f->executed != f->before) {
            snprintf(line, sizeof line, "function %u %" PRIu64 " %.200s\n", regions, f->executed - f->before,
                     f->name);
            qemu_plugin_outs(line);
        }
    }
    regions++;
}

// A system call ends its block, so the counters stand exactly there.
static void called(uint64_t id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                   uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)vcpu, (void)number, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (a1 != COUNT_OPTION) {
        return;
    }
    if (a2 == COUNT_BEGIN) {
        for (size_t i = 0; i < function_count; i++) {
            functions[i].before = functions[i].executed;
        }
    } else {
        print_region();
    }
}

EXPORT int qemu_plugin_version = 1;

EXPORT int qemu_plugin_install(uint64_t id, const qemu_info_t *info, int count, char **arguments) {
    (void)info, (void)count, (void)arguments;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
