//! Activation functions.

/// The elementwise functions that HuggingFace's BERT and ALBERT know by name and that have no parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x Φ(x), with the error function.
    GeluErf,
    /// x Φ(x) clipped to [-10, 10].
    GeluErfClipped10,
    /// x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2.
    GeluTanh,
    /// x σ(1.702 x).
    QuickGelu,
    /// max(x, 0).
    Relu,
    /// max(x, 0)².
    Relu2,
    /// min(max(x, 0), 6).
    Relu6,
    /// x where x ≥ 0, else 0.01 x.
    LeakyRelu,
    /// x σ(x).
    Silu,
    /// σ(x) = 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// tanh x.
    Tanh,
    /// x tanh(ln(1 + eˣ)).
    Mish,
    /// (1 + erf((x − μ) / (σ √2))) / 2 with μ = 0.707107, σ = 0.282095.
    Laplace,
    /// x.
    Identity,
}
