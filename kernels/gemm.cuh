// What all matrix products share. C [M, N] = A B, where the depth K is summed; the passes of src/ops/linear/mod.rs are
//
//   NT   y  = f(x Wᵀ + b)     A = x [M, K]        B = W [N, K]: several, whose outputs lie side by side in C
//   NN   dx = dy W            A = dy [M, ΣK]      B = W [K, N]: several, each with its own part of the depth
//   TN   dW += dyᵀ x          A = dy [K, ΣM]      B = x [K, N]; several C, each with its own columns of A
//
// Up to three matrices share a launch; those that are not there have size 0.
#pragma once

#include "activation.cuh"
#include "device.cuh"
#include "vector.cuh"

enum Form { NT, NN, TN };

INLINE int lesser(int a, int b) { return a < b ? a : b; }
INLINE int quotient_up(int a, int b) { return (a + b - 1) / b; }

// One of up to three values.
template <class V> INLINE V pick(int which, V first, V second, V third) {
    return which == 0 ? first : which == 1 ? second : third;
}

// Which of three matrices a tile belongs to, and its number there.
struct Place {
    int matrix, tile;
};
INLINE Place place_of(int tile, int size, u32 first, u32 second) {
    const int a = quotient_up((int)first, size), b = quotient_up((int)second, size);
    Place place;
    place.matrix = tile < a ? 0 : tile < a + b ? 1 : 2;
    place.tile = tile - (place.matrix == 0 ? 0 : place.matrix == 1 ? a : a + b);
    return place;
}

// The way along the depth in steps, through up to three matrices one after another.
struct Walk {
    int sizes[3];
    int matrix, k;

    INLINE Walk(u32 first, u32 second, u32 third) {
        sizes[0] = (int)first, sizes[1] = (int)second, sizes[2] = (int)third;
        matrix = 0, k = 0;
        skip();
    }
    INLINE int size() const { return pick(matrix, sizes[0], sizes[1], sizes[2]); }
    INLINE int steps(int step) const {
        return quotient_up(sizes[0], step) + quotient_up(sizes[1], step) + quotient_up(sizes[2], step);
    }
    INLINE void advance(int step) {
        k += step;
        skip();
    }
    INLINE void skip() {
        while (matrix < 2 && k >= size()) matrix++, k = 0;
    }
};

// f of N numbers. The usual ones run side by side, the others one after another: their code is long.
template <int N> INLINE void activate_all(u32 code, f32 (&x)[N]) {
    if (code == IDENTITY) return;
    if (code == GELU_ERF) return apply<GeluErf>(x);
#pragma unroll 1
    for (int i = 0; i < N; i++) {
        f32 one[1] = {x[0]};
        activate(code, one);
#pragma unroll
        for (int j = 1; j < N; j++) x[j - 1] = x[j];
        x[N - 1] = one[0];
    }
}

// Where a product with rows of type T goes: c ← f(scale · Σ + bias), or c ← c + scale · Σ.
template <class T> struct Output {
    T *c;
    u64 stride;
    int rows, columns;
    const f32 *bias;
    f32 scale;
    u32 activation, adds;

    INLINE f32 bias_at(int column) const { return bias && column < columns ? bias[column] : 0.0f; }

    // Sums become what is stored, but for what is there already.
    template <int N> INLINE void finish(f32 (&x)[N], const f32 (&b)[N]) const {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = __fmaf_rn(scale, x[i], b[i]);
        activate_all(activation, x);
    }
};
