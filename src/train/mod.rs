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

#[cfg(test)]
mod tests {
    use super::learner::Learner;
    use crate::dtype::Working;
    use crate::ops::Ops;

    /// Compiles only while learning leaves open what hidden states consist of.
    #[allow(dead_code)] // being compiled is the test
    fn learns_with_hidden_states_of_any_type<D: Ops<Activation = Working>>() {
        let _ = Learner::<D>::accumulate;
        let _ = Learner::<D>::predict;
        let _ = Learner::<D>::features;
    }
}
