//! BERT.

pub mod config;
mod keys;
