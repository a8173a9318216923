// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/elementwise.h"

#define NYB_ELEMENTWISE(name, needs) {#name, needs, nyb_add_##name, nyb_mul_##name},
const nyb_elementwise_variant nyb_elementwise_variants[] = {
#include "kernels/elementwise/variants.inc"
    {NULL, 0, NULL, NULL},
};
#undef NYB_ELEMENTWISE

const nyb_elementwise_variant *nyb_elementwise_pick(uint32_t cpu) {
    const nyb_elementwise_variant *v = nyb_elementwise_variants;
    while ((v->needs & ~cpu) != 0) {
        v++; // ends at the scalar row, which needs nothing
    }
    return v;
}
