// Products of 16-bit matrices on tensor cores, accumulated in f32.
//
// A block computes a tile of C. Tiles of A and B along the depth stream through a ring of stages in shared memory; a
// warp multiplies its part of the tile from fragments in registers, the next of which it loads meanwhile. Every element
// of C is summed along the depth in steps of 16, in order, whatever the tile: results do not depend on its size.
//
// Rows of A and B start at multiples of 16 bytes; where the depth lies along rows, its sizes are multiples of 8, or
// what follows it in a row up to such a multiple is zeros. The host sees to that.
#pragma once

#include "gemm.cuh"

// A tile in shared memory: rows of WIDTH elements in chunks of 8, permuted within their row such that the same chunk of
// eight successive rows lies in all banks. Rows are at least 64 bytes.
template <int WIDTH> INLINE int slot(int row, int chunk) {
    return row * WIDTH + ((chunk ^ (WIDTH == 32 ? row >> 1 & 3 : row & 7)) << 3);
}

// Copies a tile whose first element is `from`; zeros where it ends after `rows` rows, `columns` columns.
template <class T, int ROWS, int WIDTH, int THREADS>
INLINE void copy_tile(T *shared, const T *from, u64 stride, int rows, int columns) {
    constexpr int CHUNKS = WIDTH / 8, APART = THREADS / CHUNKS, COPIES = ROWS / APART;
    static_assert(THREADS % CHUNKS == 0 && ROWS % APART == 0, "as many copies for every thread");
    const int chunk = threadIdx.x % CHUNKS, first = threadIdx.x / CHUNKS;
    const bool within = chunk * 8 < columns;
    from += first * stride + chunk * 8;
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
        const int row = first + i * APART;
        copy_async_16(shared + slot<WIDTH>(row, chunk), from + i * APART * stride, within && row < rows);
    }
}

template <class T_, Form FORM, int BM, int BN, int BK, int WM, int WN, int STAGES> struct Tensor {
    using T = T_;
    static constexpr int ROWS = BM, COLUMNS = BN, DEPTH = BK;
    static constexpr int ACROSS = BN / WN, WARPS = BM / WM * ACROSS, THREADS = 32 * WARPS;
    static constexpr int A_ROWS = FORM == TN ? BK : BM, A_WIDTH = FORM == TN ? BM : BK;
    static constexpr int B_ROWS = FORM == NT ? BN : BK, B_WIDTH = FORM == NT ? BK : BN;
    static constexpr int STAGE = (BM + BN) * BK, STEPS = BK / 16;
    static_assert(STEPS % 2 == 0, "fragments alternate between two sets");

    // Rows of a warp's part of C that are staged at a time, to be written in the order of memory.
    static constexpr int SLAB = WM < 32 ? WM : 32;
    static_assert(WARPS * SLAB * WN * 4 <= STAGES * STAGE * 2, "slabs fit where stages were");

    typedef f32 Sums[WM / 16][WN / 8][4];
    struct Fragments {
        u32 a[WM / 16][4], b[WN / 16][4];
    };

    static INLINE int warp_row() { return threadIdx.x / 32 / ACROSS * WM; }
    static INLINE int warp_column() { return threadIdx.x / 32 % ACROSS * WN; }

    static INLINE void copy_a(T *stage, const T *from, u64 stride, int rows, int columns) {
        copy_tile<T, A_ROWS, A_WIDTH, THREADS>(stage, from, stride, rows, columns);
    }
    static INLINE void copy_b(T *stage, const T *from, u64 stride, int rows, int columns) {
        copy_tile<T, B_ROWS, B_WIDTH, THREADS>(stage + BM * BK, from, stride, rows, columns);
    }

    // What a step of 16 along the depth multiplies.
    static INLINE void load(Fragments &f, const T *stage, int step) {
        const int lane = threadIdx.x % 32, k = 16 * step;
#pragma unroll
        for (int i = 0; i < WM / 16; i++) {
            const int m = warp_row() + 16 * i;
            if constexpr (FORM == TN)
                load_matrices_transposed(f.a[i], stage + slot<BM>(k + lane % 8 + lane / 16 * 8, m / 8 + lane / 8 % 2));
            else
                load_matrices(f.a[i], stage + slot<BK>(m + lane % 16, k / 8 + lane / 16));
        }
        stage += BM * BK;
#pragma unroll
        for (int j = 0; j < WN / 16; j++) {
            const int n = warp_column() + 16 * j;
            if constexpr (FORM == NT)
                load_matrices(f.b[j], stage + slot<BK>(n + lane % 8 + lane / 16 * 8, k / 8 + lane / 8 % 2));
            else
                load_matrices_transposed(f.b[j], stage + slot<BN>(k + lane % 16, n / 8 + lane / 16));
        }
    }

    static INLINE void multiply(Sums &c, const Fragments &f) {
#pragma unroll
        for (int i = 0; i < WM / 16; i++)
#pragma unroll
            for (int j = 0; j < WN / 8; j++)
                multiply_add<T>(c[i][j], f.a[i], f.b[j / 2][j % 2 * 2], f.b[j / 2][j % 2 * 2 + 1]);
    }

    // c = the product of `tiles` tiles along the depth, which `copy(stage)` starts to copy one after another.
    template <class Copy> static INLINE void sum(T *shared, int tiles, Copy copy, Sums &c) {
#pragma unroll
        for (int i = 0; i < WM / 16; i++)
#pragma unroll
            for (int j = 0; j < WN / 8; j++)
#pragma unroll
                for (int r = 0; r < 4; r++) c[i][j][r] = 0.0f;
        if (tiles <= 0) return;
#pragma unroll
        for (int stage = 0; stage < STAGES - 1; stage++) {
            if (stage < tiles) copy(shared + stage * STAGE);
            copy_commit();
        }
        Fragments fragments[2];
        int read = 0, write = STAGES - 1;
        copy_wait<STAGES - 2>();
        sync_block();
        load(fragments[0], shared, 0);
#pragma unroll 1
        for (int tile = 0; tile < tiles; tile++) {
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
                if (step + 1 < STEPS) {
                    load(fragments[(step + 1) % 2], shared + read * STAGE, step + 1);
                } else if (tile + 1 < tiles) {
                    // The next tile has come; all warps have read what they need of this one, whose stage is free.
                    copy_wait<STAGES - 2>();
                    sync_block();
                    read = read + 1 == STAGES ? 0 : read + 1;
                    load(fragments[0], shared + read * STAGE, 0);
                }
                if (step == 0) {
                    if (tile + STAGES - 1 < tiles) copy(shared + write * STAGE);
                    copy_commit();
                    write = write + 1 == STAGES ? 0 : write + 1;
                }
                multiply(c, fragments[step % 2]);
            }
        }
        copy_wait<0>();
        sync_block();
    }

    // Place of an element of a slab: two rows' pairs of columns, as a product leaves them, lie in different banks.
    static INLINE int staged(int row, int column) {
        return row * WN + (column ^ (WN == 16 ? (row >> 1 & 1) << 3 : (row & 3) << 3));
    }

    // Calls put(row, x) for the warp's part of C: x[2·i] and x[2·i + 1] are of row + i·PASS of the tile, in the columns
    // column() and column() + 1, which are always the same for a thread.
    static constexpr int PER_ROW = WN / 2, PASS = 32 / PER_ROW, AT_ONCE = 4;
    static_assert(SLAB % (AT_ONCE * PASS) == 0, "whole slabs");
    static INLINE int column() { return warp_column() + threadIdx.x % 32 % PER_ROW * 2; }
    template <class Put> static INLINE void each(T *shared, const Sums &c, Put put) {
        const int lane = threadIdx.x % 32;
        f32 *slab = (f32 *)shared + threadIdx.x / 32 * (SLAB * WN);
#pragma unroll 1
        for (int first = 0; first < WM; first += SLAB) {
#pragma unroll
            for (int i = 0; i < WM / 16; i++) {
                if (i * 16 / SLAB * SLAB != first) continue;
#pragma unroll
                for (int j = 0; j < WN / 8; j++)
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const int row = i * 16 % SLAB + half * 8 + lane / 4;
                        const f32 pair[2] = {c[i][j][half * 2], c[i][j][half * 2 + 1]};
                        store(slab + staged(row, j * 8 + lane % 4 * 2), pair);
                    }
            }
            sync_warp();
#pragma unroll 1
            for (int row = lane / PER_ROW; row < SLAB; row += AT_ONCE * PASS) {
                f32 x[2 * AT_ONCE];
#pragma unroll
                for (int i = 0; i < AT_ONCE; i++) {
                    f32 pair[2];
                    ::load(slab + staged(row + i * PASS, lane % PER_ROW * 2), pair);
                    x[2 * i] = pair[0], x[2 * i + 1] = pair[1];
                }
                put(warp_row() + first + row, x);
            }
            sync_warp();
        }
    }
};

// Writes or adds two numbers of a row.
template <class T> INLINE void put_pair(const Output<T> &out, bool pairs, int row, int column, f32 low, f32 high) {
    if (row >= out.rows || column >= out.columns) return;
    T *to = out.c + row * out.stride + column;
    f32 x[2] = {low, high};
    if (pairs && column + 1 < out.columns) {
        if (out.adds) {
            f32 there[2];
            load(to, there);
            x[0] += there[0], x[1] += there[1];
        }
        store(to, x);
    } else {
        to[0] = from_f32<T>(out.adds ? x[0] + to_f32(to[0]) : x[0]);
        if (column + 1 < out.columns) to[1] = from_f32<T>(out.adds ? x[1] + to_f32(to[1]) : x[1]);
    }
}

// A tile of C from its sums; `row` and `first` are where it starts.
template <class Engine, class C>
INLINE void put_tile(u8 *shared, const typename Engine::Sums &sums, const Output<C> &out, int row, int first) {
    const int column = first + Engine::column();
    f32 bias[2 * Engine::AT_ONCE];
#pragma unroll
    for (int i = 0; i < 2 * Engine::AT_ONCE; i++) bias[i] = out.bias_at(column + i % 2);
    const bool pairs = (((u64)out.c | out.stride * sizeof(C)) & (2 * sizeof(C) - 1)) == 0;
    Engine::each((typename Engine::T *)shared, sums, [&](int within, f32(&x)[2 * Engine::AT_ONCE]) {
        out.finish(x, bias);
#pragma unroll
        for (int i = 0; i < Engine::AT_ONCE; i++)
            put_pair(out, pairs, row + within + i * Engine::PASS, column, x[2 * i], x[2 * i + 1]);
    });
}

template <class Engine, class T>
INLINE void tensor_nt(u8 *shared, const T *a, u64 lda, const T *b, u64 ldb, int depth, const Output<T> &out, int row,
                      int column) {
    typename Engine::Sums sums;
    a += row * lda;
    b += column * ldb;
    int k = 0;
    Engine::sum((T *)shared, quotient_up(depth, Engine::DEPTH), [&](T *stage) {
        Engine::copy_a(stage, a + k, lda, out.rows - row, depth - k);
        Engine::copy_b(stage, b + k, ldb, out.columns - column, depth - k);
        k += Engine::DEPTH;
    }, sums);
    put_tile<Engine>(shared, sums, out, row, column);
}

// `starts`: the first columns of A of the second and the third part of the depth.
template <class Engine, class T>
INLINE void tensor_nn(u8 *shared, const T *a, u64 lda, const T *b0, const T *b1, const T *b2, u64 ldb, Walk walk,
                      u32 start1, u32 start2, const Output<T> &out, int row, int column) {
    typename Engine::Sums sums;
    a += row * lda;
    Engine::sum((T *)shared, walk.steps(Engine::DEPTH), [&](T *stage) {
        const int k = walk.k, left = walk.size() - k;
        Engine::copy_a(stage, a + pick(walk.matrix, 0u, start1, start2) + k, lda, out.rows - row, left);
        Engine::copy_b(stage, pick(walk.matrix, b0, b1, b2) + k * ldb + column, ldb, left, out.columns - column);
        walk.advance(Engine::DEPTH);
    }, sums);
    put_tile<Engine>(shared, sums, out, row, column);
}

// Of the depth only first..end.
template <class Engine, class T>
INLINE void tensor_tn(u8 *shared, const T *a, u64 lda, const T *b, u64 ldb, int first, int end, const Output<f32> &out,
                      int row, int column) {
    typename Engine::Sums sums;
    a += row;
    b += column;
    int k = first;
    Engine::sum((T *)shared, quotient_up(end - first, Engine::DEPTH), [&](T *stage) {
        Engine::copy_a(stage, a + k * lda, lda, end - k, out.rows - row);
        Engine::copy_b(stage, b + k * ldb, ldb, end - k, out.columns - column);
        k += Engine::DEPTH;
    }, sums);
    put_tile<Engine>(shared, sums, out, row, column);
}

// blockIdx.x: rows of C. blockIdx.y: columns, those of each matrix from a new tile on. NT, NN.
#define GEMM_NT(T, SIZE, BLOCKS, ...)                                                                                  \
    KERNEL(gemm_nt_##SIZE##_##T, (Tensor<T, NT, __VA_ARGS__>::THREADS), BLOCKS)                                        \
    (const T *a, u64 lda, const T *b0, const T *b1, const T *b2, u64 ldb, const f32 *bias0, const f32 *bias1,          \
     const f32 *bias2, T *c, u64 ldc, u32 m, u32 n0, u32 n1, u32 n2, u32 k, f32 scale, u32 activation, u32 adds) {     \
        DYNAMIC_SHARED(shared);                                                                                        \
        using Engine = Tensor<T, NT, __VA_ARGS__>;                                                                     \
        const Place place = place_of(blockIdx.y, Engine::COLUMNS, n0, n1);                                             \
        const Output<T> out = {c + pick(place.matrix, 0u, n0, n0 + n1), ldc, (int)m,                                   \
                               (int)pick(place.matrix, n0, n1, n2), pick(place.matrix, bias0, bias1, bias2), scale,    \
                               activation, adds};                                                                      \
        tensor_nt<Engine>(shared, a, lda, pick(place.matrix, b0, b1, b2), ldb, (int)k, out,                            \
                          blockIdx.x * Engine::ROWS, place.tile * Engine::COLUMNS);                                    \
    }
#define GEMM_NN(T, SIZE, BLOCKS, ...)                                                                                  \
    KERNEL(gemm_nn_##SIZE##_##T, (Tensor<T, NN, __VA_ARGS__>::THREADS), BLOCKS)                                        \
    (const T *a, u64 lda, const T *b0, const T *b1, const T *b2, u64 ldb, T *c, u64 ldc, u32 m, u32 n, u32 k0, u32 k1, \
     u32 k2, u32 start1, u32 start2, f32 scale, u32 adds) {                                                            \
        DYNAMIC_SHARED(shared);                                                                                        \
        using Engine = Tensor<T, NN, __VA_ARGS__>;                                                                     \
        const Output<T> out = {c, ldc, (int)m, (int)n, nullptr, scale, IDENTITY, adds};                                \
        tensor_nn<Engine>(shared, a, lda, b0, b1, b2, ldb, Walk(k0, k1, k2), start1, start2, out,                      \
                          blockIdx.x * Engine::ROWS, blockIdx.y * Engine::COLUMNS);                                    \
    }
// blockIdx.x: rows, those of each matrix from a new tile on. blockIdx.z: parts of the depth, each of `part`, a multiple
// of the tiles' depth; where there are several, their sums go to `parts` [z, m0 + m1 + m2, n].
#define GEMM_TN(T, SIZE, BLOCKS, ...)                                                                                  \
    KERNEL(gemm_tn_##SIZE##_##T, (Tensor<T, TN, __VA_ARGS__>::THREADS), BLOCKS)                                        \
    (const T *a, u64 lda, const T *b, u64 ldb, f32 *c0, f32 *c1, f32 *c2, f32 *parts, u32 m0, u32 m1, u32 m2,          \
     u32 start1, u32 start2, u32 n, u32 k, u32 part) {                                                                 \
        DYNAMIC_SHARED(shared);                                                                                        \
        using Engine = Tensor<T, TN, __VA_ARGS__>;                                                                     \
        const Place place = place_of(blockIdx.x, Engine::ROWS, m0, m1);                                                \
        const u64 above = pick(place.matrix, 0u, m0, m0 + m1) + (u64)blockIdx.z * (m0 + m1 + m2);                      \
        const Output<f32> out = {parts ? parts + above * n : pick(place.matrix, c0, c1, c2), n,                        \
                                 (int)pick(place.matrix, m0, m1, m2), (int)n, nullptr, 1.0f, IDENTITY,                 \
                                 parts ? 0u : 1u};                                                                     \
        const int first = blockIdx.z * part;                                                                           \
        tensor_tn<Engine>(shared, a + pick(place.matrix, 0u, start1, start2), lda, b, ldb, first,                      \
                          lesser((int)k, first + (int)part), out, place.tile * Engine::ROWS,                           \
                          blockIdx.y * Engine::COLUMNS);                                                               \
    }

// The tiles, from large to small: rows, columns and depth of the block's, rows and columns of a warp's, stages. The
// host knows them too (src/ops/linear/cuda/tiles.rs).
#define GEMM_SIZES(FORM, T)                                                                                            \
    FORM(T, xl, 1, 256, 128, 32, 64, 64, 4)                                                                            \
    FORM(T, l, 2, 128, 128, 32, 64, 64, 4)                                                                             \
    FORM(T, m, 3, 64, 64, 64, 32, 32, 4)                                                                               \
    FORM(T, s, 3, 32, 32, 128, 16, 16, 4)

#define GEMM_KERNELS(T) GEMM_SIZES(GEMM_NT, T) GEMM_SIZES(GEMM_NN, T) GEMM_SIZES(GEMM_TN, T)
