//! The CUDA device, on an emulated GPU, or on a real one where `CLOZE_TEST_CUDA=1`: every operation gives what the CPU
//! gives.

#![cfg(all(feature = "cuda", target_os = "linux"))]
#![allow(clippy::unwrap_used)] // a test may panic

#[path = "../oracle/mod.rs"]
mod oracle;

mod driver;
mod emulated;
mod emulation;
#[macro_use]
mod harness;
mod linear;
mod ptx;
