// Products of f32 matrices without tensor cores.
//
// Every element of C is summed along the depth in pieces of PIECE, each from its first to its last product, and the
// pieces' sums are added in order, the first piece of each matrix beginning where that matrix does. No kernel below
// does it otherwise, and so a row of C has the same bits whatever the tile and however many rows there are.
#include "gemm.cuh"

const int PIECE = 128;

// A tile [depth, width] in shared memory. Columns are permuted in groups of 8, such that a store of columns from rows
// of different fours falls on different banks.
template <int WIDTH> INLINE int slot(int k, int column) {
    return k * WIDTH + (column ^ ((k >> 2 & 3) << 3 & (WIDTH - 1)));
}

// A source that is read four numbers at a time, at once where `aligned`.
struct Source {
    const f32 *from;
    u64 stride;
    bool aligned;

    INLINE Source(const f32 *from, u64 stride) : from(from), stride(stride) {
        aligned = (((u64)from | stride * sizeof(f32)) & 15) == 0;
    }
    // `left` may be anything: numbers from there on are 0.
    INLINE void four(u64 at, int left, f32 (&x)[4]) const {
        if (aligned && left >= 4) {
            load(from + at, x);
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++) x[i] = i < left ? from[at + i] : 0.0f;
        }
    }
};

// Tiles of DEPTH × WIDTH on their way to shared memory, loaded by THREADS threads of which this is `thread`. ALONG: the
// depth lies along rows of the source.
template <bool ALONG, int DEPTH, int WIDTH, int THREADS> struct Carrier {
    static constexpr int FOURS = DEPTH * WIDTH / 4 / THREADS, PER_ROW = (ALONG ? DEPTH : WIDTH) / 4;
    static_assert(DEPTH * WIDTH % (4 * THREADS) == 0, "as many loads for every thread");
    f32 held[FOURS][4];

    // The tile that starts at (k, column); zeros from `depth`, `width` on.
    INLINE void fetch(const Source &source, int thread, int k, int depth, int column, int width) {
#pragma unroll
        for (int i = 0; i < FOURS; i++) {
            const int row = (thread + i * THREADS) / PER_ROW, four = (thread + i * THREADS) % PER_ROW * 4;
            if constexpr (ALONG) {
                const int left = column + row < width ? depth - k - four : 0;
                source.four((column + row) * source.stride + (k + four), left, held[i]);
            } else {
                const int left = k + row < depth ? width - column - four : 0;
                source.four((k + row) * source.stride + (column + four), left, held[i]);
            }
        }
    }
    INLINE void put(f32 *tile, int thread) const {
#pragma unroll
        for (int i = 0; i < FOURS; i++) {
            const int row = (thread + i * THREADS) / PER_ROW, four = (thread + i * THREADS) % PER_ROW * 4;
            if constexpr (ALONG) {
#pragma unroll
                for (int e = 0; e < 4; e++) tile[slot<WIDTH>(four + e, row)] = held[i][e];
            } else {
                store(tile + slot<WIDTH>(row, four), held[i]);
            }
        }
    }
};

// c += the outer product of fours of a and b.
template <int M, int N> INLINE void multiply(const f32 (&a)[M][4], const f32 (&b)[N][4], f32 (&c)[4 * M][4 * N]) {
#pragma unroll
    for (int i = 0; i < 4 * M; i++)
#pragma unroll
        for (int j = 0; j < 4 * N; j++) c[i][j] = __fmaf_rn(a[i / 4][i % 4], b[j / 4][j % 4], c[i][j]);
}

// Writes or adds four numbers of a row.
INLINE void put_four(const Output<f32> &out, bool aligned, int row, int column, f32 (&x)[4]) {
    if (row >= out.rows || column >= out.columns) return;
    f32 *to = out.c + row * out.stride + column;
    const int left = out.columns - column;
    f32 bias[4];
#pragma unroll
    for (int i = 0; i < 4; i++) bias[i] = out.bias_at(column + i);
    out.finish(x, bias);
    if (aligned && left >= 4) {
        if (out.adds) {
            f32 there[4];
            load(to, there);
#pragma unroll
            for (int i = 0; i < 4; i++) x[i] += there[i];
        }
        store(to, x);
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (i < left) to[i] = out.adds ? to[i] + x[i] : x[i];
    }
}

INLINE bool in_fours(const Output<f32> &out) { return (((u64)out.c | out.stride * sizeof(f32)) & 15) == 0; }

// A block computes a tile of C, a thread 4·M rows and 4·N columns of it, in fours that lie apart.
template <Form FORM_, int BM, int BN, int BK, int M, int N> struct Blocked {
    static constexpr Form FORM = FORM_;
    static constexpr int ROWS = BM, COLUMNS = BN;
    static constexpr int ACROSS = BN / (4 * N), THREADS = BM / (4 * M) * ACROSS;
    static constexpr int TILE = (BM + BN) * BK;
    static_assert(PIECE % BK == 0 && ACROSS % 8 == 0, "tiles do not cross pieces; a warp is 4 × 8 threads");

    // `a` and `b` give the source of a matrix of the walk.
    template <class A, class B>
    static INLINE void run(u8 *shared, Walk walk, A a, B b, const Output<f32> &out, int row, int column) {
        const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
        const int x = warp % (ACROSS / 8) * 8 + lane % 8, y = warp / (ACROSS / 8) * 4 + lane / 8;
        f32 *tiles = (f32 *)shared, *totals = tiles + 2 * TILE + thread * 4;
        Carrier<FORM != TN, BK, BM, THREADS> left;
        Carrier<FORM == NT, BK, BN, THREADS> right;
        f32 c[4 * M][4 * N];
        auto fetch = [&]() {
            left.fetch(a(walk.matrix), thread, walk.k, walk.size(), row, out.rows);
            right.fetch(b(walk.matrix), thread, walk.k, walk.size(), column, out.columns);
        };
        auto put = [&](f32 *tile) {
            left.put(tile, thread);
            right.put(tile + BM * BK, thread);
        };
        auto clear = [&]() {
#pragma unroll
            for (int i = 0; i < 4 * M; i++)
#pragma unroll
                for (int j = 0; j < 4 * N; j++) c[i][j] = 0.0f;
        };
        // The sums of pieces so far are the thread's own part of shared memory: registers are scarce.
        auto total = [&](bool first) {
#pragma unroll
            for (int i = 0; i < 4 * M; i++)
#pragma unroll
                for (int j = 0; j < N; j++) {
                    f32 *at = totals + (i * N + j) * THREADS * 4;
                    f32 piece[4], sum[4];
#pragma unroll
                    for (int e = 0; e < 4; e++) piece[e] = c[i][4 * j + e];
                    if (!first) {
                        load(at, sum);
#pragma unroll
                        for (int e = 0; e < 4; e++) piece[e] = sum[e] + piece[e];
                    }
                    store(at, piece);
                }
        };

        const int steps = walk.steps(BK);
        bool first = true;
        clear();
        if (steps > 0) {
            fetch();
            put(tiles);
            sync_block();
        }
#pragma unroll 1
        for (int step = 0; step < steps; step++) {
            const int end = walk.k + BK;
            const bool ends = end % PIECE == 0 || end >= walk.size();
            walk.advance(BK);
            if (step + 1 < steps) fetch();
            const f32 *tile_a = tiles + step % 2 * TILE, *tile_b = tile_a + BM * BK;
#pragma unroll
            for (int k = 0; k < BK; k++) {
                f32 fa[M][4], fb[N][4];
#pragma unroll
                for (int i = 0; i < M; i++) load(tile_a + slot<BM>(k, i * (BM / M) + y * 4), fa[i]);
#pragma unroll
                for (int j = 0; j < N; j++) load(tile_b + slot<BN>(k, j * (BN / N) + x * 4), fb[j]);
                multiply(fa, fb, c);
            }
            if (ends) {
                total(first);
                first = false;
                clear();
            }
            if (step + 1 < steps) {
                put(tiles + (step + 1) % 2 * TILE);
                sync_block();
            }
        }
        if (first) total(true);
        const bool aligned = in_fours(out);
#pragma unroll 1
        for (int i = 0; i < 4 * M * N; i++) {
            f32 sums[4];
            load(totals + i * THREADS * 4, sums);
            const int m = i / N, n = i % N;
            put_four(out, aligned, row + m / 4 * (BM / M) + y * 4 + m % 4, column + n * (BN / N) + x * 4, sums);
        }
    }
};

// A block computes 16 × 32 elements of C, each of its warps all of them for one piece of the depth at a time: where
// there are few rows, the pieces are what can be done side by side.
template <Form FORM_> struct Sliced {
    static constexpr Form FORM = FORM_;
    static constexpr int ROWS = 16, COLUMNS = 32, BK = 16, WARPS = 8, THREADS = 32 * WARPS;
    static constexpr int TILE = (ROWS + COLUMNS) * BK;

    template <class A, class B>
    static INLINE void run(u8 *shared, Walk walk, A a, B b, const Output<f32> &out, int row, int column) {
        const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, x = lane % 8, y = lane / 8;
        f32 *tiles = (f32 *)shared + warp * 2 * TILE, *sums = (f32 *)shared + WARPS * 2 * TILE;
        Carrier<FORM != TN, BK, ROWS, 32> left;
        Carrier<FORM == NT, BK, COLUMNS, 32> right;
        const int pieces = walk.steps(PIECE);
        // Each thread adds up two elements of C.
        const int m = thread / (COLUMNS / 2), n = thread % (COLUMNS / 2) * 2;
        f32 totals[2] = {0.0f, 0.0f};
        for (int skip = 0; skip < warp; skip++) walk.advance(PIECE);
#pragma unroll 1
        for (int done = 0; done < pieces; done += WARPS) {
            const int count = lesser(WARPS, pieces - done);
            if (warp < count) {
                const Source from_a = a(walk.matrix), from_b = b(walk.matrix);
                const int end = lesser(walk.size(), walk.k + PIECE);
                f32 c[4][4];
#pragma unroll
                for (int i = 0; i < 4; i++)
#pragma unroll
                    for (int j = 0; j < 4; j++) c[i][j] = 0.0f;
                left.fetch(from_a, lane, walk.k, end, row, out.rows);
                right.fetch(from_b, lane, walk.k, end, column, out.columns);
#pragma unroll 1
                for (int k = walk.k, turn = 0; k < end; k += BK, turn ^= 1) {
                    f32 *tile_a = tiles + turn * TILE, *tile_b = tile_a + ROWS * BK;
                    left.put(tile_a, lane);
                    right.put(tile_b, lane);
                    sync_warp();
                    if (k + BK < end) {
                        left.fetch(from_a, lane, k + BK, end, row, out.rows);
                        right.fetch(from_b, lane, k + BK, end, column, out.columns);
                    }
#pragma unroll
                    for (int i = 0; i < BK; i++) {
                        f32 fa[1][4], fb[1][4];
                        load(tile_a + slot<ROWS>(i, y * 4), fa[0]);
                        load(tile_b + slot<COLUMNS>(i, x * 4), fb[0]);
                        multiply(fa, fb, c);
                    }
                }
#pragma unroll
                for (int i = 0; i < 4; i++) store(sums + (warp * ROWS + y * 4 + i) * COLUMNS + x * 4, c[i]);
            }
            sync_block();
            for (int piece = 0; piece < count; piece++) {
                f32 sum[2];
                load(sums + (piece * ROWS + m) * COLUMNS + n, sum);
                totals[0] = done + piece == 0 ? sum[0] : totals[0] + sum[0];
                totals[1] = done + piece == 0 ? sum[1] : totals[1] + sum[1];
            }
            sync_block();
            for (int skip = 0; skip < WARPS; skip++) walk.advance(PIECE);
        }
        if (row + m >= out.rows) return;
        f32 *to = out.c + (row + m) * out.stride + column + n;
        const f32 bias[4] = {out.bias_at(column + n), out.bias_at(column + n + 1), 0.0f, 0.0f};
        f32 four[4] = {totals[0], totals[1], 0.0f, 0.0f};
        out.finish(four, bias);
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (column + n + i < out.columns) to[i] = out.adds ? to[i] + four[i] : four[i];
    }
};

// blockIdx.x: rows of C. blockIdx.y: columns, those of each matrix from a new tile on. NT, NN.
#define GEMM_NT(SIZE, BLOCKS, ...)                                                                                     \
    KERNEL(gemm_nt_##SIZE##_f32, (__VA_ARGS__::THREADS), BLOCKS)                                                       \
    (const f32 *a, u64 lda, const f32 *b0, const f32 *b1, const f32 *b2, u64 ldb, const f32 *bias0, const f32 *bias1,  \
     const f32 *bias2, f32 *c, u64 ldc, u32 m, u32 n0, u32 n1, u32 n2, u32 k, f32 scale, u32 activation, u32 adds) {   \
        DYNAMIC_SHARED(shared);                                                                                        \
        using Engine = __VA_ARGS__;                                                                                    \
        const Place place = place_of(blockIdx.y, Engine::COLUMNS, n0, n1);                                             \
        const Output<f32> out = {c + pick(place.matrix, 0u, n0, n0 + n1), ldc, (int)m,                                 \
                                 (int)pick(place.matrix, n0, n1, n2), pick(place.matrix, bias0, bias1, bias2), scale,  \
                                 activation, adds};                                                                    \
        const Source left(a, lda), right(pick(place.matrix, b0, b1, b2), ldb);                                         \
        Engine::run(shared, Walk(k, 0, 0), [&](int) { return left; }, [&](int) { return right; }, out,                 \
                    blockIdx.x * Engine::ROWS, place.tile * Engine::COLUMNS);                                          \
    }
#define GEMM_NN(SIZE, BLOCKS, ...)                                                                                     \
    KERNEL(gemm_nn_##SIZE##_f32, (__VA_ARGS__::THREADS), BLOCKS)                                                       \
    (const f32 *a, u64 lda, const f32 *b0, const f32 *b1, const f32 *b2, u64 ldb, f32 *c, u64 ldc, u32 m, u32 n,       \
     u32 k0, u32 k1, u32 k2, u32 start1, u32 start2, f32 scale, u32 adds) {                                            \
        DYNAMIC_SHARED(shared);                                                                                        \
        using Engine = __VA_ARGS__;                                                                                    \
        const Output<f32> out = {c, ldc, (int)m, (int)n, nullptr, scale, IDENTITY, adds};                              \
        Engine::run(                                                                                                   \
            shared, Walk(k0, k1, k2), [&](int matrix) { return Source(a + pick(matrix, 0u, start1, start2), lda); },   \
            [&](int matrix) { return Source(pick(matrix, b0, b1, b2), ldb); }, out, blockIdx.x * Engine::ROWS,         \
            blockIdx.y * Engine::COLUMNS);                                                                             \
    }
// blockIdx.x: rows, those of each matrix from a new tile on. blockIdx.z: parts of the depth, each of `part`; where
// there are several, their sums go to `parts` [z, m0 + m1 + m2, n].
#define GEMM_TN(SIZE, BLOCKS, ...)                                                                                     \
    KERNEL(gemm_tn_##SIZE##_f32, (__VA_ARGS__::THREADS), BLOCKS)                                                       \
    (const f32 *a, u64 lda, const f32 *b, u64 ldb, f32 *c0, f32 *c1, f32 *c2, f32 *parts, u32 m0, u32 m1, u32 m2,      \
     u32 start1, u32 start2, u32 n, u32 k, u32 part) {                                                                 \
        DYNAMIC_SHARED(shared);                                                                                        \
        using Engine = __VA_ARGS__;                                                                                    \
        const Place place = place_of(blockIdx.x, Engine::ROWS, m0, m1);                                                \
        const u64 above = pick(place.matrix, 0u, m0, m0 + m1) + (u64)blockIdx.z * (m0 + m1 + m2);                      \
        const Output<f32> out = {parts ? parts + above * n : pick(place.matrix, c0, c1, c2), n,                        \
                                 (int)pick(place.matrix, m0, m1, m2), (int)n, nullptr, 1.0f, IDENTITY,                 \
                                 parts ? 0u : 1u};                                                                     \
        const u64 first = (u64)blockIdx.z * part;                                                                      \
        const Source left(a + first * lda + pick(place.matrix, 0u, start1, start2), lda), right(b + first * ldb, ldb); \
        Engine::run(shared, Walk(lesser((int)k - (int)first, (int)part), 0, 0), [&](int) { return left; },             \
                    [&](int) { return right; }, out, place.tile * Engine::ROWS, blockIdx.y * Engine::COLUMNS);         \
    }

// The tiles, from large to small. The host knows them too (src/ops/linear/cuda/tiles.rs).
#define GEMM_SIZES(KERNELS, FORM)                                                                                      \
    KERNELS(l, 2, Blocked<FORM, 128, 128, 8, 2, 2>)                                                                    \
    KERNELS(m, 4, Blocked<FORM, 64, 64, 16, 2, 1>)                                                                     \
    KERNELS(s, 2, Sliced<FORM>)

GEMM_SIZES(GEMM_NT, NT)
GEMM_SIZES(GEMM_NN, NN)
GEMM_SIZES(GEMM_TN, TN)
