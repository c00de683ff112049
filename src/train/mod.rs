//! Learning: examples and labels, losses, what trains, the optimizer, schedules, metrics, checkpoints.

pub mod batches;
pub mod closed_form;
pub mod corpus;
pub mod encode;
pub mod examples;
pub mod feed;
pub mod files;
pub mod fit;
pub mod labels;
pub mod learner;
pub mod losses;
pub mod memory;
pub mod metrics;
pub mod objective;
pub mod optimizer;
pub mod prefix;
pub mod random;
pub mod schedule;
pub mod state;
pub mod stopping;
pub mod update;
