// y = softmax(q kᵀ / √D) v on tensor cores, key tile by key tile with a running maximum and sum (Milakov & Gimelshein
// 2018; Dao et al. 2022). Exponents are in units of log 2.
#include "flash.cuh"

const f32 LN_2 = 0.6931471805599453f;

template <class T, int D> struct ForwardTiles {
    T query[TILE * D];
    T key[2][TILE * D];
    T value[2][TILE * D];
};

// 64 queries a block. Every first column, distance between rows, and D is a multiple of 8.
template <class T, int D>
INLINE void forward(const T *query, u32 query_stride, const T *key, u32 key_stride, const T *value, u32 value_stride,
                    T *y, f32 *log_sum_exp, const u32 *pieces, const u32 *rows, u32 heads, f32 scale, u32 causal,
                    const Draw &draw, u32 first_row, ForwardTiles<T, D> &tiles) {
    const Piece piece = piece_of(pieces);
    const int head = blockIdx.y, warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int count = piece.end_query - piece.first_query, length = piece.end_key - piece.first_key;
    const bool busy = warp * 16 < count;
    query += (u64)piece.first_query * query_stride + head * D;
    key += (u64)piece.first_key * key_stride + head * D;
    value += (u64)piece.first_key * value_stride + head * D;

    fetch<T, D>(tiles.query, query, query_stride, count);
    fetch<T, D>(tiles.key[0], key, key_stride, length);
    copy_commit();
    fetch<T, D>(tiles.value[0], value, value_stride, length);
    copy_commit();

    // Row numbers, and keys that are seen, of rows g and g + 8. A row without a query sees all and is not written.
    u32 numbers[2];
    int seen[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int index = warp * 16 + g + 8 * r;
        u32 row = index < count ? token_row(rows, piece.first_query + index) : 0;
        numbers[r] = first_row + row;
        seen[r] = causal && index < count ? lesser((int)(row + 1 - piece.first_key), length) : length;
    }

    f32 sums[D / 8][4] = {}, largest[2] = {-INFINITE, -INFINITE}, totals[2] = {};
    u32 q[D / 16][4];
    const f32 factor = scale * LOG2_E;
    for (int from = 0, stage = 0; from < length; from += TILE, stage ^= 1) {
        const int next = from + TILE;
        if (next < length) fetch<T, D>(tiles.key[stage ^ 1], key + (u64)next * key_stride, key_stride, length - next);
        copy_commit();
        u32 masks[2];
        if (busy && draw.threshold) kept_of_rows<8>(masks, draw, numbers[0], numbers[1], from);
        copy_wait<2>();
        sync_block();
        f32 scores[8][4];
        if (busy) {
            if (from == 0) left<T, D>(q, tiles.query, warp * 16);
            against_rows<T, D, 8>(scores, q, tiles.key[stage], 0);
            if (next > lesser(seen[0], seen[1])) {
#pragma unroll
                for (int n = 0; n < 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        if (from + 8 * n + 2 * t + (i & 1) >= seen[i >> 1]) scores[n][i] = -INFINITE;
            }
#pragma unroll
            for (int r = 0; r < 2; r++) {
                f32 most = -INFINITE;
#pragma unroll
                for (int n = 0; n < 8; n++) most = fmaxf(most, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
                most = fmaxf(most, shuffle_xor(most, 1));
                most = fmaxf(most, shuffle_xor(most, 2));
                // Finite: a query sees the first key of its sequence.
                const f32 now = fmaxf(largest[r], most * factor), shrink = exp2_fast(largest[r] - now);
                f32 total = 0.0f;
#pragma unroll
                for (int n = 0; n < 8; n++)
#pragma unroll
                    for (int c = 0; c < 2; c++) {
                        f32 weight = exp2_fast(fmaf(scores[n][2 * r + c], factor, -now));
                        scores[n][2 * r + c] = weight;
                        total += weight;
                    }
                totals[r] = fmaf(totals[r], shrink, total);
                largest[r] = now;
#pragma unroll
                for (int n = 0; n < D / 8; n++) {
                    sums[n][2 * r] *= shrink;
                    sums[n][2 * r + 1] *= shrink;
                }
            }
            if (draw.threshold) {
#pragma unroll
                for (int n = 0; n < 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        if (!(masks[i >> 1] >> (2 * n + (i & 1)) & 1)) scores[n][i] = 0.0f;
            }
        }
        // Since the last tile's values were read, every warp has passed the barrier above.
        if (next < length)
            fetch<T, D>(tiles.value[stage ^ 1], value + (u64)next * value_stride, value_stride, length - next);
        copy_commit();
        copy_wait<2>();
        sync_block();
        if (busy) onto_columns<T, D, 8>(sums, scores, tiles.value[stage], 0);
    }
    if (!busy) return;
    f32 inverse[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        f32 total = totals[r];
        total += shuffle_xor(total, 1);
        total += shuffle_xor(total, 2);
        inverse[r] = draw.scale / total;
        int index = warp * 16 + g + 8 * r;
        if (log_sum_exp && t == 0 && index < count)
            log_sum_exp[((u64)piece.first_query + index) * heads + head] = largest[r] * LN_2 + logf(total);
    }
    y += ((u64)piece.first_query + warp * 16) * (heads * D) + head * D;
    store<T, D>(y, heads * D, count - warp * 16, sums, inverse[0], inverse[1], tiles.query, warp * 16);
}

#define INSTANCE(T, D)                                                                                                 \
    KERNEL(attention_forward_##D##_##T, 128, 4)                                                                        \
    (const T *query, u32 query_stride, const T *key, u32 key_stride, const T *value, u32 value_stride, T *y,           \
     f32 *log_sum_exp, const u32 *pieces, const u32 *rows, u32 heads, f32 scale, u32 causal, u64 seed, u32 site,       \
     u32 step, u32 threshold, f32 kept_scale, u32 first_row) {                                                         \
        DYNAMIC_SHARED(shared);                                                                                        \
        forward<T, D>(query, query_stride, key, key_stride, value, value_stride, y, log_sum_exp, pieces, rows, heads,  \
                      scale, causal, draw_of(seed, site, step, threshold, kept_scale, blockIdx.y), first_row,          \
                      *(ForwardTiles<T, D> *)shared);                                                                  \
    }

INSTANCE(bf16, 32)
INSTANCE(bf16, 64)
INSTANCE(f16, 32)
INSTANCE(f16, 64)
