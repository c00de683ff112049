//! One optimizer step over everything that trains: clipping by the global norm, then AdamW.

use crate::error::{Error, Result, Status};
use crate::ops::Ops;
use crate::ops::adam_w::{self, Moments, Step};

use super::learner::Learner;
use super::optimizer::decays;

/// What AdamW and clipping need to know, apart from the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of their squares.
    pub beta2: f32,
    /// Added to the root of the latter.
    pub epsilon: f32,
    /// Of weights; biases and layer norms do not decay.
    pub weight_decay: f32,
    /// Largest norm of all gradients together; 0 for no limit.
    pub max_norm: f32,
}

impl Default for Settings {
    /// HuggingFace's `TrainingArguments`.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, max_norm: 1.0 }
    }
}

/// AdamW over the tensors of one learner.
pub struct Optimizer<D: Ops> {
    settings: Settings,
    moments: Vec<Moments<D>>,
    /// Of each tensor.
    rates: Vec<Rate>,
    /// Steps done.
    count: u64,
}

#[derive(Clone, Copy)]
struct Rate {
    weight_decay: f32,
    /// Of the learning rate.
    factor: f32,
}

impl<D: Ops> Optimizer<D> {
    /// Moments of zero for every tensor of `learner`. `factor` tells what the learning rate of a tensor is multiplied by.
    pub fn new(device: &D, learner: &Learner<D>, settings: Settings, factor: impl Fn(&str) -> f32) -> Result<Self> {
        let named = learner.bert().tensors(learner.scope())?;
        let rate = |name: &str| Rate {
            weight_decay: if decays(name) { settings.weight_decay } else { 0.0 },
            factor: factor(name),
        };
        let rates = named.iter().map(|(name, _)| rate(name)).collect();
        let moments = named.iter().map(|(_, tensor)| Moments::new(device, tensor.rows(), tensor.cols()));
        Ok(Self { settings, moments: moments.collect::<Result<_>>()?, rates, count: 0 })
    }

    /// Steps done.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The moments, in the order of the learner's tensors.
    pub fn moments(&self) -> &[Moments<D>] {
        &self.moments
    }

    /// Puts the moments and the number of steps of an earlier training in place.
    pub fn restore(&mut self, moments: Vec<Moments<D>>, count: u64) -> Result<()> {
        let shapes = |list: &[Moments<D>]| list.iter().map(|m| m.mean.shape()).collect::<Vec<_>>();
        if shapes(&moments) != shapes(&self.moments) {
            return Err(Error::file("optimizer state: moments of other tensors than those that train"));
        }
        (self.moments, self.count) = (moments, count);
        Ok(())
    }

    /// Updates every parameter by its gradient, the mean of `accumulated` batches, and clears the gradients. Returns the
    /// norm of all gradients before clipping.
    ///
    /// Fails with `NotFinite` when that norm is no finite number; parameters are then as before, and gradients cleared.
    pub fn apply(&mut self, device: &D, learner: &mut Learner<D>, learning_rate: f32, accumulated: u32) -> Result<f64> {
        let mean = 1.0 / f64::from(accumulated.max(1));
        let pairs = learner.pairs_mut()?;
        let gradients: Vec<_> = pairs.iter().map(|(_, gradient)| &**gradient).collect();
        let norm = adam_w::sum_of_squares(device, &gradients)?.sqrt() * mean;
        if !norm.is_finite() {
            learner.clear_gradients(device)?;
            return Err(Error::new(
                Status::NotFinite,
                format!("the norm of the gradients is {norm}, expected a finite number"),
            ));
        }
        let limit = f64::from(self.settings.max_norm);
        // 1e-6 as in torch.nn.utils.clip_grad_norm_
        let clip = if limit > 0.0 { (limit / (norm + 1e-6)).min(1.0) } else { 1.0 };
        self.count += 1;
        for (((parameter, gradient), moments), rate) in
            learner.pairs_mut()?.into_iter().zip(&mut self.moments).zip(&self.rates)
        {
            let step = Step {
                learning_rate: learning_rate * rate.factor,
                beta1: self.settings.beta1,
                beta2: self.settings.beta2,
                epsilon: self.settings.epsilon,
                weight_decay: rate.weight_decay,
                count: self.count,
                gradient_scale: (clip * mean) as f32,
            };
            adam_w::step(device, &step, gradient, moments, parameter)?;
            gradient.clear(device)?;
        }
        Ok(norm)
    }
}
