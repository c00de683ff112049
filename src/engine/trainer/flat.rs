//! Parameters and gradients as one flat buffer: for averaging over machines, and for optimizers outside.

use super::Trainer;
use crate::engine::save::{stored_shape, values};
use crate::error::{Error, Result, Status};

impl Trainer {
    /// Numbers that train: the length of the flat buffers.
    pub fn parameter_count(&self) -> usize {
        self.parameters as usize
    }

    /// Canonical name and shape of every tensor that trains, in the order of the flat buffers.
    pub fn parameter_names(&self) -> Result<Vec<(String, Vec<usize>)>> {
        let named = self.learner.bert().tensors(self.learner.scope())?;
        Ok(named.into_iter().map(|(name, tensor)| (stored_shape(&name, tensor), name)).map(|(s, n)| (n, s)).collect())
    }

    /// The parameters that train.
    pub fn parameters(&self) -> Result<Vec<f32>> {
        let named = self.learner.bert().tensors(self.learner.scope())?;
        Ok(named.iter().flat_map(|(_, tensor)| values(tensor)).copied().collect())
    }

    /// Replaces the parameters that train. Moments of the optimizer stay.
    ///
    /// Fails with `InvalidArgument` when there are not [`Trainer::parameter_count`] of them, `NotFinite` when one is no
    /// finite number: nothing is then replaced.
    pub fn set_parameters(&mut self, parameters: &[f32]) -> Result<()> {
        self.check("parameters", parameters)?;
        let mut rest = parameters;
        for (tensor, _) in self.learner.pairs_mut()? {
            rest = take(rest, tensor.rows() * tensor.cols(), tensor.buffer_mut().as_mut_slice()?);
        }
        Ok(())
    }

    /// The gradients accumulated since the last step: of the sum of the batches' mean losses.
    pub fn gradients(&mut self) -> Result<Vec<f32>> {
        let mut flat = Vec::with_capacity(self.parameter_count());
        for (_, gradient) in self.learner.pairs_mut()? {
            flat.extend_from_slice(values(gradient));
        }
        Ok(flat)
    }

    /// Replaces the gradients, as one batch's: the next [`Trainer::apply`] makes a step of them.
    ///
    /// Fails as [`Trainer::set_parameters`] does.
    pub fn set_gradients(&mut self, gradients: &[f32]) -> Result<()> {
        self.check("gradients", gradients)?;
        let mut rest = gradients;
        for (_, tensor) in self.learner.pairs_mut()? {
            rest = take(rest, tensor.rows() * tensor.cols(), tensor.buffer_mut().as_mut_slice()?);
        }
        self.accumulated = 1;
        Ok(())
    }

    fn check(&self, what: &str, values: &[f32]) -> Result<()> {
        let count = self.parameter_count();
        if values.len() != count {
            return Err(Error::argument(format!("{what}: {} numbers, expected {count}", values.len())));
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(Error::new(Status::NotFinite, format!("{what}: number {at} is {}", values[at]))),
            None => Ok(()),
        }
    }
}

/// Copies the first `count` of `values`; what follows them.
fn take<'a>(values: &'a [f32], count: usize, target: &mut [f32]) -> &'a [f32] {
    let (own, rest) = values.split_at(count);
    target[..count].copy_from_slice(own);
    rest
}
