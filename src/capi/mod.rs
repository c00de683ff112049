//! The C ABI: `include/cloze.h` in Rust, one file a topic of the header.
//!
//! The header is the contract and the manual; this module conforms to it and `tests/abi.rs` proves that it does.
//! Everything public has its name, its layout and its documentation there.
//!
//! # The language of pointers
//!
//! What every `// SAFETY:` comment here rests on, once. The caller of a C function promises, by the header, that every
//! pointer is NULL or valid for its purpose: a handle came from its constructor and has not been closed; a pointer to
//! const points to what its type says, initialised; a pointer with a count points to that many elements; a pointer to an
//! output points to memory for one value, or for `capacity` elements, that no other thread touches meanwhile. Text that
//! ends with NUL does end. "The header's promise" below means these. What can be checked is checked before use: NULL,
//! alignment, sizes that no memory has.

#![allow(unsafe_code)]
#![allow(non_camel_case_types)] // the names are those of C
#![allow(missing_docs, clippy::missing_safety_doc)] // cloze.h documents every item
#![allow(clippy::too_many_arguments)] // C has no other way to return several things

mod guard;
mod inputs;
mod options;
mod outputs;

mod cancel;
mod classify;
mod corpus;
mod dataset;
mod device;
mod embed;
mod evaluate;
mod fill;
mod generate;
mod learned;
mod model;
mod pairs;
mod score;
mod solve;
mod status;
mod steps;
mod tag;
mod tokens;
mod train;
mod trainer;
mod version;

pub use cancel::*;
pub use classify::*;
pub use corpus::*;
pub use dataset::*;
pub use device::*;
pub use embed::*;
pub use evaluate::*;
pub use fill::*;
pub use generate::*;
pub use inputs::*;
pub use learned::*;
pub use model::*;
pub use options::{CLOZE_TEXT_PLAIN, CLOZE_TEXT_REFUSE, CLOZE_TEXT_TRUNCATE, cloze_call_options};
pub use pairs::*;
pub use score::*;
pub use solve::*;
pub use status::*;
pub use steps::*;
pub use tag::*;
pub use tokens::*;
pub use train::*;
pub use trainer::*;
pub use version::*;

#[cfg(panic = "abort")]
compile_error!("the C ABI turns panics into CLOZE_INTERNAL, which needs panic = \"unwind\"");
