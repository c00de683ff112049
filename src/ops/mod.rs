//! Ops.

pub mod activation;
