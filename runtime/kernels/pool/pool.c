// SPDX-License-Identifier: Apache-2.0
#include "kernels/pool/pool.h"

#define NYB_POOL(name, needs) {#name, needs, nyb_max_##name, nyb_sum_##name},
const nyb_pool_variant nyb_pool_variants[] = {
#include "kernels/pool/variants.inc"
    {NULL, 0, NULL, NULL},
};
#undef NYB_POOL

const nyb_pool_variant *nyb_pool_pick(uint32_t cpu) {
    const nyb_pool_variant *v = nyb_pool_variants;
    while ((v->needs & ~cpu) != 0) {
        v++; // ends at the scalar row, which needs nothing
    }
    return v;
}
