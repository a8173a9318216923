// SPDX-License-Identifier: Apache-2.0
// The Weights table of the file: packed weights and the constants of their channels.
#ifndef NYB_OPS_WEIGHTS_H
#define NYB_OPS_WEIGHTS_H

#include "ops/op.h"

typedef struct nyb_weights {
    const uint8_t *data;
    const int32_t *bias; // each array has groups * (outputs padded to nr) entries
    const int32_t *multiplier;
    const int32_t *shift;
    const int32_t *weight_sum;
    const int32_t *multiplier_low; // NULL: none
    const int8_t *factors; // of scale groups of k: [padded_outputs / nr][scale groups][nr]; NULL: none
    uint32_t scale_group;
    uint32_t bits;
    uint32_t nr;
    uint32_t kr;
    uint32_t order;          // of the planes in a byte below 8 bits: base/packed.h
    uint32_t outputs;        // of one group
    uint32_t padded_outputs; // outputs rounded up to nr
    uint32_t depth;
    int32_t zero_point;
    int32_t minimum;    // no weight as stored is smaller
    uint32_t pairs;     // the certificate's bound of |w[k]| + |w[k + 1]|, k even; a lie costs right results
    size_t group_bytes; // packed weights of one group
    uint64_t bound;     // certified: the sum of |weight| * |input - zero point| + |bias| is at most this
} nyb_weights;

// Scale groups along k; 0 without.
static inline uint32_t nyb_scale_groups(const nyb_weights *w) {
    return w->scale_group ? (w->depth + w->scale_group - 1) / w->scale_group : 0;
}

// Reads and checks; false where sizes, layout or spans do not fit `groups` groups.
bool nyb_weights_read(const nyb_table *options, uint32_t slot, uint32_t groups, nyb_weights *weights);

// The Window struct of the file; false where a field is 0 that must not be, or beyond 2^24.
typedef struct nyb_window {
    uint32_t height;
    uint32_t width;
    uint32_t stride_height;
    uint32_t stride_width;
    uint32_t dilation_height;
    uint32_t dilation_width;
    uint32_t pad_top;
    uint32_t pad_left;
} nyb_window;
bool nyb_window_read(const nyb_table *options, uint32_t slot, nyb_window *window);

#endif
