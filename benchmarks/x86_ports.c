// SPDX-License-Identifier: Apache-2.0
// What the execution slots of an x86 core allow for int8 products, whatever loads and latencies do
// (docs/adr/0007). Loops of instructions without dependencies between tiles, operands in the first-level
// cache:
//
//   cc -O2 -o x86_ports benchmarks/x86_ports.c && taskset -c 1 ./x86_ports
//
// With -mavx512vnni also tiles of 512 bits, and what goes beside their products for nothing.
#include <stdint.h>
#include <stdio.h>
#include <time.h>

enum { TURNS = 1000, SAMPLES = 3000 };

#define Y(i) "%%ymm" #i
#define ADD(acc) "vpaddd %%ymm14, " Y(acc) ", " Y(acc) "\n"
#define WORDS(w, acc) "vpmaddwd " Y(w) ", %%ymm15, %%ymm14\n" ADD(acc)
#define BYTES(w, acc) "vpmaddubsw " Y(w) ", %%ymm15, %%ymm14\nvpmaddwd %%ymm11, %%ymm14, %%ymm14\n" ADD(acc)
#define SIGNED(w, acc)                                                                                       \
    "vpsignb %%ymm10, " Y(w) ", %%ymm14\nvpmaddubsw %%ymm14, %%ymm15, %%ymm14\n"                             \
                             "vpmaddwd %%ymm11, %%ymm14, %%ymm14\n" ADD(acc)
#define TWICE(w, acc)                                                                                        \
    "vpmaddubsw " Y(w) ", %%ymm15, %%ymm14\nvpmaddubsw 2048(%1), %%ymm15, %%ymm10\n"                         \
                       "vpaddw %%ymm10, %%ymm14, %%ymm14\nvpmaddwd %%ymm11, %%ymm14, %%ymm14\n" ADD(acc)
#define NARROW(w, acc) "vpmaddubsw " Y(w) ", %%ymm15, %%ymm14\nvpaddw %%ymm14, " Y(acc) ", " Y(acc) "\n"
#define MIXED(w, acc)                                                                                        \
    "vpmaddubsw " Y(w) ", %%ymm15, %%ymm14\nvpsrad $16, %%ymm14, %%ymm10\n" ADD(acc) "vpaddd %%ymm10, " Y(   \
        acc) ", " Y(acc) "\nvpxor %%ymm14, %%ymm11, %%ymm14\n"
#define EACH8(X) X(12, 0) X(13, 1) X(12, 2) X(13, 3) X(12, 4) X(13, 5) X(12, 6) X(13, 7)
#define ROW(at, size) "vpbroadcast" size " " #at "(%1), %%ymm15\n"
#define TILE6(size)                                                                                          \
    ROW(0, size)                                                                                             \
    WORDS(12, 0) WORDS(13, 1) ROW(128, size) WORDS(12, 2) WORDS(13, 3) ROW(256, size) WORDS(12, 4)           \
        WORDS(13, 5) ROW(384, size) WORDS(12, 6) WORDS(13, 7) ROW(512, size) WORDS(12, 8) WORDS(13, 9)       \
            ROW(640, size) WORDS(12, 10) WORDS(13, 11)
#define ROW2(at, then, acc) ROW(at, "d") WORDS(12, acc) ROW(then, "d") WORDS(13, acc)
#define SHIFTS "vpsllw $8, %%ymm12, %%ymm13\nvpsraw $8, %%ymm13, %%ymm13\nvpsraw $8, %%ymm12, %%ymm12\n"

#define LOOPS(LOOP)                                                                                          \
    LOOP("vpmaddwd, vpaddd", 8 * 16, EACH8(WORDS))                                                           \
    LOOP("vpmaddubsw, vpmaddwd, vpaddd", 8 * 32, EACH8(BYTES))                                               \
    LOOP("the same, signs moved to the weights by vpsignb", 8 * 32, EACH8(SIGNED))                           \
    LOOP("the same, every fourth widened by shifts", 8 * 32,                                                 \
         BYTES(12, 0) BYTES(13, 1) BYTES(12, 2) MIXED(13, 3) BYTES(12, 4) BYTES(13, 5) BYTES(12, 6)          \
             MIXED(13, 7))                                                                                   \
    LOOP("two vpmaddubsw, vpaddw, vpmaddwd, vpaddd", 8 * 64, EACH8(TWICE))                                   \
    LOOP("vpmaddubsw, vpaddw", 8 * 32, EACH8(NARROW))                                                        \
    LOOP("8 x 8, int8 weights by shifts", 16 * 16,                                                           \
         "vmovdqu 2048(%1), %%ymm12\n" SHIFTS ROW2(0, 4, 0) ROW2(128, 132, 1) ROW2(256, 260, 2)              \
             ROW2(384, 388, 3) ROW2(512, 516, 4) ROW2(640, 644, 5) ROW2(768, 772, 6) ROW2(896, 900, 7))      \
    LOOP("6 x 8, int8 weights by vpmovsxbw", 12 * 16,                                                        \
         "vpmovsxbw 2048(%1), %%ymm12\nvpmovsxbw 2064(%1), %%ymm13\n" TILE6("q"))                            \
    LOOP("6 x 16, int16 weights", 12 * 16,                                                                   \
         "vmovdqu 2048(%1), %%ymm12\nvmovdqu 2080(%1), %%ymm13\n" TILE6("d"))

#ifdef __AVX512VNNI__
#define REGISTERS_512                                                                                        \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26",     \
        "xmm27", "xmm28", "xmm29", "xmm30", "xmm31"
#define DOT(acc, w) "vpdpbusd %%zmm29, %%zmm" #w ", %%zmm" #acc "\n"
#define ROW_512(at, acc0, acc1, beside)                                                                      \
    "vpbroadcastd " #at "(%1), %%zmm29\n" DOT(acc0, 30) DOT(acc1, 31) beside
#define TILE_512(beside)                                                                                     \
    ROW_512(0, 0, 1, beside)                                                                                 \
    ROW_512(64, 2, 3, beside)                                                                                \
    ROW_512(128, 4, 5, beside) ROW_512(192, 6, 7, beside) ROW_512(256, 8, 9, beside)                         \
        ROW_512(320, 10, 11, beside) ROW_512(384, 12, 13, beside) ROW_512(448, 14, 15, beside)               \
            ROW_512(512, 16, 17, beside) ROW_512(576, 18, 19, beside) ROW_512(640, 20, 21, beside)           \
                ROW_512(704, 22, 23, beside)
#define BESIDE(word) word " %%zmm27, %%zmm28, %%zmm26\n"
#define LOOPS_512(LOOP)                                                                                      \
    LOOP("12 x 32 in 512 bits", 24 * 64, TILE_512(""))                                                       \
    LOOP("the same, a vpaddd for each row", 24 * 64, TILE_512(BESIDE("vpaddd")))                             \
    LOOP("the same, a vpsravd", 24 * 64, TILE_512(BESIDE("vpsravd")))                                        \
    LOOP("the same, a vpxord", 24 * 64, TILE_512(BESIDE("vpxord")))                                          \
    LOOP("the same, a vpmuludq", 24 * 64, TILE_512(BESIDE("vpmuludq")))                                      \
    LOOP("the same, another load", 24 * 64, TILE_512("vmovdqu64 1024(%1), %%zmm26\n"))                       \
    LOOP("the same, two other loads", 24 * 64,                                                               \
         TILE_512("vmovdqu64 1024(%1), %%zmm26\nvmovdqu64 1088(%1), %%zmm25\n"))
#else
#define REGISTERS_512
#define LOOPS_512(LOOP)
#endif

static const uint8_t memory[4096] __attribute__((aligned(64)));

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

// The best nanoseconds of a turn of the loop.
#define BEST(body)                                                                                           \
    double best = 1e18;                                                                                      \
    for (int i = 0; i < SAMPLES; i++) {                                                                      \
        uint32_t turns = TURNS;                                                                              \
        const double start = now();                                                                          \
        __asm__ volatile("1:\n" body "dec %0\njnz 1b\nvzeroupper\n"                                          \
                         : "+r"(turns)                                                                       \
                         : "r"(memory)                                                                       \
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",   \
                           "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "rax", "cc" REGISTERS_512); \
        const double elapsed = (now() - start) / TURNS;                                                      \
        best = elapsed < best ? elapsed : best;                                                              \
    }

static double clock_ghz(void) { // sixteen additions that wait for each other
    BEST("add $1, %%rax\nadd $1, %%rax\nadd $1, %%rax\nadd $1, %%rax\nadd $1, %%rax\nadd $1, %%rax\n"
         "add $1, %%rax\nadd $1, %%rax\nadd $1, %%rax\nadd $1, %%rax\nadd $1, %%rax\nadd $1, %%rax\n"
         "add $1, %%rax\nadd $1, %%rax\nadd $1, %%rax\nadd $1, %%rax\n")
    return 16 / best;
}

#define LOOP(name, macs, body)                                                                               \
    {                                                                                                        \
        BEST(body)                                                                                           \
        printf("%-50s %6.1f %6.1f\n", name, (macs) / best, (macs) / best / ghz);                             \
    }

int main(void) {
    const double ghz = clock_ghz();
    printf("%.2f GHz%42s GMAC/s  MAC/cycle\n", ghz, "");
    LOOPS(LOOP)
    LOOPS_512(LOOP)
}
