// SPDX-License-Identifier: Apache-2.0
// The forms in which gemms take activations.
//
//   s8    as they are in a tensor
//   u8    128 larger, for products of unsigned and signed bytes
//   s16   widened
//
// Stretches of a form may be staged in pieces that begin at multiples of four activations.
#ifndef NYB_KERNELS_FORM_H
#define NYB_KERNELS_FORM_H

#include <stddef.h>
#include <stdint.h>

typedef struct nyb_form {
    const char *name;
    size_t element; // bytes of an activation
    // Writes `count` activations as `padded` elements, defined ones behind; padded - count < 32.
    void (*stage)(void *to, const int8_t *from, size_t count, size_t padded);
    // The sum of the activations that `count` elements stand for.
    int32_t (*sum)(const void *elements, size_t count);
} nyb_form;

extern const nyb_form nyb_form_s8;
extern const nyb_form nyb_form_u8;
extern const nyb_form nyb_form_s16;

#endif
