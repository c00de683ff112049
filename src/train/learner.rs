//! One model that learns: its parameters, their gradients, and the pass forward and back over a batch.

use crate::batch::{Batch, Selection};
use crate::bert::{Bert, Gradients, HeadPart, Keep, Noise, Scope, Start};
use crate::device::{Hidden, Tensor};
use crate::error::{Error, Result, Status};
use crate::ops::cross_entropy::Outcome;
use crate::ops::{Ops, gather};

use super::encode::Item;
use super::losses::{Losses, Tally};
use super::objective::{Aim, Objective, Weighing};
use super::prefix::PrefixCache;

/// How the passes over a batch are cut and what they keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// Most tokens that pass the model at once; a longer sequence passes alone.
    pub tokens: usize,
    /// What a forward keeps for its backward.
    pub keep: Keep,
}

/// How frozen layers run while others train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// As in answering: without dropout, once an example.
    Cached,
    /// With dropout, in every epoch, as HuggingFace's `model.train()` does.
    Noisy,
}

/// A model that learns.
pub struct Learner<D: Ops> {
    bert: Bert<D>,
    scope: Scope,
    gradients: Gradients<D>,
    objective: Objective,
    weighing: Weighing,
    passes: Passes,
    frozen: Frozen,
    /// First of the L steps that trains.
    lowest: usize,
}

/// Sequences of a batch that pass the model together.
struct Part<'a> {
    batch: Batch,
    rows: Selection,
    items: Vec<&'a Item>,
    examples: Vec<usize>,
    /// Rows of the whole batch before this part.
    first_row: usize,
}

/// Losses of a batch are divided by these, of all its parts together.
#[derive(Clone, Copy)]
struct Divisors {
    dense: f64,
    words: f64,
}

/// What a model says about examples.
pub struct Predictions {
    /// For each example, the rows of its dense head or, of masked words, nothing.
    pub logits: Vec<Vec<f32>>,
    /// Mean loss, and the sums it comes from.
    pub losses: Losses,
}

impl<D: Ops> Learner<D> {
    /// A learner of `scope` for `objective`; takes copies of what trains.
    pub fn new(
        device: &D,
        mut bert: Bert<D>,
        scope: Scope,
        objective: Objective,
        weighing: Weighing,
        passes: Passes,
        frozen: Frozen,
    ) -> Result<Self> {
        bert.own(device, &scope)?;
        let gradients = Gradients::zeros(device, &bert, &scope)?;
        let lowest = gradients.encoder.lowest(bert.encoder().schedule());
        Ok(Self { bert, scope, gradients, objective, weighing, passes, frozen, lowest })
    }

    /// The model as it is now.
    pub fn bert(&self) -> &Bert<D> {
        &self.bert
    }

    /// What trains.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// How the passes over a batch are cut.
    pub fn passes(&self) -> Passes {
        self.passes
    }

    /// Cuts the passes over a batch anew.
    pub fn set_passes(&mut self, passes: Passes) {
        self.passes = passes;
    }

    /// First of the L steps that trains; L where only heads do.
    pub fn lowest(&self) -> usize {
        self.lowest
    }

    /// What is learned.
    pub fn objective(&self) -> Objective {
        self.objective
    }

    /// Whether nothing of the encoder trains.
    pub fn is_head_only(&self) -> bool {
        !self.scope.embeddings && self.lowest == self.bert.encoder().layers()
    }

    /// Parameters and gradients, tensor by tensor in one order.
    pub fn pairs_mut(&mut self) -> Result<Vec<(&mut Tensor<D>, &mut Tensor<D>)>> {
        let parameters = self.bert.tensors_mut(&self.scope)?;
        let gradients = self.gradients.tensors_mut()?;
        if parameters.len() != gradients.len() {
            let (p, g) = (parameters.len(), gradients.len());
            return Err(Error::internal(format!("{p} parameters and {g} gradients")));
        }
        Ok(parameters.into_iter().zip(gradients).collect())
    }

    /// Sets all gradients to zero.
    pub fn clear_gradients(&mut self, device: &D) -> Result<()> {
        self.gradients.tensors_mut()?.into_iter().try_for_each(|gradient| gradient.clear(device))
    }

    /// Adds the gradients of the mean loss over `items`, and returns that loss and what it comes from. `examples` are the items' numbers in
    /// `cache`. `noise` is the dropout of this step; none to learn without.
    ///
    /// Fails with `NotFinite` when the loss is no finite number; gradients then hold what they may.
    pub fn accumulate(
        &mut self,
        device: &D,
        items: &[&Item],
        examples: &[usize],
        cache: &mut PrefixCache,
        noise: Option<&Noise>,
    ) -> Result<Losses> {
        let divisors = self.divisors(items)?;
        let mut losses = Losses::default();
        for part in self.parts(items, examples)? {
            let noise = noise.map(|noise| Noise { first_row: noise.first_row + part.first_row, ..*noise });
            losses.add(device.enter(|| self.pass(device, &part, divisors, cache, noise.as_ref()))?);
        }
        let loss = losses.loss;
        if !loss.is_finite() {
            return Err(Error::new(Status::NotFinite, format!("the loss is {loss}, expected a finite number")));
        }
        Ok(losses)
    }

    /// What the model says about `items`, without dropout, and the mean loss.
    pub fn predict(
        &self,
        device: &D,
        items: &[&Item],
        examples: &[usize],
        cache: &mut PrefixCache,
    ) -> Result<Predictions> {
        let divisors = self.divisors(items)?;
        let mut predictions = Predictions { logits: Vec::with_capacity(items.len()), losses: Losses::default() };
        for part in self.parts(items, examples)? {
            device.enter(|| self.answer(device, &part, divisors, cache, &mut predictions))?;
        }
        Ok(predictions)
    }

    /// Rows `[R, H]` that the dense head reads of `items`, without dropout, and what it is compared with: part by part, in
    /// order.
    pub fn features(
        &self,
        device: &D,
        items: &[&Item],
        visit: &mut dyn FnMut(&[f32], &Aim) -> Result<()>,
    ) -> Result<()> {
        let Some(head) = self.objective.dense_head() else {
            return Err(Error::internal(format!("{:?} has no dense head", self.objective)));
        };
        for part in self.parts(items, &vec![0; items.len()])? {
            let values = device.enter(|| {
                let mut x = self.bert.encoder().forward(device, &part.batch, &part.rows)?;
                if head.is_pooled() {
                    x = self.bert.pool_saving(device, x, &[], None)?.0;
                }
                x.to_values(device)
            })?;
            visit(&values, &Aim::dense(self.objective, &part.items)?)?;
        }
        Ok(())
    }

    /// One part of a batch forward and back.
    fn pass(
        &mut self,
        device: &D,
        part: &Part<'_>,
        divisors: Divisors,
        cache: &mut PrefixCache,
        noise: Option<&Noise>,
    ) -> Result<Losses> {
        let (batch, rows) = (&part.batch, &part.rows);
        let layers = self.bert.encoder().layers();
        let (hidden, trace) = if self.is_head_only() && (self.frozen == Frozen::Cached || noise.is_none()) {
            (cache.states(device, self.bert.encoder(), batch, rows, layers, &part.examples)?, None)
        } else {
            let start = self.start(device, part, cache, noise)?;
            let encoder = self.bert.encoder();
            let (x, trace) =
                encoder.forward_saving(device, batch, rows, start, self.lowest, noise, self.passes.keep)?;
            (x, Some(trace))
        };
        let (losses, d) = self.heads(device, part, hidden, divisors, noise)?;
        if let (Some(trace), false) = (trace, self.is_head_only()) {
            let encoder = self.bert.encoder();
            encoder.backward(device, batch, rows, noise, trace, d, &mut self.gradients.encoder)?;
        }
        Ok(losses)
    }

    fn start(&self, device: &D, part: &Part<'_>, cache: &mut PrefixCache, noise: Option<&Noise>) -> Result<Start<D>> {
        if self.scope.embeddings || (self.frozen == Frozen::Noisy && noise.is_some()) {
            return Ok(Start::Embeddings);
        }
        let all = Selection::all(&part.batch);
        let states = cache.states(device, self.bert.encoder(), &part.batch, &all, self.lowest, &part.examples)?;
        Ok(Start::Hidden(self.lowest, states))
    }

    /// Losses of the heads over the final hidden states `[R, H]`, and the gradient of those.
    fn heads(
        &mut self,
        device: &D,
        part: &Part<'_>,
        hidden: Hidden<D>,
        divisors: Divisors,
        noise: Option<&Noise>,
    ) -> Result<(Losses, Hidden<D>)> {
        let Some(head) = self.objective.dense_head() else {
            return self.words(device, part, hidden, divisors);
        };
        if self.objective != Objective::Pretraining {
            return self.dense(device, head, part, hidden, part.rows.rows(), divisors, noise);
        }
        let (first, words) = Self::pretraining_rows(part);
        let pick = |rows: &[usize]| {
            let mut picked = Tensor::new(device, 0, 0)?;
            gather::forward(device, &hidden, rows, &mut picked)?;
            Ok::<_, Error>(picked)
        };
        let mut d = Tensor::zeros(device, hidden.rows(), hidden.cols())?;
        let starts = Selection::first(&part.batch);
        let (mut losses, d_first) = self.dense(device, head, part, pick(&first)?, starts.rows(), divisors, noise)?;
        gather::backward(device, &d_first, &first, crate::ops::Accumulate(&mut d))?;
        let (masked, d_words) = self.words(device, part, pick(&words)?, divisors)?;
        gather::backward(device, &d_words, &words, crate::ops::Accumulate(&mut d))?;
        losses.add(masked);
        Ok((losses, d))
    }

    #[allow(clippy::too_many_arguments)] // a head, its rows and their numbers, its loss and its dropout
    fn dense(
        &mut self,
        device: &D,
        head: HeadPart,
        part: &Part<'_>,
        hidden: Hidden<D>,
        numbers: &[usize],
        divisors: Divisors,
        noise: Option<&Noise>,
    ) -> Result<(Losses, Hidden<D>)> {
        let Self { bert, gradients, weighing, objective, .. } = self;
        let (x, pooled) = match head.is_pooled() {
            true => bert.pool_saving(device, hidden, numbers, noise).map(|(x, trace)| (x, Some(trace)))?,
            false => (hidden, None),
        };
        let (logits, trace) = bert.head_saving(device, head, x, numbers, noise)?;
        let mut dlogits = Tensor::new(device, 0, 0)?;
        let aim = Aim::dense(*objective, &part.items)?;
        let scale = inverse(divisors.dense);
        let outcome = aim.loss(device, &logits, weighing, scale as f32, &mut dlogits)?;
        let losses = Losses { loss: outcome.loss * scale, next: next(*objective, &outcome, part), ..Losses::default() };
        let d = bert.head_backward(device, head, &trace, &dlogits, numbers, noise, gradients)?;
        let d = match pooled {
            Some(trace) => bert.pool_backward(device, &trace, d, numbers, noise, gradients)?,
            None => d,
        };
        Ok((losses, d))
    }

    fn words(
        &mut self,
        device: &D,
        part: &Part<'_>,
        hidden: Hidden<D>,
        divisors: Divisors,
    ) -> Result<(Losses, Hidden<D>)> {
        let scale = inverse(divisors.words);
        let words = super::objective::words(&part.items);
        let learn = Some((scale as f32, &mut self.gradients));
        let (outcome, d) = self.bert.masked_lm_loss(device, hidden, &words, learn)?;
        let words = tally(&outcome, words.len());
        let d = d.ok_or_else(|| Error::internal("masked words without a gradient"))?;
        Ok((Losses { loss: outcome.loss * scale, words, ..Losses::default() }, d))
    }

    /// Logits and loss of one part.
    fn answer(
        &self,
        device: &D,
        part: &Part<'_>,
        divisors: Divisors,
        cache: &mut PrefixCache,
        into: &mut Predictions,
    ) -> Result<()> {
        let (batch, rows, encoder) = (&part.batch, &part.rows, self.bert.encoder());
        let hidden = if self.is_head_only() {
            cache.states(device, encoder, batch, rows, encoder.layers(), &part.examples)?
        } else if self.scope.embeddings {
            encoder.forward(device, batch, rows)?
        } else {
            let all = Selection::all(batch);
            let states = cache.states(device, encoder, batch, &all, self.lowest, &part.examples)?;
            encoder.continued(device, batch, rows, self.lowest, states)?
        };
        let mut gradient = Tensor::new(device, 0, 0)?;
        let (first, words) = match self.objective {
            Objective::Pretraining => Self::pretraining_rows(part),
            _ => ((0..rows.len()).collect(), (0..rows.len()).collect()),
        };
        if let Some(head) = self.objective.dense_head() {
            let mut x = Tensor::new(device, 0, 0)?;
            gather::forward(device, &hidden, &first, &mut x)?;
            if head.is_pooled() {
                x = self.bert.pool_saving(device, x, &[], None)?.0;
            }
            let logits = self.bert.head_saving(device, head, x, &[], None)?.0;
            let aim = Aim::dense(self.objective, &part.items)?;
            let outcome = aim.loss(device, &logits, &self.weighing, 0.0, &mut gradient)?;
            let next = next(self.objective, &outcome, part);
            into.losses.add(Losses { loss: outcome.loss * inverse(divisors.dense), next, ..Losses::default() });
            let values = logits.to_values(device)?;
            let per_sequence = |index: usize| match self.objective {
                Objective::Pretraining => index..index + 1,
                _ => rows.offsets()[index]..rows.offsets()[index + 1],
            };
            for index in 0..part.items.len() {
                let rows = per_sequence(index);
                into.logits.push(values[rows.start * logits.cols()..rows.end * logits.cols()].to_vec());
            }
        } else {
            into.logits.extend(part.items.iter().map(|_| Vec::new()));
        }
        if self.objective.has_words() && !words.is_empty() {
            let mut x = Tensor::new(device, 0, 0)?;
            gather::forward(device, &hidden, &words, &mut x)?;
            let words = super::objective::words(&part.items);
            let outcome = self.bert.masked_lm_loss(device, x, &words, None)?.0;
            let words = tally(&outcome, words.len());
            into.losses.add(Losses { loss: outcome.loss * inverse(divisors.words), words, ..Losses::default() });
        }
        Ok(())
    }

    /// Among the rows asked for in pretraining: the first a sequence, and those with a word to predict.
    fn pretraining_rows(part: &Part<'_>) -> (Vec<usize>, Vec<usize>) {
        let first: Vec<usize> = part.rows.offsets()[..part.items.len()].to_vec();
        let mut words = Vec::new();
        for (index, item) in part.items.iter().enumerate() {
            let own = part.rows.offsets()[index]..part.rows.offsets()[index + 1];
            let at_start = super::objective::label_at(item, 0);
            words.extend(own.skip(usize::from(!at_start)));
        }
        (first, words)
    }

    fn divisors(&self, items: &[&Item]) -> Result<Divisors> {
        let dense = match self.objective.dense_head() {
            Some(_) => Aim::dense(self.objective, items)?.divisor(&self.weighing),
            None => 0.0,
        };
        let words = match self.objective.has_words() {
            true => super::objective::words(items).len() as f64,
            false => 0.0,
        };
        Ok(Divisors { dense, words })
    }

    /// The batch in parts of at most [`Passes::tokens`] tokens, in order.
    fn parts<'a>(&self, items: &[&'a Item], examples: &[usize]) -> Result<Vec<Part<'a>>> {
        let (mut parts, mut first, mut first_row) = (Vec::new(), 0, 0);
        while first < items.len() {
            let (mut end, mut tokens) = (first, 0);
            while end < items.len() && (end == first || tokens + items[end].tokens.ids.len() <= self.passes.tokens) {
                tokens += items[end].tokens.ids.len();
                end += 1;
            }
            let chosen: Vec<&Item> = items[first..end].to_vec();
            let batch = Batch::of(chosen.iter().map(|item| &item.tokens))?;
            let rows = self.objective.rows(&batch, &chosen)?;
            parts.push(Part { batch, rows, items: chosen, examples: examples[first..end].to_vec(), first_row });
            first_row += tokens;
            first = end;
        }
        Ok(parts)
    }
}

/// Of the next-sentence head; nothing of another.
fn next(objective: Objective, outcome: &Outcome, part: &Part<'_>) -> Tally {
    match objective {
        Objective::NextSentence | Objective::Pretraining => tally(outcome, part.items.len()),
        _ => Tally::default(),
    }
}

fn tally(outcome: &Outcome, count: usize) -> Tally {
    Tally { loss: outcome.loss, correct: outcome.correct as u64, count: count as u64 }
}

/// 1/x; 0 for 0, so that a batch without labels has no loss.
fn inverse(divisor: f64) -> f64 {
    if divisor > 0.0 { 1.0 / divisor } else { 0.0 }
}
