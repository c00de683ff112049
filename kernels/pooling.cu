// One row a sequence from its token rows, rows of length 1, and back. src/ops/pooling.rs has the definition.

#include "device.cuh"
#include "team.cuh"
#include "vector.cuh"

// In the order of Rust's `Pooling`.
enum PoolingCode : u32 { CLS, MEAN, MAX, MEAN_SQRT_LEN, WEIGHTED_MEAN, LAST_TOKEN };

// Threads that share a column of a sequence.
const int SLICES = 8;

INLINE f32 triangle(u64 count) { return (f32)(count * (count + 1) / 2); }

// N columns of `count` rows of x into y; SLICES threads sum every SLICES-th row each, and are added in order.
template <class T, int N> INLINE void pool(const T *x, u32 count, u32 mode, u32 width, T *y) {
    DYNAMIC_SHARED(memory);
    f32 *sums = (f32 *)memory;
    u32 lane = threadIdx.x % 32, slice = threadIdx.x / 32, column = (blockIdx.y * 32 + lane) * N;
    bool there = column < width;
    f32 sum[N];
#pragma unroll
    for (int n = 0; n < N; n++) sum[n] = mode == MAX ? -INFINITE : 0.0f;
    if (there && (mode == CLS || mode == LAST_TOKEN)) {
        load(x + (u64)(mode == CLS ? 0 : count - 1) * width + column, sum);
    } else if (there) {
#pragma unroll 4
        for (u32 row = slice; row < count; row += SLICES) {
            f32 next[N];
            load(x + (u64)row * width + column, next);
            f32 weight = mode == WEIGHTED_MEAN ? (f32)(row + 1) : 1.0f;
#pragma unroll
            for (int n = 0; n < N; n++)
                sum[n] = mode == MAX ? (next[n] > sum[n] ? next[n] : sum[n]) : sum[n] + weight * next[n];
        }
    }
#pragma unroll
    for (int n = 0; n < N; n++) sums[threadIdx.x * N + n] = sum[n];
    sync_block();
    if (!there || slice > 0) return;
    if (mode != CLS && mode != LAST_TOKEN) {
        f32 total = mode == MEAN            ? (f32)count
                    : mode == MEAN_SQRT_LEN ? sqrtf((f32)count)
                    : mode == WEIGHTED_MEAN ? triangle(count)
                                            : 1.0f;
#pragma unroll
        for (int n = 0; n < N; n++) {
            for (int i = 1; i < SLICES; i++) {
                f32 next = sums[(32 * i + lane) * N + n];
                sum[n] = mode == MAX ? (next > sum[n] ? next : sum[n]) : sum[n] + next;
            }
            sum[n] /= total;
        }
    }
    store(y + column, sum);
}

// Columns first … first + width of row `sequence` of y [·, stride].
#define POOLING_FORWARD(T)                                                                                             \
    KERNEL(pooling_forward_##T, 256, 4)(const T *x, const u32 *offsets, u32 mode, u32 width, T *y, u32 stride,         \
                                        u32 first) {                                                                   \
        u32 start = offsets[blockIdx.x], count = offsets[blockIdx.x + 1] - start;                                      \
        const T *rows = x + (u64)start * width;                                                                        \
        T *row = y + (u64)blockIdx.x * stride + first;                                                                 \
        if (width % 2 == 0 && stride % 2 == 0)                                                                         \
            pool<T, 2>(rows, count, mode, width, row);                                                                 \
        else                                                                                                           \
            pool<T, 1>(rows, count, mode, width, row);                                                                 \
    }
FOR_TYPES(POOLING_FORWARD)

// The first row of a sequence that has a column's largest number, for every column: at [S, width].
template <class T> INLINE void first_largest(const T *x, const u32 *offsets, u32 width, u32 *at) {
    DYNAMIC_SHARED(memory);
    f32 *values = (f32 *)memory;
    u32 *places = (u32 *)memory + 256;
    u32 lane = threadIdx.x % 32, slice = threadIdx.x / 32, column = blockIdx.y * 32 + lane;
    u32 start = offsets[blockIdx.x], count = offsets[blockIdx.x + 1] - start;
    f32 largest = -INFINITE;
    u32 place = 0;
    if (column < width) {
#pragma unroll 4
        for (u32 row = slice; row < count; row += SLICES) {
            f32 next = to_f32(x[(u64)(start + row) * width + column]);
            if (next > largest) {
                largest = next;
                place = row;
            }
        }
    }
    values[threadIdx.x] = largest;
    places[threadIdx.x] = place;
    sync_block();
    if (column >= width || slice > 0) return;
    for (int i = 1; i < SLICES; i++) {
        f32 next = values[32 * i + lane];
        u32 other = places[32 * i + lane];
        if (next > largest || (next == largest && other < place)) {
            largest = next;
            place = other;
        }
    }
    at[(u64)blockIdx.x * width + column] = place;
}

// d y / d x of the token at `place` of `count`, one number for all columns; of the maximum, 0 here.
INLINE f32 factor_of(u32 mode, u32 place, u32 count) {
    switch (mode) {
    case CLS: return place == 0 ? 1.0f : 0.0f;
    case LAST_TOKEN: return place + 1 == count ? 1.0f : 0.0f;
    case MEAN: return 1.0f / (f32)count;
    case MEAN_SQRT_LEN: return 1.0f / sqrtf((f32)count);
    case WEIGHTED_MEAN: return (f32)(place + 1) / triangle(count);
    default: return 0.0f;
    }
}

// dx of a sequence (blockIdx.x), a warp a row, from dy [S, number·width]; `at` of first_largest where a mode is MAX.
template <class T>
INLINE void pool_back(const u32 *offsets, const u32 *modes, u32 number, const u32 *at, const T *dy, u32 width, T *dx) {
    u32 start = offsets[blockIdx.x], count = offsets[blockIdx.x + 1] - start, warps = blockDim.x / 32;
    const T *pooled = dy + (u64)blockIdx.x * number * width;
    for (u32 place = blockIdx.y * warps + threadIdx.x / 32; place < count; place += gridDim.y * warps) {
        for (u32 column = threadIdx.x % 32; column < width; column += 32) {
            f32 sum = 0.0f;
            for (u32 i = 0; i < number; i++) {
                f32 factor = factor_of(modes[i], place, count);
                if (factor != 0.0f) sum += factor * to_f32(pooled[(u64)i * width + column]);
            }
            if (at && at[(u64)blockIdx.x * width + column] == place)
                for (u32 i = 0; i < number; i++)
                    if (modes[i] == MAX) sum += to_f32(pooled[(u64)i * width + column]);
            dx[(u64)(start + place) * width + column] = from_f32<T>(sum);
        }
    }
}

#define POOLING_BACKWARD(T)                                                                                            \
    KERNEL(pooling_first_largest_##T, 256, 4)(const T *x, const u32 *offsets, u32 width, u32 *at) {                    \
        first_largest(x, offsets, width, at);                                                                          \
    }                                                                                                                  \
    KERNEL(pooling_backward_##T, 128, 8)(const u32 *offsets, const u32 *modes, u32 number, const u32 *at, const T *dy, \
                                         u32 width, T *dx) {                                                           \
        pool_back(offsets, modes, number, at, dy, width, dx);                                                          \
    }
FOR_TYPES(POOLING_BACKWARD)

// The least length that rows are divided by.
const f64 SHORTEST = 1e-12;

// x ← x / max(‖x‖, SHORTEST), a block a row.
template <class T> INLINE void normalize(T *x, u32 width) {
    DYNAMIC_SHARED(memory);
    T *row = x + (u64)blockIdx.x * width;
    f64 square = 0.0;
    for (u32 column = threadIdx.x; column < width; column += 256) square += (f64)to_f32(row[column]) * to_f32(row[column]);
    f64 length = fmax(sqrt(team_sum<256>(square, (f64 *)memory)), SHORTEST);
    for (u32 column = threadIdx.x; column < width; column += 256) row[column] = from_f32<T>((f32)(to_f32(row[column]) / length));
}

// dy ← (dy − ⟨dy, y⟩y)/‖x‖ with y = x/‖x‖. A row below the least length is divided by a constant.
template <class T> INLINE void normalize_back(const T *x, T *dy, u32 width) {
    DYNAMIC_SHARED(memory);
    f64 *place = (f64 *)memory;
    const T *row = x + (u64)blockIdx.x * width;
    T *gradient = dy + (u64)blockIdx.x * width;
    f64 square = 0.0, along = 0.0;
    for (u32 column = threadIdx.x; column < width; column += 256) {
        f64 value = to_f32(row[column]);
        square += value * value;
        along += value * to_f32(gradient[column]);
    }
    square = team_sum<256>(square, place);
    along = team_sum<256>(along, place + 8);
    f64 length = sqrt(square);
    along = length < SHORTEST ? 0.0 : along / square;
    length = fmax(length, SHORTEST);
    for (u32 column = threadIdx.x; column < width; column += 256)
        gradient[column] = from_f32<T>((f32)((to_f32(gradient[column]) - along * to_f32(row[column])) / length));
}

#define NORMALIZE(T)                                                                                                   \
    KERNEL(normalize_forward_##T, 256, 4)(T *x, u32 width) { normalize(x, width); }                                    \
    KERNEL(normalize_backward_##T, 256, 4)(const T *x, T *dy, u32 width) { normalize_back(x, dy, width); }
FOR_TYPES(NORMALIZE)
