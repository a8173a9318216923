// SPDX-License-Identifier: Apache-2.0
// The windows of a convolution as rows of a gemm: a row is what one output pixel multiplies.
#ifndef NYB_OPS_WINDOWS_H
#define NYB_OPS_WINDOWS_H

#include "kernels/gemm/form.h"
#include "ops/weights.h"

// Where the rows lie.
typedef enum nyb_windows_kind {
    NYB_WINDOWS_IN_PLACE, // in the tensor itself
    NYB_WINDOWS_LINES, // in copies of the input's lines, padded and in the gemm's form; windows overlap there
    NYB_WINDOWS_GATHERED, // each in a row of its own, copied from such lines
    NYB_WINDOWS_PIXELS,   // each in a row of its own, copied from the tensor: windows of one pixel
} nyb_windows_kind;

typedef struct nyb_windows {
    nyb_window window;
    uint32_t height, width, channels; // of the input
    uint32_t per_group;               // channels of a window
    uint32_t out_height, out_width;
    int8_t pad_value;
    const nyb_form *own, *copied; // of the gemm, in a tensor and in copies of lines
    bool unbroken;                // rows that follow one another are worth a copy of them
    uint32_t step;                // that stretches of a row are padded to
    // Chosen by nyb_windows_plan.
    nyb_windows_kind kind;
    const nyb_form *form; // of the rows
    uint32_t segments;    // stretches of a row
    uint32_t segment;     // activations of a stretch
    uint32_t lines;       // output lines of a block
    uint64_t copy_width;  // pixels of a copied line
    uint64_t line_bytes;  // of a copied line
    uint64_t row_bytes;   // of a copied row
} nyb_windows;

// Chooses where rows lie, and blocks of as many output lines as keep within `block_bytes`, at least one.
void nyb_windows_plan(nyb_windows *windows, size_t block_bytes);

// Scratch memory of a block; SIZE_MAX where it cannot be addressed.
size_t nyb_windows_scratch(const nyb_windows *windows);

// The rows of a block, as kernels/gemm/gemm.h wants them.
typedef struct nyb_rows {
    const uint8_t *const *a;
    uint32_t count;
    uint32_t segments;
    uint32_t segment;
    size_t pitch;
    uint32_t line;
    uint32_t gap;
    size_t stride;
    const nyb_form *form;
} nyb_rows;

// The windows of output lines first to first + lines - 1 over `image`, channels from `channel` on.
nyb_rows nyb_windows_rows(const nyb_windows *windows, const int8_t *image, uint32_t channel, uint32_t first,
                          uint32_t lines, uint8_t *scratch);

#endif
