//! A model that learns: adapted on the spot, evaluated, saved, or handed out as a new model while it goes on learning.

mod checkpoint;
mod course;
mod fitting;
mod flat;
mod heads;
mod options;
mod pretraining;
mod solving;
mod training;

pub use fitting::{FitEvent, FitRun, Fitted};
pub use options::{LoraOptions, TrainOptions, Trainable};
pub use solving::Solved;

use std::path::Path;

use super::device::{On, Place, Placeable, on};
use super::{Cancel, Model, Run};
use crate::error::Result;
use crate::train::closed_form::ClosedForm;
use crate::train::corpus::Corpus;
use crate::train::examples::Dataset;
use crate::train::fit::Position;
use crate::train::memory::Need;
use crate::train::metrics::Metrics;
use training::Training;

/// A training: a model whose parts learn, and everything that takes.
///
/// The model it began from is not changed and may go on answering.
pub struct Trainer(On<Trainers>);

/// Trainings, by their device.
struct Trainers;

impl Placeable for Trainers {
    type On<D: Place> = Box<Training<D>>;
}

impl<D: Place> From<Training<D>> for Trainer {
    fn from(training: Training<D>) -> Self {
        Self(D::place(Box::new(training)))
    }
}

impl Trainer {
    /// A training of `model`. Labels come from the options, else from `labels_from`, else from the folder's own head.
    ///
    /// Fails with `InvalidArgument` when options contradict each other, `Missing` when the model lacks the head that the
    /// objective needs and cannot be given a new one, `Unsupported` when it is to learn masked words and is causal, or next
    /// words and is not, or its hidden states are f16, and `OutOfMemory`, naming the bytes it would take, when the memory
    /// budget is too small for what trains.
    pub fn new(model: &Model, options: &TrainOptions, labels_from: Option<&Dataset>) -> Result<Self> {
        on!(&model.0, |inner| Training::new(inner, options, labels_from).map(Self::from))
    }

    /// Labels by their numbers; none for objectives without.
    pub fn labels(&self) -> &[String] {
        on!(&self.0, |training| &training.labels)
    }

    /// Canonical names of the tensors of heads and pooler that began at random.
    pub fn fresh(&self) -> &[String] {
        on!(&self.0, |training| &training.fresh)
    }

    /// Name of the metric that decides which parameters are best: the options', or the task's own.
    pub fn metric(&self) -> &str {
        on!(&self.0, |training| training.metric())
    }

    /// Where training is, with the history of losses and metrics.
    pub fn position(&self) -> &Position {
        on!(&self.0, |training| &training.position)
    }

    /// Adds the gradients of the mean loss over `batch`, as one batch, and returns that loss. Dropout is that of the step
    /// under way. [`Trainer::apply`] makes the step.
    ///
    /// Fails as [`Trainer::fit`] does; the gradients accumulated since the last step are then gone, parameters as before.
    pub fn accumulate(&mut self, batch: &Dataset, cancel: Option<&Cancel>) -> Result<f64> {
        on!(&mut self.0, |training| training.accumulate(batch, cancel))
    }

    /// Makes an optimizer step of the gradients accumulated, at `learning_rate` or else the options' own, and clears them.
    /// Returns their norm before clipping.
    ///
    /// Fails with `InvalidArgument` when nothing has been accumulated, and `NotFinite` when gradients are no finite
    /// numbers: parameters are then as before.
    pub fn apply(&mut self, learning_rate: Option<f32>) -> Result<f64> {
        on!(&mut self.0, |training| training.apply(learning_rate))
    }

    /// Metrics of the parameters as they are now.
    pub fn evaluate(&mut self, data: &Dataset, run: Run<'_>) -> Result<Metrics> {
        on!(&mut self.0, |training| training.evaluate(data, run))
    }

    /// The model as it is now, as a new one that shares all parameters which do not train, the tokenizer and the threads.
    /// It never changes; training goes on without it.
    pub fn snapshot(&self) -> Result<Model> {
        on!(&self.0, |training| training.snapshot().map(Model::from))
    }

    /// Writes the model as it is now as a HuggingFace folder; see [`Model::save`].
    pub fn save(&self, folder: &Path) -> Result<()> {
        self.snapshot()?.save(folder)
    }

    /// Writes the low-rank pairs and the heads trained with them as a PEFT folder.
    ///
    /// Fails with `InvalidArgument` when no pairs were trained.
    pub fn save_adapter(&self, folder: &Path) -> Result<()> {
        on!(&self.0, |training| training.save_adapter(folder))
    }

    /// What training takes in memory, beside the mapped weights, with passes as the last call cut them.
    pub fn memory(&self) -> Need {
        on!(&self.0, |training| training.memory())
    }

    /// Trains on `train` from where the trainer is to the end of the options' course, and ends with the best parameters
    /// where `dev` was evaluated and the options keep them.
    ///
    /// The same options, examples and seed give the same parameters, bit by bit, on any number of threads.
    ///
    /// Fails with `InvalidInput` when an example does not fit (a label that is not known, naming it and its line),
    /// `InvalidArgument` on no examples, `NotFinite` when the loss or a gradient is no finite number, `Cancelled` when the
    /// caller stopped it, and `Io` when a checkpoint cannot be written. Parameters are then those of the last whole step,
    /// and earlier checkpoints are still there.
    pub fn fit(&mut self, train: &Dataset, dev: Option<&Dataset>, run: FitRun<'_>) -> Result<Fitted> {
        on!(&mut self.0, |training| training.fit(train, dev, run))
    }

    /// Goes on from a checkpoint, or from the newest in a folder of checkpoints: the next [`Trainer::fit`] with the same
    /// examples ends with the same parameters, bit by bit, as one that was never interrupted.
    ///
    /// Fails with `Missing` when there is no checkpoint, `InvalidArgument` when it belongs to other options, naming the
    /// first that differs, and `InvalidFile` when it does not fit what trains.
    pub fn resume(&mut self, checkpoint: &Path) -> Result<()> {
        on!(&mut self.0, |training| training.resume(checkpoint))
    }

    /// Writes a checkpoint of this moment as the folder `checkpoint`, in one step: for loops of the host's own, from which
    /// a trainer of the same options goes on by [`Trainer::resume`].
    ///
    /// Fails with `InvalidArgument` between [`Trainer::accumulate`] and [`Trainer::apply`], and as [`Model::save`] does.
    pub fn checkpoint(&mut self, checkpoint: &Path) -> Result<()> {
        on!(&mut self.0, |training| training.checkpoint(checkpoint))
    }

    /// Trains on the text of `train` from where the trainer is to the end of the options' course, and ends with the best
    /// parameters where `dev` was evaluated and the options keep them. Pairs and masks come from the options' recipe and
    /// seed; of `dev` they are always the same.
    ///
    /// Fails as [`Trainer::fit`] does, and with `InvalidArgument` when the objective does not learn from plain text, and for
    /// pairs from a corpus of one document.
    pub fn pretrain(&mut self, train: &Corpus, dev: Option<&Corpus>, run: FitRun<'_>) -> Result<Fitted> {
        on!(&mut self.0, |training| training.pretrain(train, dev, run))
    }

    /// Gives the head the weights that `data` has in closed form: one pass of the encoder, no learning rate, no steps. What
    /// the head stands on, and everything else that trains, stays as it is; the optimizer's moments do too. The head can
    /// then be saved, or [`Trainer::fit`] goes on from it.
    ///
    /// The parameters are the same, bit by bit, on any number of threads of the model; OpenBLAS has threads of its own
    /// (`OPENBLAS_NUM_THREADS`).
    ///
    /// Fails with `Unsupported` in a library built without `linalg` and for objectives whose head has no such form,
    /// `InvalidInput` when the examples do not determine a head (naming the label without one), `InvalidArgument` on no
    /// examples or an option that cannot be meant, and `NotFinite` when what the head reads is no finite number. The
    /// head is then as before.
    pub fn solve(&mut self, data: &Dataset, method: ClosedForm, run: Run<'_>) -> Result<Solved> {
        on!(&mut self.0, |training| training.solve(data, method, run))
    }

    /// Numbers that train: the length of the flat buffers.
    pub fn parameter_count(&self) -> usize {
        on!(&self.0, |training| training.parameter_count())
    }

    /// Canonical name and shape of every tensor that trains, in the order of the flat buffers.
    pub fn parameter_names(&self) -> Result<Vec<(String, Vec<usize>)>> {
        on!(&self.0, |training| training.parameter_names())
    }

    /// The parameters that train.
    pub fn parameters(&self) -> Result<Vec<f32>> {
        on!(&self.0, |training| training.parameters())
    }

    /// Replaces the parameters that train. Moments of the optimizer stay.
    ///
    /// Fails with `InvalidArgument` when there are not [`Trainer::parameter_count`] of them, `NotFinite` when one is no
    /// finite number: nothing is then replaced.
    pub fn set_parameters(&mut self, parameters: &[f32]) -> Result<()> {
        on!(&mut self.0, |training| training.set_parameters(parameters))
    }

    /// The gradients accumulated since the last step: of the sum of the batches' mean losses.
    pub fn gradients(&mut self) -> Result<Vec<f32>> {
        on!(&mut self.0, |training| training.gradients())
    }

    /// The gradients where they lie, one stretch a tensor in the order of [`Trainer::parameter_names`], in the memory of the
    /// trainer's device: for engines that sum them over machines in place. All work on them has ended. They stay valid, and
    /// may be read and written, up to the next call on the trainer; [`Trainer::apply`] divides them by the number of
    /// batches accumulated here.
    pub fn gradient_buffers(&mut self) -> Result<Vec<(*mut f32, usize)>> {
        on!(&mut self.0, |training| training.gradient_buffers())
    }

    /// Replaces the gradients, as one batch's: the next [`Trainer::apply`] makes a step of them.
    ///
    /// Fails as [`Trainer::set_parameters`] does.
    pub fn set_gradients(&mut self, gradients: &[f32]) -> Result<()> {
        on!(&mut self.0, |training| training.set_gradients(gradients))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::OpenOptions;

    #[test]
    fn a_snapshot_shares_what_does_not_train() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sequence");
        let model = Model::open(&folder, &OpenOptions { threads: 1, ..OpenOptions::default() }).unwrap();
        let options =
            TrainOptions { trainable: Trainable::Top(1), labels: model.labels().to_vec(), ..TrainOptions::default() };
        let snapshot = Trainer::new(&model, &options, None).unwrap().snapshot().unwrap();
        let shared = |group: usize| {
            let layer = |model: &Model| {
                on!(&model.0, |inner| Arc::as_ptr(&inner.bert.encoder().groups()[group][0]).cast::<()>())
            };
            layer(&model) == layer(&snapshot)
        };
        assert_eq!([shared(0), shared(1)], [true, false]);
        assert!(std::ptr::eq(model.shared(), snapshot.shared()));
    }
}
