// The same numbers in another type, and in rows of another length.
#include "device.cuh"
#include "vector.cuh"

// `to` ← `from`, each the nearest number of its type; four a thread.
template <class To, class From> INLINE void convert(const From *from, To *to, u64 count) {
    const u64 at = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (at >= count) return;
    f32 x[4];
    load_some(from + at, count - at, x);
    store_some(to + at, count - at, x);
}

#define CONVERT(TO, FROM)                                                                                              \
    KERNEL(convert_##TO##_##FROM, 256, 8)(const FROM *from, TO *to, u64 count) { convert(from, to, count); }

CONVERT(f32, bf16)
CONVERT(f32, f16)
CONVERT(bf16, f32)
CONVERT(bf16, f16)
CONVERT(f16, f32)
CONVERT(f16, bf16)

// Rows of 16-bit numbers in longer rows: `to` [rows, wide] ← `columns` numbers of rows of `from`, then zeros. Strides
// are the distances of rows; `wide`, the stride of `to` and its start are multiples of 8. A thread writes eight
// numbers.
KERNEL(lengthen, 256, 8)(const u16 *from, u64 from_stride, u32 rows, u32 columns, u16 *to, u64 to_stride, u32 wide) {
    const u64 at = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 8, row = at / wide;
    if (row >= rows) return;
    const u32 column = (u32)(at % wide);
    from += row * from_stride;
    Words<4> words;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const u32 c = column + 2 * i, low = c < columns ? from[c] : 0, high = c + 1 < columns ? from[c + 1] : 0;
        words.word[i] = low | high << 16;
    }
    *(Words<4> *)(to + row * to_stride + column) = words;
}
