// SPDX-License-Identifier: Apache-2.0
#include "nyb/command.h"

#include <string.h>

static void help(const command *self, const option *options) {
    printf("usage: nyb %s%s%s [OPTIONS]\n\n%s\n\n", self->name, *self->arguments ? " " : "", self->arguments,
           self->summary);
    for (const option *o = options; o->name != NULL; o++) {
        printf("  %-10s %-8s %s\n", o->name, o->value != NULL ? o->value : "", o->help);
    }
    puts("  --help              this text");
}

static bool wrong(const command *self, const char *expected, const char *found) {
    fprintf(stderr, "nyb %s: expected %s, found %s%s%s (nyb %s --help)\n", self->name, expected,
            found != NULL ? "'" : "", found != NULL ? found : "nothing", found != NULL ? "'" : "",
            self->name);
    return false;
}

static bool number(const command *self, const option *o, const char *text) {
    uint64_t value = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9' && value <= o->maximum; p++) {
        value = 10 * value + (uint64_t)(*p - '0');
    }
    if (*p != '\0' || value < 1 || value > o->maximum) {
        char expected[64];
        snprintf(expected, sizeof expected, "%s of 1 to %lu", o->name, (unsigned long)o->maximum);
        return wrong(self, expected, text);
    }
    *o->number = (uint32_t)value;
    return true;
}

// The value of option o in `given`, if that is what it names: "--name=value", or "--name" (then *inside is
// NULL).
static bool names(const option *o, const char *given, const char **inside) {
    const size_t length = strlen(o->name);
    if (strncmp(given, o->name, length) != 0 || (given[length] != '\0' && given[length] != '=')) {
        return false;
    }
    *inside = given[length] == '=' ? given + length + 1 : NULL;
    return true;
}

static bool read(const command *self, const option *options, int count, char **arguments, int *at) {
    const char *given = arguments[*at];
    const char *value = NULL;
    const option *o = options;
    while (o->name != NULL && !names(o, given, &value)) {
        o++;
    }
    if (o->name == NULL || (o->flag != NULL && value != NULL)) {
        return wrong(self, "an option", given);
    }
    if (o->flag != NULL) {
        *o->flag = true;
        return true;
    }
    if (value == NULL && ++*at < count) {
        value = arguments[*at];
    }
    if (value == NULL) {
        char expected[64];
        snprintf(expected, sizeof expected, "%s after %s", o->value, o->name);
        return wrong(self, expected, NULL);
    }
    if (o->number != NULL) {
        return number(self, o, value);
    }
    *o->text = value;
    return true;
}

bool options_read(const command *self, const option *options, int *count, char **arguments, int *exit_code) {
    int kept = 0;
    bool ended = false;
    *exit_code = EXIT_USAGE;
    for (int i = 0; i < *count; i++) {
        char *given = arguments[i];
        if (!ended && strcmp(given, "--") == 0) {
            ended = true;
        } else if (!ended && (strcmp(given, "--help") == 0 || strcmp(given, "-h") == 0)) {
            help(self, options);
            *exit_code = EXIT_OK;
            return false;
        } else if (!ended && given[0] == '-' && given[1] != '\0') {
            if (!read(self, options, *count, arguments, &i)) {
                return false;
            }
        } else {
            arguments[kept++] = given;
        }
    }
    if (kept < self->arguments_min) {
        return wrong(self, self->arguments, NULL);
    }
    if (kept > self->arguments_max) {
        return wrong(self, "fewer arguments", arguments[self->arguments_max]);
    }
    *count = kept;
    *exit_code = EXIT_OK;
    return true;
}
