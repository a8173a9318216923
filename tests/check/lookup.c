// SPDX-License-Identifier: Apache-2.0
#include "kernels/lookup/lookup.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

static check_memory memory_a = {.name = "a"};
static check_memory memory_table = {.name = "the table"};

typedef struct lookup_case {
    const nyb_lookup_variant *row;
    nyb_lookup_args args;
    check_target target;
} lookup_case;

static check_row lookup_row(uint32_t index) {
    const nyb_lookup_variant *v = &nyb_lookup_variants[index];
    return (check_row){v->name, v->needs, v};
}

static void draw_case(check *c, const nyb_lookup_variant *row, uint32_t count, bool in_place,
                      check_place place, lookup_case *l) {
    const check_pattern pattern = (check_pattern)check_below(c, CHECK_PATTERNS);
    uint8_t *table = check_memory_place(&memory_table, 256, place);
    check_fill(c, table, 256);
    l->row = row;
    l->args.table = table;
    l->args.a = (const uint8_t *)check_place_bytes(c, &memory_a, pattern, count, place);
    l->args.count = count;
    check_target_place(c, &l->target, count, place);
    l->args.c = (uint8_t *)l->target.c;
    check_begin(c, "count %u, %s, a %s, guards %s", count, in_place ? "in place" : "apart",
                check_pattern_names[pattern], check_place_names[place]);
}

static bool lookup_round(check *c, const void *record) {
    const uint32_t counts[] = {0,  1,  15,  16,  17,  31,  32,  33,   63,
                               64, 65, 127, 128, 129, 255, 256, 1000, check_below(c, 600)};
    for (uint32_t place = 0; place < CHECK_PLACES; place++) {
        for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
            for (int in_place = 0; in_place < 2; in_place++) {
                lookup_case l;
                draw_case(c, record, counts[n], in_place, (check_place)place, &l);
                nyb_lookup_args scalar = l.args;
                scalar.c = (uint8_t *)l.target.expected_c;
                if (in_place) {
                    memcpy(l.target.c, l.args.a, counts[n]);
                    l.args.a = l.args.c;
                }
                nyb_lookup_scalar(&scalar);
                l.row->run(&l.args);
                if (!check_target_compare(c, &l.target)) {
                    return false;
                }
            }
        }
    }
    return true;
}

static void once(const void *context) {
    const lookup_case *l = context;
    l->row->run(&l->args);
}

static void lookup_bench(check *c, const void *record) {
    static const uint32_t counts[] = {256, 16384};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        lookup_case l;
        draw_case(c, record, counts[i], false, CHECK_GUARD_BEFORE, &l);
        printf("    %5u bytes %8.2f Gelements/s\n", counts[i], check_speed(counts[i], once, &l));
    }
}

const check_family check_lookup = {"lookup", lookup_row, lookup_round, lookup_bench};
