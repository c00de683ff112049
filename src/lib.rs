//! `cloze` opens a HuggingFace BERT folder through mmap and answers from it.
//!
//! Dimensions, everywhere: T tokens, S sequences, H hidden, A heads, D = H / A, F intermediate, V vocabulary, L layers.
//!
//! Modules stand on floors. A module imports only from floors below its own, and `error`; `tests/floors.rs` reads this
//! table and fails when the code disagrees.
//!
//! | floor | modules |
//! |---|---|
//! | 0 | `error` `batch` `dtype` |
//! | 1 | `simd` `pool` `text` |
//! | 2 | `device` |
//! | 3 | `ops` `weights` |
//! | 4 | `bert` |
//! | 5 | `tasks` `train` |
//! | 6 | `engine` |
//! | 7 | `capi` |

#![deny(unsafe_code)] // allowed by name in simd, device, weights, ops' kernels and capi; forbidden below where not needed

#[forbid(unsafe_code)]
pub mod batch;
#[forbid(unsafe_code)]
pub mod dtype;
#[forbid(unsafe_code)]
pub mod error;

#[forbid(unsafe_code)]
pub mod pool;
pub mod simd;
#[forbid(unsafe_code)]
pub mod text;

pub mod device;

pub mod ops;
pub mod weights;

#[forbid(unsafe_code)]
pub mod bert;

#[forbid(unsafe_code)]
pub mod tasks;
#[forbid(unsafe_code)]
pub mod train;

#[forbid(unsafe_code)]
pub mod engine;

pub mod capi;
