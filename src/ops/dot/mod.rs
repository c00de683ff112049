//! Products of groups of numbers (see [`crate::simd::dot`]): the register tile, how its factors lie, and f32 made narrow.

pub mod numbers;
pub mod tile;
pub mod turn;
