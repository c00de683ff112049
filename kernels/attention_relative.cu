// Attention and its gradients in f32 with relative positions, and the gradient of their table:
//
//   de += Σ dscore[l, r] (q_l (+ k_r)) / √D over all l and r that are l − r apart, of every sequence and head
#include "exact_attention.cuh"

FORWARD(attention_relative_forward, 2, true, ROWS)
BACKWARD(attention_relative_backward_query, attention_relative_backward_key, true)

// What 64 rows of the table (blockIdx.x) get from one head and some sequences. Rows of scores are distances and columns
// queries, so that keys are the band.
struct TableTiles {
    // Rows of the table, or of dy.
    Tile table;
    Tile query;
    // Keys, or values.
    Tile band[2];
    Tile weights;
    Queries queries;
};

// Loads a chunk of the 127 rows of keys or values at the positions from `first` − 63 on.
INLINE void load_band(f32 *band, const Inputs &in, const Columns &from, const Piece &piece, int first, int column) {
    const int start = first - 63, length = piece.end_key - piece.first_key;
    const u8 *origin = from.row(piece.first_key) + column * size_of(in.type);
    load<2 * TILE>(band, width_of(in.dim, column), in.type, in.aligned, [&](int i) {
        const int position = start + i;
        return position >= 0 && position < length ? origin + position * from.stride : (const u8 *)0;
    });
}

INLINE void add_piece(f32 (&sums)[ROWS][COLUMNS], const Inputs &in, const void *dy, const f32 *log_sum_exp,
                      const f32 *along, const Piece &piece, int chunk, TableTiles &tiles) {
    const int length = piece.end_key - piece.first_key, width = width_of(in.dim, chunk);
    // Distance of the tile's first row.
    const int place = blockIdx.x * TILE, distance = place - in.places / 2;
    if (piece.first_query == piece.end_query || distance >= length || distance + TILE <= -length) return;
    const bool whole = in.dim <= CHUNK;
    const Columns d_answers = in.answers(dy);
    Queries &queries = tiles.queries;
    // Queries at `from` and after it meet the keys at from − distance − 63 to from − distance + 63.
#pragma unroll 1
    for (int from = 0; from < length; from += TILE) {
        const int key = from - distance;
        if (key + 63 < 0 || key - 63 >= length) continue;
        f32 weights[ROWS][COLUMNS], slopes[ROWS][COLUMNS];
        clear(weights);
        clear(slopes);
        sync_block();
        find_queries(queries, piece, in.rows, true, from, in.first_row);
        find_sums(queries, log_sum_exp, along, in.heads);
#pragma unroll 1
        for (int column = 0; column < in.dim; column += CHUNK) {
            const int part = width_of(in.dim, column);
            sync_block();
            load<TILE>(tiles.table, part, F32, in.dim % 4 == 0, [&](int i) {
                const u8 *row = (const u8 *)(in.table + (u64)(place + i) * in.dim + column);
                return place + i < in.places ? row : (const u8 *)0;
            });
            load_queries(tiles.query, in, in.query, queries, column);
            load_band(tiles.band[0], in, in.key, piece, key, column);
            sync_block();
            against_band<RISING, false>(weights, tiles.table, tiles.query, tiles.band[0], in.with_keys, part);
        }
#pragma unroll 1
        for (int column = 0; column < in.dim; column += CHUNK) {
            sync_block();
            load_queries(tiles.table, in, d_answers, queries, column);
            load_band(tiles.band[0], in, in.value, piece, key, column);
            sync_block();
            band_alone<RISING>(slopes, tiles.table, tiles.band[0], width_of(in.dim, column));
        }
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            const int column = column_of(j);
            const f32 shift = queries.shift[column], d = queries.along[column];
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                const int position = key + column - row_of(i), query = queries.position[column];
                const bool there = position >= 0 && position < length && position <= query + in.ahead;
                const f32 weight = expf(fmaf(weights[i][j], in.scale, -shift));
                weights[i][j] = there ? weight : 0.0f;
                slopes[i][j] = there ? slopes[i][j] : 0.0f;
            }
            if (in.draw.threshold) {
                const u32 number = queries.number[column];
                // Bit i: whether the weight at row i stays.
                u32 mask = 0;
#pragma unroll 1
                for (int i = 0; i < ROWS; i++) {
                    const u32 position = key + column - row_of(i);
                    mask |= (kept(in.draw, number, position / 4) >> position % 4 & 1) << i;
                }
#pragma unroll
                for (int i = 0; i < ROWS; i++) slopes[i][j] = mask >> i & 1 ? slopes[i][j] * in.draw.scale : 0.0f;
            }
#pragma unroll
            for (int i = 0; i < ROWS; i++) slopes[i][j] = weights[i][j] * (slopes[i][j] - d);
        }
        if (in.with_keys || !whole) {
            sync_block();
            if (!whole) load_queries(tiles.query, in, in.query, queries, chunk);
            if (in.with_keys) load_band(tiles.band[0], in, in.key, piece, key, chunk);
            sync_block();
        }
        keep(tiles.weights, slopes);
        onto_columns(sums, tiles.weights, tiles.query, width, TILE);
        if (in.with_keys) onto_band<RISING>(sums, tiles.weights, tiles.band[0], width);
    }
}

// sums [groups, A, places, D]: what each group of sequences and each head adds. blockIdx.z is group · chunks + chunk.
KERNEL(attention_relative_table, 128, 2)
(INPUTS, const void *dy, const f32 *log_sum_exp, const f32 *along, f32 *sums, u32 count, u32 groups) {
    DYNAMIC_SHARED(shared);
    MAKE_INPUTS;
    TableTiles &tiles = *(TableTiles *)shared;
    const u32 chunks = gridDim.z / groups, group = blockIdx.z / chunks;
    const int chunk = blockIdx.z % chunks * CHUNK, width = width_of(in.dim, chunk), place = blockIdx.x * TILE;
    f32 own[ROWS][COLUMNS];
    clear(own);
    const u32 end = (u32)((u64)count * (group + 1) / groups);
#pragma unroll 1
    for (u32 index = (u32)((u64)count * group / groups); index < end; index++)
        add_piece(own, in, dy, log_sum_exp, along, piece_at(pieces, index), chunk, tiles);
    f32 *target = sums + ((u64)group * heads + blockIdx.y) * places * dim + chunk;
    write(tiles.weights, own, width, F32, dim % 4 == 0, [&](int) { return in.scale; },
          [&](int row) { return place + row < (int)places ? (u8 *)(target + (u64)(place + row) * dim) : (u8 *)0; });
}

// gradient [places, D] += Σ sums [count, places, D], in order.
KERNEL(attention_relative_add, 256, 4)(f32 *gradient, const f32 *sums, u32 elements, u32 count) {
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= elements) return;
    f32 sum = 0.0f;
    for (u32 index = 0; index < count; index++) sum += sums[(u64)index * elements + at];
    gradient[at] += sum;
}
