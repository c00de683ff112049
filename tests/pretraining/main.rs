//! What pretraining promises: PyTorch's losses, a language that is learned, the same bytes after any interruption, and
//! errors instead of surprises.

#![allow(clippy::unwrap_used)] // a test may panic

#[cfg(feature = "cli")]
#[path = "../command/mod.rs"]
mod command;
#[path = "../oracle/mod.rs"]
mod oracle;

mod beginning;
mod fresh;
mod golden;
mod hostile;
mod interrupted;
