//! Element types that weights are stored in.

use std::fmt;

pub use half::{bf16, f16};

/// Floating-point storage types. Arithmetic is in f32 whatever the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

impl DType {
    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::Bf16 => 2,
        }
    }

    /// The name in a `config.json`.
    pub const fn long_name(self) -> &'static str {
        match self {
            DType::F32 => "float32",
            DType::F16 => "float16",
            DType::Bf16 => "bfloat16",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
        })
    }
}

/// What a weight is stored as: a file may hold more than floating-point numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// Numbers as they are.
    Float(DType),
    /// Integers from −128 to 127, and for every row of the matrix what they are multiples of.
    Int8,
}

impl Storage {
    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            Storage::Float(dtype) => dtype.size(),
            Storage::Int8 => 1,
        }
    }
}

impl From<DType> for Storage {
    fn from(dtype: DType) -> Self {
        Storage::Float(dtype)
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Storage::Float(dtype) => dtype.fmt(f),
            Storage::Int8 => f.write_str("int8"),
        }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for super::f16 {}
    impl Sealed for super::bf16 {}
    impl Sealed for super::Working {}
}

/// What a buffer holds. Sealed: every implementor is plain data for which every bit pattern of its size is a value, and
/// zero is all bits zero.
pub trait Scalar: sealed::Sealed + Copy + Default + Send + Sync + fmt::Debug + 'static {
    /// Its type on a device that computes hidden states in `working`.
    fn dtype(working: DType) -> DType;
}

impl<E: Element> Scalar for E {
    fn dtype(_: DType) -> DType {
        E::DTYPE
    }
}

/// A number in the type that a device computes hidden states in; the device knows at run time which one that is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Working(#[expect(dead_code, reason = "stands for a number in a device's memory")] f32);

impl Scalar for Working {
    fn dtype(working: DType) -> DType {
        working
    }
}

/// A number that f32 holds exactly.
pub trait Number: Copy + Default + Send + Sync + fmt::Debug + 'static {
    /// The same number.
    fn to_f32(self) -> f32;
}

/// A storage type as a Rust type: every bit pattern of `DTYPE.size()` bytes is a value.
pub trait Element: sealed::Sealed + Number {
    /// The same type as a value.
    const DTYPE: DType;
}

impl Number for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Number for f16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
}

impl Number for i8 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for f16 {
    const DTYPE: DType = DType::F16;
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;
}
