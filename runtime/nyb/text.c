// SPDX-License-Identifier: Apache-2.0
#include "nyb/command.h"

#include <string.h>

// Bytes of the character at the start of the text; 0 where it is a control character or not UTF-8 (RFC 3629).
static size_t character(const char *text, size_t length) {
    const uint8_t *p = (const uint8_t *)text;
    if (p[0] < 0x80) {
        return p[0] >= 0x20 && p[0] != 0x7f ? 1 : 0;
    }
    const size_t bytes = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || bytes > length) {
        return 0;
    }
    for (size_t i = 1; i < bytes; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf) {
            return 0;
        }
    }
    // Overlong forms, surrogates, beyond U+10FFFF, and the control characters U+0080 to U+009F.
    const bool forbidden = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
                           (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f) ||
                           (p[0] == 0xc2 && p[1] < 0xa0);
    return forbidden ? 0 : bytes;
}

void text_print(const char *text, size_t length) {
    while (length > 0) {
        const size_t bytes = character(text, length);
        const size_t taken = bytes > 0 ? bytes : 1;
        fwrite(bytes > 0 ? text : "?", 1, taken, stdout);
        text += taken;
        length -= taken;
    }
}

void text_json(const char *text, size_t length) {
    putchar('"');
    while (length > 0) {
        const size_t bytes = character(text, length);
        const size_t taken = bytes > 0 ? bytes : 1;
        if (bytes == 0) {
            printf("\\u%04x", (uint8_t)*text < 0x80 ? (unsigned)(uint8_t)*text : 0xfffdu);
        } else {
            if (*text == '"' || *text == '\\') {
                putchar('\\');
            }
            fwrite(text, 1, bytes, stdout);
        }
        text += taken;
        length -= taken;
    }
    putchar('"');
}

static size_t characters(const char *text, size_t length) {
    size_t count = 0;
    for (size_t at = 0; at < length; count++) {
        const size_t bytes = character(text + at, length - at);
        at += bytes > 0 ? bytes : 1;
    }
    return count;
}

void text_print_column(const char *text, size_t length, int columns) {
    size_t count = characters(text, length);
    if (count > (size_t)columns) {
        fputs("...", stdout);
        for (; count + 3 > (size_t)columns; count--) {
            const size_t bytes = character(text, length);
            text += bytes > 0 ? bytes : 1;
            length -= bytes > 0 ? bytes : 1;
        }
        count += 3;
        text_print(text, length);
    } else {
        text_print(text, length);
    }
    printf("%*s", columns - (int)count, "");
}

const char *type_name(nyb_type type) {
    static const char *const names[] = {"int8", "uint8", "int16", "int32", "int64", "int4", "int2", "bool"};
    return (size_t)type < sizeof names / sizeof names[0] ? names[type] : "?";
}

void tensor_print(const nyb_tensor *tensor, FILE *out) {
    fprintf(out, "%s [", type_name(tensor->type));
    for (uint32_t i = 0; i < tensor->rank; i++) {
        fprintf(out, "%s%lu", i > 0 ? ", " : "", (unsigned long)tensor->shape[i]);
    }
    fputc(']', out);
}

void tensor_shape(const nyb_tensor *tensor, char out[72]) {
    size_t at = 0;
    strcpy(out, "1");
    for (uint32_t i = 0; i < tensor->rank; i++) {
        at += (size_t)snprintf(out + at, 72 - at, "%s%lu", i > 0 ? "x" : "", (unsigned long)tensor->shape[i]);
    }
}

size_t tensor_elements(const nyb_tensor *tensor) {
    size_t count = 1;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        count *= tensor->shape[i];
    }
    return count;
}
