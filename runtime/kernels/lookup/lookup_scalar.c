// SPDX-License-Identifier: Apache-2.0
// The portable lookup, which every variant equals.
#include "kernels/lookup/lookup.h"

void nyb_lookup_scalar(const nyb_lookup_args *args) {
    for (size_t i = 0; i < args->count; i++) {
        args->c[i] = args->table[args->a[i]];
    }
}
