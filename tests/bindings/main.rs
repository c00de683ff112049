//! What the bindings in `bindings/` rest on: the numbers that every language has to give.
//!
//! `CLOZE_BLESS=1 cargo test --features linalg --test bindings` writes anew what these tests compare with.

#![allow(clippy::unwrap_used)] // a test may panic

mod vectors;

use std::path::{Path, PathBuf};

/// A path of this repository.
fn path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Whether files that tests compare with are to be written anew.
fn bless() -> bool {
    std::env::var_os("CLOZE_BLESS").is_some()
}
