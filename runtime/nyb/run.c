// SPDX-License-Identifier: Apache-2.0
// nyb run: raw integers in, raw integers or the best classes out.
#define _POSIX_C_SOURCE 200809L // lstat
#include "nyb/command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// Says which input was expected; the caller goes on with what was found.
static void expected_input(uint32_t i, const nyb_tensor *input, const char *where) {
    fprintf(stderr, "nyb: %s: expected %llu bytes for input %lu, ", where, (unsigned long long)input->bytes,
            (unsigned long)i);
    tensor_print(input, stderr);
}

static bool read_file(const loaded *m, uint32_t i, const char *path) {
    const nyb_tensor input = nyb_input(&m->session, i);
    nyb_file file;
    if (!nyb_file_map(&file, path)) {
        fprintf(stderr, "nyb: %s: %s\n", path, strerror(errno));
        return false;
    }
    const bool fits = file.size == input.bytes;
    if (fits && input.bytes > 0) {
        memcpy(input.data, file.data, input.bytes);
    } else if (!fits) {
        expected_input(i, &input, path);
        fprintf(stderr, "; found %llu\n", (unsigned long long)file.size);
    }
    nyb_file_unmap(&file);
    return fits;
}

static bool read_standard_input(const loaded *m) {
    for (uint32_t i = 0; i < m->model.inputs; i++) {
        const nyb_tensor input = nyb_input(&m->session, i);
        const size_t found = fread(input.data, 1, input.bytes, stdin);
        if (found != input.bytes) {
            expected_input(i, &input, "standard input");
            fprintf(stderr, "; found %llu\n", (unsigned long long)found);
            return false;
        }
    }
    if (getchar() != EOF) {
        fprintf(stderr, "nyb: standard input: expected the inputs' bytes, found more\n");
        return false;
    }
    return true;
}

static bool read_inputs(const loaded *m, int count, char **paths) {
    for (uint32_t i = 0; i < (uint32_t)count; i++) {
        if (!read_file(m, i, paths[i])) {
            return false;
        }
    }
    return count > 0 || read_standard_input(m);
}

static bool write_to(const loaded *m, FILE *out) {
    bool ok = out != NULL;
    for (uint32_t i = 0; ok && i < m->model.outputs; i++) {
        const nyb_tensor output = nyb_output(&m->session, i);
        ok = fwrite(output.data, 1, output.bytes, out) == output.bytes;
    }
    if (out != NULL && out != stdout) {
        ok = fclose(out) == 0 && ok;
    }
    return ok;
}

// A file is written beside and renamed, so that it is there as a whole or as it was.
static bool write_file(const loaded *m, const char *path) {
    char *beside = malloc(strlen(path) + sizeof ".part");
    if (beside == NULL) {
        return false;
    }
    strcpy(beside, path);
    strcat(beside, ".part");
    const bool ok = write_to(m, fopen(beside, "wb")) && rename(beside, path) == 0;
    const int why = errno;
    if (!ok) {
        remove(beside);
    }
    free(beside);
    errno = why;
    return ok;
}

static bool write_outputs(const loaded *m, const char *path) {
    struct stat there;
    bool ok;
    if (strcmp(path, "-") == 0) {
        ok = write_to(m, stdout);
    } else if (lstat(path, &there) == 0 && !S_ISREG(there.st_mode)) { // a device, a pipe, a link
        ok = write_to(m, fopen(path, "wb"));
    } else {
        ok = write_file(m, path);
    }
    if (!ok) {
        fprintf(stderr, "nyb: %s: %s\n", path, strerror(errno));
    }
    return ok;
}

static int64_t element(const nyb_tensor *tensor, size_t i) {
    int16_t halfword;
    int32_t word;
    int64_t doubleword;
    switch (tensor->type) {
    case NYB_UINT8:
    case NYB_BOOL:
        return ((const uint8_t *)tensor->data)[i];
    case NYB_INT16:
        memcpy(&halfword, (const uint8_t *)tensor->data + 2 * i, sizeof halfword);
        return halfword;
    case NYB_INT32:
        memcpy(&word, (const uint8_t *)tensor->data + 4 * i, sizeof word);
        return word;
    case NYB_INT64:
        memcpy(&doubleword, (const uint8_t *)tensor->data + 8 * i, sizeof doubleword);
        return doubleword;
    default:
        return ((const int8_t *)tensor->data)[i];
    }
}

// Position of the largest element that comes after position `last` in descending order, ties in order of
// position.
static size_t next_best(const nyb_tensor *tensor, size_t elements, size_t last) {
    size_t best = elements;
    for (size_t i = 0; i < elements; i++) {
        const bool left = last == elements || element(tensor, i) < element(tensor, last) ||
                          (element(tensor, i) == element(tensor, last) && i > last);
        if (left && (best == elements || element(tensor, i) > element(tensor, best))) {
            best = i;
        }
    }
    return best;
}

static void print_best(const loaded *m, uint32_t top) {
    const nyb_tensor output = nyb_output(&m->session, 0);
    const size_t elements = tensor_elements(&output);
    size_t at = elements;
    for (uint32_t k = 0; k < top && k < elements; k++) {
        at = next_best(&output, elements, at);
        const int64_t value = element(&output, at);
        printf("%6llu  %6lld", (unsigned long long)at, (long long)value);
        if (output.scale != 0) {
            printf("  %12.6g", (double)output.scale * ((double)value - output.zero_point));
        }
        uint32_t length;
        const char *label = nyb_label(&m->model, at, &length);
        if (label != NULL) {
            fputs("  ", stdout);
            text_print(label, length);
        }
        putchar('\n');
    }
}

int run_run(const command *self, int count, char **arguments) {
    machine here = MACHINE_DEFAULT;
    const char *out = NULL;
    uint32_t top = 5;
    const option options[] = {
        {"-o", "OUT.raw", "write all outputs, one after another (- for standard output)", .text = &out},
        {"--top", "K", "print the K largest of the first output: position, integer, real value, label (5)",
         .number = &top, .maximum = 1000000},
        THREADS_OPTION(here),
        CPU_OPTION(here),
        PREPACK_OPTION(here),
        {.name = NULL},
    };
    loaded m;
    int code;
    if (!options_read(self, options, &count, arguments, &code)) {
        return code;
    }
    code = model_load(&m, arguments[0], &here);
    if (code != EXIT_OK) {
        return code;
    }
    count--;
    if (count > 0 && (uint32_t)count != m.model.inputs) {
        fprintf(stderr,
                "nyb run: expected a file for each of the model's inputs (%lu), or none to read standard "
                "input; found %d\n",
                (unsigned long)m.model.inputs, count);
        code = EXIT_USAGE;
    } else if (!read_inputs(&m, count, arguments + 1)) {
        code = EXIT_FAULT;
    } else {
        nyb_invoke(&m.session);
        if (out == NULL) {
            print_best(&m, top);
        } else if (!write_outputs(&m, out)) {
            code = EXIT_FAULT;
        }
    }
    model_unload(&m);
    return code;
}
