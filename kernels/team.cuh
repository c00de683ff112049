// Threads that share a row: a warp, or all of a block.
#pragma once

#include "device.cuh"

typedef double f64;

// The same of both halves.
INLINE f64 shuffle_xor(f64 x, int mask) {
    union {
        f64 number;
        u32 half[2];
    } bits;
    bits.number = x;
    bits.half[0] = shuffle_xor(bits.half[0], mask);
    bits.half[1] = shuffle_xor(bits.half[1], mask);
    return bits.number;
}

INLINE f64 warp_sum(f64 x) {
    for (int mask = 16; mask > 0; mask >>= 1) x += shuffle_xor(x, mask);
    return x;
}

// Row of this thread's team, and its place in the team. A warp of several in a block takes no part in sync_block.
template <int TEAM> INLINE u32 team_row() {
    return TEAM == 32 ? blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32 : blockIdx.x;
}
template <int TEAM> INLINE u32 team_rank() { return TEAM == 32 ? threadIdx.x % 32 : threadIdx.x; }

// Sum over the team, the same bits in every thread. A team that is a block keeps TEAM/32 numbers in `place`; what lies
// there may change again after the next sync_block.
template <int TEAM, class N> INLINE N team_sum(N x, N *place) {
    x = warp_sum(x);
    if constexpr (TEAM > 32) {
        if (threadIdx.x % 32 == 0) place[threadIdx.x / 32] = x;
        sync_block();
        x = place[0];
#pragma unroll
        for (int i = 1; i < TEAM / 32; i++) x += place[i];
    }
    return x;
}

// The same for the maximum.
template <int TEAM> INLINE f32 team_max(f32 x, f32 *place) {
    x = warp_max(x);
    if constexpr (TEAM > 32) {
        if (threadIdx.x % 32 == 0) place[threadIdx.x / 32] = x;
        sync_block();
        x = place[0];
#pragma unroll
        for (int i = 1; i < TEAM / 32; i++) x = fmaxf(x, place[i]);
    }
    return x;
}
