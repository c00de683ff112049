//! What the tests of every op compare with and run on.

use crate::device::Cpu;
use crate::simd::Isa;

/// Every instruction set of this machine, on one thread and on three.
pub fn cpus() -> Vec<Cpu> {
    Isa::available().into_iter().flat_map(|isa| [1, 3].map(|threads| Cpu::with_isa(threads, isa).unwrap())).collect()
}

/// `count` values in −1..1 that differ by `seed`; the same on every machine.
pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    (0..count)
        .map(|_| {
            // xorshift64*: enough to paint memory so that swapped or missing values cannot agree by luck
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Values as f64.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Fails on the first value further than `tolerance` from what is expected.
#[track_caller]
pub fn close(values: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(values.len(), expected.len());
    for (index, (&value, &expected)) in values.iter().zip(expected).enumerate() {
        let error = (f64::from(value) - expected).abs();
        assert!(error <= tolerance, "value {index} is {value}, expected {expected}: off by {error:e} > {tolerance:e}");
    }
}

/// The gradient of `f` at `x`, by central differences of four points. With steps of 1e-3 both what the formula leaves
/// out and what f64 rounds are near 1e-12 of a smooth f with values and derivatives of a few units.
pub fn gradient(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-3;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|index| {
            let centre = x[index];
            let mut at = |steps: f64| {
                x[index] = centre + steps * step;
                f(&x)
            };
            let slope = (at(-2.0) - 8.0 * at(-1.0) + 8.0 * at(1.0) - at(2.0)) / (12.0 * step);
            x[index] = centre;
            slope
        })
        .collect()
}
