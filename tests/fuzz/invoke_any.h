// SPDX-License-Identifier: Apache-2.0
// What the fuzzer and the replay of its corpus share.
#ifndef NYB_FUZZ_INVOKE_ANY_H
#define NYB_FUZZ_INVOKE_ANY_H

#include <stddef.h>
#include <stdint.h>

// Takes any bytes as a model: opens, describes, runs and verifies it, and aborts where the library breaks a
// promise:
//   - no access outside of the file and the arena (with AddressSanitizer; both are allocated to the byte)
//   - no operator reads activations but its inputs (with AddressSanitizer), or writes elsewhere than into its
//     output and its scratch memory; an output lies where an input lies, exactly, or apart from all inputs
//   - outputs depend on the inputs alone: not on what the arena held, not on the order of the threads' tasks
//   - with weights that keep their certificates, outputs are the same bits on every CPU level
// Networks that ask for more than 64 MiB or a few million products are opened and described, not run.
void invoke_any(const uint8_t *data, size_t size);

#endif
