// Sums in f64 that a kernel leaves as parts, one a block or one a row, added up in one order.
#pragma once

#include "team.cuh"

// Threads of the one block that adds up.
const int TOTAL = 1024;

// A block a list: out[block] = Σ parts[block, 0..count].
INLINE void add_up(const f64 *parts, u32 count, f64 *out) {
    DYNAMIC_SHARED(memory);
    const f64 *list = parts + (u64)blockIdx.x * count;
    f64 sum = 0.0;
#pragma unroll 4
    for (u32 at = threadIdx.x; at < count; at += TOTAL) sum += list[at];
    sum = team_sum<TOTAL>(sum, (f64 *)memory);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}
