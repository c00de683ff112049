// What kernels are written in: numbers, exchange within a warp, copies into shared memory, tensor-core products.
//
// A kernel file includes this header and nothing else, and uses inline PTX and CUDA's own intrinsics only through it. That
// is what lets tests compile the same file as C++ and run it on a CPU (CLOZE_EMULATED): every name below the line is
// defined there too.
//
// Dimensions: T tokens, S sequences, H hidden, A heads, D = H / A, F intermediate, V vocabulary, L layers.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Storage types. Arithmetic is in f32.
typedef float f32;
struct bf16 {
    u16 bits;
};
struct f16 {
    u16 bits;
};

#ifdef CLOZE_EMULATED
#include "emulation.h"
#else

#define INLINE __device__ __forceinline__
#define INFINITE __uint_as_float(0x7f800000u)

// An entry point: KERNEL(name, threads, blocks)(parameters) { … } with at most `threads` threads a block, and registers
// such that `blocks` blocks fit a processor.
#define KERNEL(name, threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks) name

// Dynamic shared memory of the block, aligned to 128 bytes. There is no other shared memory.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) u8 name[]

// All threads of the block, all threads of the warp: what they wrote to shared memory is seen after it.
INLINE void sync_block() { __syncthreads(); }
INLINE void sync_warp() { __syncwarp(); }

// Exchange within a warp; all 32 threads take part.
INLINE f32 shuffle_xor(f32 x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
INLINE u32 shuffle_xor(u32 x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
INLINE f32 shuffle(f32 x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
INLINE u32 shuffle(u32 x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }

// High half of a product.
INLINE u32 mul_high(u32 a, u32 b) { return __umulhi(a, b); }

INLINE u32 bits_of(f32 x) { return __float_as_uint(x); }
INLINE f32 f32_of(u32 x) { return __uint_as_float(x); }

// 2ˣ, in hardware: relative error below 2⁻²².
INLINE f32 exp2_fast(f32 x) {
    f32 y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

INLINE f32 to_f32(f16 x) {
    f32 y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
INLINE f16 to_f16(f32 x) {
    f16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}

// The nearest two T, the first in the lower half.
template <class T> INLINE u32 pack(f32 low, f32 high);
template <> INLINE u32 pack<bf16>(f32 low, f32 high) {
    u32 y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}
template <> INLINE u32 pack<f16>(f32 low, f32 high) {
    u32 y;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}

INLINE u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// 16 bytes from global to shared memory in the background, zeros where not `there`; both addresses are multiples of 16.
INLINE void copy_async_16(void *shared, const void *global, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)), "l"(global),
                 "r"(there ? 16 : 0));
}
// Ends a group of copies; waits until at most `pending` groups of this thread are under way.
INLINE void copy_commit() { asm volatile("cp.async.commit_group;\n"); }
template <int pending> INLINE void copy_wait() { asm volatile("cp.async.wait_group %0;\n" ::"n"(pending)); }

// Four 8×8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8. The second form transposes.
INLINE void load_matrices(u32 (&r)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)));
}
INLINE void load_matrices_transposed(u32 (&r)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)));
}

// d[16×8] += a[16×16] b[16×8] on tensor cores, accumulated in f32. Fragments as PTX's mma.m16n8k16 has them.
template <class T> INLINE void multiply_add(f32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1);
template <> INLINE void multiply_add<bf16>(f32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <> INLINE void multiply_add<f16>(f32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

// ---------------------------------------------------------------------------------------------------------------------
// What follows is the same on both.

// bf16 is the upper half of an f32; rounding to nearest even, NaN stays NaN.
INLINE f32 to_f32(bf16 x) { return f32_of((u32)x.bits << 16); }
INLINE bf16 to_bf16(f32 x) {
    u32 u = bits_of(x);
    bf16 y;
    y.bits = (u & 0x7fffffffu) > 0x7f800000u ? (u16)((u >> 16) | 64u) : (u16)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    return y;
}
INLINE f32 to_f32(f32 x) { return x; }

template <class T> struct Convert;
template <> struct Convert<f32> {
    static INLINE f32 from(f32 x) { return x; }
};
template <> struct Convert<f16> {
    static INLINE f16 from(f32 x) { return to_f16(x); }
};
template <> struct Convert<bf16> {
    static INLINE bf16 from(f32 x) { return to_bf16(x); }
};

// The nearest T.
template <class T> INLINE T from_f32(f32 x) { return Convert<T>::from(x); }

// Sum and maximum over a warp, the same bits in every lane.
INLINE f32 warp_sum(f32 x) {
    for (int mask = 16; mask > 0; mask >>= 1) x += shuffle_xor(x, mask);
    return x;
}
INLINE f32 warp_max(f32 x) {
    for (int mask = 16; mask > 0; mask >>= 1) x = fmaxf(x, shuffle_xor(x, mask));
    return x;
}

// Instances of a kernel template for the storage types: FOR_TYPES(NAME) expands NAME(f32) NAME(bf16) NAME(f16).
#define FOR_TYPES(NAME) NAME(f32) NAME(bf16) NAME(f16)
