// AdamW, and the sum of squares of which the norm of gradients is made. src/ops/adam_w.rs has the definitions.

#include "device.cuh"
#include "total.cuh"
#include "vector.cuh"

// What is the same for every number.
struct Factors {
    // On every gradient.
    f32 gradient;
    // 1 − β₁, β₂ and 1 − β₂
    f32 mean, keep, square;
    // 1/√(1 − β₂ᵗ) and ε
    f32 root, epsilon;
    // 1 − ηλ and −η/(1 − β₁ᵗ)
    f32 decay, step;
};

INLINE void step(const Factors &factors, f32 gradient, f32 &mean, f32 &square, f32 &parameter) {
    f32 g = gradient * factors.gradient;
    mean = __fmaf_rn(g - mean, factors.mean, mean);
    square = __fmaf_rn(square, factors.keep, g * g * factors.square);
    f32 denominator = __fmaf_rn(sqrtf(square), factors.root, factors.epsilon);
    parameter = __fmaf_rn(mean / denominator, factors.step, parameter * factors.decay);
}

KERNEL(adam_w_step, 256, 4)(const f32 *gradient, f32 *mean, f32 *square, f32 *parameter, f32 on_gradient, f32 on_mean,
                            f32 keep, f32 on_square, f32 root, f32 epsilon, f32 decay, f32 rate, u64 count) {
    Factors factors = {on_gradient, on_mean, keep, on_square, root, epsilon, decay, rate};
    u64 at = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (at >= count) return;
    u64 rest = count - at;
    f32 g[4], m[4], v[4], p[4];
    load_some(gradient + at, rest, g);
    load_some(mean + at, rest, m);
    load_some(square + at, rest, v);
    load_some(parameter + at, rest, p);
#pragma unroll
    for (int i = 0; i < 4; i++) step(factors, g[i], m[i], v[i], p[i]);
    store_some(mean + at, rest, m);
    store_some(square + at, rest, v);
    store_some(parameter + at, rest, p);
}

// Σ x² of 4,096 numbers a block.
INLINE void squares(const f32 *x, f64 *parts, u64 count) {
    DYNAMIC_SHARED(memory);
    f64 sum = 0.0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        u64 at = (u64)blockIdx.x * 4096 + (i * 256 + threadIdx.x) * 4;
        if (at < count) {
            f32 values[4];
            load_some(x + at, count - at, values);
#pragma unroll
            for (int n = 0; n < 4; n++) sum += (f64)values[n] * (f64)values[n];
        }
    }
    sum = team_sum<256>(sum, (f64 *)memory);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

KERNEL(sum_of_squares, 256, 4)(const f32 *x, f64 *parts, u64 count) { squares(x, parts, count); }

KERNEL(squares_total, 1024, 1)(const f64 *parts, u32 count, f64 *out) { add_up(parts, count, out); }
