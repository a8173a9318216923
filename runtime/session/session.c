// SPDX-License-Identifier: Apache-2.0
// A session's arena, in order: the activations, the steps (one per operator), the plans, what operators keep,
// the scratch memory.
#include "base/sha256.h"
#include "model/verify.h"
#include "ops/op.h"
#include "session/certify.h"

struct nyb_step {
    void (*run)(const void *plan, const nyb_run *run);
    const void *plan;
    const nyb_op *op;
};

typedef struct layout {
    uint64_t steps_at;
    uint64_t plans_at;
    uint64_t kept_at;
    uint64_t scratch_at;
    uint64_t scratch_bytes; // per thread
    uint64_t total;
} layout;

static uint64_t align(uint64_t bytes) { return (bytes + NYB_ALIGNMENT - 1) / NYB_ALIGNMENT * NYB_ALIGNMENT; }

static uint64_t plan_space(const nyb_op *op) { return (op->plan_bytes + 15u) / 16u * 16u; }

static bool may_work_in_place(uint32_t kind) {
    const nyb_op *op = nyb_op_of(kind);
    return op != NULL && op->in_place;
}

nyb_status nyb_model_open(nyb_model *model, const void *data, size_t size, nyb_error *why) {
    nyb_error ignored;
    why = why != NULL ? why : &ignored;
    memset(why, 0, sizeof *why);
    nyb_status status = nyb_structure_open(model, data, size, why);
    if (status == NYB_OK) {
        status = nyb_structure_check(model, may_work_in_place, why);
    }
    for (uint32_t i = 0; status == NYB_OK && i < model->operators; i++) {
        const nyb_node node = nyb_node_at(model, i);
        const nyb_op *op = nyb_op_of(node.kind);
        if (op == NULL) {
            status = nyb_fail(why, NYB_ERROR_UNSUPPORTED, i, -1, "an operator of this build", 0, node.kind);
        } else if (node.inputs.count < op->inputs_min || node.inputs.count > op->inputs_max) {
            status = nyb_node_fail(&node, why, "as many inputs as the operator takes", op->inputs_min,
                                   node.inputs.count);
        } else if (nyb_node_output(&node, 0).elements == 0) {
            // Loops over an empty output could still be long, and there is nothing to compute.
            status = nyb_node_fail(&node, why, "an output that has elements", 1, 0);
        } else {
            status = op->check(&node, why);
        }
    }
    if (status != NYB_OK) {
        memset(model, 0, sizeof *model);
    }
    return status;
}

bool nyb_has_golden(const nyb_model *model) {
    const nyb_table root = nyb_root(model);
    return nyb_get_table(&root, NYB_MODEL_GOLDEN).at != 0;
}

const char *nyb_label(const nyb_model *model, size_t i, uint32_t *length) {
    const nyb_table root = nyb_root(model);
    const nyb_vector labels = nyb_get_vector(&root, NYB_MODEL_LABELS, 4);
    *length = 0;
    if (i >= labels.count) {
        return NULL;
    }
    // An element is the distance to its string: four bytes of length, then the characters.
    const uint64_t at = labels.at + 4 * (uint64_t)i + nyb_element_u32(model, labels, (uint32_t)i);
    if (at + 4 > model->size || at > UINT32_MAX) {
        return NULL;
    }
    const uint32_t bytes = nyb_member_u32(model->data, (uint32_t)at);
    if (bytes > model->size - at - 4) {
        return NULL;
    }
    *length = bytes;
    return (const char *)model->data + at + 4;
}

static layout measure(const nyb_model *model, const nyb_options *options) {
    _Alignas(16) uint8_t memory[NYB_PLAN_BYTES_MAX];
    nyb_kept kept = {NULL, 0};
    const nyb_setup setup = {NULL, options, &kept};
    layout result = {0};
    uint64_t plans = 0;
    for (uint32_t i = 0; i < model->operators; i++) {
        const nyb_node node = nyb_node_at(model, i);
        const nyb_op *op = nyb_op_of(node.kind);
        const uint64_t scratch = op->plan(&node, &setup, memory);
        plans += plan_space(op);
        result.scratch_bytes = scratch > result.scratch_bytes ? scratch : result.scratch_bytes;
    }
    result.scratch_bytes = align(result.scratch_bytes);
    result.steps_at = align(model->arena_bytes);
    result.plans_at = align(result.steps_at + (uint64_t)model->operators * sizeof(struct nyb_step));
    result.kept_at = align(result.plans_at + plans);
    // What comes before is below 2^48.
    const uint64_t limit = UINT64_C(1) << 62;
    const uint32_t threads = nyb_threads(options);
    const bool fits = result.scratch_bytes <= limit / threads && kept.bytes <= limit;
    result.scratch_at = fits ? align(result.kept_at + kept.bytes) : 0;
    result.total = fits ? result.scratch_at + result.scratch_bytes * threads : UINT64_MAX;
    return result;
}

static const nyb_options defaults;

size_t nyb_session_bytes(const nyb_model *model, const nyb_options *options) {
    const layout sizes = measure(model, options != NULL ? options : &defaults);
    return sizes.total <= SIZE_MAX ? (size_t)sizes.total : 0;
}

nyb_status nyb_session_init(nyb_session *session, const nyb_model *model, const nyb_options *options,
                            void *arena, size_t arena_bytes, nyb_error *why) {
    memset(session, 0, sizeof *session);
    options = options != NULL ? options : &defaults;
    const layout sizes = measure(model, options);
    if (arena == NULL || (uintptr_t)arena % NYB_ALIGNMENT != 0) {
        return nyb_fail(why, NYB_ERROR_ARENA, -1, -1, "an arena aligned to NYB_ALIGNMENT bytes",
                        NYB_ALIGNMENT, (int64_t)((uintptr_t)arena % NYB_ALIGNMENT));
    }
    if (arena_bytes < sizes.total) {
        return nyb_fail(why, NYB_ERROR_ARENA, -1, -1, "an arena of nyb_session_bytes", (int64_t)sizes.total,
                        (int64_t)arena_bytes);
    }
    uint8_t *base = arena;
    session->model = model;
    session->arena = base;
    session->steps = (struct nyb_step *)(void *)(base + sizes.steps_at);
    session->scratch = base + sizes.scratch_at;
    session->scratch_bytes = (size_t)sizes.scratch_bytes;
    session->options = *options;
    // Outputs are the same bytes however they are computed, and so is what an operator never writes.
    memset(base, 0, (size_t)model->arena_bytes);
    nyb_kept kept = {base + sizes.kept_at, 0};
    const nyb_setup setup = {base, &session->options, &kept};
    uint8_t *plan = base + sizes.plans_at;
    for (uint32_t i = 0; i < model->operators; i++) {
        const nyb_node node = nyb_node_at(model, i);
        const nyb_op *op = nyb_op_of(node.kind);
        op->plan(&node, &setup, plan);
        session->steps[i] = (struct nyb_step){op->run, plan, op};
        plan += plan_space(op);
    }
    return NYB_OK;
}

void nyb_invoke_step(nyb_session *session, uint32_t op) {
    const nyb_run run = {session->scratch, session->scratch_bytes, session->options.parallel};
    if (op < session->model->operators) {
        session->steps[op].run(session->steps[op].plan, &run);
    }
}

void nyb_invoke(nyb_session *session) {
    const nyb_run run = {session->scratch, session->scratch_bytes, session->options.parallel};
    const struct nyb_step *step = session->steps;
    for (uint32_t i = 0; i < session->model->operators; i++, step++) {
        step->run(step->plan, &run);
    }
}

static nyb_tensor view(const nyb_session *session, uint32_t index) {
    nyb_tensor tensor;
    nyb_tensor_info info;
    memset(&tensor, 0, sizeof tensor);
    if (!nyb_tensor_read(session->model, index, &info)) {
        return tensor;
    }
    const nyb_model *model = session->model;
    const nyb_setup setup = {session->arena, &session->options, NULL};
    const nyb_table table = nyb_tensor_table(model, index);
    const nyb_vector name = nyb_get_vector(&table, NYB_TENSOR_NAME, 1);
    const nyb_table quantization = nyb_get_table(&table, NYB_TENSOR_QUANTIZATION);
    const nyb_vector scale = nyb_get_vector(&quantization, NYB_QUANTIZATION_SCALE, 4);
    const nyb_vector zero = nyb_get_vector(&quantization, NYB_QUANTIZATION_ZERO_POINT, 4);
    tensor.name = (const char *)model->data + name.at;
    tensor.name_length = name.count;
    tensor.type = (nyb_type)info.type;
    tensor.rank = info.rank;
    memcpy(tensor.shape, info.shape, sizeof tensor.shape);
    tensor.bytes = (size_t)info.bytes;
    tensor.data = nyb_tensor_data(&setup, &info);
    if (scale.count > 0) {
        memcpy(&tensor.scale, model->data + scale.at, sizeof tensor.scale);
    }
    tensor.zero_point = (int32_t)nyb_element_u32(model, zero, 0);
    return tensor;
}

static nyb_tensor port(const nyb_session *session, nyb_vector ports, size_t i) {
    const nyb_table table =
        nyb_element_table(session->model, ports, i < ports.count ? (uint32_t)i : ports.count);
    const uint32_t index = table.at != 0 ? nyb_get_u32(&table, NYB_PORT_TENSOR) : session->model->tensors;
    nyb_tensor tensor = view(session, index);
    const nyb_vector name = nyb_get_vector(&table, NYB_PORT_NAME, 1);
    if (name.count > 0) {
        tensor.name = (const char *)session->model->data + name.at;
        tensor.name_length = name.count;
    }
    tensor.real = nyb_get_bool(&table, NYB_PORT_REAL);
    return tensor;
}

nyb_tensor nyb_input(const nyb_session *session, size_t i) {
    const nyb_vector ports = {session->model->inputs_at, session->model->inputs};
    return port(session, ports, i);
}

nyb_tensor nyb_output(const nyb_session *session, size_t i) {
    const nyb_vector ports = {session->model->outputs_at, session->model->outputs};
    return port(session, ports, i);
}

static nyb_tensor of_op(const nyb_session *session, uint32_t op, uint32_t slot, uint32_t i) {
    const nyb_table table = nyb_operator_table(session->model, op);
    const nyb_vector list = nyb_get_vector(&table, slot, 4);
    return view(session, i < list.count ? nyb_element_u32(session->model, list, i) : session->model->tensors);
}

nyb_tensor nyb_op_input(const nyb_session *session, uint32_t op, uint32_t i) {
    return of_op(session, op, NYB_OPERATOR_INPUTS, i);
}

nyb_tensor nyb_op_output(const nyb_session *session, uint32_t op, uint32_t i) {
    return of_op(session, op, NYB_OPERATOR_OUTPUTS, i);
}

nyb_op_info nyb_describe(const nyb_session *session, uint32_t op) {
    nyb_op_info info;
    memset(&info, 0, sizeof info);
    if (op >= session->model->operators) {
        return info;
    }
    const struct nyb_step *step = &session->steps[op];
    const nyb_node node = nyb_node_at(session->model, op);
    const nyb_vector name = nyb_get_vector(&node.table, NYB_OPERATOR_NAME, 1);
    info.kind = step->op->kind;
    info.variant = step->op->variant(step->plan);
    info.name = (const char *)session->model->data + name.at;
    info.name_length = name.count;
    info.inputs = node.inputs.count;
    info.outputs = node.outputs.count;
    const nyb_certified weights = nyb_certify_describe(&node);
    info.macs = weights.macs;
    info.weight_bytes = weights.bytes;
    info.weight_bits = weights.bits;
    return info;
}

// The input's bytes where the file stores none: SHA-256("nybble golden input" + index + block) for block 0,
// 1, ...
static void generate_golden(const nyb_tensor *input, uint64_t index) {
    static const char seed[] = "nybble golden input";
    uint8_t digest[NYB_SHA256_BYTES];
    uint8_t numbers[16];
    size_t at = 0;
    for (uint64_t block = 0; at < input->bytes; block++) {
        nyb_sha256 hash;
        memcpy(numbers, &index, 8);
        memcpy(numbers + 8, &block, 8);
        nyb_sha256_init(&hash);
        nyb_sha256_add(&hash, seed, sizeof seed - 1);
        nyb_sha256_add(&hash, numbers, sizeof numbers);
        nyb_sha256_finish(&hash, digest);
        const size_t left = input->bytes - at;
        const size_t count = left < sizeof digest ? left : sizeof digest;
        memcpy((uint8_t *)input->data + at, digest, count);
        at += count;
    }
}

static nyb_status verify_golden(const nyb_model *model, const nyb_options *options, void *arena,
                                size_t arena_bytes, nyb_error *why) {
    const nyb_table root = nyb_root(model);
    const nyb_table golden = nyb_get_table(&root, NYB_MODEL_GOLDEN);
    if (golden.at == 0) {
        return NYB_OK; // the compiler stored none
    }
    nyb_session session;
    const nyb_status status = nyb_session_init(&session, model, options, arena, arena_bytes, why);
    if (status != NYB_OK) {
        return status;
    }
    const nyb_vector inputs = nyb_get_vector(&golden, NYB_GOLDEN_INPUTS, 1);
    const nyb_vector digests = nyb_get_vector(&golden, NYB_GOLDEN_DIGESTS, 8);
    size_t at = 0;
    for (uint32_t i = 0; i < model->inputs; i++) {
        const nyb_tensor input = nyb_input(&session, i);
        if (inputs.count == 0) {
            generate_golden(&input, i);
            continue;
        }
        if (input.bytes > inputs.count - at) {
            return nyb_fail(why, NYB_ERROR_FORMAT, -1, -1, "golden inputs of the inputs' sizes",
                            (int64_t)(at + input.bytes), inputs.count);
        }
        memcpy(input.data, model->data + inputs.at + at, input.bytes);
        at += input.bytes;
    }
    if (digests.count != model->operators) {
        return nyb_fail(why, NYB_ERROR_FORMAT, -1, -1, "one golden digest per operator", model->operators,
                        digests.count);
    }
    for (uint32_t op = 0; op < model->operators; op++) {
        nyb_sha256 hash;
        uint8_t digest[NYB_SHA256_BYTES];
        uint64_t first;
        nyb_invoke_step(&session, op);
        const nyb_tensor output = nyb_op_output(&session, op, 0);
        nyb_sha256_init(&hash);
        nyb_sha256_add(&hash, output.data, output.bytes);
        nyb_sha256_finish(&hash, digest);
        memcpy(&first, digest, sizeof first);
        const uint64_t wanted = nyb_element_u64(model, digests, op);
        if (first != wanted) {
            return nyb_fail(why, NYB_ERROR_MISMATCH, op, -1, "outputs with the golden digest",
                            (int64_t)wanted, (int64_t)first);
        }
    }
    return NYB_OK;
}

nyb_status nyb_model_verify(const nyb_model *model, const nyb_options *options, void *arena,
                            size_t arena_bytes, nyb_error *why) {
    nyb_status status = nyb_structure_hash(model, why);
    for (uint32_t i = 0; status == NYB_OK && i < model->operators; i++) {
        const nyb_node node = nyb_node_at(model, i);
        status = nyb_certify(&node, why);
    }
    return status == NYB_OK ? verify_golden(model, options, arena, arena_bytes, why) : status;
}
