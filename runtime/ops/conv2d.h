// SPDX-License-Identifier: Apache-2.0
// The plan of a 2D convolution.
#ifndef NYB_OPS_CONV2D_H
#define NYB_OPS_CONV2D_H

#include "ops/matmul.h"
#include "ops/windows.h"
#include "ops/winograd.h"

typedef struct nyb_conv2d {
    nyb_matmul matmul;
    nyb_windows windows;
    const int8_t *x;
    int8_t *y;
    uint32_t batches;
    uint32_t groups;
    uint32_t out_channels;
    uint32_t columns; // output channels of one task, within a group
    uint64_t ns;      // roughly, on one thread
    nyb_winograd winograd;
} nyb_conv2d;

#endif
