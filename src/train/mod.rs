//! Learning: examples and labels, losses, what trains, the optimizer, schedules, metrics, checkpoints.

pub mod state;
