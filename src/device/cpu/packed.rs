//! Weights rearranged for products.

use std::sync::Arc;

use super::{Cpu, CpuBuffer};
use crate::device::Device;
use crate::error::Result;
use crate::simd::dot::{as_groups, as_groups_mut};

/// What numbers the weights of the encoder are multiplied as. Sums, and everything else, are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// As they are.
    #[default]
    F32,
    /// bf16, and what they are multiplied with too.
    Bf16,
    /// 8 bits: weights with a scale for every output, what they are multiplied with a scale and a zero point for every
    /// row, found anew in every call.
    Int8,
}

/// How the CPU keeps a model's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Memory {
    /// Weights of the encoder that are used a second time are rearranged for products, and the pages of the mapped file
    /// that hold them given back to the system.
    #[default]
    Fast,
    /// f32 weights stay in the mapped file, whose pages all processes share. bf16 and 8-bit ones are rearranged all the
    /// same: they are other numbers than the file's.
    Least,
}

/// Groups of 32 bits, each an f32, two bf16 or four 8-bit numbers, aligned to a cache line.
pub struct Groups(CpuBuffer<f32>);

impl Groups {
    /// `count` groups in memory of their own: zeros.
    pub fn lasting(count: usize) -> Result<Self> {
        CpuBuffer::fresh(count).map(Self)
    }

    /// `count` groups for a while: of any value.
    pub fn passing(cpu: &Cpu, count: usize) -> Result<Self> {
        cpu.alloc(count).map(Self)
    }

    /// The groups.
    pub fn as_slice(&self) -> &[u32] {
        as_groups(self.0.as_slice())
    }

    /// The groups, to write.
    pub fn as_mut_slice(&mut self) -> Result<&mut [u32]> {
        self.0.as_mut_slice().map(as_groups_mut)
    }
}

/// A weight matrix `[N, K]` as panels of neighbouring outputs: `groups[panel][k][output]`, where k counts groups of the
/// depth and the last panel is filled up with zeros.
pub struct Packed {
    /// What the groups hold.
    pub arithmetic: Arithmetic,
    /// N and K
    pub shape: (usize, usize),
    /// Outputs of a panel.
    pub width: usize,
    /// The panels of this weight and of others that are packed with it: small ones get large pages in company only.
    pub groups: Arc<Groups>,
    /// Of `groups`, the first of this weight.
    pub first: usize,
    /// Of every output, in 8 bits: what its integers are multiples of; and their sum.
    pub scales: Vec<f32>,
    /// See `scales`.
    pub sums: Vec<i32>,
}

impl Packed {
    /// Groups of the depth.
    pub fn depth(&self) -> usize {
        self.shape.1.div_ceil(self.arithmetic.numbers())
    }

    /// The groups of one panel.
    #[inline(always)]
    pub fn panel(&self, index: usize) -> &[u32] {
        let length = self.depth() * self.width;
        &self.groups.as_slice()[self.first + index * length..][..length]
    }
}

impl Arithmetic {
    /// Numbers of a group.
    pub const fn numbers(self) -> usize {
        match self {
            Arithmetic::F32 => 1,
            Arithmetic::Bf16 => 2,
            Arithmetic::Int8 => 4,
        }
    }
}
