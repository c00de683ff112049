// The gradient of attention on tensor cores. Weights are computed again from the scores and lse = ln Σ e^score (Dao et
// al. 2022):
//
//   P = e^(score − lse),  d_l = dy_l · y_l
//   dv_r = Σ_l P m dy_l,  dscore = P (m dy_l · v_r − d_l),  dq_l = Σᵣ dscore k_r / √D,  dk_r = Σ_l dscore q_l / √D
//
// One kernel owns queries, the other keys: each gradient is summed in one place, in the order of tiles.
#include "flash.cuh"

// Queries and keys of a step: as many scores as registers hold beside the sums.
const int STEP = 32;

template <class T, int D> struct QueryTiles {
    T query[TILE * D];
    T dy[TILE * D];
    T key[2][TILE * D];
    T value[2][TILE * D];
};

// dq of 64 queries a block, and `along` [R, A]: d of every query and head.
template <class T, int D>
INLINE void backward_query(const T *query, u32 query_stride, const T *key, u32 key_stride, const T *value,
                           u32 value_stride, const T *y, const T *dy, const f32 *log_sum_exp, f32 *along, T *dq,
                           u32 dq_stride, const u32 *pieces, const u32 *rows, u32 heads, f32 scale, u32 causal,
                           const Draw &draw, u32 first_row, QueryTiles<T, D> &tiles) {
    const Piece piece = piece_of(pieces);
    const int head = blockIdx.y, warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int count = piece.end_query - piece.first_query, length = piece.end_key - piece.first_key;
    const bool busy = warp * 16 < count;
    const u32 hidden = heads * D;
    query += (u64)piece.first_query * query_stride + head * D;
    key += (u64)piece.first_key * key_stride + head * D;
    value += (u64)piece.first_key * value_stride + head * D;
    y += (u64)piece.first_query * hidden + head * D;
    dy += (u64)piece.first_query * hidden + head * D;

    fetch<T, D>(tiles.query, query, query_stride, count);
    fetch<T, D>(tiles.dy, dy, hidden, count);
    fetch<T, D>(tiles.key[0], key, key_stride, length);
    fetch<T, D>(tiles.value[0], value, value_stride, length);
    copy_commit();

    // Of rows g and g + 8: row number, keys that are seen, lse in units of log 2, d. A row without a query has weights
    // of 0 and is not written.
    u32 numbers[2];
    int seen[2];
    f32 shift[2], d[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int index = warp * 16 + g + 8 * r;
        const bool there = index < count;
        const u64 at = ((u64)piece.first_query + index) * heads + head;
        const u32 row = there ? token_row(rows, piece.first_query + index) : 0;
        numbers[r] = first_row + row;
        seen[r] = causal && there ? lesser((int)(row + 1 - piece.first_key), length) : length;
        shift[r] = there ? log_sum_exp[at] * LOG2_E : INFINITE;
        // Four lanes share a row.
        f32 sum = 0.0f;
        if (there) {
#pragma unroll
            for (int unit = t; unit < D / 8; unit += 4) {
                const Unit a = *(const Unit *)(y + (u64)index * hidden + unit * 8);
                const Unit b = *(const Unit *)(dy + (u64)index * hidden + unit * 8);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    f32 a_low, a_high, b_low, b_high;
                    unpack<T>(a.words[i], a_low, a_high);
                    unpack<T>(b.words[i], b_low, b_high);
                    sum += a_low * b_low;
                    sum += a_high * b_high;
                }
            }
        }
        sum += shuffle_xor(sum, 1);
        sum += shuffle_xor(sum, 2);
        d[r] = sum;
        if (there && t == 0) along[at] = sum;
    }

    f32 sums[D / 8][4] = {};
    u32 q[D / 16][4], o[D / 16][4];
    const f32 factor = scale * LOG2_E;
    for (int from = 0, stage = 0; from < length; from += TILE, stage ^= 1) {
        const int next = from + TILE;
        if (next < length) {
            fetch<T, D>(tiles.key[stage ^ 1], key + (u64)next * key_stride, key_stride, length - next);
            fetch<T, D>(tiles.value[stage ^ 1], value + (u64)next * value_stride, value_stride, length - next);
        }
        copy_commit();
        u32 masks[2] = {};
        if (busy && draw.threshold) kept_of_rows<8>(masks, draw, numbers[0], numbers[1], from);
        copy_wait<1>();
        sync_block();
        if (busy) {
            if (from == 0) {
                left<T, D>(q, tiles.query, warp * 16);
                left<T, D>(o, tiles.dy, warp * 16);
            }
#pragma unroll 1
            for (int step = 0; step < TILE; step += STEP) {
                f32 weights[STEP / 8][4], slopes[STEP / 8][4];
                against_rows<T, D, STEP / 8>(weights, q, tiles.key[stage], step);
                against_rows<T, D, STEP / 8>(slopes, o, tiles.value[stage], step);
#pragma unroll
                for (int n = 0; n < STEP / 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        const int r = i >> 1, column = step + 8 * n + 2 * t + (i & 1);
                        f32 weight = exp2_fast(fmaf(weights[n][i], factor, -shift[r]));
                        f32 slope = slopes[n][i];
                        if (draw.threshold)
                            slope = masks[r] >> (step / 4 + 2 * n + (i & 1)) & 1 ? slope * draw.scale : 0.0f;
                        slopes[n][i] = from + column < seen[r] ? weight * (slope - d[r]) : 0.0f;
                    }
                onto_columns<T, D, STEP / 8>(sums, slopes, tiles.key[stage], step);
            }
        }
        sync_block();
    }
    if (!busy) return;
    dq += ((u64)piece.first_query + warp * 16) * dq_stride + head * D;
    store<T, D>(dq, dq_stride, count - warp * 16, sums, scale, scale, tiles.query, warp * 16);
}

template <class T, int D> struct KeyTiles {
    T key[TILE * D];
    T value[TILE * D];
    T query[2][TILE * D];
    T dy[2][TILE * D];
    // Of every query of a tile: lse in units of log 2, d, position.
    f32 shift[2][TILE];
    f32 along[2][TILE];
    int position[2][TILE];
};

// Which weights stay of keys g and g + 8 of 16 from a position on that is a multiple of 16, and 64 queries: bit 4n of
// masks[2h + c] tells of key g + 8h and the query 8n + 2t + c. Four lanes need the same counters: each draws a quarter.
INLINE void kept_of_columns(u32 (&masks)[4], const Draw &draw, u32 first_number, const int *positions, u32 position) {
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, quarter = g & 3;
    const u32 group = position / 4 + 2 * (quarter >> 1) + (g >> 2);
    u32 mine = 0;
#pragma unroll 2
    for (int n = 0; n < TILE / 8; n++)
        mine |= kept(draw, first_number + positions[8 * n + 2 * t + (quarter & 1)], group) << 4 * n;
#pragma unroll
    for (int i = 0; i < 4; i++) masks[i] = shuffle(mine, (lane & 19) | i << 2) >> quarter;
}

// dk and dv of 64 keys a block, from `piece.start` of their sequence on.
template <class T, int D>
INLINE void backward_key(const T *query, u32 query_stride, const T *key, u32 key_stride, const T *value,
                         u32 value_stride, const T *dy, const f32 *log_sum_exp, const f32 *along, T *dk, T *dv,
                         u32 d_stride, const u32 *pieces, const u32 *rows, u32 heads, f32 scale, u32 causal,
                         const Draw &draw, u32 first_row, KeyTiles<T, D> &tiles) {
    const Piece piece = piece_of(pieces);
    const int head = blockIdx.y, warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int count = piece.end_query - piece.first_query, length = piece.end_key - piece.first_key - piece.start;
    const bool busy = warp * 16 < length;
    const u32 hidden = heads * D, first = piece.first_key + piece.start;
    query += (u64)piece.first_query * query_stride + head * D;
    dy += (u64)piece.first_query * hidden + head * D;

    auto fetch_queries = [&](int from, int stage) {
        fetch<T, D>(tiles.query[stage], query + (u64)from * query_stride, query_stride, count - from);
        fetch<T, D>(tiles.dy[stage], dy + (u64)from * hidden, hidden, count - from);
        const int index = threadIdx.x;
        if (index < TILE) {
            // Where there is no query, weights and slopes are 0.
            const bool there = from + index < count;
            const u32 row = piece.first_query + from + index;
            const u64 at = (u64)row * heads + head;
            tiles.shift[stage][index] = there ? log_sum_exp[at] * LOG2_E : INFINITE;
            tiles.along[stage][index] = there ? along[at] : 0.0f;
            tiles.position[stage][index] = there ? (int)(token_row(rows, row) - piece.first_key) : 0;
        }
    };
    fetch<T, D>(tiles.key, key + (u64)first * key_stride + head * D, key_stride, length);
    fetch<T, D>(tiles.value, value + (u64)first * value_stride + head * D, value_stride, length);
    if (count > 0) fetch_queries(0, 0);
    copy_commit();

    f32 sums_key[D / 8][4] = {}, sums_value[D / 8][4] = {};
    u32 k[D / 16][4];
    const f32 factor = scale * LOG2_E;
    const int position = piece.start + warp * 16;
    for (int from = 0, stage = 0; from < count; from += TILE, stage ^= 1) {
        const int next = from + TILE;
        if (next < count) fetch_queries(next, stage ^ 1);
        copy_commit();
        copy_wait<1>();
        sync_block();
        if (busy) {
            if (from == 0) {
                left<T, D>(k, tiles.key, warp * 16);
            }
            u32 masks[4] = {};
            if (draw.threshold)
                kept_of_columns(masks, draw, first_row + piece.first_key, tiles.position[stage], position);
#pragma unroll 1
            for (int step = 0; step < TILE; step += STEP) {
                f32 weights[STEP / 8][4], slopes[STEP / 8][4];
                against_rows<T, D, STEP / 8>(weights, k, tiles.query[stage], step);
                // Not kept beside the sums: registers would not suffice.
                u32 v[D / 16][4];
                left<T, D>(v, tiles.value, warp * 16);
                against_rows<T, D, STEP / 8>(slopes, v, tiles.dy[stage], step);
#pragma unroll
                for (int n = 0; n < STEP / 8; n++)
#pragma unroll
                    for (int c = 0; c < 2; c++) {
                        const int column = step + 8 * n + 2 * t + c;
                        const f32 shift = tiles.shift[stage][column], d = tiles.along[stage][column];
                        const int last = causal ? tiles.position[stage][column] - position : TILE;
#pragma unroll
                        for (int h = 0; h < 2; h++) {
                            const int i = 2 * h + c;
                            const f32 weight = exp2_fast(fmaf(weights[n][i], factor, -shift));
                            const bool seen = g + 8 * h <= last;
                            const bool stays = !draw.threshold || masks[i] >> (step / 2 + 4 * n) & 1;
                            const f32 slope = weight * ((stays ? slopes[n][i] * draw.scale : 0.0f) - d);
                            slopes[n][i] = seen ? slope : 0.0f;
                            weights[n][i] = seen && stays ? weight : 0.0f;
                        }
                    }
                onto_columns<T, D, STEP / 8>(sums_value, weights, tiles.dy[stage], step);
                onto_columns<T, D, STEP / 8>(sums_key, slopes, tiles.query[stage], step);
            }
        }
        sync_block();
    }
    // Where there is no query, the tiles that are written next are still on their way.
    copy_wait<0>();
    sync_block();
    if (!busy) return;
    const u64 at = ((u64)first + warp * 16) * d_stride + head * D;
    store<T, D>(dk + at, d_stride, length - warp * 16, sums_key, scale, scale, tiles.key, warp * 16);
    store<T, D>(dv + at, d_stride, length - warp * 16, sums_value, draw.scale, draw.scale, tiles.value, warp * 16);
}

#define INSTANCE(T, D)                                                                                                 \
    KERNEL(attention_backward_query_##D##_##T, 128, 3)                                                                 \
    (const T *query, u32 query_stride, const T *key, u32 key_stride, const T *value, u32 value_stride, const T *y,     \
     const T *dy, const f32 *log_sum_exp, f32 *along, T *dq, u32 dq_stride, const u32 *pieces, const u32 *rows,        \
     u32 heads, f32 scale, u32 causal, u64 seed, u32 site, u32 step, u32 threshold, f32 kept_scale, u32 first_row) {   \
        DYNAMIC_SHARED(shared);                                                                                        \
        backward_query<T, D>(query, query_stride, key, key_stride, value, value_stride, y, dy, log_sum_exp, along, dq, \
                             dq_stride, pieces, rows, heads, scale, causal,                                            \
                             draw_of(seed, site, step, threshold, kept_scale, blockIdx.y), first_row,                  \
                             *(QueryTiles<T, D> *)shared);                                                             \
    }                                                                                                                  \
    KERNEL(attention_backward_key_##D##_##T, 128, 3)                                                                   \
    (const T *query, u32 query_stride, const T *key, u32 key_stride, const T *value, u32 value_stride, const T *dy,    \
     const f32 *log_sum_exp, const f32 *along, T *dk, T *dv, u32 d_stride, const u32 *pieces, const u32 *rows,         \
     u32 heads, f32 scale, u32 causal, u64 seed, u32 site, u32 step, u32 threshold, f32 kept_scale, u32 first_row) {   \
        DYNAMIC_SHARED(shared);                                                                                        \
        backward_key<T, D>(query, query_stride, key, key_stride, value, value_stride, dy, log_sum_exp, along, dk, dv,  \
                           d_stride, pieces, rows, heads, scale, causal,                                               \
                           draw_of(seed, site, step, threshold, kept_scale, blockIdx.y), first_row,                    \
                           *(KeyTiles<T, D> *)shared);                                                                 \
    }

INSTANCE(bf16, 32)
INSTANCE(bf16, 64)
INSTANCE(f16, 32)
INSTANCE(f16, 64)
