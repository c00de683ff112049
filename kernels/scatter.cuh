// y[target] += Σ x[source]: what the gradients of gathered and of embedded rows have in common.
//
// The host sorts (target, source) pairs and cuts the sources of a target into runs of at most 64. A run is summed in the
// order of its sources. A target's only run is added to y at once; the runs of others are kept as parts, then summed in
// two steps, both in order. So a sum depends on the pairs alone.
#pragma once

#include "vector.cuh"

// A run in `runs`: target, first place in `sources`, end there, and row of the parts or NO_PART.
const u32 NO_PART = 0xffffffffu;

// The sum of a block's run, N columns a thread.
template <class T, class Y, int N>
INLINE void sum_run(const T *x, const u32 *sources, u32 first, u32 end, u32 width, Y *row, f32 *part) {
    for (u32 column = threadIdx.x * N; column < width; column += blockDim.x * N) {
        f32 sum[N] = {};
        for (u32 at = first; at < end; at += 4) {
            f32 next[4][N] = {};
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (at + i < end) load(x + (u64)sources[at + i] * width + column, next[i]);
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int n = 0; n < N; n++) sum[n] += next[i][n];
        }
        if (part) {
            store(part + column, sum);
        } else {
            f32 held[N];
            load(row + column, held);
#pragma unroll
            for (int n = 0; n < N; n++) held[n] += sum[n];
            store(row + column, held);
        }
    }
}

// A block a run.
template <class T, class Y>
INLINE void scatter_runs(const T *x, const u32 *sources, const u32 *runs, u32 width, Y *y, f32 *parts) {
    const u32 *run = runs + 4 * (u64)blockIdx.x;
    u32 target = run[0], first = run[1], end = run[2], number = run[3];
    Y *row = y + (u64)target * width;
    f32 *part = number == NO_PART ? nullptr : parts + (u64)number * width;
    constexpr int N = LANES<T>;
    if (width % N == 0)
        sum_run<T, Y, N>(x, sources, first, end, width, row, part);
    else
        sum_run<T, Y, 1>(x, sources, first, end, width, row, part);
}

// 32 columns a block, eight threads each: of all parts of a target that has several. `targets` names the target, its first
// part and their end.
template <class Y> INLINE void scatter_parts(const f32 *parts, const u32 *targets, u32 width, Y *y) {
    DYNAMIC_SHARED(memory);
    f32 *sums = (f32 *)memory;
    const u32 *entry = targets + 3 * (u64)blockIdx.x;
    u32 target = entry[0], first = entry[1], end = entry[2];
    u32 lane = threadIdx.x % 32, slice = threadIdx.x / 32, column = blockIdx.y * 32 + lane;
    f32 sum = 0.0f;
    if (column < width) {
#pragma unroll 4
        for (u32 part = first + slice; part < end; part += 8) sum += parts[(u64)part * width + column];
    }
    sums[threadIdx.x] = sum;
    sync_block();
    if (slice == 0 && column < width) {
        for (int i = 1; i < 8; i++) sum += sums[32 * i + lane];
        Y *at = y + (u64)target * width + column;
        *at = from_f32<Y>(to_f32(*at) + sum);
    }
}
