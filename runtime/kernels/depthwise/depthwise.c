// SPDX-License-Identifier: Apache-2.0
#include "kernels/depthwise/depthwise.h"

#define NYB_DEPTHWISE(name, needs) {#name, needs, nyb_depthwise_##name},
const nyb_depthwise_variant nyb_depthwise_variants[] = {
#include "kernels/depthwise/variants.inc"
    {NULL, 0, NULL},
};
const nyb_depthwise_variant nyb_depthwise16_variants[] = {
#include "kernels/depthwise/variants16.inc"
    {NULL, 0, NULL},
};
#undef NYB_DEPTHWISE

const nyb_depthwise_variant *nyb_depthwise_pick(uint32_t cpu, uint32_t bytes) {
    const nyb_depthwise_variant *v = bytes == 2 ? nyb_depthwise16_variants : nyb_depthwise_variants;
    while ((v->needs & ~cpu) != 0) {
        v++; // ends at the scalar row, which needs nothing
    }
    return v;
}
