//! BERT.

pub mod config;
mod keys;
pub mod sentence;
