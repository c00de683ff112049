// Tiles of 16-bit elements for tensor cores (Dao et al. 2022), D = 32 or 64 columns.
//
// Four warps share a block; each has 16 rows of what the block owns. In fragments lane l = 4g + t has rows g and g + 8,
// and columns 2t and 2t + 1 of every 8.
#pragma once

#include "attention.cuh"

const f32 LOG2_E = 1.4426950408889634f;

// 16 bytes.
struct alignas(16) Unit {
    u32 words[4];
};

// The two elements of a word.
template <class T> INLINE void unpack(u32 word, f32 &low, f32 &high) {
    T a, b;
    a.bits = (u16)word;
    b.bits = (u16)(word >> 16);
    low = to_f32(a);
    high = to_f32(b);
}

// Where 8 elements lie in a tile [64, D]: units of 16 bytes change places such that those at one column in 8 rows that
// follow each other lie in different banks.
template <int D> INLINE int place(int row, int unit) {
    return D == 32 ? row * D + ((unit ^ (row >> 1 & 3)) << 3) : row * D + ((unit ^ (row & 7)) << 3);
}

// Starts to copy up to 64 rows of a matrix into a tile; zeros in place of those from `count` on, at least 1.
template <class T, int D> INLINE void fetch(T *tile, const T *source, u32 stride, int count) {
    const int units = D / 8, lines = THREADS / units, row = threadIdx.x / units, unit = threadIdx.x % units;
    // The rows of one thread have the same place in every 8 rows.
    const T *from = source + (u64)row * stride + unit * 8;
    T *to = tile + place<D>(row, unit);
#pragma unroll
    for (int i = 0; i < TILE / lines; i++) {
        copy_async_16(to + i * lines * D, from, row + i * lines < count);
        from += (u64)lines * stride;
    }
}

// Left side of products: 16 rows of a tile from `row` on, all D columns.
template <class T, int D> INLINE void left(u32 (&a)[D / 16][4], const T *tile, int row) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int k = 0; k < D / 16; k++) load_matrices(a[k], tile + place<D>(row + (lane & 15), 2 * k + (lane >> 4)));
}

// d[16, 8·N] = a[16, D] · (8·N rows of a tile from `row` on)ᵀ
template <class T, int D, int N>
INLINE void against_rows(f32 (&d)[N][4], const u32 (&a)[D / 16][4], const T *tile, int row) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) d[n][i] = 0.0f;
#pragma unroll
    for (int k = 0; k < D / 16; k++)
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            u32 b[4];
            load_matrices(b, tile + place<D>(row + 8 * n + (lane & 7) + (lane >> 4 << 3), 2 * k + (lane >> 3 & 1)));
            multiply_add<T>(d[n], a[k], b[0], b[1]);
            multiply_add<T>(d[n + 1], a[k], b[2], b[3]);
        }
}

// sums[16, D] += weights[16, 8·N] · (8·N rows of a tile from `row` on). The weights are rounded to T.
template <class T, int D, int N>
INLINE void onto_columns(f32 (&sums)[D / 8][4], const f32 (&weights)[N][4], const T *tile, int row) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int k = 0; k < N / 2; k++) {
        const f32(&left)[4] = weights[2 * k], (&right)[4] = weights[2 * k + 1];
        u32 a[4] = {pack<T>(left[0], left[1]), pack<T>(left[2], left[3]), pack<T>(right[0], right[1]),
                    pack<T>(right[2], right[3])};
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            u32 b[4];
            load_matrices_transposed(b, tile + place<D>(row + 16 * k + (lane & 15), n + (lane >> 4)));
            multiply_add<T>(sums[n], a, b[0], b[1]);
            multiply_add<T>(sums[n + 1], a, b[2], b[3]);
        }
    }
}

// Writes up to 16 rows of D columns, low·sums to row g and high·sums to row g + 8, by way of 16 rows of a tile that the
// warp has for itself.
template <class T, int D>
INLINE void store(T *target, u32 stride, int count, const f32 (&sums)[D / 8][4], f32 low, f32 high, T *tile, int row) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    sync_warp();
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
        *(u32 *)(tile + place<D>(row + g, n) + 2 * t) = pack<T>(sums[n][0] * low, sums[n][1] * low);
        *(u32 *)(tile + place<D>(row + g + 8, n) + 2 * t) = pack<T>(sums[n][2] * high, sums[n][3] * high);
    }
    sync_warp();
#pragma unroll
    for (int i = 0; i < D / 16; i++) {
        int at = lane + 32 * i, line = at / (D / 8), unit = at % (D / 8);
        const Unit *from = (const Unit *)(tile + place<D>(row + line, unit));
        if (line < count) *(Unit *)(target + (u64)line * stride + unit * 8) = *from;
    }
}

// Which weights of the queries with numbers `low` (row g) and `high` (row g + 8) stay, for 8·N keys from a position on
// that is a multiple of 8: bits 2n and 2n + 1 of masks[0] (row g) and masks[1] tell of columns 2t and 2t + 1 of the
// n-th 8. Lanes 2i and 2i + 1 need the same counters: each draws for one of the rows.
template <int N> INLINE void kept_of_rows(u32 (&masks)[2], const Draw &draw, u32 low, u32 high, u32 position) {
    int t = threadIdx.x & 3;
    bool odd = t & 1;
    u32 mine = 0, theirs = 0;
#pragma unroll 2
    for (int n = 0; n < N; n++) {
        u32 bits = kept(draw, odd ? high : low, position / 4 + 2 * n + (t >> 1));
        mine |= (odd ? bits >> 2 : bits & 3) << 2 * n;
        theirs |= (odd ? bits & 3 : bits >> 2) << 2 * n;
    }
    theirs = shuffle_xor(theirs, 1);
    masks[0] = odd ? theirs : mine;
    masks[1] = odd ? mine : theirs;
}
