// Tiles of f32 for attention of any D and any type. Scores of a tile of 64 rows and 64 columns are held by 128 threads,
// 8 rows and 4 columns each; a row's 16 threads are half a warp. Where queries are few, a tile has 8 rows, and a thread
// one: R is the number of a thread's rows. An element's sums do not depend on it.
//
// D is cut into chunks of 64 columns: products over D go through all of them, and a block writes one (blockIdx.z), so
// that where D is larger some blocks compute the same scores. Sums over D, keys and queries are in rising order.
#pragma once

#include "attention.cuh"

const int CHUNK = 64;
// Elements between rows of a tile: 16 bytes more than a chunk, so that rows that follow each other lie in other banks.
const int LINE = CHUNK + 4;
const int ROWS = 8;
const int COLUMNS = 4;

// A tile of 64 rows. A band is two that follow each other, of which 127 rows are used.
typedef f32 Tile[TILE * LINE];

// Four elements that lie at a multiple of their size.
struct alignas(16) Quad {
    f32 at[4];
};
struct alignas(8) HalfQuad {
    u16 at[4];
};

// Types of what is read and written: kernels learn at run time which it is.
enum Type { F32, BF16, F16 };

INLINE u32 size_of(Type type) { return type == F32 ? 4 : 2; }
INLINE f32 widened(u16 bits, Type type) {
    bf16 brain;
    f16 half;
    brain.bits = half.bits = bits;
    return type == BF16 ? to_f32(brain) : to_f32(half);
}
INLINE u16 narrowed(f32 x, Type type) { return type == BF16 ? to_bf16(x).bits : to_f16(x).bits; }
INLINE f32 element(const u8 *row, int column, Type type) {
    return type == F32 ? ((const f32 *)row)[column] : widened(((const u16 *)row)[column], type);
}

// The i-th row of this thread, after its first one; its columns, which are 16 apart in scores and 1 apart in sums.
INLINE int after_first(int i) { return (i & 3) + 32 * (i >> 2); }
template <int R = ROWS> INLINE int row_of(int i) {
    return (R == ROWS ? 4 : 1) * ((int)threadIdx.x >> 4) + after_first(i);
}
INLINE int lane_of() { return threadIdx.x & 15; }
INLINE int column_of(int j) { return lane_of() + 16 * j; }

INLINE Quad quad(const f32 *from) { return *(const Quad *)from; }

// Columns of the chunk that begins at column `from` of D.
INLINE int width_of(int dim, int from) { return lesser(CHUNK, dim - from); }

// Fills rows of a tile from its start on with `width` columns of the rows at `row(i)`, zeros where that is null and up
// to the next multiple of four columns. `aligned`: every row begins at a multiple of four elements and has as many.
template <int rows, class Row> INLINE void load(f32 *tile, int width, Type type, bool aligned, Row row) {
    const int lane = lane_of();
    if (4 * lane >= width) return;
    tile += 4 * lane;
    if (aligned && type == F32) {
#pragma unroll 4
        for (int step = 0; step < rows; step += THREADS / 16) {
            const int i = step + (threadIdx.x >> 4);
            Quad values = {};
            if (const u8 *from = row(i)) values = ((const Quad *)from)[lane];
            *(Quad *)(tile + i * LINE) = values;
        }
    } else if (aligned) {
#pragma unroll 4
        for (int step = 0; step < rows; step += THREADS / 16) {
            const int i = step + (threadIdx.x >> 4);
            HalfQuad halves = {};
            if (const u8 *from = row(i)) halves = ((const HalfQuad *)from)[lane];
            Quad values;
#pragma unroll
            for (int c = 0; c < 4; c++) values.at[c] = widened(halves.at[c], type);
            *(Quad *)(tile + i * LINE) = values;
        }
    } else {
#pragma unroll 1
        for (int step = 0; step < rows; step += THREADS / 16) {
            const int i = step + (threadIdx.x >> 4);
            const u8 *from = row(i);
#pragma unroll 1
            for (int c = 0; c < 4; c++)
                tile[i * LINE + c] = from && 4 * lane + c < width ? element(from, 4 * lane + c, type) : 0.0f;
        }
    }
}

// Writes `width` columns of factor(i)·sums to the rows at `row`, which is null where there is none, by way of a tile.
template <int R, class Factor, class Row>
INLINE void write(f32 *tile, const f32 (&sums)[R][COLUMNS], int width, Type type, bool aligned, Factor factor,
                  Row row) {
    const int lane = lane_of();
    sync_warp();
    if (4 * lane >= width) return;
    tile += row_of<R>(0) * LINE + 4 * lane;
#pragma unroll
    for (int i = 0; i < R; i++) {
        Quad values;
#pragma unroll
        for (int c = 0; c < 4; c++) values.at[c] = sums[i][c] * factor(i);
        *(Quad *)(tile + after_first(i) * LINE) = values;
    }
    // A thread reads what it has written.
#pragma unroll 1
    for (int i = 0; i < R; i++) {
        u8 *to = row(row_of<R>(i));
        if (!to) continue;
        const f32 *from = tile + after_first(i) * LINE;
        if (aligned && type == F32) {
            ((Quad *)to)[lane] = *(const Quad *)from;
        } else if (aligned) {
            HalfQuad halves;
#pragma unroll
            for (int c = 0; c < 4; c++) halves.at[c] = narrowed(from[c], type);
            ((HalfQuad *)to)[lane] = halves;
        } else {
#pragma unroll 1
            for (int c = 0; c < 4 && 4 * lane + c < width; c++) {
                if (type == F32) ((f32 *)to)[4 * lane + c] = from[c];
                else ((u16 *)to)[4 * lane + c] = narrowed(from[c], type);
            }
        }
    }
}

template <int R> INLINE void clear(f32 (&values)[R][COLUMNS]) {
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) values[i][j] = 0.0f;
}

// scores[i, j] += a's row i · b's row j
template <int R>
INLINE void against_rows(f32 (&scores)[R][COLUMNS], const f32 *a, const f32 *b, int width) {
    a += row_of<R>(0) * LINE;
    b += lane_of() * LINE;
#pragma unroll 1
    for (int at = 0; at < width; at += 4) {
        Quad right[COLUMNS];
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) right[j] = quad(b + 16 * j * LINE + at);
#pragma unroll
        for (int i = 0; i < R; i++) {
            const Quad left = quad(a + after_first(i) * LINE + at);
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
#pragma unroll
                for (int c = 0; c < 4; c++) scores[i][j] = fmaf(left.at[c], right[j].at[c], scores[i][j]);
        }
    }
}

// Which row of a band belongs to row i and column j of scores: i − j + 63 where it falls, j − i + 63 where it rises.
enum Band { FALLING, RISING };

template <Band direction> INLINE const f32 *band_row(const f32 *band, int i, int j) {
    const int apart = direction == FALLING ? row_of(0) - lane_of() : lane_of() - row_of(0);
    const int offset = after_first(i) - 16 * j;
    return band + (apart + 63) * LINE + (direction == FALLING ? offset : -offset) * LINE;
}

// scores[i, j] += a's row i · b's row j + x · (the band's row of i and j), with x a's row i or b's row j, whichever
// `of_rows` says, or where `both` the sum of the two.
template <Band direction, bool of_rows>
INLINE void against_band(f32 (&scores)[ROWS][COLUMNS], const f32 *a, const f32 *b, const f32 *band, bool both,
                         int width) {
    a += row_of(0) * LINE;
    b += lane_of() * LINE;
#pragma unroll 1
    for (int at = 0; at < width; at += 4) {
        Quad right[COLUMNS];
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) right[j] = quad(b + 16 * j * LINE + at);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const Quad left = quad(a + after_first(i) * LINE + at);
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                const Quad between = quad(band_row<direction>(band, i, j) + at);
#pragma unroll
                for (int c = 0; c < 4; c++) {
                    const f32 one = of_rows ? left.at[c] : right[j].at[c];
                    scores[i][j] = fmaf(left.at[c], right[j].at[c], scores[i][j]);
                    scores[i][j] = fmaf(both ? left.at[c] + right[j].at[c] : one, between.at[c], scores[i][j]);
                }
            }
        }
    }
}

// scores[i, j] += b's row j · (the band's row of i and j)
template <Band direction>
INLINE void band_alone(f32 (&scores)[ROWS][COLUMNS], const f32 *b, const f32 *band, int width) {
    b += lane_of() * LINE;
#pragma unroll 1
    for (int at = 0; at < width; at += 4) {
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            const Quad right = quad(b + 16 * j * LINE + at);
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                const Quad between = quad(band_row<direction>(band, i, j) + at);
#pragma unroll
                for (int c = 0; c < 4; c++) scores[i][j] = fmaf(right.at[c], between.at[c], scores[i][j]);
            }
        }
    }
}

// Writes scores, or what became of them, as rows of a tile. A row is written and read by half a warp alone.
template <int R> INLINE void keep(f32 *tile, const f32 (&values)[R][COLUMNS]) {
    sync_warp();
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) tile[row_of<R>(i) * LINE + column_of(j)] = values[i][j];
    sync_warp();
}

// sums[i, c] += Σ weights[i, l] · column c of b's row l, over `depth` l, up to the next multiple of four: weights are 0
// there.
template <int R>
INLINE void onto_columns(f32 (&sums)[R][COLUMNS], const f32 *weights, const f32 *b, int width, int depth) {
    if (4 * lane_of() >= width) return;
    weights += row_of<R>(0) * LINE;
    b += 4 * lane_of();
#pragma unroll 1
    for (int l = 0; l < depth; l += 4) {
        Quad right[4];
#pragma unroll
        for (int u = 0; u < 4; u++) right[u] = quad(b + (l + u) * LINE);
#pragma unroll
        for (int i = 0; i < R; i++) {
            const Quad left = quad(weights + after_first(i) * LINE + l);
#pragma unroll
            for (int u = 0; u < 4; u++)
#pragma unroll
                for (int c = 0; c < 4; c++) sums[i][c] = fmaf(left.at[u], right[u].at[c], sums[i][c]);
        }
    }
}

// sums[i, c] += Σ weights[i, l] · column c of the band's row of i and l, over all 64 l.
template <Band direction>
INLINE void onto_band(f32 (&sums)[ROWS][COLUMNS], const f32 *weights, const f32 *band, int width) {
    if (4 * lane_of() >= width) return;
    weights += row_of(0) * LINE;
    band += (63 + (direction == FALLING ? row_of(0) : -row_of(0))) * LINE + 4 * lane_of();
#pragma unroll 1
    for (int l = 0; l < TILE; l++) {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const int offset = after_first(i);
            const f32 left = weights[offset * LINE + l];
            const Quad right = quad(band + (direction == FALLING ? offset - l : l - offset) * LINE);
#pragma unroll
            for (int c = 0; c < 4; c++) sums[i][c] = fmaf(left, right.at[c], sums[i][c]);
        }
    }
}

// Sum over the 16 threads of a row, the same bits in each.
INLINE f32 row_sum(f32 x) {
#pragma unroll
    for (int mask = 8; mask > 0; mask >>= 1) x += shuffle_xor(x, mask);
    return x;
}
INLINE f32 row_max(f32 x) {
#pragma unroll
    for (int mask = 8; mask > 0; mask >>= 1) x = fmaxf(x, shuffle_xor(x, mask));
    return x;
}

// What a tile of queries is.
struct Queries {
    // Row of the query matrix; −1 where there is none.
    int query[TILE];
    // Position in the sequence, and number of the row for dropout.
    int position[TILE];
    u32 number[TILE];
    // lse, infinite where there is no query: weights are 0 then; and d. For gradients.
    f32 shift[TILE];
    f32 along[TILE];
};

// Finds the queries of a tile: 64 that follow each other in the query matrix from `first` on, or, where they are
// `placed`, those of 64 positions from `first` on, one a position.
INLINE void find_queries(Queries &queries, const Piece &piece, const u32 *rows, bool placed, u32 first, u32 first_row) {
    const int slot = threadIdx.x;
    if (slot >= TILE) return;
    const u32 wanted = piece.first_key + first + slot;
    u32 query = placed ? wanted : first + slot, end = piece.end_query;
    if (placed && rows) {
        query = piece.first_query;
        while (query < end) {
            const u32 middle = query + (end - query) / 2;
            if (rows[middle] < wanted) query = middle + 1;
            else end = middle;
        }
    }
    bool there = query >= piece.first_query && query < piece.end_query;
    if (placed && rows) there = there && rows[query] == wanted;
    const u32 row = placed ? wanted : there ? token_row(rows, query) : piece.first_key;
    queries.query[slot] = there ? (int)query : -1;
    queries.position[slot] = (int)(row - piece.first_key);
    queries.number[slot] = first_row + row;
}

// lse of the queries that were found, and d where it is known.
INLINE void find_sums(Queries &queries, const f32 *log_sum_exp, const f32 *along, u32 heads) {
    const int slot = threadIdx.x;
    if (slot >= TILE) return;
    const int query = queries.query[slot];
    const u64 at = (u64)(query < 0 ? 0 : query) * heads + blockIdx.y;
    queries.shift[slot] = query < 0 ? INFINITE : log_sum_exp[at];
    if (along) queries.along[slot] = query < 0 ? 0.0f : along[at];
}

// Which weights stay, for the queries of scores' rows and keys from position `from` on, a multiple of 64: bit
// 4i + lane % 4 of masks[j] tells of row i and column j. Four lanes need the same counters: each draws for one column.
template <int R>
INLINE void kept_of_rows(u32 (&masks)[COLUMNS], const Draw &draw, const Queries &queries, int from) {
    const int lane = threadIdx.x & 31, quarter = lane & 3;
    u32 mine = draw.threshold ? 0 : 0xffffffffu;
#pragma unroll 2
    for (int i = 0; i < R && draw.threshold; i++)
        mine |= kept(draw, queries.number[row_of<R>(i)], (from + (lane & 12)) / 4 + 4 * quarter) << 4 * i;
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) masks[j] = shuffle(mine, (lane & 28) | j) >> quarter;
}

// The same where keys are rows and queries columns; the keys' positions begin at `from`. Bit 8j + i.
INLINE u32 kept_of_columns(const Draw &draw, const Queries &queries, int from) {
    const int group = (from + row_of(0)) / 4;
    u32 mask = draw.threshold ? 0 : 0xffffffffu;
#pragma unroll 1
    for (int j = 0; j < COLUMNS && draw.threshold; j++) {
        const u32 number = queries.number[column_of(j)];
        mask |= (kept(draw, number, group) | kept(draw, number, group + 8) << 4) << 8 * j;
    }
    return mask;
}
