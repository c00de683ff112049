// y[t] = word[id t] + type[type t] + position[place t], and the gradients of the tables.

#include "device.cuh"
#include "scatter.cuh"
#include "vector.cuh"

// Type of a table's numbers.
enum TableType : u32 { TABLE_F32, TABLE_BF16, TABLE_F16 };

// N numbers of a table from number `at` on.
template <int N> INLINE void load_table(const void *table, u32 type, u64 at, f32 (&x)[N]) {
    switch (type) {
    case TABLE_F32: load((const f32 *)table + at, x); break;
    case TABLE_BF16: load((const bf16 *)table + at, x); break;
    default: load((const f16 *)table + at, x); break;
    }
}

// Tables, the types of their numbers (two bits each, from the lowest: word, type, position), and which row of each a
// token has. There may be no position.
struct Tables {
    const void *word, *token_type, *position;
    u32 types;
    const u32 *ids, *segments, *places;
};

template <class T, int N> INLINE void embed(const Tables &tables, u32 row, u32 width, T *y) {
    u64 word = (u64)tables.ids[row] * width, segment = (u64)tables.segments[row] * width;
    u64 place = tables.position ? (u64)tables.places[row] * width : 0;
#pragma unroll 2
    for (u32 column = threadIdx.x % 32 * N; column < width; column += 32 * N) {
        f32 sum[N], next[N];
        load_table(tables.word, tables.types & 3, word + column, sum);
        load_table(tables.token_type, tables.types >> 2 & 3, segment + column, next);
#pragma unroll
        for (int i = 0; i < N; i++) sum[i] += next[i];
        if (tables.position) {
            load_table(tables.position, tables.types >> 4 & 3, place + column, next);
#pragma unroll
            for (int i = 0; i < N; i++) sum[i] += next[i];
        }
        store(y + (u64)row * width + column, sum);
    }
}

// A warp a row.
#define EMBEDDING_FORWARD(T)                                                                                           \
    KERNEL(embedding_forward_##T, 128, 8)(const void *word, const void *token_type, const void *position, u32 types,   \
                                          const u32 *ids, const u32 *segments, const u32 *places, T *y, u32 rows,      \
                                          u32 width) {                                                                 \
        Tables tables = {word, token_type, position, types, ids, segments, places};                                    \
        u32 row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;                                                   \
        if (row >= rows) return;                                                                                       \
        if (width % 4 == 0)                                                                                            \
            embed<T, 4>(tables, row, width, y);                                                                        \
        else                                                                                                           \
            embed<T, 1>(tables, row, width, y);                                                                        \
    }
FOR_TYPES(EMBEDDING_FORWARD)

// dtable[row of t] += dy[t]
#define EMBEDDING_BACKWARD(T)                                                                                          \
    KERNEL(embedding_backward_##T, 128, 4)(const T *dy, const u32 *sources, const u32 *runs, u32 width, f32 *dtable,   \
                                           f32 *parts) {                                                               \
        scatter_runs(dy, sources, runs, width, dtable, parts);                                                         \
    }
FOR_TYPES(EMBEDDING_BACKWARD)

KERNEL(embedding_backward_parts, 256, 2)(const f32 *parts, const u32 *targets, u32 width, f32 *dtable) {
    scatter_parts(parts, targets, width, dtable);
}
