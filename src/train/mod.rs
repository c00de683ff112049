//! Learning: examples and labels, losses, what trains, the optimizer, schedules, metrics, checkpoints.

pub mod batches;
pub mod encode;
pub mod examples;
pub mod files;
pub mod labels;
pub mod metrics;
pub mod optimizer;
pub mod schedule;
pub mod state;
pub mod stopping;
