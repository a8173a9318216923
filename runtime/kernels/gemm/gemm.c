// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/gemm.h"

#define NYB_GEMM_ROW(name, needs, bits, nr, kr, mr, form, copied, groups, pairs, ...)                        \
    {#name, needs, bits, nr, kr, mr, &nyb_form_##form, &nyb_form_##copied, groups, pairs, __VA_ARGS__},
#define NYB_GEMM(name, ...) NYB_GEMM_ROW(name, __VA_ARGS__, false, nyb_gemm_##name, false, NULL)
#define NYB_GEMM_TILED(name, ...)                                                                            \
    NYB_GEMM_ROW(name, __VA_ARGS__, false, nyb_gemm_##name, true, nyb_gemm_##name##_prepack)
#define NYB_GEMM_NARROW(name, ...) NYB_GEMM_ROW(name, __VA_ARGS__, true, nyb_gemm_##name, false, NULL)
const nyb_gemm_variant nyb_gemm_variants[] = {
#include "kernels/gemm/variants.inc"
    {NULL, 0, 0, 0, 0, 0, NULL, NULL, false, 0, false, NULL, false, NULL},
};
const nyb_gemm_variant nyb_gemm16_variants[] = {
#include "kernels/gemm/variants16.inc"
    {NULL, 0, 0, 0, 0, 0, NULL, NULL, false, 0, false, NULL, false, NULL},
};
#undef NYB_GEMM
#undef NYB_GEMM_TILED
#undef NYB_GEMM_NARROW

const nyb_gemm_variant *nyb_gemm_pick(uint32_t cpu, const nyb_gemm_layer *layer) {
    const nyb_gemm_variant *v = layer->bytes == 2 ? nyb_gemm16_variants : nyb_gemm_variants;
    for (; v->name != NULL; v++) {
        if ((v->needs & ~cpu) == 0 && v->weight_bits == layer->bits && v->nr == layer->nr &&
            v->kr == layer->kr && (v->scale_groups || !layer->scale_groups) && layer->pairs <= v->pairs &&
            (layer->narrow || !v->narrow)) {
            return v;
        }
    }
    return NULL;
}
