// Kernels with one mistake each, beside the same kernel without it: what the emulation has to find.
//
// All take the same parameters; `n` is the number of elements that `in` and `out` have each.
#include "device.cuh"

#define TRIAL(name) KERNEL(name, 128, 1)(const f32 *in, f32 *out, u32 n)

// out is `in` backwards, by way of shared memory.
template <bool mistake> INLINE void backwards(const f32 *in, f32 *out, u32 n) {
    DYNAMIC_SHARED(memory);
    f32 *row = (f32 *)memory;
    u32 i = threadIdx.x;
    if (i < n) row[i] = in[i];
    if (!mistake) sync_block();
    if (i < n) out[i] = row[n - 1 - i];
}
TRIAL(barrier_kept) { backwards<false>(in, out, n); }
TRIAL(barrier_missing) { backwards<true>(in, out, n); }

// The sum over rounds of a neighbour's value, in one buffer that every round writes anew.
template <bool mistake> INLINE void rounds(const f32 *in, f32 *out, u32 n) {
    DYNAMIC_SHARED(memory);
    f32 *row = (f32 *)memory, sum = 0.0f;
    for (u32 round = 0; round < 3; round++) {
        row[threadIdx.x] = in[threadIdx.x] + (f32)round;
        sync_block();
        sum += row[(threadIdx.x + 37) % n];
        if (!mistake) sync_block();
    }
    out[threadIdx.x] = sum;
}
TRIAL(buffer_kept) { rounds<false>(in, out, n); }
TRIAL(buffer_overwritten) { rounds<true>(in, out, n); }

// Within each warp, backwards.
template <bool mistake> INLINE void backwards_in_warp(const f32 *in, f32 *out) {
    DYNAMIC_SHARED(memory);
    f32 *row = (f32 *)memory;
    row[threadIdx.x] = in[threadIdx.x];
    if (!mistake) sync_warp();
    out[threadIdx.x] = row[threadIdx.x ^ 31];
}
TRIAL(warp_kept) { backwards_in_warp<false>(in, out); }
TRIAL(warp_missing) { backwards_in_warp<true>(in, out); }

// Four elements a thread, copied in two groups, the second of which is still under way while the first is used.
template <int first, int second> INLINE void copied(const f32 *in, f32 *out, u32 n) {
    DYNAMIC_SHARED(memory);
    f32 *row = (f32 *)memory;
    u32 at = threadIdx.x * 4, half = n / 2;
    bool there = at < half;
    if (there) copy_async_16(row + at, in + at, true);
    copy_commit();
    if (there) copy_async_16(row + half + at, in + half + at, true);
    copy_commit();
    copy_wait<first>();
    sync_block();
    for (u32 i = threadIdx.x; i < half; i += 128) out[i] = row[half - 1 - i];
    copy_wait<second>();
    sync_block();
    for (u32 i = threadIdx.x; i < half; i += 128) out[half + i] = row[n - 1 - i];
}
TRIAL(wait_kept) { copied<1, 0>(in, out, n); }
TRIAL(wait_too_weak) { copied<2, 0>(in, out, n); }
TRIAL(wait_too_weak_at_last) { copied<1, 1>(in, out, n); }

TRIAL(copy_left) {
    DYNAMIC_SHARED(memory);
    copy_async_16(memory + threadIdx.x * 16, in, true);
    copy_commit();
    if (threadIdx.x < n) out[threadIdx.x] = 0.0f;
}

TRIAL(copy_misaligned) {
    DYNAMIC_SHARED(memory);
    copy_async_16(memory + threadIdx.x * 16, in + 1, true);
    copy_commit();
    copy_wait<0>();
    if (threadIdx.x < n) out[threadIdx.x] = ((f32 *)memory)[threadIdx.x * 4];
}

// The product of the 16 × 16 matrix `in`, rounded to T, with the transpose of its first 8 rows: 16 × 8.
template <class T, u32 stride, bool wrong_row> INLINE void product(const f32 *in, f32 *out) {
    DYNAMIC_SHARED(memory);
    T *a = (T *)memory;
    for (u32 i = threadIdx.x; i < 256; i += 32) a[i / 16 * stride + i % 16] = from_f32<T>(in[i]);
    sync_block();
    u32 lane = threadIdx.x, ra[4], rb[4];
    // matrices: rows 0..8 and 8..16 of columns 0..8, then of columns 8..16
    u32 row = wrong_row ? lane % 8 : lane % 16;
    load_matrices(ra, a + row * stride + lane / 16 * 8);
    load_matrices(rb, a + lane % 8 * stride + lane / 8 % 2 * 8);
    f32 d[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    multiply_add<T>(d, ra, rb[0], rb[1]);
    for (u32 i = 0; i < 4; i++) out[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}
TRIAL(product_bf16) { product<bf16, 24, false>(in, out); }
TRIAL(product_f16) { product<f16, 24, false>(in, out); }
TRIAL(product_wrong_row) { product<bf16, 24, true>(in, out); }
TRIAL(product_bank_conflicts) { product<bf16, 64, false>(in, out); }

// As `product_bf16`, with the second matrix read from its transpose.
TRIAL(product_transposed) {
    DYNAMIC_SHARED(memory);
    bf16 *a = (bf16 *)memory, *b = a + 16 * 24;
    for (u32 i = threadIdx.x; i < 256; i += 32) {
        a[i / 16 * 24 + i % 16] = to_bf16(in[i]);
        if (i < 128) b[i % 16 * 8 + i / 16] = to_bf16(in[i]);
    }
    sync_block();
    u32 lane = threadIdx.x, ra[4], rb[4];
    load_matrices(ra, a + lane % 16 * 24 + lane / 16 * 8);
    load_matrices_transposed(rb, b + lane % 16 * 8);
    f32 d[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    multiply_add<bf16>(d, ra, rb[0], rb[1]);
    for (u32 i = 0; i < 4; i++) out[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

TRIAL(barrier_divergent) {
    if (threadIdx.x % 2) sync_block();
    if (threadIdx.x < n) out[threadIdx.x] = in[threadIdx.x];
    if (threadIdx.x % 2 == 0) sync_block();
}
TRIAL(barrier_not_reached) {
    if (threadIdx.x < 40) {
        out[threadIdx.x] = warp_sum(in[threadIdx.x]);
        return;
    }
    sync_block();
}
TRIAL(shuffle_divergent) {
    f32 x = in[threadIdx.x];
    if (threadIdx.x < 16) x = shuffle_xor(x, 1);
    out[threadIdx.x] = x;
}
TRIAL(sums) { out[threadIdx.x] = warp_sum(in[threadIdx.x]) + warp_max(in[threadIdx.x]); }

TRIAL(read_one_beyond) {
    if (threadIdx.x < n) out[threadIdx.x] = in[threadIdx.x + 1] > 0.0f ? 1.0f : 0.0f;
}
TRIAL(write_one_beyond) {
    if (threadIdx.x <= n) out[threadIdx.x] = 1.0f;
}
TRIAL(read_one_before) {
    if (threadIdx.x < n) out[threadIdx.x] = (in - 1)[threadIdx.x];
}
TRIAL(read_far_beyond) {
    if (threadIdx.x < n) out[threadIdx.x] = in[threadIdx.x + (1u << 20)];
}
// Blocks of 32 threads, each of which also looks at, or writes, what is the next block's.
TRIAL(blocks_apart) { out[blockIdx.x * 32 + threadIdx.x] = in[(blockIdx.x * 32 + threadIdx.x + 1) % n]; }
TRIAL(block_reads_anothers) {
    out[blockIdx.x * 32 + threadIdx.x] = 1.0f;
    if (out[(blockIdx.x * 32 + threadIdx.x + 32) % n] > 2.0f) out[0] = in[0];
}
TRIAL(blocks_write_the_same) {
    out[blockIdx.x * 32 + threadIdx.x] = in[threadIdx.x];
    if (threadIdx.x == 0) out[n - 1] = 1.0f;
}
TRIAL(threads_write_the_same) { out[threadIdx.x / 64] = in[threadIdx.x]; }
TRIAL(shared_beyond) {
    DYNAMIC_SHARED(memory);
    ((f32 *)memory)[threadIdx.x + 1] = in[0];
    if (threadIdx.x < n) out[threadIdx.x] = 0.0f;
}
TRIAL(shared_unset) {
    DYNAMIC_SHARED(memory);
    f32 *row = (f32 *)memory;
    if (threadIdx.x + 1 < n) row[threadIdx.x] = in[threadIdx.x];
    sync_block();
    if (threadIdx.x < n) out[threadIdx.x] = row[threadIdx.x];
}
TRIAL(vector_misaligned) {
    float4 four = *(const float4 *)(in + threadIdx.x);
    if (threadIdx.x < n) out[threadIdx.x] = four.x + four.w;
}
TRIAL(null_read) {
    if (threadIdx.x < n) out[threadIdx.x] = *(const f32 *)(u64)(n - n + 8);
}
TRIAL(stack_used_up) {
    f32 much[1 << 15];
    for (u32 i = 0; i < 1 << 15; i++) much[(i * 7919) % (1 << 15)] = in[i % n];
    if (threadIdx.x < n) out[threadIdx.x] = much[n];
}
