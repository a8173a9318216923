// SPDX-License-Identifier: Apache-2.0
#include "kernels/resize/resize.h"

#define NYB_RESIZE(name, needs) {#name, needs, nyb_resize_##name},
const nyb_resize_variant nyb_resize_variants[] = {
#include "kernels/resize/variants.inc"
    {NULL, 0, NULL},
};
#undef NYB_RESIZE

const nyb_resize_variant *nyb_resize_pick(uint32_t cpu) {
    const nyb_resize_variant *v = nyb_resize_variants;
    while ((v->needs & ~cpu) != 0) {
        v++; // ends at the scalar row, which needs nothing
    }
    return v;
}
