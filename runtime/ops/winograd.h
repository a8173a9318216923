// SPDX-License-Identifier: Apache-2.0
// Convolutions of 3x3 windows whose weights the session keeps transformed (kernels/winograd/winograd.h).
#ifndef NYB_OPS_WINOGRAD_H
#define NYB_OPS_WINOGRAD_H

#include "kernels/winograd/winograd.h"
#include "ops/op.h"

typedef struct nyb_winograd {
    const nyb_winograd_variant *kernel; // NULL: the convolution runs directly
    const int16_t *weights;
    uint32_t channels;  // padded
    uint32_t lines;     // output lines of a block
    uint32_t columns;   // output channels of a task
    size_t line_bytes;  // of a padded line of the input
    size_t lines_bytes; // of all padded lines of a block
} nyb_winograd;

struct nyb_conv2d;

// Chooses this form where the options ask for prepacked weights, a kernel fits the layer and its sums are
// certified to be small enough. False: the convolution runs directly. Otherwise *scratch is the scratch
// memory that it takes.
bool nyb_winograd_plan(struct nyb_conv2d *conv, const nyb_node *node, const nyb_setup *setup,
                       size_t *scratch);

void nyb_winograd_run(const struct nyb_conv2d *conv, const nyb_run *run);

#endif
