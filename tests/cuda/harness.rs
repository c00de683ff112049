//! What tests of operations are made of. A test gives both devices the same numbers and compares what they answer:
//!
//! ```text
//! #[test]
//! fn sums() {
//!     each(|gpu| {
//!         let x = rounded(gpu.working(), &values(1, 3 * 40));
//!         parity!(gpu, 2.0 * step(gpu.working()), |d| {
//!             let mut y = blank_hidden(d, 3, 40);
//!             add::forward(d, &hidden(d, &x, 3, 40), &mut y).unwrap();
//!             y.to_values(d).unwrap()
//!         });
//!     });
//! }
//! ```

#![allow(dead_code, unused_imports, unused_macros)] // what tests of some operation will need

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use cloze::device::{Cpu, Cuda, Device, Hidden, Tensor};
use cloze::dtype::{DType, Element, Number, bf16, f16};

pub use crate::emulated::{Counts, counts, schedule};
use crate::{emulated, oracle};

/// Whether a real GPU is asked for.
pub fn real() -> bool {
    std::env::var("CLOZE_TEST_CUDA").is_ok_and(|value| value == "1")
}

/// Sees to it that the library finds the driver that is meant; whether there is one.
pub fn prepared() -> bool {
    static PREPARED: OnceLock<bool> = OnceLock::new();
    *PREPARED.get_or_init(|| {
        if real() {
            return true;
        }
        let Some(path) = emulated::library() else { return false };
        set_if_unset("CLOZE_CUDA_LIBRARY", path);
        // so that what goes beyond a buffer is found
        set_if_unset("CLOZE_CUDA_EXACT", Path::new("1"));
        true
    })
}

fn set_if_unset(name: &str, value: &Path) {
    if std::env::var_os(name).is_none() {
        // SAFETY: within this process the environment is read by Rust alone, which locks, until the driver is opened.
        unsafe { std::env::set_var(name, value) };
    }
}

/// The GPU, computing hidden states in `working`; `None`, and loudly, where it cannot be emulated. A real one is the
/// same for all tests: its driver compiles kernels for each.
pub fn gpu(working: DType) -> Option<Cuda> {
    static REAL: [OnceLock<Cuda>; 3] = [const { OnceLock::new() }; 3];
    let new = || Cuda::new(0, working).unwrap_or_else(|e| panic!("{e}"));
    if real() {
        return Some(REAL[working as usize].get_or_init(new).clone());
    }
    prepared().then(new)
}

/// Runs a test for every type of hidden states.
pub fn each(test: impl Fn(&Cuda)) {
    for working in [DType::F32, DType::Bf16, DType::F16] {
        if let Some(gpu) = gpu(working) {
            test(&gpu);
        }
    }
}

/// What to compare with.
pub fn cpu() -> Cpu {
    static CPU: OnceLock<Cpu> = OnceLock::new();
    CPU.get_or_init(|| Cpu::new(1).unwrap()).clone()
}

/// Runs a test in a process of its own, with an environment of its own: what the emulated driver pretends is
/// process-wide. `test` is a closure written in the test function, which gives its name. Not on a real GPU.
#[track_caller]
pub fn in_child<F: FnOnce()>(settings: &[(&str, &str)], test: F) {
    const CHILD: &str = "CLOZE_TEST_CHILD";
    if real() || !prepared() {
        return;
    }
    // cuda::driver::no_device::{{closure}}
    let name = std::any::type_name::<F>().split_once("::").unwrap().1.trim_end_matches("::{{closure}}");
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        return test();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(CHILD, name).envs(settings.iter().copied());
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{name} with {settings:?}:\n{out}{err}");
}

/// Numbers around 0, of size 1, the same for the same seed.
pub fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..8).for_each(|_| _ = uniform());
    // the sum of six has variance 1/2
    (0..count).map(|_| ((0..6).map(|_| uniform()).sum::<f32>() - 3.0) * std::f32::consts::SQRT_2).collect()
}

/// Numbers below `end`, the same for the same seed.
pub fn numbers(seed: u64, count: usize, end: usize) -> Vec<usize> {
    values(seed, count).iter().map(|value| value.to_bits() as usize % end).collect()
}

/// The nearest numbers of a type: what a device that works in it makes of them.
pub fn rounded(working: DType, values: &[f32]) -> Vec<f32> {
    let round = |&value| match working {
        DType::F32 => value,
        DType::F16 => f16::from_f32(value).to_f32(),
        DType::Bf16 => bf16::from_f32(value).to_f32(),
    };
    values.iter().map(round).collect()
}

/// The distance of neighbours above 1: rounding is wrong by half of it.
pub fn step(working: DType) -> f32 {
    match working {
        DType::F32 => f32::EPSILON,
        DType::F16 => f32::powi(2.0, -10),
        DType::Bf16 => f32::powi(2.0, -7),
    }
}

/// Hidden states.
pub fn hidden<D: Device>(device: &D, values: &[f32], rows: usize, cols: usize) -> Hidden<D> {
    Hidden::<D>::from_values(device, values, rows, cols).unwrap()
}

/// A matrix of f32.
pub fn matrix<D: Device>(device: &D, values: &[f32], rows: usize, cols: usize) -> Tensor<D> {
    Tensor::from_host(device, values, rows, cols).unwrap()
}

/// Hidden states that are all NaN: an output that has to be overwritten.
pub fn blank_hidden<D: Device>(device: &D, rows: usize, cols: usize) -> Hidden<D> {
    hidden(device, &vec![f32::NAN; rows * cols], rows, cols)
}

/// A matrix of NaN.
pub fn blank<D: Device>(device: &D, rows: usize, cols: usize) -> Tensor<D> {
    matrix(device, &vec![f32::NAN; rows * cols], rows, cols)
}

/// What a test's body answers: numbers in one or more parts, each compared by itself.
pub trait Answer {
    fn parts(self) -> Vec<Vec<f32>>;
}

impl Answer for f32 {
    fn parts(self) -> Vec<Vec<f32>> {
        vec![vec![self]]
    }
}

impl Answer for Vec<f32> {
    fn parts(self) -> Vec<Vec<f32>> {
        vec![self]
    }
}

impl Answer for Vec<Vec<f32>> {
    fn parts(self) -> Self {
        self
    }
}

impl<A: Answer> Answer for Option<A> {
    fn parts(self) -> Vec<Vec<f32>> {
        self.map_or_else(Vec::new, Answer::parts)
    }
}

macro_rules! tuples {
    ($($name:ident)+) => {
        impl<$($name: Answer),+> Answer for ($($name,)+) {
            #[allow(non_snake_case)]
            fn parts(self) -> Vec<Vec<f32>> {
                let ($($name,)+) = self;
                [$($name.parts()),+].concat()
            }
        }
    };
}
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);

/// Fails where a number differs from the expected one by more than `tolerance` times the largest expected of its part,
/// or is not finite where the expected one is.
#[track_caller]
pub fn close(expected: &[Vec<f32>], got: &[Vec<f32>], tolerance: f32) {
    assert_eq!(expected.len(), got.len(), "parts of the answer");
    for (part, (expected, got)) in expected.iter().zip(got).enumerate() {
        assert_eq!(expected.len(), got.len(), "part {part}");
        let size = expected.iter().filter(|value| value.is_finite()).fold(0.0f32, |size, value| size.max(value.abs()));
        for (i, (&expected, &got)) in expected.iter().zip(got).enumerate() {
            let same = expected == got || (expected - got).abs() <= tolerance * size;
            let ratio = (expected - got).abs() / size;
            assert!(
                same,
                "part {part}, number {i}: expected {expected}, got {got}: {ratio:e} of {size}, > {tolerance:e}"
            );
        }
    }
}

/// Fails where the bits differ.
#[track_caller]
pub fn identical(first: &[Vec<f32>], second: &[Vec<f32>]) {
    let bits = |parts: &[Vec<f32>]| -> Vec<Vec<u32>> {
        parts.iter().map(|part| part.iter().map(|value| value.to_bits()).collect()).collect()
    };
    let (first, second) = (bits(first), bits(second));
    for (part, (first, second)) in first.iter().zip(&second).enumerate() {
        let other = first.iter().zip(second).position(|(a, b)| a != b);
        assert!(
            first.len() == second.len() && other.is_none(),
            "part {part}, number {other:?} changes from run to run"
        );
    }
}

/// `parity!(gpu, tolerance, |d| body)`: runs the body on the CPU, and three times on the GPU in different orders of
/// threads; those give the same bits, and are close to the CPU's. Its value are the GPU's numbers, by part.
macro_rules! parity {
    ($gpu:expr, $tolerance:expr, |$device:ident| $body:expr) => {{
        let expected = {
            let $device = &$crate::harness::cpu();
            $crate::harness::Answer::parts($body)
        };
        let run = |seed: u64| {
            $crate::harness::schedule(seed);
            let $device: &cloze::device::Cuda = $gpu;
            let got = $crate::harness::Answer::parts($body);
            $crate::harness::schedule(0);
            got
        };
        let got = run(1);
        $crate::harness::identical(&got, &run(2));
        $crate::harness::identical(&got, &run(3));
        $crate::harness::close(&expected, &got, $tolerance);
        got
    }};
}

/// A device's numbers, as f32.
pub fn to_host<D: Device, E: Element>(device: &D, tensor: &Tensor<D, E>) -> Vec<f32> {
    tensor.to_host(device).unwrap().into_iter().map(Number::to_f32).collect()
}

/// Says loudly that a test lacks `what`.
pub fn absent(what: &str, why: &str) {
    oracle::absent(what, why);
}
