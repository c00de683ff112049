// f(x) and f'(x), after src/ops/activation.rs, which has the definitions.
#pragma once

#include "device.cuh"

// In the order of Rust's `Activation`.
enum ActivationCode : u32 {
    IDENTITY,
    GELU_ERF,
    GELU_ERF_CLIPPED_10,
    GELU_TANH,
    QUICK_GELU,
    RELU,
    RELU2,
    RELU6,
    LEAKY_RELU,
    SILU,
    SIGMOID,
    TANH,
    MISH,
    LAPLACE,
    HARD_SWISH,
    SQRT_SOFTPLUS,
};

INLINE f32 sigmoid(f32 x) { return 1.0f / (1.0f + expf(-x)); }

// (x·σ(v))' = σ(v) + x·σ(v)·σ(−v)·v' for v with the derivative `slope`.
INLINE f32 gated_slope(f32 x, f32 v, f32 slope) {
    f32 gate = sigmoid(v);
    return x * gate * (sigmoid(-v) * slope) + gate;
}

// Comparisons instead of fminf and fmaxf, where a NaN has to stay one.
INLINE f32 at_least(f32 x, f32 bound) { return x < bound ? bound : x; }
INLINE f32 at_most(f32 x, f32 bound) { return x > bound ? bound : x; }

struct Identity {
    static INLINE f32 value(f32 x) { return x; }
    static INLINE f32 slope(f32) { return 1.0f; }
};

struct GeluErf {
    static INLINE f32 value(f32 x) { return 0.5f * x * (1.0f + erff(0.70710678f * x)); }
    // Φ(x) + x·Φ'(x)
    static INLINE f32 slope(f32 x) {
        f32 bell = 0.39894228f * expf(-0.5f * x * x);
        return x * bell + (0.5f * erff(0.70710678f * x) + 0.5f);
    }
};

struct GeluErfClipped10 {
    static INLINE f32 value(f32 x) { return at_least(at_most(GeluErf::value(x), 10.0f), -10.0f); }
    // The bounds belong to the middle; gelu never comes near −10.
    static INLINE f32 slope(f32 x) { return GeluErf::value(x) > 10.0f ? 0.0f : GeluErf::slope(x); }
};

struct GeluTanh {
    // ½(1 + tanh u) = σ(2u); 1.5957691 = 2√(2/π)
    static INLINE f32 value(f32 x) { return x * sigmoid(1.5957691f * (0.044715f * x * x * x + x)); }
    // Beyond |x| = 20 σ is 0 or 1; the bound keeps x³ finite.
    static INLINE f32 slope(f32 x) {
        f32 near = at_least(at_most(x, 20.0f), -20.0f), square = near * near;
        f32 inner = near * (square * (1.5957691f * 0.044715f) + 1.5957691f);
        return gated_slope(near, inner, square * (1.5957691f * 3.0f * 0.044715f) + 1.5957691f);
    }
};

struct QuickGelu {
    static INLINE f32 value(f32 x) { return x * sigmoid(1.702f * x); }
    static INLINE f32 slope(f32 x) { return gated_slope(x, 1.702f * x, 1.702f); }
};

struct Relu {
    static INLINE f32 value(f32 x) { return at_least(x, 0.0f); }
    static INLINE f32 slope(f32 x) { return x > 0.0f ? 1.0f : 0.0f; }
};

struct Relu2 {
    static INLINE f32 value(f32 x) { return at_least(x, 0.0f) * at_least(x, 0.0f); }
    static INLINE f32 slope(f32 x) { return 2.0f * at_least(x, 0.0f); }
};

struct Relu6 {
    static INLINE f32 value(f32 x) { return at_most(at_least(x, 0.0f), 6.0f); }
    static INLINE f32 slope(f32 x) { return x > 0.0f && x < 6.0f ? 1.0f : 0.0f; }
};

struct LeakyRelu {
    static INLINE f32 value(f32 x) { return x > 0.0f ? x : 0.01f * x; }
    static INLINE f32 slope(f32 x) { return x > 0.0f ? 1.0f : 0.01f; }
};

struct Silu {
    static INLINE f32 value(f32 x) { return x * sigmoid(x); }
    static INLINE f32 slope(f32 x) { return gated_slope(x, x, 1.0f); }
};

struct Sigmoid {
    static INLINE f32 value(f32 x) { return sigmoid(x); }
    static INLINE f32 slope(f32 x) { return sigmoid(x) * sigmoid(-x); }
};

struct Tanh {
    static INLINE f32 value(f32 x) { return tanhf(x); }
    // 1 − tanh² x = 4 σ(2x) σ(−2x) without cancellation
    static INLINE f32 slope(f32 x) { return 4.0f * (sigmoid(2.0f * x) * sigmoid(-2.0f * x)); }
};

// tanh(ln(1 + e)) = q/(q + 2) with q = e² + 2e; beyond x = 20 the quotient is 1 and e² might overflow.
struct Mish {
    static INLINE f32 value(f32 x) {
        f32 e = expf(at_most(x, 20.0f)), q = e * (e + 2.0f);
        return x * (q / (q + 2.0f));
    }
    // With t the quotient and 1 − t² = 4(q + 1)/(q + 2)²: f' = t + x·σ(x)·(1 − t²).
    static INLINE f32 slope(f32 x) {
        f32 near = at_most(x, 20.0f), e = expf(near), q = e * (e + 2.0f), inverse = 1.0f / (q + 2.0f);
        return near * sigmoid(near) * (4.0f * (q + 1.0f) * (inverse * inverse)) + q * inverse;
    }
};

// transformers rounds μ = √½ and σ = √(1/4π) to six digits; 2.5066264 = 1/(0.282095·√2).
struct Laplace {
    static INLINE f32 argument(f32 x) { return (x - 0.707107f) * 2.5066264f; }
    static INLINE f32 value(f32 x) { return 0.5f * (1.0f + erff(argument(x))); }
    // 0.56418958 = 1/√π
    static INLINE f32 slope(f32 x) {
        f32 z = argument(x);
        return (2.5066264f * 0.56418958f) * expf(-z * z);
    }
};

struct HardSwish {
    static INLINE f32 value(f32 x) { return x * at_most(at_least(x + 3.0f, 0.0f), 6.0f) * (1.0f / 6.0f); }
    static INLINE f32 slope(f32 x) { return x > -3.0f ? (x < 3.0f ? x * (1.0f / 3.0f) + 0.5f : 1.0f) : 0.0f; }
};

// ln(1 + eˣ) without overflow: max(x, 0) + ln(1 + e^−|x|)
struct SqrtSoftplus {
    static INLINE f32 value(f32 x) { return sqrtf(at_least(x, 0.0f) + log1pf(expf(-fabsf(x)))); }
    // σ(x)/(2f(x)). Both vanish where eˣ does, and so does their quotient, like e^(x/2).
    static INLINE f32 slope(f32 x) {
        f32 small = expf(-fabsf(x)), gate = (x < 0.0f ? small : 1.0f) / (1.0f + small);
        f32 root = sqrtf(at_least(x, 0.0f) + log1pf(small));
        return root == 0.0f ? 0.0f : 0.5f * gate / root;
    }
};

// x ← f(x)
template <class F, int N> INLINE void apply(f32 (&x)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = F::value(x[i]);
}

// dy ← dy·f'(x)
template <class F, int N> INLINE void pull_back(const f32 (&x)[N], f32 (&dy)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) dy[i] *= F::slope(x[i]);
}

#define FOR_ACTIVATIONS(DO)                                                                                            \
    DO(GELU_ERF, GeluErf)                                                                                              \
    DO(GELU_ERF_CLIPPED_10, GeluErfClipped10)                                                                          \
    DO(GELU_TANH, GeluTanh)                                                                                            \
    DO(QUICK_GELU, QuickGelu)                                                                                          \
    DO(RELU, Relu)                                                                                                     \
    DO(RELU2, Relu2)                                                                                                   \
    DO(RELU6, Relu6)                                                                                                   \
    DO(LEAKY_RELU, LeakyRelu)                                                                                          \
    DO(SILU, Silu)                                                                                                     \
    DO(SIGMOID, Sigmoid)                                                                                               \
    DO(TANH, Tanh)                                                                                                     \
    DO(MISH, Mish)                                                                                                     \
    DO(LAPLACE, Laplace)                                                                                               \
    DO(HARD_SWISH, HardSwish)                                                                                          \
    DO(SQRT_SOFTPLUS, SqrtSoftplus)

// x ← f(x) for the f that `code` names.
template <int N> INLINE void activate(u32 code, f32 (&x)[N]) {
#define DO(CODE, F)                                                                                                    \
    case CODE: apply<F>(x); break;
    switch (code) { FOR_ACTIVATIONS(DO) }
#undef DO
}

// dy ← dy·f'(x) for the f that `code` names.
template <int N> INLINE void activate_back(u32 code, const f32 (&x)[N], f32 (&dy)[N]) {
#define DO(CODE, F)                                                                                                    \
    case CODE: pull_back<F>(x, dy); break;
    switch (code) { FOR_ACTIVATIONS(DO) }
#undef DO
}
