// SPDX-License-Identifier: Apache-2.0
// Arrays of vectors stay in registers only where every index is a constant once the loops are unrolled and
// the functions inlined; these two ask for both instead of hoping for them.
#ifndef NYB_KERNELS_UNROLL_H
#define NYB_KERNELS_UNROLL_H

#define NYB_INLINE static inline __attribute__((always_inline))

// for (int i = 0; i < count; i++), unrolled; count: a constant of at most 16 after inlining.
#if defined(__clang__)
#define NYB_EACH(i, count) _Pragma("clang loop unroll(full)") for (int i = 0; i < (count); i++)
#else
#define NYB_EACH(i, count) _Pragma("GCC unroll 16") for (int i = 0; i < (count); i++)
#endif

// The compiler may not move loads across: what follows a multiplication would be loaded early, and the sums
// spilled for it. Changes nothing else. x: in a vector register of x86.
#ifndef NYB_IN_ORDER
#define NYB_IN_ORDER(x) __asm__ volatile("" : "+v"(x) : : "memory")
#endif

#endif
