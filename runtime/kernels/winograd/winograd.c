// SPDX-License-Identifier: Apache-2.0
#include "kernels/winograd/winograd.h"

#define NYB_WINOGRAD(name, needs, unless, nr, kr, tiles_min, outputs_min)                                    \
    {#name, needs, unless, nr, kr, tiles_min, outputs_min, nyb_winograd_##name},
const nyb_winograd_variant nyb_winograd_variants[] = {
#include "kernels/winograd/variants.inc"
    {NULL, 0, 0, 0, 0, 0, 0, NULL},
};
#undef NYB_WINOGRAD

const nyb_winograd_variant *nyb_winograd_pick(uint32_t cpu) {
    for (const nyb_winograd_variant *v = nyb_winograd_variants; v->name != NULL; v++) {
        if ((v->needs & ~cpu) == 0 && (v->unless & cpu) == 0) {
            return v;
        }
    }
    return NULL;
}

// G times three numbers that are `stride` apart.
static void filter(const int32_t *g, size_t stride, int32_t out[NYB_WINOGRAD_PATCH]) {
    const int32_t g0 = g[0], g1 = g[stride], g2 = g[2 * stride];
    out[0] = g0;
    out[1] = -g0 - g1 - g2;
    out[2] = -g0 + g1 - g2;
    out[3] = g0 + 2 * g1 + 4 * g2;
    out[4] = g0 - 2 * g1 + 4 * g2;
    out[5] = g2;
}

void nyb_winograd_transform(const nyb_winograd_variant *variant, const int32_t w[9], uint32_t channels,
                            uint32_t n, uint32_t k, int16_t *weights) {
    enum { PATCH = NYB_WINOGRAD_PATCH };
    int32_t lines[3][PATCH], out[PATCH];
    for (size_t i = 0; i < 3; i++) {
        filter(w + 3 * i, 1, lines[i]);
    }
    const size_t nr = variant->nr, kr = variant->kr;
    const size_t point = nr * channels; // elements of one
    int16_t *to = weights + n / nr * NYB_WINOGRAD_POINTS * point + (k / kr * nr + n % nr) * kr + k % kr;
    for (size_t j = 0; j < PATCH; j++) {
        filter(&lines[0][j], PATCH, out);
        for (size_t i = 0; i < PATCH; i++) {
            to[(i * PATCH + j) * point] = (int16_t)out[i];
        }
    }
}
