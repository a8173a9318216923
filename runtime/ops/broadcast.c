// SPDX-License-Identifier: Apache-2.0
#include "ops/broadcast.h"

// Size and stride of dimension d of the output (counted from the last) in an input.
static bool stride_of(const nyb_tensor_info *in, uint32_t from_last, uint32_t extent, uint64_t *elements,
                      uint32_t *stride) {
    const uint32_t size = from_last < in->rank ? in->shape[in->rank - 1 - from_last] : 1;
    *stride = size == 1 ? 0 : (uint32_t)*elements;
    *elements *= size;
    return size == extent || size == 1;
}

bool nyb_broadcast_read(const nyb_tensor_info *a, const nyb_tensor_info *b, const nyb_tensor_info *out,
                        nyb_broadcast *broadcast) {
    uint32_t shape[NYB_MAX_RANK], stride1[NYB_MAX_RANK], stride2[NYB_MAX_RANK];
    uint64_t elements1 = 1, elements2 = 1;
    memset(broadcast, 0, sizeof *broadcast);
    broadcast->bytes = nyb_type_bytes(out->type);
    if (!nyb_is_activation(out->type) || a->type != out->type || b->type != out->type) {
        return false;
    }
    if (a->rank > out->rank || b->rank > out->rank || out->elements > UINT32_MAX ||
        a->elements > UINT32_MAX || b->elements > UINT32_MAX) {
        return false;
    }
    uint32_t rank = 0; // merged dimensions, innermost first
    for (uint32_t d = 0; d < out->rank; d++) {
        const uint32_t extent = out->shape[out->rank - 1 - d];
        uint32_t s1, s2;
        if (!stride_of(a, d, extent, &elements1, &s1) || !stride_of(b, d, extent, &elements2, &s2)) {
            return false;
        }
        if (extent == 1) {
            continue;
        }
        if (rank > 0 && s1 == stride1[rank - 1] * shape[rank - 1] &&
            s2 == stride2[rank - 1] * shape[rank - 1]) {
            shape[rank - 1] *= extent; // both inputs simply go on
            continue;
        }
        shape[rank] = extent;
        stride1[rank] = s1;
        stride2[rank] = s2;
        rank++;
    }
    if (rank == 0) {
        shape[0] = 1;
        stride1[0] = stride2[0] = 0;
        rank = 1;
    }
    broadcast->rank = rank;
    for (uint32_t d = 0; d < rank; d++) {
        broadcast->shape[d] = shape[rank - 1 - d];
        broadcast->stride1[d] = stride1[rank - 1 - d];
        broadcast->stride2[d] = stride2[rank - 1 - d];
    }
    return true;
}

enum {
    PORTION = 1 << 14, // elements that are worth a thread's attention
    REPEATED = 256     // copies of an input's element that meets a row of the other
};

typedef struct broadcast_call {
    const nyb_broadcast *broadcast;
    const int8_t *a;
    const int8_t *b;
    int8_t *c;
    nyb_elements_fn f;
    const void *plan;
    uint32_t rows;     // of the innermost two dimensions
    uint32_t columns;  // the innermost one
    uint32_t portion;  // of rows; of columns where there is one row
    uint32_t portions; // of each pair of dimensions
} broadcast_call;

static uint32_t divide_up(uint32_t a, uint32_t b) { return a / b + (a % b != 0); }

// REPEATED copies of an element.
static void repeat(const int8_t *element, size_t bytes, int8_t *to) {
    if (bytes == 1) {
        memset(to, *element, REPEATED);
        return;
    }
    for (size_t i = 0; i < REPEATED; i++) {
        memcpy(to + 2 * i, element, 2);
    }
}

// A row of which one input (or both) is a single element.
static void run_repeated(const broadcast_call *call, nyb_elements row, bool single1, bool single2) {
    _Alignas(int16_t) int8_t copies1[2 * REPEATED], copies2[2 * REPEATED];
    const size_t bytes = call->broadcast->bytes;
    repeat(row.a, bytes, copies1);
    repeat(row.b, bytes, copies2);
    const nyb_elements whole = row;
    for (uint32_t j = 0; j < whole.columns; j += REPEATED) {
        row.columns = whole.columns - j < REPEATED ? whole.columns - j : REPEATED;
        row.a = single1 ? copies1 : whole.a + j * bytes;
        row.b = single2 ? copies2 : whole.b + j * bytes;
        row.c = whole.c + j * bytes;
        call->f(call->plan, &row);
    }
}

static void portion(void *context, uint32_t index, uint32_t thread) {
    const broadcast_call *call = context;
    const nyb_broadcast *b = call->broadcast;
    (void)thread;
    const uint32_t inner = b->rank - 1;
    const size_t bytes = b->bytes;
    const uint32_t first = index % call->portions * call->portion;
    uint32_t outer = index / call->portions;
    nyb_elements e = {
        .a = call->a,
        .b = call->b,
        .c = call->c + (size_t)outer * call->rows * call->columns * bytes,
        .a_stride = inner > 0 ? b->stride1[inner - 1] : 0,
        .b_stride = inner > 0 ? b->stride2[inner - 1] : 0,
        .rows = 1,
        .columns = call->columns,
    };
    for (uint32_t d = inner > 0 ? inner - 1 : 0; d-- > 0;) {
        e.a += (size_t)(outer % b->shape[d]) * b->stride1[d] * bytes;
        e.b += (size_t)(outer % b->shape[d]) * b->stride2[d] * bytes;
        outer /= b->shape[d];
    }
    if (call->rows > 1) {
        e.rows = call->rows - first < call->portion ? call->rows - first : call->portion;
        e.a += first * e.a_stride * bytes;
        e.b += first * e.b_stride * bytes;
        e.c += (size_t)first * call->columns * bytes;
    } else {
        e.columns = call->columns - first < call->portion ? call->columns - first : call->portion;
        e.a += (size_t)first * b->stride1[inner] * bytes;
        e.b += (size_t)first * b->stride2[inner] * bytes;
        e.c += first * bytes;
    }
    if (b->stride1[inner] == 1 && b->stride2[inner] == 1) {
        call->f(call->plan, &e);
        return;
    }
    nyb_elements row = e;
    row.rows = 1;
    for (uint32_t i = 0; i < e.rows; i++) {
        run_repeated(call, row, b->stride1[inner] == 0, b->stride2[inner] == 0);
        row.a += e.a_stride * bytes;
        row.b += e.b_stride * bytes;
        row.c += e.columns * bytes;
    }
}

void nyb_broadcast_run(const nyb_broadcast *b, const int8_t *x1, const int8_t *x2, int8_t *y,
                       nyb_elements_fn f, const void *plan, uint32_t needs, const nyb_parallel *parallel) {
    const uint32_t inner = b->rank - 1;
    broadcast_call call = {b, x1, x2, y, f, plan, inner > 0 ? b->shape[inner - 1] : 1, b->shape[inner], 0, 0};
    uint32_t outer = 1;
    for (uint32_t d = 0; d + 1 < inner; d++) {
        outer *= b->shape[d];
    }
    if (outer == 0 || call.rows == 0 || call.columns == 0) {
        return;
    }
    if (call.rows > 1) {
        call.portion = divide_up(PORTION, call.columns);
        call.portions = divide_up(call.rows, call.portion);
    } else {
        call.portion = PORTION;
        call.portions = divide_up(call.columns, PORTION);
    }
    // An element takes about as long as eight products.
    const uint64_t elements = (uint64_t)outer * call.rows * call.columns;
    nyb_parallel_for(parallel, outer * call.portions, nyb_macs_ns(8 * elements, needs), portion, &call);
}
