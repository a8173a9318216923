// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul.h"

#include "base/packed.h"

nyb_status nyb_matmul_read(const nyb_node *node, uint32_t weights_slot, uint32_t output_slot, uint32_t groups,
                           uint32_t cpu, nyb_matmul *matmul, nyb_error *why) {
    const uint32_t type = nyb_node_input(node, 0).type;
    if (!nyb_is_activation(type) || nyb_node_output(node, 0).type != type) {
        return nyb_node_fail(node, why, "input and output both int8 or both int16", NYB_INT8, type);
    }
    if (!nyb_weights_read(&node->options, weights_slot, groups, &matmul->weights)) {
        return nyb_node_fail(node, why, "weights: layout and sizes that fit", groups, 0);
    }
    if (!nyb_requantize_read(&node->options, output_slot, type, &matmul->output)) {
        return nyb_node_fail(node, why, "output: a rounding, a zero point and a clamp within its type", 1, 0);
    }
    const nyb_weights *w = &matmul->weights;
    matmul->bytes = nyb_type_bytes(type);
    if (type == NYB_INT16 && (w->zero_point != 0 || nyb_node_zero_point(node) != 0)) {
        return nyb_node_fail(node, why, "zero points of 0 beside int16", 0, w->zero_point);
    }
    if (w->multiplier_low != NULL && (type != NYB_INT16 || matmul->output.nudge != 0)) {
        return nyb_node_fail(node, why, "longer multipliers beside int16, rounded once", NYB_INT16, type);
    }
    const nyb_gemm_layer layer = {
        .bytes = matmul->bytes,
        .bits = w->bits,
        .nr = w->nr,
        .kr = w->kr,
        .scale_groups = w->scale_group != 0,
        .pairs = w->pairs,
        .narrow = w->bound <= INT32_MAX && w->multiplier_low == NULL,
    };
    matmul->gemm = w->order == 0 ? nyb_gemm_pick(cpu, &layer) : NULL;
    if (matmul->gemm == NULL) {
        return nyb_fail(why, NYB_ERROR_UNSUPPORTED, node->index, -1,
                        "weights: a layout with a gemm in this build", 0, (int64_t)w->nr * 100 + w->kr);
    }
    return NYB_OK;
}

void nyb_matmul_prepack(nyb_matmul *matmul, const nyb_setup *setup, uint32_t groups, uint32_t segments,
                        uint32_t segment, uint64_t rows) {
    const nyb_weights *w = &matmul->weights;
    if (!setup->options->prepack || matmul->gemm->prepack == NULL || rows < matmul->gemm->mr) {
        return;
    }
    nyb_gemm_args args = {.weights = w->data,
                          .segments = segments,
                          .segment = segment / matmul->bytes,
                          .columns = w->outputs,
                          .depth = w->depth};
    const uint64_t bytes = matmul->gemm->prepack(&args, NULL);
    uint8_t *kept = nyb_keep(setup, groups * bytes);
    matmul->prepacked = kept;
    matmul->prepacked_bytes = (size_t)bytes;
    for (uint32_t g = 0; kept != NULL && g < groups; g++, kept += bytes, args.weights += w->group_bytes) {
        matmul->gemm->prepack(&args, kept);
    }
}

// Where the prepacked weights of a part begin; NULL: there are none.
static const void *prepacked(const nyb_matmul *matmul, const nyb_matmul_part *part) {
    if (matmul->prepacked == NULL) {
        return NULL;
    }
    const nyb_gemm_args before = {.segments = part->rows.segments,
                                  .segment = part->rows.segment / matmul->bytes,
                                  .columns = part->first,
                                  .depth = matmul->weights.depth};
    return matmul->prepacked + part->group * matmul->prepacked_bytes + matmul->gemm->prepack(&before, NULL);
}

// sum over k of (x - zx)(w - zw): the part -zw * sum(x) differs from row to row.
static void sum_rows(const nyb_matmul_part *part, int32_t zero_point) {
    const nyb_rows *rows = &part->rows;
    for (uint32_t i = 0; i < rows->count; i++) {
        int32_t sum = 0;
        for (uint32_t s = 0; s < rows->segments; s++) {
            sum = nyb_add(sum, rows->form->sum(rows->a[i] + s * rows->pitch, rows->segment));
        }
        part->row_sums[i] = nyb_mul(-zero_point, sum);
    }
}

void nyb_matmul_run(const nyb_matmul *matmul, const nyb_matmul_part *part) {
    const nyb_weights *w = &matmul->weights;
    const size_t channel = (size_t)part->group * w->padded_outputs + part->first;
    const size_t panel = (size_t)nyb_panel_bytes(w->depth, w->bits, w->nr, w->kr);
    if (w->zero_point != 0) {
        sum_rows(part, w->zero_point);
    }
    const nyb_gemm_args args = {
        .a = part->rows.a,
        .segments = part->rows.segments,
        .segment = part->rows.segment / matmul->bytes,
        .pitch = part->rows.pitch,
        .line = part->rows.line,
        .gap = part->rows.gap,
        .stride = part->rows.stride,
        .form = part->rows.form,
        .weights = w->data + part->group * w->group_bytes + part->first / w->nr * panel,
        .prepacked = prepacked(matmul, part),
        .bias = w->bias + channel,
        .multiplier = w->multiplier + channel,
        .multiplier_low = w->multiplier_low != NULL ? w->multiplier_low + channel : NULL,
        .shift = w->shift + channel,
        .weight_sum = w->weight_sum + channel,
        .weight_minimum = w->minimum,
        .row_bias = w->zero_point != 0 ? part->row_sums : NULL,
        .factors = w->factors ? w->factors + channel * nyb_scale_groups(w) : NULL,
        .scale_group = w->scale_group,
        .rows = part->rows.count,
        .columns = part->count,
        .depth = w->depth,
        .output = matmul->output,
        .c = part->c,
        .c_stride = part->c_stride,
    };
    matmul->gemm->run(&args);
}
