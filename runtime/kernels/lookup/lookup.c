// SPDX-License-Identifier: Apache-2.0
#include "kernels/lookup/lookup.h"

#define NYB_LOOKUP(name, needs) {#name, needs, nyb_lookup_##name},
const nyb_lookup_variant nyb_lookup_variants[] = {
#include "kernels/lookup/variants.inc"
    {NULL, 0, NULL},
};
#undef NYB_LOOKUP

const nyb_lookup_variant *nyb_lookup_pick(uint32_t cpu) {
    const nyb_lookup_variant *v = nyb_lookup_variants;
    while ((v->needs & ~cpu) != 0) {
        v++; // ends at the scalar row, which needs nothing
    }
    return v;
}
