// SPDX-License-Identifier: Apache-2.0
// AArch64: tbl looks up 64 entries and gives 0 for larger indices, tbx leaves those as they are.
#include "kernels/lookup/lookup.h"

#if defined(__aarch64__)
#include <arm_neon.h>

enum { STEP = 16 };

void nyb_lookup_neon(const nyb_lookup_args *args) {
    const uint8_t *table = args->table, *a = args->a;
    uint8_t *c = args->c;
    size_t count = args->count;
    if (count >= STEP) {
        // Four variables: an array of them would live on the stack.
        const uint8x16x4_t t0 = vld1q_u8_x4(table);
        const uint8x16x4_t t1 = vld1q_u8_x4(table + 64);
        const uint8x16x4_t t2 = vld1q_u8_x4(table + 128);
        const uint8x16x4_t t3 = vld1q_u8_x4(table + 192);
        for (; count >= STEP; count -= STEP, a += STEP, c += STEP) {
            const uint8x16_t x = vld1q_u8(a);
            uint8x16_t y = vqtbl4q_u8(t0, x);
            y = vqtbx4q_u8(y, t1, vsubq_u8(x, vdupq_n_u8(64)));
            y = vqtbx4q_u8(y, t2, vsubq_u8(x, vdupq_n_u8(128)));
            y = vqtbx4q_u8(y, t3, vsubq_u8(x, vdupq_n_u8(192)));
            vst1q_u8(c, y);
        }
    }
    for (; count > 0; count--) {
        *c++ = table[*a++];
    }
}
#endif
