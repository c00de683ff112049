//! Parameters and gradients as one flat buffer: for averaging over machines, and for optimizers outside.

use super::training::Training;
use crate::device::{Device, Tensor};
use crate::engine::device::Place;
use crate::engine::save::stored_shape;
use crate::error::{Error, Result, Status};

impl<D: Place> Training<D> {
    pub fn parameter_count(&self) -> usize {
        self.parameters as usize
    }

    pub fn parameter_names(&self) -> Result<Vec<(String, Vec<usize>)>> {
        let named = self.learner.bert().tensors(self.learner.scope())?;
        Ok(named.into_iter().map(|(name, tensor)| (stored_shape(&name, tensor), name)).map(|(s, n)| (n, s)).collect())
    }

    pub fn parameters(&self) -> Result<Vec<f32>> {
        let mut flat = Vec::with_capacity(self.parameter_count());
        for (_, tensor) in self.learner.bert().tensors(self.learner.scope())? {
            flat.extend_from_slice(&tensor.host(&self.model.device)?);
        }
        Ok(flat)
    }

    pub fn set_parameters(&mut self, parameters: &[f32]) -> Result<()> {
        self.check("parameters", parameters)?;
        let mut rest = parameters;
        for (tensor, _) in self.learner.pairs_mut()? {
            rest = take(&self.model.device, rest, tensor)?;
        }
        Ok(())
    }

    pub fn gradients(&mut self) -> Result<Vec<f32>> {
        let mut flat = Vec::with_capacity(self.parameter_count());
        for (_, gradient) in self.learner.pairs_mut()? {
            flat.extend_from_slice(&gradient.host(&self.model.device)?);
        }
        Ok(flat)
    }

    pub fn gradient_buffers(&mut self) -> Result<Vec<(*mut f32, usize)>> {
        let device = self.model.device.clone();
        let place = |(_, gradient): (_, &mut Tensor<D>)| {
            let count = gradient.rows() * gradient.cols();
            Ok((device.expose(gradient.buffer_mut())?, count))
        };
        self.learner.pairs_mut()?.into_iter().map(place).collect()
    }

    pub fn set_gradients(&mut self, gradients: &[f32]) -> Result<()> {
        self.check("gradients", gradients)?;
        let mut rest = gradients;
        for (_, tensor) in self.learner.pairs_mut()? {
            rest = take(&self.model.device, rest, tensor)?;
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

/// Gives `tensor` as many of `values` as it has; what follows them.
fn take<'a, D: Device>(device: &D, values: &'a [f32], tensor: &mut Tensor<D>) -> Result<&'a [f32]> {
    let (own, rest) = values.split_at(tensor.rows() * tensor.cols());
    tensor.set(device, own)?;
    Ok(rest)
}
