// Attention and its gradients in f32, with relative positions (RELATIVE) or without. attention_forward.cu and
// attention_backward.cu say what is computed; with relative positions, e = table[l − r + P − 1], a score is
// q_l · k_r + q_l · e (+ k_r · e), and e takes part in dq (and dk) as k (and q) does.
#pragma once

#include "exact.cuh"

// A head's columns of a matrix: where they begin in the first row, and bytes between rows.
struct Columns {
    u8 *start;
    u64 stride;

    INLINE u8 *row(u32 row) const { return start + row * stride; }
};

// Everything that the kernels have in common, for the block's head.
struct Inputs {
    Columns query, key, value;
    // The table of relative positions [places, D], and whether keys meet it.
    const f32 *table;
    int places;
    bool with_keys;
    const u32 *rows;
    int heads, dim;
    f32 scale;
    Type type;
    bool aligned;
    // How many keys after its own position a query sees: none where attention is causal, else 2³⁰, more than there are.
    // A number, for compilers make two loops of one with a flag.
    int ahead;
    Draw draw;
    u32 first_row;

    INLINE Columns columns(const void *start, u32 stride) const {
        Columns head = {(u8 *)start + (u64)blockIdx.y * dim * size_of(type), (u64)stride * size_of(type)};
        return head;
    }
    // Columns of y or of its gradient.
    INLINE Columns answers(const void *start) const { return columns(start, heads * dim); }
};

// Loads a chunk of up to `count` rows of keys or values from row `first` on.
INLINE void load_rows(f32 *tile, const Inputs &in, const Columns &from, u32 first, int count, int column) {
    const u8 *start = from.row(first) + column * size_of(in.type);
    load<TILE>(tile, width_of(in.dim, column), in.type, in.aligned,
               [&](int i) { return i < count ? start + i * from.stride : (const u8 *)0; });
}

// Loads a chunk of the rows of queries.
template <int rows = TILE>
INLINE void load_queries(f32 *tile, const Inputs &in, const Columns &from, const Queries &queries, int column) {
    const u8 *start = from.start + column * size_of(in.type);
    load<rows>(tile, width_of(in.dim, column), in.type, in.aligned, [&](int i) {
        const int query = queries.query[i];
        return query < 0 ? (const u8 *)0 : start + query * from.stride;
    });
}

// Loads a chunk of the 127 rows of the table for the distances from `first` − 63 on.
INLINE void load_distances(f32 *band, const Inputs &in, int first, int column) {
    const int start = first - 63 + in.places / 2;
    load<2 * TILE>(band, width_of(in.dim, column), F32, in.dim % 4 == 0, [&](int i) {
        const int place = start + i;
        return place >= 0 && place < in.places ? (const u8 *)(in.table + (u64)place * in.dim + column) : (const u8 *)0;
    });
}

// Queries, keys and then weights, values, and with relative positions a band.
template <bool RELATIVE> struct ForwardTiles {
    Tile tile[RELATIVE ? 5 : 3];
    Queries queries;
};

// y of 8·R queries a block, and lse where it is wanted.
template <bool RELATIVE, int R>
INLINE void forward(const Inputs &in, void *y, f32 *log_sum_exp, const u32 *pieces, ForwardTiles<RELATIVE> &tiles) {
    const Piece piece = piece_of(pieces);
    const int length = piece.end_key - piece.first_key, chunk = blockIdx.z * CHUNK, width = width_of(in.dim, chunk);
    Queries &queries = tiles.queries;
    f32 *query_tile = tiles.tile[0], *key_tile = tiles.tile[1], *value_tile = tiles.tile[2];
    f32 *band = tiles.tile[RELATIVE ? 3 : 0];
    const u32 first = RELATIVE ? piece.start : piece.first_query;
    find_queries(queries, piece, in.rows, RELATIVE, first, in.first_row);

    f32 sums[R][COLUMNS], largest[R], totals[R];
    clear(sums);
#pragma unroll
    for (int i = 0; i < R; i++) largest[i] = -INFINITE, totals[i] = 0.0f;
#pragma unroll 1
    for (int from = 0; from < length; from += TILE) {
        const int count = lesser(TILE, length - from);
        f32 scores[R][COLUMNS];
        clear(scores);
#pragma unroll 1
        for (int column = 0; column < in.dim; column += CHUNK) {
            sync_block();
            load_queries<8 * R>(query_tile, in, in.query, queries, column);
            load_rows(key_tile, in, in.key, piece.first_key + from, count, column);
            if (RELATIVE) load_distances(band, in, (int)piece.start - from, column);
            if (column == chunk) load_rows(value_tile, in, in.value, piece.first_key + from, count, column);
            sync_block();
            const int part = width_of(in.dim, column);
            if constexpr (RELATIVE)
                against_band<FALLING, true>(scores, query_tile, key_tile, band, in.with_keys, part);
            else
                against_rows(scores, query_tile, key_tile, part);
        }
#pragma unroll
        for (int i = 0; i < R; i++) {
            const int seen = lesser(length, queries.position[row_of<R>(i)] + 1 + in.ahead);
            f32 most = -INFINITE;
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                if (from + column_of(j) >= seen) scores[i][j] = -INFINITE;
                most = fmaxf(most, scores[i][j]);
            }
            // Finite: a query sees the first key of its sequence.
            const f32 now = fmaxf(largest[i], row_max(most) * in.scale), shrink = expf(largest[i] - now);
            f32 total = 0.0f;
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                scores[i][j] = expf(fmaf(scores[i][j], in.scale, -now));
                total += scores[i][j];
            }
            totals[i] = fmaf(totals[i], shrink, row_sum(total));
            largest[i] = now;
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) sums[i][c] *= shrink;
        }
        u32 masks[COLUMNS];
        kept_of_rows<R>(masks, in.draw, queries, from);
#pragma unroll
        for (int i = 0; i < R; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
                if (!(masks[j] >> 4 * i & 1)) scores[i][j] = 0.0f;
        sync_block();
        keep(key_tile, scores);
        onto_columns(sums, key_tile, value_tile, width, count);
    }
    const Columns answers = in.answers(y);
#pragma unroll
    for (int i = 0; i < R; i++) {
        const int query = queries.query[row_of<R>(i)];
        if (query >= 0 && log_sum_exp && chunk == 0 && lane_of() == 0)
            log_sum_exp[(u64)query * in.heads + blockIdx.y] = largest[i] + logf(totals[i]);
    }
    write(key_tile, sums, width, in.type, in.aligned, [&](int i) { return in.draw.scale / totals[i]; },
          [&](int row) {
              const int query = queries.query[row];
              return query < 0 ? (u8 *)0 : answers.row(query) + chunk * size_of(in.type);
          });
}

// Tiles of a gradient. Values and dy lie where the band of relative positions lies at other times.
struct GradientTiles {
    // Queries or keys: what the block owns, and what it meets.
    Tile own;
    Tile met;
    Tile pair[2];
    Tile weights;
    Queries queries;
};

// dq of 64 queries a block, and `along` [R, A]: d of every query and head.
template <bool RELATIVE>
INLINE void backward_query(const Inputs &in, const void *y, const void *dy, const f32 *log_sum_exp, f32 *along,
                           Columns dq, const u32 *pieces, GradientTiles &tiles) {
    const Piece piece = piece_of(pieces);
    const int length = piece.end_key - piece.first_key, chunk = blockIdx.z * CHUNK, width = width_of(in.dim, chunk);
    const bool whole = in.dim <= CHUNK;
    const Columns answers = in.answers(y), d_answers = in.answers(dy);
    Queries &queries = tiles.queries;
    f32 *value = tiles.pair[0], *d_answer = tiles.pair[1], *band = tiles.pair[0];
    find_queries(queries, piece, in.rows, RELATIVE, RELATIVE ? piece.start : piece.first_query, in.first_row);
    find_sums(queries, log_sum_exp, 0, in.heads);
    sync_block();
#pragma unroll 1
    for (int i = 0; i < ROWS; i++) {
        const int query = queries.query[row_of(i)];
        f32 sum = 0.0f;
        for (int column = lane_of(); query >= 0 && column < in.dim; column += 16)
            sum = fmaf(element(answers.row(query), column, in.type), element(d_answers.row(query), column, in.type),
                       sum);
        sum = row_sum(sum);
        if (lane_of() == 0) {
            queries.along[row_of(i)] = sum;
            if (query >= 0 && chunk == 0) along[(u64)query * in.heads + blockIdx.y] = sum;
        }
    }

    f32 sums[ROWS][COLUMNS];
    clear(sums);
#pragma unroll 1
    for (int from = 0; from < length; from += TILE) {
        const int count = lesser(TILE, length - from);
        const u32 key = piece.first_key + from;
        f32 weights[ROWS][COLUMNS], slopes[ROWS][COLUMNS];
        clear(weights);
        clear(slopes);
#pragma unroll 1
        for (int column = 0; column < in.dim; column += CHUNK) {
            const int part = width_of(in.dim, column);
            sync_block();
            load_queries(tiles.own, in, in.query, queries, column);
            load_rows(tiles.met, in, in.key, key, count, column);
            if (RELATIVE) {
                load_distances(band, in, (int)piece.start - from, column);
            } else {
                load_rows(value, in, in.value, key, count, column);
                load_queries(d_answer, in, d_answers, queries, column);
            }
            sync_block();
            if (RELATIVE) {
                against_band<FALLING, true>(weights, tiles.own, tiles.met, band, in.with_keys, part);
            } else {
                against_rows(weights, tiles.own, tiles.met, part);
                against_rows(slopes, d_answer, value, part);
            }
        }
#pragma unroll 1
        for (int column = 0; RELATIVE && column < in.dim; column += CHUNK) {
            sync_block();
            load_rows(value, in, in.value, key, count, column);
            load_queries(d_answer, in, d_answers, queries, column);
            sync_block();
            against_rows(slopes, d_answer, value, width_of(in.dim, column));
        }
        u32 masks[COLUMNS];
        kept_of_rows<ROWS>(masks, in.draw, queries, from);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const int row = row_of(i), seen = lesser(length, queries.position[row] + 1 + in.ahead);
            const f32 shift = queries.shift[row], d = queries.along[row];
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                const f32 weight = expf(fmaf(weights[i][j], in.scale, -shift));
                const f32 slope = masks[j] >> 4 * i & 1 ? slopes[i][j] * in.draw.scale : 0.0f;
                slopes[i][j] = from + column_of(j) < seen ? weight * (slope - d) : 0.0f;
            }
        }
        if (RELATIVE || !whole) {
            sync_block();
            if (!whole) load_rows(tiles.met, in, in.key, key, count, chunk);
            if (RELATIVE) load_distances(band, in, (int)piece.start - from, chunk);
            sync_block();
        }
        keep(tiles.weights, slopes);
        onto_columns(sums, tiles.weights, tiles.met, width, count);
        if (RELATIVE) onto_band<FALLING>(sums, tiles.weights, band, width);
    }
    write(tiles.weights, sums, width, in.type, in.aligned, [&](int) { return in.scale; },
          [&](int row) {
              const int query = queries.query[row];
              return query < 0 ? (u8 *)0 : dq.row(query) + chunk * size_of(in.type);
          });
}

// dk and dv of 64 keys a block, from `piece.start` of their sequence on.
template <bool RELATIVE>
INLINE void backward_key(const Inputs &in, const void *dy, const f32 *log_sum_exp, const f32 *along, Columns dk,
                         Columns dv, const u32 *pieces, GradientTiles &tiles) {
    const Piece piece = piece_of(pieces);
    const int start = piece.start, count = lesser(TILE, (int)(piece.end_key - piece.first_key) - start);
    const int chunk = blockIdx.z * CHUNK, width = width_of(in.dim, chunk);
    const bool whole = in.dim <= CHUNK;
    const Columns d_answers = in.answers(dy);
    const u32 first = piece.first_key + start;
    Queries &queries = tiles.queries;
    f32 *value = tiles.pair[0], *d_answer = tiles.pair[1], *band = tiles.pair[0];

    f32 sums_key[ROWS][COLUMNS], sums_value[ROWS][COLUMNS];
    clear(sums_key);
    clear(sums_value);
    // Queries by their rows, or by the positions at which there may be any.
    const bool any = piece.end_query > piece.first_query;
    const int begin = RELATIVE ? (in.ahead ? 0 : start) : (int)piece.first_query;
    const int end = !any ? begin : RELATIVE ? (int)(piece.end_key - piece.first_key) : (int)piece.end_query;
#pragma unroll 1
    for (int from = begin; from < end; from += TILE) {
        f32 weights[ROWS][COLUMNS], slopes[ROWS][COLUMNS];
        clear(weights);
        clear(slopes);
        sync_block();
        find_queries(queries, piece, in.rows, RELATIVE, from, in.first_row);
        find_sums(queries, log_sum_exp, along, in.heads);
#pragma unroll 1
        for (int column = 0; column < in.dim; column += CHUNK) {
            const int part = width_of(in.dim, column);
            sync_block();
            load_rows(tiles.own, in, in.key, first, count, column);
            load_queries(tiles.met, in, in.query, queries, column);
            if (RELATIVE) {
                load_distances(band, in, from - start, column);
            } else {
                load_rows(value, in, in.value, first, count, column);
                load_queries(d_answer, in, d_answers, queries, column);
            }
            sync_block();
            if (RELATIVE) {
                against_band<RISING, false>(weights, tiles.own, tiles.met, band, in.with_keys, part);
            } else {
                against_rows(weights, tiles.own, tiles.met, part);
                against_rows(slopes, value, d_answer, part);
            }
        }
#pragma unroll 1
        for (int column = 0; RELATIVE && column < in.dim; column += CHUNK) {
            sync_block();
            load_rows(value, in, in.value, first, count, column);
            load_queries(d_answer, in, d_answers, queries, column);
            sync_block();
            against_rows(slopes, value, d_answer, width_of(in.dim, column));
        }
        const u32 mask = kept_of_columns(in.draw, queries, start);
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            const int column = column_of(j), last = queries.position[column] - start + in.ahead;
            const f32 shift = queries.shift[column], d = queries.along[column];
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                const bool stays = mask >> (8 * j + i) & 1;
                const f32 weight = expf(fmaf(weights[i][j], in.scale, -shift));
                const f32 slope = weight * ((stays ? slopes[i][j] * in.draw.scale : 0.0f) - d);
                slopes[i][j] = row_of(i) <= last ? slope : 0.0f;
                weights[i][j] = stays && row_of(i) <= last ? weight : 0.0f;
            }
        }
        if (!whole) {
            sync_block();
            load_queries(tiles.met, in, in.query, queries, chunk);
            load_queries(d_answer, in, d_answers, queries, chunk);
            sync_block();
        }
        keep(tiles.weights, weights);
        onto_columns(sums_value, tiles.weights, d_answer, width, TILE);
        keep(tiles.weights, slopes);
        onto_columns(sums_key, tiles.weights, tiles.met, width, TILE);
        if (RELATIVE && in.with_keys) {
            sync_block();
            load_distances(band, in, from - start, chunk);
            sync_block();
            onto_band<RISING>(sums_key, tiles.weights, band, width);
        }
    }
    const u32 bytes = chunk * size_of(in.type);
    write(tiles.weights, sums_key, width, in.type, in.aligned, [&](int) { return in.scale; },
          [&](int row) { return row < count ? dk.row(first + row) + bytes : (u8 *)0; });
    write(tiles.weights, sums_value, width, in.type, in.aligned, [&](int) { return in.draw.scale; },
          [&](int row) { return row < count ? dv.row(first + row) + bytes : (u8 *)0; });
}

// Parameters that every kernel has, and the inputs that they make.
#define INPUTS                                                                                                         \
    const void *query, u32 query_stride, const void *key, u32 key_stride, const void *value, u32 value_stride,         \
        const f32 *table, u32 places, u32 with_keys, const u32 *pieces, const u32 *rows, u32 heads, u32 dim,           \
        f32 scale, u32 type, u32 ahead, u32 aligned, u64 seed, u32 site, u32 step, u32 threshold, f32 kept_scale,      \
        u32 first_row
#define MAKE_INPUTS                                                                                                    \
    Inputs in;                                                                                                         \
    in.table = table, in.places = (int)places, in.with_keys = with_keys != 0;                                          \
    in.rows = rows, in.heads = (int)heads, in.dim = (int)dim, in.scale = scale;                                        \
    in.type = (Type)type, in.aligned = aligned != 0, in.ahead = (int)ahead;                                            \
    in.draw = draw_of(seed, site, step, threshold, kept_scale, blockIdx.y), in.first_row = first_row;                  \
    in.query = in.columns(query, query_stride);                                                                        \
    in.key = in.columns(key, key_stride);                                                                              \
    in.value = in.columns(value, value_stride)

// Entry points. `blocks`: how many of a kernel share a processor.
#define FORWARD(name, blocks, RELATIVE, R)                                                                             \
    KERNEL(name, 128, blocks)(INPUTS, void *y, f32 *log_sum_exp) {                                                     \
        DYNAMIC_SHARED(shared);                                                                                        \
        MAKE_INPUTS;                                                                                                   \
        forward<RELATIVE, R>(in, y, log_sum_exp, pieces, *(ForwardTiles<RELATIVE> *)shared);                           \
    }
#define BACKWARD(query_name, key_name, RELATIVE)                                                                       \
    KERNEL(query_name, 128, 2)                                                                                         \
    (INPUTS, const void *y, const void *dy, const f32 *log_sum_exp, f32 *along, void *dq, u32 dq_stride) {             \
        DYNAMIC_SHARED(shared);                                                                                        \
        MAKE_INPUTS;                                                                                                   \
        backward_query<RELATIVE>(in, y, dy, log_sum_exp, along, in.columns(dq, dq_stride), pieces,                     \
                                 *(GradientTiles *)shared);                                                            \
    }                                                                                                                  \
    KERNEL(key_name, 128, 2)                                                                                           \
    (INPUTS, const void *dy, const f32 *log_sum_exp, const f32 *along, void *dk, void *dv, u32 d_stride) {             \
        DYNAMIC_SHARED(shared);                                                                                        \
        MAKE_INPUTS;                                                                                                   \
        backward_key<RELATIVE>(in, dy, log_sum_exp, along, in.columns(dk, d_stride), in.columns(dv, d_stride), pieces, \
                               *(GradientTiles *)shared);                                                              \
    }
