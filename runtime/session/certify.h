// SPDX-License-Identifier: Apache-2.0
// Certificates: bounds that the compiler derived from the weights, derived again from the file.
#ifndef NYB_SESSION_CERTIFY_H
#define NYB_SESSION_CERTIFY_H

#include "ops/op.h"

typedef struct nyb_certified {
    uint64_t macs;
    uint64_t bytes; // of packed weights
    uint32_t bits;
} nyb_certified;

// Work and weights of a node; all zero where it has no weights.
nyb_certified nyb_certify_describe(const nyb_node *node);

// NYB_ERROR_MISMATCH unless the node's weights keep within its certificate and its cheaper forms equal their
// definitions.
nyb_status nyb_certify(const nyb_node *node, nyb_error *why);

#endif
