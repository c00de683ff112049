// The CPU's half of kernels/device.cuh: the same names, for kernels compiled as C++17.
//
// Contract of CUDA that is checked, here and in machine.cpp: every lane takes part in what a warp does together, and at
// the same place; every thread of a block that has not ended reaches its barrier; copies are complete where they were
// waited for, not before; addresses are aligned and within their memory. What is done between two barriers happens in
// random order. Shared memory starts as NaN. Where compiled with CLOZE_WATCHED (see watch.cpp), each access is checked,
// and two threads that use the same shared memory without a barrier between them are an error.
//
// Kernels are included in a namespace; the headers below are included before it begins.
#pragma once

#include <cmath>
#include <cstring>

#include "inside.h"

#define INLINE inline __attribute__((always_inline))
#define INFINITE __builtin_inff()
#define KERNEL(name, threads, blocks) void name
#define DYNAMIC_SHARED(name) u8 *const name = emulation::shared_memory()

// CUDA's own words.
#define __device__
#define __restrict__ __restrict
#define threadIdx (emulation::here->thread)
#define blockIdx (emulation::here->block)
#define blockDim (emulation::here->threads)
#define gridDim (emulation::here->blocks)
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
INLINE float2 make_float2(float x, float y) { return {x, y}; }
INLINE float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
INLINE uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
INLINE uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
INLINE int min(int a, int b) { return a < b ? a : b; }
INLINE int max(int a, int b) { return a > b ? a : b; }
INLINE unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
INLINE unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
INLINE u64 min(u64 a, u64 b) { return a < b ? a : b; }
INLINE u64 max(u64 a, u64 b) { return a > b ? a : b; }
INLINE long long min(long long a, long long b) { return a < b ? a : b; }
INLINE long long max(long long a, long long b) { return a > b ? a : b; }
INLINE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
INLINE float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }

// Which line of the source a call stands on.
#define HERE int line = __builtin_LINE()

INLINE void sync_block(HERE) { emulation::sync_block(line); }
INLINE void sync_warp(HERE) {
    emulation::Exchange none{};
    emulation::together(none, nullptr, "sync_warp", line);
}

INLINE u32 mul_high(u32 a, u32 b) { return (u32)(((u64)a * b) >> 32); }
INLINE u32 bits_of(f32 x) {
    u32 bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
INLINE f32 f32_of(u32 bits) {
    f32 x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// in[0] the value, in[1] the lane it is wanted from
INLINE u32 exchange_words(u32 x, u32 from, const char *name, int line) {
    emulation::Exchange exchange{0, {x, from & 31}, {}};
    emulation::together(exchange, emulation::shuffle, name, line);
    return exchange.out[0];
}
INLINE u32 shuffle_xor(u32 x, int mask, HERE) {
    return exchange_words(x, threadIdx.x ^ (u32)mask, "shuffle_xor", line);
}
INLINE f32 shuffle_xor(f32 x, int mask, HERE) { return f32_of(shuffle_xor(bits_of(x), mask, line)); }
INLINE u32 shuffle(u32 x, int lane, HERE) { return exchange_words(x, (u32)lane, "shuffle", line); }
INLINE f32 shuffle(f32 x, int lane, HERE) { return f32_of(shuffle(bits_of(x), lane, line)); }

// Results and operands below 2⁻¹²⁶ are zero, as in ex2.approx.ftz.
INLINE f32 exp2_fast(f32 x) {
    f32 y = exp2f(fabsf(x) < 1.17549435e-38f ? 0.0f : x);
    return y < 1.17549435e-38f ? 0.0f : y;
}

INLINE f32 to_f32(f16 x) { return emulation::f16_to_f32(x.bits); }
INLINE f16 to_f16(f32 x) { return f16{emulation::f32_to_f16(x)}; }

// cvt.rn.bf16x2.f32 and its like: the nearest two T, the first in the lower half.
template <class T> INLINE u32 pack(f32 low, f32 high) {
    static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, f16>);
    u16 (*convert)(f32) = std::is_same_v<T, bf16> ? emulation::f32_to_bf16 : emulation::f32_to_f16;
    return (u32)convert(low) | (u32)convert(high) << 16;
}

INLINE u32 shared_address(const void *p) { return emulation::shared_address(p); }

INLINE void copy_async_16(void *shared, const void *global, bool there) {
    emulation::copy_async_16(shared, global, there);
}
INLINE void copy_commit() { emulation::copy_commit(); }
template <int pending> INLINE void copy_wait() { emulation::copy_wait(pending); }

INLINE void exchange_matrices(u32 (&r)[4], const void *row, emulation::Collective *form, const char *name, int line) {
    emulation::Exchange exchange{(u64)(uintptr_t)row, {}, {}};
    emulation::together(exchange, form, name, line);
    for (int i = 0; i < 4; i++) r[i] = exchange.out[i];
}
INLINE void load_matrices(u32 (&r)[4], const void *row, HERE) {
    exchange_matrices(r, row, emulation::load_matrices, "load_matrices", line);
}
INLINE void load_matrices_transposed(u32 (&r)[4], const void *row, HERE) {
    exchange_matrices(r, row, emulation::load_matrices_transposed, "load_matrices_transposed", line);
}

// in: a, b, d
INLINE void exchange_products(f32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, emulation::Collective *type, int line) {
    emulation::Exchange exchange{
        0, {a[0], a[1], a[2], a[3], b0, b1, bits_of(d[0]), bits_of(d[1]), bits_of(d[2]), bits_of(d[3])}, {}};
    emulation::together(exchange, type, "multiply_add", line);
    for (int i = 0; i < 4; i++) d[i] = f32_of(exchange.out[i]);
}
template <class T> INLINE void multiply_add(f32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, HERE) {
    static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, f16>);
    emulation::Collective *type = std::is_same_v<T, bf16> ? emulation::multiply_add_bf16 : emulation::multiply_add_f16;
    exchange_products(d, a, b0, b1, type, line);
}
