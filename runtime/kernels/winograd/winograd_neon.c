// SPDX-License-Identifier: Apache-2.0
// smlal by elements: eight tiles times eight outputs are sixteen vectors of sums.
#include "kernels/epilogue_neon.h"
#include "kernels/winograd/winograd.h"

enum { NR = 8, ROWS = 8 };

// B^T times six vectors of int16.
NYB_INLINE void transform_input(const int16x8_t d[6], int16x8_t out[6]) {
    const int16x8_t p = vmlsq_n_s16(d[4], d[2], 4);
    const int16x8_t q = vmlsq_n_s16(d[3], d[1], 4);
    const int16x8_t r = vsubq_s16(d[4], d[2]);
    const int16x8_t s = vsubq_s16(d[3], d[1]);
    out[0] = vmlaq_n_s16(r, vsubq_s16(d[0], d[2]), 4);
    out[1] = vaddq_s16(p, q);
    out[2] = vsubq_s16(p, q);
    out[3] = vmlaq_n_s16(r, s, 2);
    out[4] = vmlsq_n_s16(r, s, 2);
    out[5] = vmlsq_n_s16(vsubq_s16(d[5], d[3]), s, 4);
}

// The transformed inputs of one tile, 8 channels; points are `point` elements apart.
static void transform_inputs(const int8_t *x, size_t line, size_t pixel, int16_t *v, size_t point) {
    int16x8_t columns[6][6];
    NYB_EACH (j, 6) {
        int16x8_t d[6], out[6];
        NYB_EACH (i, 6)
            d[i] = vmovl_s8(vld1_s8(x + (size_t)i * line + (size_t)j * pixel));
        transform_input(d, out);
        NYB_EACH (i, 6)
            columns[i][j] = out[i];
    }
    NYB_EACH (i, 6) {
        int16x8_t out[6];
        transform_input(columns[i], out);
        NYB_EACH (j, 6)
            vst1q_s16(v + (size_t)(6 * i + j) * point, out[j]);
    }
}

// acc[r][half] += v[r] lane * w.
#define STEP(lane)                                                                                           \
    do {                                                                                                     \
        const int16x8_t w = vld1q_s16(weights + NR * (lane));                                                \
        NYB_EACH (r, rows) {                                                                                 \
            acc[r][0] = vmlal_laneq_s16(acc[r][0], vget_low_s16(w), x[r], lane);                             \
            acc[r][1] = vmlal_high_laneq_s16(acc[r][1], w, x[r], lane);                                      \
        }                                                                                                    \
    } while (0)

// sums[r][NR] = products of v[r][channels] and weights [channels][NR], r < rows, a constant.
NYB_INLINE void products_some(const int16_t *v, const int16_t *weights, size_t channels, int32_t *sums,
                              const int rows) {
    int32x4_t acc[ROWS][2];
    NYB_EACH (r, rows)
        acc[r][0] = acc[r][1] = vdupq_n_s32(0);
    for (size_t k = 0; k < channels; k += 8, weights += 8 * NR) {
        int16x8_t x[ROWS];
        NYB_EACH (r, rows)
            x[r] = vld1q_s16(v + (size_t)r * channels + k);
        STEP(0);
        STEP(1);
        STEP(2);
        STEP(3);
        STEP(4);
        STEP(5);
        STEP(6);
        STEP(7);
    }
    NYB_EACH (r, rows) {
        vst1q_s32(sums + NR * r, acc[r][0]);
        vst1q_s32(sums + NR * r + 4, acc[r][1]);
    }
}

static void products(const int16_t *v, const int16_t *weights, size_t channels, int32_t *sums, size_t rows) {
    for (; rows >= ROWS; rows -= ROWS, v += ROWS * channels, sums += ROWS * NR) {
        products_some(v, weights, channels, sums, ROWS);
    }
    if (rows >= 4) {
        products_some(v, weights, channels, sums, 4);
        rows -= 4, v += 4 * channels, sums += 4 * NR;
    }
    for (; rows > 0; rows--, v += channels, sums += NR) {
        products_some(v, weights, channels, sums, 1);
    }
}

NYB_INLINE int32x4_t twice(int32x4_t x) { return vshlq_n_s32(x, 1); }

// A^T times six vectors of int32.
NYB_INLINE void transform_output(const int32x4_t m[6], int32x4_t out[4]) {
    const int32x4_t a = nyb_add4(m[1], m[2]);
    const int32x4_t b = nyb_sub4(m[1], m[2]);
    const int32x4_t c = nyb_add4(m[3], m[4]);
    const int32x4_t d = nyb_sub4(m[3], m[4]);
    const int32x4_t m5 = nyb_add4(twice(m[5]), m[5]);
    out[0] = nyb_add4(vshlq_n_s32(nyb_add4(m[0], a), 2), nyb_add4(twice(m[0]), c));
    out[1] = nyb_add4(twice(b), d);
    out[2] = nyb_add4(a, c);
    out[3] = nyb_add4(twice(nyb_add4(d, m5)), b);
}

// y[i][j][half]: the 4x4 sums of one tile. m: its products, points `point` elements apart.
static void transform_outputs(const int32_t *m, size_t point, int32x4_t y[4][4][2]) {
    NYB_EACH (half, 2) {
        int32x4_t columns[4][6];
        NYB_EACH (j, 6) {
            int32x4_t in[6], out[4];
            NYB_EACH (i, 6)
                in[i] = vld1q_s32(m + (size_t)(6 * i + j) * point + 4 * half);
            transform_output(in, out);
            NYB_EACH (i, 4)
                columns[i][j] = out[i];
        }
        NYB_EACH (i, 4) {
            int32x4_t out[4];
            transform_output(columns[i], out);
            NYB_EACH (j, 4)
                y[i][j][half] = out[j];
        }
    }
}

// Powers of two that the rows of A^T leave: 3 2 1 1.
#define DOWN(i) ((i) == 0 ? 3 : (i) == 1 ? 2 : 1)

// One line of a tile, of which `pixels` exist.
#define FINISH(i)                                                                                            \
    do {                                                                                                     \
        if (i < lines) {                                                                                     \
            NYB_EACH (half, 2) {                                                                             \
                acc[0][half] = vsraq_n_s32(bias[half], vmulq_n_s32(y[i][0][half], ninth), DOWN(i) + 3);      \
                acc[1][half] = vsraq_n_s32(bias[half], vmulq_n_s32(y[i][1][half], ninth), DOWN(i) + 2);      \
                acc[2][half] = vsraq_n_s32(bias[half], vmulq_n_s32(y[i][2][half], ninth), DOWN(i) + 1);      \
                acc[3][half] = vsraq_n_s32(bias[half], vmulq_n_s32(y[i][3][half], ninth), DOWN(i) + 1);      \
            }                                                                                                \
            finish(acc, output, c + i * c_line, args->c_stride, pixels);                                     \
        }                                                                                                    \
    } while (0)

static void finish(int32x4_t acc[4][2], const nyb_panel_output *output, int8_t *c, size_t c_stride,
                   uint32_t pixels) {
    if (pixels >= 4) {
        nyb_finish_rows(acc, 4, output, c, c_stride);
        return;
    }
    for (uint32_t j = 0; j < pixels; j++) {
        nyb_finish_rows(acc + j, 1, output, c + j * c_stride, c_stride);
    }
}

// The outputs of one tile, `lines` by `pixels` of which exist; c: its first.
static void finish_tile(const nyb_winograd_args *args, const nyb_panel_output *output,
                        const int32x4_t bias[2], const int32_t *m, size_t point, int8_t *c, uint32_t lines,
                        uint32_t pixels) {
    const int32_t ninth = 0x38E38E39; // 9 * 0x38E38E39 = 1 modulo 2^32
    const size_t c_line = (size_t)args->width * args->c_stride;
    int32x4_t y[4][4][2], acc[4][2];
    transform_outputs(m, point, y);
    FINISH(0);
    FINISH(1);
    FINISH(2);
    FINISH(3);
}

void nyb_winograd_f4x4_neon(const nyb_winograd_args *args) {
    const uint32_t across = nyb_winograd_tiles(args->width), down = nyb_winograd_tiles(args->height);
    const size_t tiles = (size_t)across * down, channels = args->channels;
    const size_t v_point = (size_t)nyb_winograd_point(tiles * channels, sizeof *args->weights);
    const size_t m_point = (size_t)nyb_winograd_point(tiles * NR, sizeof *args->bias);
    int16_t *v = args->scratch;
    int32_t *m = (int32_t *)(void *)(v + NYB_WINOGRAD_POINTS * v_point);
    int16_t *to = v;
    for (uint32_t y = 0; y < down; y++) {
        for (uint32_t x = 0; x < across; x++, to += channels) {
            const int8_t *tile = args->x + 4 * (size_t)y * args->line + 4 * (size_t)x * channels;
            for (size_t k = 0; k < channels; k += 8) {
                transform_inputs(tile + k, args->line, channels, to + k, v_point);
            }
        }
    }
    const int16_t *weights = args->weights;
    for (uint32_t n = 0; n < args->outputs; n += NR) {
        const uint32_t width = args->outputs - n < NR ? args->outputs - n : NR;
        const nyb_panel_output output =
            nyb_panel_output_of(args->multiplier + n, args->shift + n, width, &args->output);
        const int32x4_t bias[2] = {vld1q_s32(args->bias + n), vld1q_s32(args->bias + n + 4)};
        for (size_t i = 0; i < NYB_WINOGRAD_POINTS; i++, weights += NR * channels) {
            products(v + i * v_point, weights, channels, m + i * m_point, tiles);
        }
        const int32_t *sums = m;
        for (uint32_t y = 0; y < down; y++) {
            for (uint32_t x = 0; x < across; x++, sums += NR) {
                int8_t *c = args->c + ((size_t)4 * y * args->width + 4 * x) * args->c_stride + n;
                finish_tile(args, &output, bias, sums, m_point, c, args->height - 4 * y, args->width - 4 * x);
            }
        }
    }
}
