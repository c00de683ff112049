// What happens to every number, or to every row as a whole, by itself: activations, sums, dropout, rows that move.

#include "activation.cuh"
#include "device.cuh"
#include "philox.cuh"
#include "scatter.cuh"
#include "vector.cuh"

// The first of the N numbers that this thread has of `count`.
template <int N> INLINE u64 place() { return ((u64)blockIdx.x * blockDim.x + threadIdx.x) * N; }

// y = f(x)
#define ACTIVATION_FORWARD(T)                                                                                          \
    KERNEL(activation_forward_##T, 256, 4)(const T *x, u32 code, T *y, u64 count) {                                    \
        u64 at = place<4>();                                                                                           \
        if (at >= count) return;                                                                                       \
        f32 values[4];                                                                                                 \
        load_some(x + at, count - at, values);                                                                         \
        activate(code, values);                                                                                        \
        store_some(y + at, count - at, values);                                                                        \
    }
FOR_TYPES(ACTIVATION_FORWARD)

// dy ← dy·f'(x)
#define ACTIVATION_BACKWARD(T)                                                                                         \
    KERNEL(activation_backward_##T, 256, 4)(const T *x, u32 code, T *dy, u64 count) {                                  \
        u64 at = place<4>();                                                                                           \
        if (at >= count) return;                                                                                       \
        f32 values[4], slopes[4];                                                                                      \
        load_some(x + at, count - at, values);                                                                         \
        load_some(dy + at, count - at, slopes);                                                                        \
        activate_back(code, values, slopes);                                                                           \
        store_some(dy + at, count - at, slopes);                                                                       \
    }
FOR_TYPES(ACTIVATION_BACKWARD)

// y ← y + x
#define ADD(T)                                                                                                         \
    KERNEL(add_##T, 256, 4)(const T *x, T *y, u64 count) {                                                             \
        constexpr int N = LANES<T>;                                                                                    \
        u64 at = place<N>();                                                                                           \
        if (at >= count) return;                                                                                       \
        f32 more[N], sum[N];                                                                                           \
        load_some(x + at, count - at, more);                                                                           \
        load_some(y + at, count - at, sum);                                                                            \
        for (int i = 0; i < N; i++) sum[i] += more[i];                                                                 \
        store_some(y + at, count - at, sum);                                                                           \
    }
FOR_TYPES(ADD)

// x ← x·m/(1 − p): a block a row, whose number is first_row + rows[·].
template <class T> INLINE void drop(T *x, u32 width, u32 row, const Draw &draw) {
    for (u32 group = threadIdx.x; group < (width + 3) / 4; group += blockDim.x) {
        u32 stays = kept(draw, row, group), first = 4 * group;
        f32 factors[4], values[4];
#pragma unroll
        for (int i = 0; i < 4; i++) factors[i] = stays >> i & 1 ? draw.scale : 0.0f;
        if (width % 4 == 0) {
            load(x + first, values);
#pragma unroll
            for (int i = 0; i < 4; i++) values[i] *= factors[i];
            store(x + first, values);
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (first + i < width) x[first + i] = from_f32<T>(to_f32(x[first + i]) * factors[i]);
        }
    }
}

#define DROPOUT_APPLY(T)                                                                                               \
    KERNEL(dropout_apply_##T, 256, 4)(T *x, const u32 *rows, u32 first_row, u32 width, u64 seed, u32 site, u32 step,   \
                                      u32 threshold, f32 scale) {                                                      \
        Draw draw = {{(u32)seed, (u32)(seed >> 32)}, site, step, threshold, scale};                                    \
        drop(x + (u64)blockIdx.x * width, width, first_row + rows[blockIdx.x], draw);                                  \
    }
FOR_TYPES(DROPOUT_APPLY)

// y[to r] = x[from r], a warp a row of so many units; r itself in place of a null list.
template <class Unit>
INLINE void copy_rows(const Unit *x, const u32 *from, const u32 *to, Unit *y, u32 rows, u32 units) {
    u32 row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    const Unit *source = x + (u64)(from ? from[row] : row) * units;
    Unit *target = y + (u64)(to ? to[row] : row) * units;
#pragma unroll 4
    for (u32 i = threadIdx.x % 32; i < units; i += 32) target[i] = source[i];
}

#define COPY_ROWS(BYTES, UNIT)                                                                                         \
    KERNEL(copy_rows_##BYTES, 128, 8)(const UNIT *x, const u32 *from, const u32 *to, UNIT *y, u32 rows, u32 units) {   \
        copy_rows(x, from, to, y, rows, units);                                                                        \
    }
COPY_ROWS(2, u16)
COPY_ROWS(4, u32)
COPY_ROWS(16, Words<4>)

// dx[target] += Σ dy[source]
#define GATHER_BACKWARD(T)                                                                                             \
    KERNEL(gather_backward_##T, 128, 4)(const T *dy, const u32 *sources, const u32 *runs, u32 width, T *dx,            \
                                        f32 *parts) {                                                                  \
        scatter_runs(dy, sources, runs, width, dx, parts);                                                             \
    }                                                                                                                  \
    KERNEL(gather_backward_parts_##T, 256, 2)(const f32 *parts, const u32 *targets, u32 width, T *dx) {                \
        scatter_parts(parts, targets, width, dx);                                                                      \
    }
FOR_TYPES(GATHER_BACKWARD)
