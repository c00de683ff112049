//! Heads in closed form.

use super::training::Training;
use crate::bert::HeadPart;
use crate::engine::Run;
use crate::engine::device::Place;
use crate::error::{Error, Result, Status};
use crate::ops::Ops;
use crate::train::closed_form::{self, Affine, ClosedForm, Moments, Outputs};
use crate::train::encode::Item;
use crate::train::examples::Dataset;
use crate::train::learner::Learner;
use crate::train::objective::Objective;

/// A head that was found in closed form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Solved {
    /// Rows it was found from: texts, or labelled tokens.
    pub rows: u64,
    /// λ of a ridge.
    pub lambda: Option<f64>,
    /// Mean squared error of a ridge on a target, estimated for other rows than it was found from.
    pub error: Option<f64>,
    /// Shrinkage of a discriminant.
    pub shrinkage: Option<f64>,
}

/// Examples between two reports of progress.
const REPORTED: usize = 256;

impl<D: Place> Training<D> {
    pub fn solve(&mut self, data: &Dataset, method: ClosedForm, run: Run<'_>) -> Result<Solved> {
        closed_form::available()?;
        let outputs = self.solvable(method)?;
        let device = self.model.device.cancelled_by(run.cancel);
        let items = self.encode(data)?;
        if items.is_empty() {
            return Err(Error::argument("no examples to solve for"));
        }
        self.fit_memory(&[&items], REPORTED)?;
        let moments = self.moments(&device, &items, run).map_err(|error| self.model.shared.explain(error))?;
        if let (Outputs::Classes, Some(label)) = (outputs, missing(&moments, method)) {
            let name = self.labels.get(label).map_or_else(|| label.to_string(), |name| format!("{name:?}"));
            return Err(Error::input(format!("label {name} has no example, expected at least one of each")));
        }
        let (head, solved) = match method {
            ClosedForm::Ridge { lambda } => {
                let found = closed_form::ridge(&moments, outputs, lambda)?;
                let (lambda, error) = (Some(found.lambda), Some(found.error));
                (found.head, Solved { rows: moments.rows(), lambda, error, shrinkage: None })
            }
            ClosedForm::Discriminant { shrinkage } => {
                let found = closed_form::discriminant(&moments, shrinkage)?;
                let shrinkage = Some(found.shrinkage);
                (found.head, Solved { rows: moments.rows(), lambda: None, error: None, shrinkage })
            }
        };
        put(&self.model.device, &mut self.learner, &head)?;
        Ok(solved)
    }

    /// What the outputs of the head mean, where it has a closed form.
    fn solvable(&self, method: ClosedForm) -> Result<Outputs> {
        let objective = self.options.objective;
        let outputs = match objective {
            Objective::Classify | Objective::Tag | Objective::NextSentence => Outputs::Classes,
            Objective::MultiLabel => Outputs::Switches,
            Objective::Regress => Outputs::Numbers,
            Objective::Span | Objective::MaskedLm | Objective::Pretraining | Objective::CausalLm => {
                return Err(Error::unsupported(format!(
                    "a head of {objective:?} in closed form: only classifiers, taggers, regressions and next-sentence heads \
                     have one"
                )));
            }
        };
        if matches!(method, ClosedForm::Discriminant { .. }) && outputs != Outputs::Classes {
            return Err(Error::argument(format!(
                "discriminant: {objective:?}, expected an objective of one label a row"
            )));
        }
        if !self.options.class_weights.is_empty() {
            return Err(Error::unsupported("class_weights: in closed form every example counts alike"));
        }
        if self.accumulated > 0 {
            return Err(Error::argument("gradients are accumulated: apply them before solving"));
        }
        Ok(outputs)
    }

    /// Sums over everything that the head reads of `items`.
    fn moments(&self, device: &D, items: &[Item], run: Run<'_>) -> Result<Moments> {
        let outputs = match self.options.objective.dense_head() {
            Some(HeadPart::NextSentence) => 2,
            _ => self.labels.len(),
        };
        let mut moments = Moments::new(self.learner.bert().config().hidden, outputs)?;
        let mut progress = run.progress;
        let list: Vec<&Item> = items.iter().collect();
        for (number, part) in list.chunks(REPORTED).enumerate() {
            self.learner.features(device, part, &mut |x, aim| moments.add(x, &closed_form::targets(aim, outputs)?))?;
            let done = (number * REPORTED + part.len()) as u64;
            if !progress.as_mut().is_none_or(|progress| progress(done, items.len() as u64)) {
                return Err(Error::new(Status::Cancelled, "cancelled by the progress callback"));
            }
        }
        Ok(moments)
    }
}

/// The first label without a row, which only a discriminant cannot do without.
fn missing(moments: &Moments, method: ClosedForm) -> Option<usize> {
    match method {
        ClosedForm::Ridge { .. } => None,
        ClosedForm::Discriminant { .. } => moments.totals().iter().position(|count| *count == 0.0),
    }
}

/// Puts the head in its place: weight and bias are the last two tensors that train.
fn put<D: Ops>(device: &D, learner: &mut Learner<D>, head: &Affine) -> Result<()> {
    if let Some(value) = head.weight.iter().chain(&head.bias).find(|value| !value.is_finite()) {
        return Err(Error::new(Status::NotFinite, format!("the head in closed form holds {value}")));
    }
    let mut pairs = learner.pairs_mut()?;
    let Some([.., (weight, _), (bias, _)]) = pairs.get_mut(..) else {
        return Err(Error::internal("a head without weight and bias"));
    };
    for (tensor, values) in [(weight, &head.weight), (bias, &head.bias)] {
        tensor.set(device, values)?;
    }
    Ok(())
}
