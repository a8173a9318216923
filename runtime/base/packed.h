// SPDX-License-Identifier: Apache-2.0
// Element order of packed weights (docs/adr/0001): panels of nr channels; per step, kr bytes of each channel.
// Below 8 bits a byte holds 8 / bits planes, the first plane in the lowest bits. Order 0: planes along k, the
// k of plane p being kr further on per plane. Order 1, of depthwise weights (kr 1): planes along the channels
// of a panel, so that each k takes nr * bits / 8 bytes, and no k is padding.
#ifndef NYB_BASE_PACKED_H
#define NYB_BASE_PACKED_H

#include <stdint.h>

// The weight of one plane of a byte, sign-extended. bits: 8, 4 or 2.
static inline int32_t nyb_unpack(uint8_t byte, uint32_t bits, uint32_t plane) {
    const int32_t half = (int32_t)1 << (bits - 1);
    const int32_t field = (int32_t)(byte >> (plane * bits)) & ((half << 1) - 1);
    return (field ^ half) - half;
}

// Steps (of kr * 8 / bits weights) that k weights take.
static inline uint32_t nyb_packed_steps(uint32_t k, uint32_t bits, uint32_t kr) {
    const uint32_t step = kr * (8u / bits);
    return k / step + (k % step != 0);
}

// Bytes of one panel.
static inline uint64_t nyb_panel_bytes(uint32_t k, uint32_t bits, uint32_t nr, uint32_t kr) {
    return (uint64_t)nyb_packed_steps(k, bits, kr) * nr * kr;
}

// Where the weight of channel n at k is, both within one group: the bytes of n and k summed, and the plane.
static inline uint64_t nyb_packed_n(uint32_t depth, uint32_t bits, uint32_t nr, uint32_t kr, uint32_t n) {
    return n / nr * nyb_panel_bytes(depth, bits, nr, kr) + (uint64_t)(n % nr) * kr;
}
static inline uint64_t nyb_packed_k(uint32_t bits, uint32_t nr, uint32_t kr, uint32_t k) {
    const uint32_t step = kr * (8u / bits);
    return (uint64_t)(k / step) * nr * kr + k % kr;
}
static inline uint32_t nyb_packed_plane(uint32_t bits, uint32_t kr, uint32_t k) {
    return k % (kr * (8u / bits)) / kr;
}

// The same in order 1; nr is a multiple of the planes.
static inline uint32_t nyb_tap_bytes(uint32_t bits, uint32_t nr) { return nr * bits / 8; }
static inline uint64_t nyb_tap_panel_bytes(uint32_t k, uint32_t bits, uint32_t nr) {
    return (uint64_t)k * nyb_tap_bytes(bits, nr);
}
static inline uint64_t nyb_tap_byte(uint32_t depth, uint32_t bits, uint32_t nr, uint32_t n, uint32_t k) {
    const uint32_t tap = nyb_tap_bytes(bits, nr);
    return n / nr * nyb_tap_panel_bytes(depth, bits, nr) + (uint64_t)k * tap + n % tap;
}
static inline uint32_t nyb_tap_plane(uint32_t bits, uint32_t nr, uint32_t n) {
    return n % nr / nyb_tap_bytes(bits, nr);
}

#endif
