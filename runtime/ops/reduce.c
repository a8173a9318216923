// SPDX-License-Identifier: Apache-2.0
// Mean and sum over any axes. Meaning: python/nybble/ops/reduce.py.
#include "kernels/pool/pool.h"
#include "ops/op.h"

// Outputs whose sums are gathered together, where the input has them side by side.
enum { BLOCK = 64 };

// Fewer elements of at most 2^8, or of at most 2^15 in int16, fit 31 bits.
static uint64_t count_limit(uint32_t type) { return type == NYB_INT16 ? 1 << 16 : 1 << 23; }

// Neighbouring axes of one kind are merged; outermost first.
typedef struct axes {
    uint32_t rank;
    uint32_t shape[NYB_MAX_RANK];
    uint32_t stride[NYB_MAX_RANK];
} axes;

typedef struct reduce_plan {
    axes kept;         // all but the innermost axis of the input
    uint32_t channels; // the innermost axis; 1 where that one is summed
    uint32_t rows;     // of `channels` outputs
    uint32_t elements; // of the input
    uint32_t bytes;    // of an element, in and out: 1 or 2
    axes summed;       // at least one
    nyb_requantize output;
    const int8_t *x;
    int8_t *y;
    int32_t bias, multiplier, shift;
    const nyb_pool_variant *kernel;
} reduce_plan;

// Puts an axis outside of those that are there already.
static void prepend(axes *list, uint32_t extent, uint32_t stride) {
    if (list->rank > 0 && stride == list->shape[0] * list->stride[0]) {
        list->shape[0] *= extent;
        return;
    }
    memmove(list->shape + 1, list->shape, list->rank * sizeof list->shape[0]);
    memmove(list->stride + 1, list->stride, list->rank * sizeof list->stride[0]);
    list->shape[0] = extent;
    list->stride[0] = stride;
    list->rank++;
}

// Splits the input's axes into those that are kept and those that are summed. Returns the number of
// elements in each sum.
static uint64_t split(const nyb_tensor_info *x, uint32_t summed, reduce_plan *plan) {
    uint64_t count = 1;
    uint32_t stride = 1;
    for (uint32_t d = x->rank; d-- > 0;) {
        const uint32_t extent = x->shape[d];
        const bool is_summed = (summed >> d & 1) != 0;
        if (extent != 1) {
            prepend(is_summed ? &plan->summed : &plan->kept, extent, stride);
        }
        count *= is_summed ? extent : 1;
        stride *= extent;
    }
    if (plan->summed.rank == 0) {
        prepend(&plan->summed, 1, 0);
    }
    plan->channels = 1;
    const uint32_t inner = plan->kept.rank - 1;
    if (plan->kept.rank > 0 && plan->kept.stride[inner] == 1) {
        plan->channels = plan->kept.shape[inner];
        plan->kept.rank--;
    }
    return count;
}

static nyb_status read(const nyb_node *node, reduce_plan *plan, nyb_error *why) {
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    const nyb_table *options = &node->options;
    memset(plan, 0, sizeof *plan);
    if (!nyb_is_activation(x.type) || y.type != x.type || x.elements > UINT32_MAX) {
        return nyb_node_fail(node, why, "input and output both int8 or both int16", NYB_INT8, x.type);
    }
    plan->bytes = nyb_type_bytes(x.type);
    const nyb_vector list = nyb_get_vector(options, NYB_MEAN_AXES, 4);
    uint32_t summed = 0;
    for (uint32_t i = 0; i < list.count; i++) {
        const uint32_t axis = nyb_element_u32(node->model, list, i);
        if (axis >= x.rank || (summed >> axis & 1) != 0) {
            return nyb_node_fail(node, why, "different axes of the input", x.rank, axis);
        }
        summed |= UINT32_C(1) << axis;
    }
    plan->elements = (uint32_t)x.elements;
    const uint64_t count = split(&x, summed, plan);
    const uint64_t limit = count_limit(x.type);
    if (count == 0 || count >= limit) {
        return nyb_node_fail(node, why, "1 to 2^23 - 1 elements in a sum, 2^16 - 1 in int16",
                             (int64_t)limit - 1, (int64_t)count);
    }
    if (y.elements != x.elements / count) {
        return nyb_node_fail(node, why, "one output for each sum", (int64_t)(x.elements / count),
                             (int64_t)y.elements);
    }
    if (!nyb_requantize_read(options, NYB_MEAN_OUTPUT, x.type, &plan->output)) {
        return nyb_node_fail(node, why, "output: a rounding, a zero point and a clamp within its type", 1, 0);
    }
    plan->rows = plan->channels > 0 ? (uint32_t)y.elements / plan->channels : 0;
    plan->bias = nyb_get_i32(options, NYB_MEAN_BIAS);
    plan->multiplier = nyb_get_i32(options, NYB_MEAN_MULTIPLIER);
    plan->shift = nyb_get_i32(options, NYB_MEAN_SHIFT);
    if (!nyb_shift_valid(plan->shift)) {
        return nyb_node_fail(node, why, "a shift from 1 to 62", 62, plan->shift);
    }
    return NYB_OK;
}

static nyb_status check(const nyb_node *node, nyb_error *why) {
    reduce_plan plan;
    return read(node, &plan, why);
}

static size_t plan(const nyb_node *node, const nyb_setup *setup, void *memory) {
    reduce_plan *p = memory;
    read(node, p, NULL);
    const nyb_tensor_info x = nyb_node_input(node, 0);
    const nyb_tensor_info y = nyb_node_output(node, 0);
    p->x = (const int8_t *)nyb_tensor_data(setup, &x);
    p->y = (int8_t *)nyb_tensor_data(setup, &y);
    p->kernel = p->bytes == 2 ? &nyb_pool16 : nyb_pool_pick(setup->options->cpu);
    return 0;
}

// sums[i] += x[i], x[i + ...], ... over all positions along the summed axes.
static void gather(const reduce_plan *p, const int8_t *x, int32_t *sums, uint32_t width) {
    const axes *summed = &p->summed;
    const uint32_t inner = summed->rank - 1;
    uint32_t index[NYB_MAX_RANK] = {0};
    for (;;) {
        const nyb_window_taps line = {
            .a = x,
            .column_stride = (size_t)summed->stride[inner] * p->bytes,
            .rows = 1,
            .columns = summed->shape[inner],
            .channels = width,
        };
        p->kernel->sum(&line, sums);
        uint32_t d = inner;
        for (;;) {
            if (d == 0) {
                return;
            }
            d--;
            x += (size_t)summed->stride[d] * p->bytes;
            if (++index[d] < summed->shape[d]) {
                break;
            }
            index[d] = 0;
            x -= (size_t)summed->stride[d] * summed->shape[d] * p->bytes;
        }
    }
}

static void row(void *context, uint32_t index, uint32_t thread) {
    const reduce_plan *p = context;
    const int8_t *x = p->x;
    int8_t *y = p->y + (size_t)index * p->channels * p->bytes;
    int16_t *wide = (int16_t *)(void *)y; // the outputs of 16 bits
    (void)thread;
    for (uint32_t d = p->kept.rank; d-- > 0;) {
        x += (size_t)(index % p->kept.shape[d]) * p->kept.stride[d] * p->bytes;
        index /= p->kept.shape[d];
    }
    for (uint32_t first = 0; first < p->channels; first += BLOCK) {
        const uint32_t left = p->channels - first;
        const uint32_t width = left < BLOCK ? left : BLOCK;
        int32_t sums[BLOCK] = {0};
        gather(p, x + (size_t)first * p->bytes, sums, width);
        for (uint32_t i = 0; i < width; i++) {
            const int32_t acc = nyb_add(sums[i], p->bias);
            if (p->bytes == 2) {
                wide[first + i] = nyb_finish16(acc, p->multiplier, p->shift, &p->output);
            } else {
                y[first + i] = nyb_finish(acc, p->multiplier, p->shift, &p->output);
            }
        }
    }
}

static void run(const void *plan_memory, const nyb_run *run_context) {
    const reduce_plan *p = plan_memory;
    // The task only reads the plan.
    nyb_parallel_for(run_context->parallel, p->rows, nyb_macs_ns(p->elements, p->kernel->needs), row,
                     (void *)(uintptr_t)plan_memory);
}

static const char *variant(const void *plan_memory) {
    return ((const reduce_plan *)plan_memory)->kernel->name;
}

_Static_assert(sizeof(reduce_plan) <= NYB_PLAN_BYTES_MAX, "raise NYB_PLAN_BYTES_MAX");
#define NYB_REDUCE_LIKE(name)                                                                                \
    {.kind = name,                                                                                           \
     .inputs_min = 1,                                                                                        \
     .inputs_max = 1,                                                                                        \
     .plan_bytes = sizeof(reduce_plan),                                                                      \
     .check = check,                                                                                         \
     .plan = plan,                                                                                           \
     .run = run,                                                                                             \
     .variant = variant}
const nyb_op nyb_op_mean = NYB_REDUCE_LIKE("Mean");
const nyb_op nyb_op_sum = NYB_REDUCE_LIKE("Sum");
