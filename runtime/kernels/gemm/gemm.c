// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/gemm.h"

#define NYB_GEMM_ROW(name, needs, bits, nr, kr, mr, form, groups, pairs, tiled, prepack)                     \
    {#name, needs, bits, nr, kr, mr, &nyb_form_##form, groups, pairs, nyb_gemm_##name, tiled, prepack},
#define NYB_GEMM(name, ...) NYB_GEMM_ROW(name, __VA_ARGS__, false, NULL)
#define NYB_GEMM_TILED(name, ...) NYB_GEMM_ROW(name, __VA_ARGS__, true, nyb_gemm_##name##_prepack)
const nyb_gemm_variant nyb_gemm_variants[] = {
#include "kernels/gemm/variants.inc"
    {NULL, 0, 0, 0, 0, 0, NULL, false, 0, NULL, false, NULL},
};
const nyb_gemm_variant nyb_gemm16_variants[] = {
#include "kernels/gemm/variants16.inc"
    {NULL, 0, 0, 0, 0, 0, NULL, false, 0, NULL, false, NULL},
};
#undef NYB_GEMM
#undef NYB_GEMM_TILED

const nyb_gemm_variant *nyb_gemm_pick(uint32_t cpu, uint32_t bytes, uint32_t bits, uint32_t nr, uint32_t kr,
                                      bool scale_groups, uint32_t pairs) {
    const nyb_gemm_variant *v = bytes == 2 ? nyb_gemm16_variants : nyb_gemm_variants;
    for (; v->name != NULL; v++) {
        if ((v->needs & ~cpu) == 0 && v->weight_bits == bits && v->nr == nr && v->kr == kr &&
            (v->scale_groups || !scale_groups) && pairs <= v->pairs) {
            return v;
        }
    }
    return NULL;
}
