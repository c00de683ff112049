//! The CUDA device, on an emulated GPU, or on a real one where `CLOZE_TEST_CUDA=1`: every operation gives what the CPU
//! gives.

#![cfg(all(feature = "cuda", target_os = "linux"))]
#![allow(clippy::unwrap_used)] // a test may panic

#[path = "../oracle/mod.rs"]
mod oracle;

#[macro_use] // before the tests that use its macros
mod harness;

mod attention;
mod driver;
mod embedding;
mod emulated;
mod emulation;
mod engine;
mod layer_norm;
mod linear;
mod losses;
mod optimizer;
mod pointwise;
mod pooling;
mod ptx;

/// A family's PTX as the library keeps it.
fn deflated(ptx: &str) -> &'static [u8] {
    miniz_oxide::deflate::compress_to_vec(ptx.as_bytes(), 1).leak()
}

/// The repository: where cargo runs the tests, or `CARGO_MANIFEST_DIR` says it is.
fn repository() -> std::path::PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).into()
}
