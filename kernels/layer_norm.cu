// y = n·γ + β with n = (z − μ)/√(σ² + ε) of rows z = x + r, and its gradients. src/ops/layer_norm.rs has the definition.
//
// Rows of up to 1,024 numbers have a warp, those of up to 8,192 a block, as long as they consist of whole 16-byte pieces:
// a thread holds up to 32 numbers of its row in registers and reads memory once. For others there are plainer kernels.

#include "device.cuh"
#include "team.cuh"
#include "vector.cuh"

// Numbers of a row that a thread holds.
const int HELD = 32;
// Threads of a block for a row.
const int WIDE = 256;

// First column of a thread's i-th piece of N numbers.
template <int TEAM, int N> INLINE u32 column_of(int i) { return (i * TEAM + team_rank<TEAM>()) * N; }

template <class T, int TEAM>
INLINE void forward(const T *x, const T *residual, const f32 *gamma, const f32 *beta, f32 epsilon, T *y, T *normal,
                    f32 *scales, u32 rows, u32 width) {
    DYNAMIC_SHARED(memory);
    f32 *place = (f32 *)memory;
    constexpr int N = LANES<T>, PIECES = HELD / N;
    u32 row = team_row<TEAM>();
    if (row >= rows) return;
    u64 start = (u64)row * width;
    f32 z[PIECES][N] = {};
    f32 sum = 0.0f;
#pragma unroll
    for (int i = 0; i < PIECES; i++) {
        u32 column = column_of<TEAM, N>(i);
        if (column < width) {
            load(x + start + column, z[i]);
            if (residual) {
                f32 more[N];
                load(residual + start + column, more);
#pragma unroll
                for (int n = 0; n < N; n++) z[i][n] += more[n];
            }
        }
    }
#pragma unroll
    for (int i = 0; i < PIECES; i++)
#pragma unroll
        for (int n = 0; n < N; n++) sum += z[i][n];
    f32 mean = team_sum<TEAM>(sum, place) / width, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < PIECES; i++)
        if (column_of<TEAM, N>(i) < width)
#pragma unroll
            for (int n = 0; n < N; n++) {
                z[i][n] -= mean;
                squares += z[i][n] * z[i][n];
            }
    f32 scale = 1.0f / sqrtf(team_sum<TEAM>(squares, place + WIDE / 32) / width + epsilon);
    if (scales && team_rank<TEAM>() == 0) scales[row] = scale;
#pragma unroll
    for (int i = 0; i < PIECES; i++) {
        u32 column = column_of<TEAM, N>(i);
        if (column < width) {
            f32 g[N], b[N];
            load(gamma + column, g);
            load(beta + column, b);
#pragma unroll
            for (int n = 0; n < N; n++) z[i][n] *= scale;
            if (normal) store(normal + start + column, z[i]);
#pragma unroll
            for (int n = 0; n < N; n++) z[i][n] = z[i][n] * g[n] + b[n];
            store(y + start + column, z[i]);
        }
    }
}

// The same of rows of any width: a block a row, which it reads three times.
template <class T>
INLINE void forward_any(const T *x, const T *residual, const f32 *gamma, const f32 *beta, f32 epsilon, T *y, T *normal,
                        f32 *scales, u32 width) {
    DYNAMIC_SHARED(memory);
    f32 *place = (f32 *)memory;
    u64 start = (u64)blockIdx.x * width;
    auto z = [&](u32 column) {
        return residual ? to_f32(x[start + column]) + to_f32(residual[start + column]) : to_f32(x[start + column]);
    };
    f32 sum = 0.0f, squares = 0.0f;
    for (u32 column = threadIdx.x; column < width; column += WIDE) sum += z(column);
    f32 mean = team_sum<WIDE>(sum, place) / width;
    for (u32 column = threadIdx.x; column < width; column += WIDE) {
        f32 away = z(column) - mean;
        squares += away * away;
    }
    f32 scale = 1.0f / sqrtf(team_sum<WIDE>(squares, place + WIDE / 32) / width + epsilon);
    if (scales && threadIdx.x == 0) scales[blockIdx.x] = scale;
    for (u32 column = threadIdx.x; column < width; column += WIDE) {
        f32 n = (z(column) - mean) * scale;
        if (normal) normal[start + column] = from_f32<T>(n);
        y[start + column] = from_f32<T>(n * gamma[column] + beta[column]);
    }
}

#define FORWARD(T)                                                                                                     \
    KERNEL(layer_norm_forward_##T, 128, 5)(const T *x, const T *residual, const f32 *gamma, const f32 *beta,           \
                                           f32 epsilon, T *y, T *normal, f32 *scales, u32 rows, u32 width) {           \
        forward<T, 32>(x, residual, gamma, beta, epsilon, y, normal, scales, rows, width);                             \
    }                                                                                                                  \
    KERNEL(layer_norm_forward_wide_##T, 256, 2)(const T *x, const T *residual, const f32 *gamma, const f32 *beta,      \
                                                f32 epsilon, T *y, T *normal, f32 *scales, u32 rows, u32 width) {      \
        forward<T, WIDE>(x, residual, gamma, beta, epsilon, y, normal, scales, rows, width);                           \
    }                                                                                                                  \
    KERNEL(layer_norm_forward_any_##T, 256, 4)(const T *x, const T *residual, const f32 *gamma, const f32 *beta,       \
                                               f32 epsilon, T *y, T *normal, f32 *scales, u32 rows, u32 width) {       \
        forward_any(x, residual, gamma, beta, epsilon, y, normal, scales, width);                                      \
    }
FOR_TYPES(FORWARD)

// dz = (g − ⟨g⟩ − n·⟨g·n⟩)/√(σ² + ε) with g = dy·γ. Each team takes `each` rows in turn. Where there are `parts`, its
// block's sums of dy·n and of dy over those rows, for dγ and dβ, become a row [2·width] of them.
template <class T, int TEAM>
INLINE void backward(const T *normal, const f32 *scales, const f32 *gamma, const T *dy, T *dx, f32 *parts, u32 rows,
                     u32 width, u32 each) {
    DYNAMIC_SHARED(memory);
    constexpr int N = LANES<T>, PIECES = HELD / N;
    f32 *place = (f32 *)memory;
    f32 dgamma[PIECES][N] = {}, dbeta[PIECES][N] = {};
    u64 first = (u64)team_row<TEAM>() * each, end = first + each < rows ? first + each : rows;
    for (u64 row = first; row < end; row++) {
        u64 start = row * width;
        Words<4> n[PIECES], d[PIECES];
        f32 scale = scales[row], sum = 0.0f, along = 0.0f;
#pragma unroll
        for (int i = 0; i < PIECES; i++) {
            u32 column = column_of<TEAM, N>(i);
            n[i] = d[i] = Words<4>{};
            if (column < width) {
                n[i] = *(const Words<4> *)(normal + start + column);
                d[i] = *(const Words<4> *)(dy + start + column);
            }
        }
#pragma unroll
        for (int i = 0; i < PIECES; i++) {
            u32 column = column_of<TEAM, N>(i);
            if (column < width) {
                f32 x[N], y[N], g[N];
                unpack<T>(n[i], x);
                unpack<T>(d[i], y);
                load(gamma + column, g);
#pragma unroll
                for (int k = 0; k < N; k++) {
                    f32 pulled = y[k] * g[k];
                    sum += pulled;
                    along += pulled * x[k];
                    dgamma[i][k] += y[k] * x[k];
                    dbeta[i][k] += y[k];
                }
            }
        }
        f32 mean = team_sum<TEAM>(sum, place) / width;
        along = team_sum<TEAM>(along, place + WIDE / 32) / width;
#pragma unroll
        for (int i = 0; i < PIECES; i++) {
            u32 column = column_of<TEAM, N>(i);
            if (column < width) {
                f32 x[N], y[N], g[N];
                unpack<T>(n[i], x);
                unpack<T>(d[i], y);
                load(gamma + column, g);
#pragma unroll
                for (int k = 0; k < N; k++) y[k] = (y[k] * g[k] - mean - x[k] * along) * scale;
                store(dx + start + column, y);
            }
        }
    }
    if (!parts) return;
    f32 *part = parts + (u64)blockIdx.x * 2 * width;
    if constexpr (TEAM == 32) {
        // warps add to what the ones before them have, in their order
        for (u32 warp = 0; warp < blockDim.x / 32; warp++) {
            if (threadIdx.x / 32 == warp) {
#pragma unroll
                for (int i = 0; i < PIECES; i++) {
                    u32 column = column_of<TEAM, N>(i);
                    if (column < width) {
                        f32 held[2][N] = {};
                        if (warp > 0) {
                            load(place + column, held[0]);
                            load(place + width + column, held[1]);
                        }
#pragma unroll
                        for (int k = 0; k < N; k++) {
                            held[0][k] += dgamma[i][k];
                            held[1][k] += dbeta[i][k];
                        }
                        bool last = warp + 1 == blockDim.x / 32;
                        store((last ? part : place) + column, held[0]);
                        store((last ? part : place) + width + column, held[1]);
                    }
                }
            }
            sync_block();
        }
    } else {
#pragma unroll
        for (int i = 0; i < PIECES; i++) {
            u32 column = column_of<TEAM, N>(i);
            if (column < width) {
                store(part + column, dgamma[i]);
                store(part + width + column, dbeta[i]);
            }
        }
    }
}

// dz of rows of any width: a block a row, which it reads twice.
template <class T>
INLINE void backward_any(const T *normal, const f32 *scales, const f32 *gamma, const T *dy, T *dx, u32 width) {
    DYNAMIC_SHARED(memory);
    f32 *place = (f32 *)memory;
    u64 start = (u64)blockIdx.x * width;
    f32 scale = scales[blockIdx.x], sum = 0.0f, along = 0.0f;
    for (u32 column = threadIdx.x; column < width; column += WIDE) {
        f32 g = to_f32(dy[start + column]) * gamma[column];
        sum += g;
        along += g * to_f32(normal[start + column]);
    }
    f32 mean = team_sum<WIDE>(sum, place) / width;
    along = team_sum<WIDE>(along, place + WIDE / 32) / width;
    for (u32 column = threadIdx.x; column < width; column += WIDE) {
        f32 g = to_f32(dy[start + column]) * gamma[column];
        dx[start + column] = from_f32<T>((g - mean - to_f32(normal[start + column]) * along) * scale);
    }
}

// Σ dy·n and Σ dy over `each` rows a block in y: a row [2·width] of `parts`, a thread a column.
template <class T> INLINE void columns_any(const T *normal, const T *dy, f32 *parts, u32 rows, u32 width, u32 each) {
    u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    u64 first = (u64)blockIdx.y * each, end = first + each < rows ? first + each : rows;
    f32 dgamma = 0.0f, dbeta = 0.0f;
    for (u64 row = first; row < end; row++) {
        f32 d = to_f32(dy[row * width + column]);
        dgamma += d * to_f32(normal[row * width + column]);
        dbeta += d;
    }
    parts[(u64)blockIdx.y * 2 * width + column] = dgamma;
    parts[(u64)blockIdx.y * 2 * width + width + column] = dbeta;
}

#define BACKWARD(T)                                                                                                    \
    KERNEL(layer_norm_backward_##T, 128, 3)(const T *normal, const f32 *scales, const f32 *gamma, const T *dy, T *dx,  \
                                            f32 *parts, u32 rows, u32 width, u32 each) {                               \
        backward<T, 32>(normal, scales, gamma, dy, dx, parts, rows, width, each);                                      \
    }                                                                                                                  \
    KERNEL(layer_norm_backward_wide_##T, 256, 1)(const T *normal, const f32 *scales, const f32 *gamma, const T *dy,    \
                                                 T *dx, f32 *parts, u32 rows, u32 width, u32 each) {                   \
        backward<T, WIDE>(normal, scales, gamma, dy, dx, parts, rows, width, each);                                    \
    }                                                                                                                  \
    KERNEL(layer_norm_backward_any_##T, 256, 4)(const T *normal, const f32 *scales, const f32 *gamma, const T *dy,     \
                                                T *dx, u32 width) {                                                    \
        backward_any(normal, scales, gamma, dy, dx, width);                                                            \
    }                                                                                                                  \
    KERNEL(layer_norm_columns_any_##T, 256, 4)(const T *normal, const T *dy, f32 *parts, u32 rows, u32 width,          \
                                               u32 each) {                                                             \
        columns_any(normal, dy, parts, rows, width, each);                                                             \
    }
FOR_TYPES(BACKWARD)

// Adds the sums of parts [count, 2·width] to dγ and dβ, each null where it is frozen. 32 columns a block, eight threads
// each.
INLINE void add_parts(const f32 *parts, f32 *dgamma, f32 *dbeta, u32 count, u64 width) {
    DYNAMIC_SHARED(memory);
    f32 *sums = (f32 *)memory;
    u32 lane = threadIdx.x % 32, slice = threadIdx.x / 32;
    u64 column = (u64)blockIdx.x * 32 + lane;
    f32 sum = 0.0f;
    if (column < 2 * width) {
#pragma unroll 8
        for (u32 part = slice; part < count; part += 8) sum += parts[part * 2 * width + column];
    }
    sums[threadIdx.x] = sum;
    sync_block();
    if (slice == 0 && column < 2 * width) {
        for (int i = 1; i < 8; i++) sum += sums[32 * i + lane];
        f32 *target = column < width ? dgamma : dbeta;
        if (target) target[column < width ? column : column - width] += sum;
    }
}

KERNEL(layer_norm_parts, 256, 4)(const f32 *parts, f32 *dgamma, f32 *dbeta, u32 count, u32 width) {
    add_parts(parts, dgamma, dbeta, count, width);
}
