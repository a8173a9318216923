// SPDX-License-Identifier: Apache-2.0
// Random inputs: integers in patterns that stress sums, constants that take accumulators to their
// limits.
#include "check.h"

// SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014;
// the constants are those of Stafford's variant 13.
uint64_t check_bits(check *c) {
    c->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = c->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint32_t check_below(check *c, uint32_t n) { return (uint32_t)((check_bits(c) >> 32) * n >> 32); }

int32_t check_between(check *c, int32_t low, int32_t high) {
    const uint64_t width = (uint64_t)((int64_t)high - low) + 1;
    return (int32_t)(low + (int64_t)((check_bits(c) >> 32) * width >> 32));
}

void check_fill(check *c, void *bytes, size_t count) {
    uint8_t *to = bytes;
    uint64_t bits = 0;
    for (size_t i = 0; i < count; i++, bits >>= 8) {
        if (i % 8 == 0) {
            bits = check_bits(c);
        }
        to[i] = (uint8_t)bits;
    }
}

const char *const check_pattern_names[CHECK_PATTERNS] = {
    "uniform", "minimum", "maximum", "sparse", "extremes", "alternating", "runs",
};

void check_draw(check *c, check_pattern pattern, int32_t low, int32_t high, int32_t *values, size_t count) {
    uint32_t run = 0; // values until the next change of CHECK_RUNS
    int32_t value = low;
    for (size_t i = 0; i < count; i++) {
        switch (pattern) {
        case CHECK_MINIMUM:
            value = low;
            break;
        case CHECK_MAXIMUM:
            value = high;
            break;
        case CHECK_SPARSE:
            value = check_below(c, 16) == 0 ? check_between(c, low, high) : 0;
            break;
        case CHECK_EXTREMES:
            value = check_below(c, 2) ? low : high;
            break;
        case CHECK_ALTERNATING:
            value = i % 2 ? high : low;
            break;
        case CHECK_RUNS:
            if (run-- == 0) {
                run = check_below(c, 64);
                value = value == low ? high : low;
            }
            break;
        default:
            value = check_between(c, low, high);
            break;
        }
        values[i] = value;
    }
}

const char *const check_shifts_names[CHECK_SHIFTS] = {
    "fitting", "up to 31", "31", "above 31", "32 to 40", "any", "mixed",
};

// Bits of |x|: 0 for 0, 31 for INT32_MAX.
static int32_t magnitude_bits(int32_t x) {
    uint32_t rest = x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
    int32_t bits = 0;
    for (; rest != 0; rest >>= 1) {
        bits++;
    }
    return bits;
}

static int32_t draw_accumulator(check *c, int32_t sum) {
    const uint32_t kind = check_below(c, 8);
    if (c->modest && kind > 0) { // up to 300: shifts around 31 fit
        return kind < 4 ? check_between(c, -300, 300) : nyb_add(sum, check_between(c, -4096, 4096));
    }
    switch (kind) {
    case 0:
        return check_between(c, -2, 2);
    case 1:
        return INT32_MAX - check_between(c, 0, 3);
    case 2:
        return INT32_MIN + check_between(c, 0, 3);
    case 3:
        return check_between(c, INT32_MIN, INT32_MAX);
    default:
        return nyb_add(sum, check_between(c, -4096, 4096));
    }
}

static int32_t draw_multiplier(check *c) {
    switch (check_below(c, 8)) {
    case 0:
        return 0;
    case 1:
        return INT32_C(1) << 30; // accumulators halfway between two results are frequent
    case 2:
        return INT32_MAX;
    case 3:
        return check_between(c, 1, INT32_MAX);
    default:
        return check_between(c, INT32_C(1) << 30, INT32_MAX);
    }
}

static int32_t draw_shift(check *c, check_shifts shifts, int32_t accumulator) {
    switch (shifts == CHECK_MIXED ? (check_shifts)check_below(c, CHECK_MIXED) : shifts) {
    case CHECK_UP_TO_31:
        return check_between(c, 1, 31);
    case CHECK_AT_31:
        return 31;
    case CHECK_ABOVE_31:
        return check_between(c, 32, 62);
    case CHECK_32_TO_40:
        return check_below(c, 64) > 0 ? check_between(c, 32, 40) : 41;
    case CHECK_ANY:
        return check_between(c, 1, 62);
    default:
        // A multiplier has 31 bits and a result 8 with its sign.
        return nyb_clamp(magnitude_bits(accumulator) + 31 - 7 + check_between(c, -2, 2), 1, 62);
    }
}

void check_draw_channel(check *c, check_shifts shifts, int32_t sum, int32_t *bias, int32_t *multiplier,
                        int32_t *shift) {
    const int32_t accumulator = draw_accumulator(c, sum);
    if (c->typical) {
        *bias = check_between(c, -4096, 4096);
        *multiplier = check_between(c, INT32_C(1) << 30, INT32_MAX);
        *shift = check_between(c, 35, 40);
        return;
    }
    *bias = nyb_sub(accumulator, sum);
    *multiplier = draw_multiplier(c);
    *shift = draw_shift(c, shifts, accumulator);
}

nyb_requantize check_draw_requantize(check *c) {
    nyb_requantize output = {
        .zero_point = check_between(c, INT8_MIN, INT8_MAX),
        .minimum = INT8_MIN,
        .maximum = INT8_MAX,
        .nudge = check_below(c, 2) || c->typical ? INT32_C(1) << 30 : 0,
    };
    if (c->typical) {
        return output;
    }
    if (check_below(c, 2) == 0) { // a fused activation
        const bool relu = check_below(c, 2) != 0;
        output.minimum = relu ? output.zero_point : check_between(c, INT8_MIN, INT8_MAX);
        output.maximum = check_between(c, output.minimum, INT8_MAX);
    }
    return output;
}
