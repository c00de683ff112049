// Sums over rows, in parts by shape, and sums of such parts: one order whatever runs first.
#include "device.cuh"
#include "vector.cuh"

const int ACROSS = 32, WARPS = 8;

// parts [blockIdx.y, columns]: sums of `part` rows of x [rows, columns]. Warps take rows in turn, lanes two columns
// each.
template <class T> INLINE void column_sums(const T *x, u32 rows, u32 columns, u32 part, f32 *parts) {
    DYNAMIC_SHARED(shared);
    f32 *sums = (f32 *)shared;
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = (blockIdx.x * ACROSS + lane) * 2;
    const u32 first = blockIdx.y * part, end = rows - first < part ? rows : first + part;
    const bool pairs = columns % 2 == 0;
    f32 sum[2] = {0.0f, 0.0f};
    if (column < columns) {
#pragma unroll 4
        for (u32 row = first + warp; row < end; row += WARPS) {
            f32 pair[2];
            const T *from = x + (u64)row * columns + column;
            if (pairs) {
                load(from, pair);
            } else {
                pair[0] = to_f32(from[0]);
                pair[1] = column + 1 < columns ? to_f32(from[1]) : 0.0f;
            }
            sum[0] += pair[0], sum[1] += pair[1];
        }
    }
    store(sums + threadIdx.x * 2, sum);
    sync_block();
    if (warp > 0) return;
    for (u32 other = 1; other < WARPS; other++) {
        f32 pair[2];
        load(sums + (other * 32 + lane) * 2, pair);
        sum[0] += pair[0], sum[1] += pair[1];
    }
    f32 *to = parts + (u64)blockIdx.y * columns + column;
    if (column < columns) to[0] = sum[0];
    if (column + 1 < columns) to[1] = sum[1];
}

#define COLUMN_SUMS(T)                                                                                                 \
    KERNEL(column_sums_##T, 256, 4)(const T *x, u32 rows, u32 columns, u32 part, f32 *parts) {                         \
        column_sums(x, rows, columns, part, parts);                                                                    \
    }
FOR_TYPES(COLUMN_SUMS)

// to[i] += Σ parts[z · stride + i], z = 0 … count − 1, where `to` are up to three arrays of n0, n1, n2 numbers one
// after another; null where the sums are not wanted.
KERNEL(add_parts, 256, 4)
(const f32 *parts, u64 stride, u32 count, f32 *to0, f32 *to1, f32 *to2, u64 n0, u64 n1, u64 n2) {
    const u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= n0 + n1 + n2) return;
    f32 *to = at < n0 ? to0 : at < n0 + n1 ? to1 : to2;
    if (!to) return;
    f32 sum = parts[at];
#pragma unroll 4
    for (u32 z = 1; z < count; z++) sum += parts[z * stride + at];
    to[at < n0 ? at : at < n0 + n1 ? at - n0 : at - n0 - n1] += sum;
}
