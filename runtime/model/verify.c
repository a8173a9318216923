// SPDX-License-Identifier: Apache-2.0
#include "model/verify.h"

#include "base/sha256.h"

nyb_status nyb_structure_open(nyb_model *model, const void *data, size_t size, nyb_error *why) {
    memset(model, 0, sizeof *model);
    if (size < 12) {
        return nyb_fail(why, NYB_ERROR_FORMAT, -1, -1, "a file of at least 12 bytes", 12, (int64_t)size);
    }
    if (data == NULL || (uintptr_t)data % NYB_ALIGNMENT != 0) {
        return nyb_fail(why, NYB_ERROR_ARGUMENT, -1, -1, "model data aligned to NYB_ALIGNMENT bytes",
                        NYB_ALIGNMENT, (int64_t)((uintptr_t)data % NYB_ALIGNMENT));
    }
    if (memcmp((const uint8_t *)data + 4, NYB_FILE_IDENTIFIER, 4) != 0) {
        return nyb_fail(why, NYB_ERROR_FORMAT, -1, -1,
                        "the file identifier " NYB_FILE_IDENTIFIER " at byte 4", 0, 0);
    }
    model->data = data;
    model->size = size;
    const nyb_table root = nyb_root(model);
    const uint32_t version = nyb_get_u32(&root, NYB_MODEL_VERSION);
    if (root.at == 0 || version != NYB_FORMAT_VERSION) {
        const nyb_status status = root.at == 0 ? NYB_ERROR_FORMAT : NYB_ERROR_VERSION;
        return nyb_fail(why, status, -1, -1, "a root table of this format version", NYB_FORMAT_VERSION,
                        version);
    }
    // The data section ends the file: a truncated file is refused before anything else is read.
    const uint8_t *section = nyb_get_struct(&root, NYB_MODEL_DATA, NYB_SPAN_BYTES);
    if (section == NULL) {
        return nyb_fail(why, NYB_ERROR_FORMAT, -1, -1, "a data section", 1, 0);
    }
    const uint64_t offset = nyb_member_u64(section, NYB_SPAN_OFFSET_AT);
    const uint64_t bytes = nyb_member_u64(section, NYB_SPAN_SIZE_AT);
    if (offset > size || bytes != size - offset) {
        return nyb_fail(why, NYB_ERROR_FORMAT, -1, -1, "a data section that ends with the file",
                        (int64_t)(offset + bytes), (int64_t)size);
    }
    const nyb_vector tensors = nyb_get_vector(&root, NYB_MODEL_TENSORS, 4);
    const nyb_vector operators = nyb_get_vector(&root, NYB_MODEL_OPERATORS, 4);
    const nyb_vector inputs = nyb_get_vector(&root, NYB_MODEL_INPUTS, 4);
    const nyb_vector outputs = nyb_get_vector(&root, NYB_MODEL_OUTPUTS, 4);
    model->root = root.at;
    model->tensors = tensors.count;
    model->tensors_at = tensors.at;
    model->operators = operators.count;
    model->operators_at = operators.at;
    model->inputs = inputs.count;
    model->inputs_at = inputs.at;
    model->outputs = outputs.count;
    model->outputs_at = outputs.at;
    model->arena_bytes = nyb_get_u64(&root, NYB_MODEL_ARENA_SIZE, 0);
    if (inputs.count == 0 || outputs.count == 0) {
        return nyb_fail(why, NYB_ERROR_FORMAT, -1, -1, "at least one input and one output", 1, 0);
    }
    if (model->arena_bytes > UINT64_C(1) << 47) {
        return nyb_fail(why, NYB_ERROR_FORMAT, -1, -1, "an arena below 2^47 bytes", 0,
                        (int64_t)model->arena_bytes);
    }
    return NYB_OK;
}

static bool overlap(const nyb_tensor_info *a, const nyb_tensor_info *b) {
    return a->arena != NYB_NO_ARENA && b->arena != NYB_NO_ARENA && a->bytes > 0 && b->bytes > 0 &&
           a->arena < b->arena + b->bytes && b->arena < a->arena + a->bytes;
}

static nyb_vector list(const nyb_model *model, uint32_t op, uint32_t slot) {
    const nyb_table table = nyb_operator_table(model, op);
    return nyb_get_vector(&table, slot, 4);
}

static uint32_t output_of(const nyb_model *model, uint32_t op) {
    return nyb_element_u32(model, list(model, op, NYB_OPERATOR_OUTPUTS), 0);
}

static uint32_t port_tensor(const nyb_model *model, nyb_vector ports, uint32_t i) {
    const nyb_table port = nyb_element_table(model, ports, i);
    return nyb_get_u32(&port, NYB_PORT_TENSOR);
}

// Tensors are compared with each other for as long as they live. Were that not bounded by the size of the
// file, a small one could keep a loader busy for hours. An operator takes more than 64 bytes: only networks
// of thousands of operators most of whose tensors live for a thousand of them would be refused.
enum { COMPARISONS_PER_BYTE = 16 };

static nyb_status too_many(uint32_t index, nyb_error *why) {
    return nyb_fail(why, NYB_ERROR_FORMAT, -1, index,
                    "tensors that live for fewer operators, all together, than 16 per byte of the file",
                    COMPARISONS_PER_BYTE, COMPARISONS_PER_BYTE);
}

// Whether tensor `index` holds its value when operator `before` starts: the nearest earlier operator that
// writes to its bytes must be the one that writes the tensor itself. Takes as long as the tensor lives.
static nyb_status check_written(const nyb_model *model, uint32_t index, uint32_t before,
                                uint64_t *comparisons, nyb_error *why) {
    nyb_tensor_info wanted, other;
    if (!nyb_tensor_read(model, index, &wanted)) {
        return nyb_fail(why, NYB_ERROR_FORMAT, before, index,
                        "a tensor of known type within the arena or the file", 0, index);
    }
    if (wanted.arena == NYB_NO_ARENA) {
        return NYB_OK;
    }
    for (uint32_t op = before; op-- > 0;) {
        const uint32_t written = output_of(model, op);
        if (written == index) {
            return NYB_OK;
        }
        if (nyb_tensor_read(model, written, &other) && overlap(&wanted, &other)) {
            return nyb_fail(why, NYB_ERROR_FORMAT, before, index, "an input that no operator has overwritten",
                            -1, op);
        }
        if ((*comparisons)-- == 0) {
            return too_many(index, why);
        }
    }
    const nyb_vector inputs = {model->inputs_at, model->inputs};
    for (uint32_t i = 0; i < inputs.count; i++) {
        if (port_tensor(model, inputs, i) == index) {
            return NYB_OK;
        }
        if ((*comparisons)-- == 0) {
            return too_many(index, why);
        }
    }
    return nyb_fail(why, NYB_ERROR_FORMAT, before, index, "a tensor that is written before it is read", 0,
                    index);
}

static nyb_status check_operator(const nyb_model *model, uint32_t op, bool in_place, uint64_t *comparisons,
                                 nyb_error *why) {
    const nyb_vector inputs = list(model, op, NYB_OPERATOR_INPUTS);
    const uint32_t written = output_of(model, op);
    nyb_tensor_info out, other;
    for (uint32_t i = 0; i < inputs.count; i++) {
        const uint32_t read = nyb_element_u32(model, inputs, i);
        const nyb_status status = check_written(model, read, op, comparisons, why);
        if (status != NYB_OK) {
            return status;
        }
    }
    if (!nyb_tensor_read(model, written, &out) || out.arena == NYB_NO_ARENA) {
        return nyb_fail(why, NYB_ERROR_FORMAT, op, written, "an output tensor in the arena", 1, 0);
    }
    for (uint32_t i = 0; i < inputs.count; i++) {
        nyb_tensor_read(model, nyb_element_u32(model, inputs, i), &other);
        const bool same = in_place && out.arena == other.arena && out.bytes == other.bytes;
        if (overlap(&out, &other) && !same) {
            return nyb_fail(why, NYB_ERROR_FORMAT, op, written, "an output apart from the inputs",
                            (int64_t)other.arena, (int64_t)out.arena);
        }
    }
    return NYB_OK;
}

// The arena must end with its last tensor: damage cannot make a small network ask for terabytes.
static nyb_status check_tensors(const nyb_model *model, nyb_error *why) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < model->tensors; i++) {
        nyb_tensor_info info;
        if (!nyb_tensor_read(model, i, &info)) {
            return nyb_fail(why, NYB_ERROR_FORMAT, -1, i,
                            "a tensor of known type within the arena or the file", 0, i);
        }
        if (info.arena != NYB_NO_ARENA && info.arena + info.bytes > end) {
            end = info.arena + info.bytes;
        }
    }
    if (model->arena_bytes > (end + NYB_ALIGNMENT - 1) / NYB_ALIGNMENT * NYB_ALIGNMENT) {
        return nyb_fail(why, NYB_ERROR_FORMAT, -1, -1, "an arena that ends with its last tensor",
                        (int64_t)end, (int64_t)model->arena_bytes);
    }
    return NYB_OK;
}

// Every operator has lists of its own, so all together are no longer than the file. Were they shared, a small
// file could state so many connections that checking them takes hours.
static nyb_status check_connections(const nyb_model *model, nyb_error *why) {
    uint64_t connections = 0;
    for (uint32_t op = 0; op < model->operators; op++) {
        const uint32_t outputs = list(model, op, NYB_OPERATOR_OUTPUTS).count;
        if (outputs != 1) {
            return nyb_fail(why, NYB_ERROR_FORMAT, op, -1, "one output", 1, outputs);
        }
        connections += (uint64_t)list(model, op, NYB_OPERATOR_INPUTS).count + 1;
        if (connections > model->size / sizeof(uint32_t)) {
            return nyb_fail(why, NYB_ERROR_FORMAT, op, -1, "inputs and outputs of its own for every operator",
                            (int64_t)(model->size / sizeof(uint32_t)), (int64_t)connections);
        }
    }
    return NYB_OK;
}

static nyb_status check_ports(const nyb_model *model, nyb_vector ports, nyb_error *why) {
    for (uint32_t i = 0; i < ports.count; i++) {
        if (nyb_element_table(model, ports, i).at == 0) {
            return nyb_fail(why, NYB_ERROR_FORMAT, -1, -1, "a table for each input and output", ports.count,
                            i);
        }
    }
    return NYB_OK;
}

static nyb_status check_inputs(const nyb_model *model, uint64_t *comparisons, nyb_error *why) {
    const nyb_vector inputs = {model->inputs_at, model->inputs};
    nyb_tensor_info info, other;
    for (uint32_t i = 0; i < inputs.count; i++) {
        const uint32_t index = port_tensor(model, inputs, i);
        if (!nyb_tensor_read(model, index, &info) || info.arena == NYB_NO_ARENA || info.bytes == 0) {
            return nyb_fail(why, NYB_ERROR_FORMAT, -1, index, "an input in the arena that has elements", 1,
                            0);
        }
        for (uint32_t j = 0; j < i; j++) {
            if (nyb_tensor_read(model, port_tensor(model, inputs, j), &other) && overlap(&info, &other)) {
                return nyb_fail(why, NYB_ERROR_FORMAT, -1, index, "inputs apart from each other", j, i);
            }
            if ((*comparisons)-- == 0) {
                return too_many(index, why);
            }
        }
    }
    return NYB_OK;
}

nyb_status nyb_structure_check(const nyb_model *model, bool (*in_place)(uint32_t kind), nyb_error *why) {
    const nyb_vector inputs = {model->inputs_at, model->inputs};
    const nyb_vector outputs = {model->outputs_at, model->outputs};
    uint64_t comparisons = COMPARISONS_PER_BYTE * (uint64_t)model->size;
    nyb_status status = check_tensors(model, why);
    status = status == NYB_OK ? check_connections(model, why) : status;
    status = status == NYB_OK ? check_ports(model, inputs, why) : status;
    status = status == NYB_OK ? check_ports(model, outputs, why) : status;
    status = status == NYB_OK ? check_inputs(model, &comparisons, why) : status;
    for (uint32_t op = 0; status == NYB_OK && op < model->operators; op++) {
        const nyb_table table = nyb_operator_table(model, op);
        const bool over = in_place(nyb_get_u8(&table, NYB_OPERATOR_OPTIONS_TYPE));
        status = check_operator(model, op, over, &comparisons, why);
    }
    for (uint32_t i = 0; status == NYB_OK && i < outputs.count; i++) {
        status = check_written(model, port_tensor(model, outputs, i), model->operators, &comparisons, why);
    }
    return status;
}

nyb_status nyb_structure_hash(const nyb_model *model, nyb_error *why) {
    static const uint8_t zeros[NYB_SHA256_BYTES];
    const nyb_table root = nyb_root(model);
    const nyb_vector stored = nyb_get_vector(&root, NYB_MODEL_HASH, 1);
    if (stored.count != NYB_SHA256_BYTES) {
        return nyb_fail(why, NYB_ERROR_FORMAT, -1, -1, "a hash of 32 bytes", NYB_SHA256_BYTES, stored.count);
    }
    nyb_sha256 hash;
    uint8_t digest[NYB_SHA256_BYTES];
    const size_t after = (size_t)stored.at + NYB_SHA256_BYTES;
    nyb_sha256_init(&hash);
    nyb_sha256_add(&hash, model->data, stored.at);
    nyb_sha256_add(&hash, zeros, sizeof zeros);
    nyb_sha256_add(&hash, model->data + after, model->size - after);
    nyb_sha256_finish(&hash, digest);
    if (memcmp(digest, model->data + stored.at, sizeof digest) != 0) {
        return nyb_fail(why, NYB_ERROR_MISMATCH, -1, -1, "a file whose SHA-256 is the stored one", 0, 0);
    }
    return NYB_OK;
}
