// The same numbers in another type, and in rows of another length.
#include "device.cuh"
#include "vector.cuh"

// Numbers that a thread takes.
const int COUNT = 8;

INLINE u64 first_of_thread() { return ((u64)blockIdx.x * blockDim.x + threadIdx.x) * COUNT; }

// `to` ← `from`, each the nearest number of its type.
template <class To, class From> INLINE void convert(const From *from, To *to, u64 count) {
    const u64 at = first_of_thread();
    if (at >= count) return;
    f32 x[COUNT];
#pragma unroll
    for (int half = 0; half < COUNT; half += 4) {
        f32(&four)[4] = *(f32(*)[4])(x + half);
        load_some(from + at + half, count - at > half ? count - at - half : 0, four);
        store_some(to + at + half, count - at > half ? count - at - half : 0, four);
    }
}

#define CONVERT(TO, FROM)                                                                                              \
    KERNEL(convert_##TO##_##FROM, 256, 8)(const FROM *from, TO *to, u64 count) { convert(from, to, count); }

CONVERT(f32, bf16)
CONVERT(f32, f16)
CONVERT(bf16, f32)
CONVERT(bf16, f16)
CONVERT(f16, f32)
CONVERT(f16, bf16)

// Rows of 16-bit numbers in longer rows: `to` [rows, wide] ← `columns` numbers from the start of rows of `from`, which are
// `stride` apart, then zeros. `wide` is a multiple of 8.
KERNEL(lengthen, 256, 8)(const u16 *from, u64 stride, u32 rows, u32 columns, u16 *to, u32 wide) {
    const u64 at = first_of_thread();
    if (at >= (u64)rows * wide) return;
    const u64 row = at / wide;
    const u32 column = (u32)(at % wide);
    Words<4> words;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const u32 c = column + 2 * i;
        const u32 low = c < columns ? from[row * stride + c] : 0, high = c + 1 < columns ? from[row * stride + c + 1] : 0;
        words.word[i] = low | high << 16;
    }
    *(Words<4> *)(to + at) = words;
}
