// SPDX-License-Identifier: Apache-2.0
// AArch64: tbl looks up 64 entries and gives 0 for larger indices, tbx leaves those as they are.
#include "kernels/lookup/lookup.h"

#include <arm_neon.h>

enum { STEP = 16 };

void nyb_lookup_neon(const nyb_lookup_args *args) {
    size_t i = 0;
    if (args->count >= STEP) {
        const uint8x16x4_t table[4] = {
            vld1q_u8_x4(args->table),
            vld1q_u8_x4(args->table + 64),
            vld1q_u8_x4(args->table + 128),
            vld1q_u8_x4(args->table + 192),
        };
        for (; args->count - i >= STEP; i += STEP) {
            const uint8x16_t x = vld1q_u8(args->a + i);
            uint8x16_t y = vqtbl4q_u8(table[0], x);
            y = vqtbx4q_u8(y, table[1], vsubq_u8(x, vdupq_n_u8(64)));
            y = vqtbx4q_u8(y, table[2], vsubq_u8(x, vdupq_n_u8(128)));
            y = vqtbx4q_u8(y, table[3], vsubq_u8(x, vdupq_n_u8(192)));
            vst1q_u8(args->c + i, y);
        }
    }
    for (; i < args->count; i++) {
        args->c[i] = args->table[args->a[i]];
    }
}
