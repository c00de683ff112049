// What all kernels of attention share. src/ops/attention.rs has the definition, src/ops/attention/cuda.rs starts them.
//
// A block works on one head (blockIdx.y) of one piece (blockIdx.x) of a sequence: some of its queries, or some of its
// keys. Keys are tiled from the start of their sequence, and a query's sums run over tiles and lanes in an order that
// does not depend on its place: its answer does not depend on its company, nor on which queries are asked for together.
#pragma once

#include "device.cuh"
#include "philox.cuh"

// Queries or keys of a tile; threads of a block.
const int TILE = 64;
const int THREADS = 128;

INLINE int lesser(int a, int b) { return a < b ? a : b; }

// Part of a sequence. Rows of keys are token rows; rows of queries are those of the query matrix.
struct Piece {
    // Keys of the sequence; where only queries ahead of its end are asked for and attention is causal, up to the last.
    u32 first_key, end_key;
    // Queries.
    u32 first_query, end_query;
    // Position of the first key that is meant, or of the first query where queries lie at their positions.
    u32 start;
};

INLINE Piece piece_at(const u32 *pieces, u32 index) {
    const u32 *p = pieces + 5 * (u64)index;
    Piece piece;
    piece.first_key = p[0];
    piece.end_key = p[1];
    piece.first_query = p[2];
    piece.end_query = p[3];
    piece.start = p[4];
    return piece;
}
INLINE Piece piece_of(const u32 *pieces) { return piece_at(pieces, blockIdx.x); }

// The token row of a query. `rows` is null where queries are all token rows.
INLINE u32 token_row(const u32 *rows, u32 query) { return rows ? rows[query] : query; }

// The masks of one head at a place whose site is `site`.
INLINE Draw draw_of(u64 seed, u32 site, u32 step, u32 threshold, f32 scale, u32 head) {
    Draw draw;
    draw.key[0] = (u32)seed;
    draw.key[1] = (u32)(seed >> 32);
    draw.site = site | head << 16;
    draw.step = step;
    draw.threshold = threshold;
    draw.scale = scale;
    return draw;
}
