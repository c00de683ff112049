// Numbers that lie side by side, moved between memory and registers in one access.
#pragma once

#include "device.cuh"

// Numbers of type T in 16 bytes.
template <class T> constexpr int LANES = 16 / sizeof(T);

// 4·N bytes, aligned to their size.
template <int N> struct alignas(4 * N) Words {
    u32 word[N];
};

// The numbers of type T that the words hold.
template <class T, int N, int M> INLINE void unpack(const Words<N> &words, f32 (&x)[M]) {
    static_assert(M * sizeof(T) == 4 * N, "as many numbers as the words hold");
#pragma unroll
    for (int i = 0; i < N; i++) {
        if constexpr (sizeof(T) == 4) {
            x[i] = f32_of(words.word[i]);
        } else {
            T low, high;
            low.bits = (u16)words.word[i];
            high.bits = (u16)(words.word[i] >> 16);
            x[2 * i] = to_f32(low);
            x[2 * i + 1] = to_f32(high);
        }
    }
}

// N numbers; `from` is a multiple of their size.
template <class T, int N> INLINE void load(const T *from, f32 (&x)[N]) {
    if constexpr (N == 1) {
        x[0] = to_f32(*from);
    } else {
        constexpr int WORDS = N * sizeof(T) / 4;
        unpack<T>(*(const Words<WORDS> *)from, x);
    }
}

// Writes the nearest N numbers; `to` is a multiple of their size.
template <class T, int N> INLINE void store(T *to, const f32 (&x)[N]) {
    if constexpr (N == 1) {
        *to = from_f32<T>(x[0]);
    } else {
        constexpr int WORDS = N * sizeof(T) / 4;
        Words<WORDS> words;
#pragma unroll
        for (int i = 0; i < WORDS; i++) {
            if constexpr (sizeof(T) == 4)
                words.word[i] = bits_of(x[i]);
            else
                words.word[i] = pack<T>(x[2 * i], x[2 * i + 1]);
        }
        *(Words<WORDS> *)to = words;
    }
}

// The first `count` of N numbers, zeros in place of the others; all at once where there are N.
template <class T, int N> INLINE void load_some(const T *from, u64 count, f32 (&x)[N]) {
    if (count >= N) {
        load(from, x);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = i < count ? to_f32(from[i]) : 0.0f;
    }
}

// Writes the first `count` of N numbers, all at once where there are N.
template <class T, int N> INLINE void store_some(T *to, u64 count, const f32 (&x)[N]) {
    if (count >= N) {
        store(to, x);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++)
            if (i < count) to[i] = from_f32<T>(x[i]);
    }
}
