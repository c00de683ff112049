//! Where a training can go on after it ended, however it ended.
//!
//! A checkpoint is a folder `checkpoint-STEP` in HuggingFace's form: the model (of low-rank training, its adapter),
//! `trainer_state.json`, and beside them `optimizer.safetensors` with the moments, and `best.safetensors` where other
//! parameters than the model's were the best so far. It appears in one step.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::TrainOptions;
use super::training::Training;
use crate::bert::Scope;
use crate::bert::peft::{LoraConfig, StoredAdapter};
use crate::device::Tensor;
use crate::dtype::DType;
use crate::engine::Inner;
use crate::engine::device::Place;
use crate::engine::save::{f32_output, stored_shape};
use crate::error::{Error, Result, Status};
use crate::ops::Ops;
use crate::ops::adam_w::Moments;
use crate::train::fit::{Every, Position, Record};
use crate::train::learner::Learner;
use crate::train::losses::Mean;
use crate::train::state::{EarlyStopping, TrainerState};
use crate::train::stopping::Seen;
use crate::train::update::Optimizer;
use crate::weights::save::{self, Output, f32_bytes};
use crate::weights::{NewFolder, Weights, remove_folder, sweep};

const STATE: &str = "trainer_state.json";
const MOMENTS: &str = "optimizer.safetensors";
const BEST: &str = "best.safetensors";
const PREFIX: &str = "checkpoint-";
/// Keys of a step's parts: of words and of next sentences.
const PARTS: [[&str; 2]; 2] = [["mlm_loss", "mlm_accuracy"], ["nsp_loss", "nsp_accuracy"]];

/// The best parameters so far, in an unnamed scratch file.
pub struct Kept {
    file: File,
    step: u64,
}

impl Kept {
    /// The parameters of `learner` after `step` steps.
    pub fn of<D: Ops>(device: &D, learner: &Learner<D>, step: u64) -> Result<Self> {
        let named = learner.bert().tensors(learner.scope())?;
        Self::store(step, named.iter().map(|(_, tensor)| tensor.host(device)))
    }

    fn store<'a>(step: u64, tensors: impl Iterator<Item = Result<Cow<'a, [f32]>>>) -> Result<Self> {
        let file = tempfile::tempfile().map_err(scratch)?;
        let mut out = BufWriter::new(file);
        for tensor in tensors {
            out.write_all(&f32_bytes(&tensor?)).map_err(scratch)?;
        }
        let file = out.into_inner().map_err(|e| scratch(e.into_error()))?;
        Ok(Self { file, step })
    }

    /// The step after which they were the best.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Puts them in place.
    pub fn put<D: Ops>(&mut self, device: &D, learner: &mut Learner<D>) -> Result<()> {
        self.file.seek(SeekFrom::Start(0)).map_err(scratch)?;
        for (tensor, _) in learner.pairs_mut()? {
            tensor.set(device, &self.next(tensor.rows() * tensor.cols())?)?;
        }
        Ok(())
    }

    fn next(&mut self, count: usize) -> Result<Vec<f32>> {
        let mut bytes = vec![0; count * size_of::<f32>()];
        self.file.read_exact(&mut bytes).map_err(scratch)?;
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

fn scratch(error: std::io::Error) -> Error {
    Error::io("scratch file of the best parameters".as_ref(), &error)
}

/// Writes the checkpoints of one training.
pub struct Writer<D: Place> {
    folder: Option<PathBuf>,
    model: Arc<Inner<D>>,
    scope: Scope,
    lora: Option<LoraConfig>,
    options: TrainOptions,
    fingerprint: Value,
    total: u64,
    metric: String,
}

impl<D: Place> Training<D> {
    /// Writes a checkpoint of this moment as `folder`.
    pub fn checkpoint(&mut self, folder: &Path) -> Result<()> {
        if self.accumulated > 0 {
            return Err(Error::argument("gradients are accumulated: apply them before a checkpoint"));
        }
        let mut best = self.best.take();
        let written = self.writer(self.position.step).write(
            folder,
            &self.learner,
            &self.optimizer,
            &self.position,
            best.as_mut(),
        );
        self.best = best;
        written
    }

    /// Whatever writes this training's checkpoints, of `total` steps.
    pub(super) fn writer(&self, total: u64) -> Writer<D> {
        Writer {
            folder: self.options.checkpoints.clone(),
            model: Arc::clone(&self.model),
            scope: self.learner.scope().clone(),
            lora: self.lora.clone(),
            options: self.options.clone(),
            fingerprint: self.fingerprint(),
            total,
            metric: self.metric().to_owned(),
        }
    }

    /// Removes what killed runs left half removed where checkpoints are written.
    pub(super) fn sweep_checkpoints(&self) -> Result<()> {
        match self.options.checkpoints.as_ref().filter(|root| root.is_dir()) {
            Some(root) => sweep(root, PREFIX),
            None => Ok(()),
        }
    }

    /// What has to be the same for a training to go on as if it had not stopped.
    fn fingerprint(&self) -> Value {
        let mut fingerprint = self.options.fingerprint();
        fingerprint["labels"] = json!(self.labels);
        fingerprint
    }

    pub fn resume(&mut self, checkpoint: &Path) -> Result<()> {
        let folder = find(checkpoint)?;
        let named = |error: Error| error.within(folder.display());
        let bytes = fs::read(folder.join(STATE)).map_err(|e| Error::io(&folder.join(STATE), &e))?;
        let state = TrainerState::parse(&bytes).map_err(named)?;
        same_options(&state.cloze, &self.fingerprint()).map_err(named)?;
        let position = position(&state).map_err(named)?;
        let count = number(&state.cloze, "optimizer_steps").map_err(named)?;

        let parameters = match self.lora {
            Some(_) => adapter_tensors(&folder)?,
            None => tensors(&Weights::open(&folder)?)?,
        };
        let moments = tensors(&Weights::open_file(&folder.join(MOMENTS))?)?;
        let shapes: Vec<(String, usize, usize)> = {
            let named = self.learner.bert().tensors(self.learner.scope())?;
            named.into_iter().map(|(name, tensor)| (name, tensor.rows(), tensor.cols())).collect()
        };
        let device = self.model.device.clone();
        let tensor = |prefix: &str, (name, rows, cols): &(String, usize, usize)| {
            let values = get(&moments, &format!("{prefix}.{name}"), rows * cols)?;
            Tensor::from_host(&device, values, *rows, *cols)
        };
        let moment = |shape| Ok(Moments { mean: tensor("exp_avg", shape)?, square: tensor("exp_avg_sq", shape)? });
        let restored: Vec<Moments<D>> = shapes.iter().map(moment).collect::<Result<_>>().map_err(named)?;
        for (name, rows, cols) in &shapes {
            get(&parameters, name, rows * cols).map_err(named)?;
        }
        let best = match (position.best_step, folder.join(BEST).exists()) {
            (Some(step), true) => {
                let best = tensors(&Weights::open_file(&folder.join(BEST))?)?;
                let in_order = shapes.iter().map(|(name, rows, cols)| get(&best, name, rows * cols).map(Cow::Borrowed));
                Some(Kept::store(step, in_order).map_err(named)?)
            }
            _ => None,
        };

        for ((tensor, _), (name, rows, cols)) in self.learner.pairs_mut()?.into_iter().zip(&shapes) {
            tensor.set(&device, get(&parameters, name, rows * cols)?)?;
        }
        self.optimizer.restore(restored, count)?;
        self.learner.clear_gradients(&device)?;
        self.best = match best {
            None if position.best_step == Some(position.step) => Some(Kept::of(&device, &self.learner, position.step)?),
            best => best,
        };
        (self.position, self.accumulated, self.rows) = (position, 0, 0);
        Ok(())
    }
}

impl<D: Place> Writer<D> {
    /// Writes the checkpoint of this moment among those of the options and removes old ones. Returns its folder.
    pub fn add(
        &self,
        learner: &Learner<D>,
        optimizer: &Optimizer<D>,
        position: &Position,
        best: Option<&mut Kept>,
    ) -> Result<PathBuf> {
        let Some(root) = &self.folder else {
            return Err(Error::internal("a checkpoint without a folder"));
        };
        fs::create_dir_all(root).map_err(|e| Error::io(root, &e))?;
        let target = root.join(format!("{PREFIX}{}", position.step));
        self.write(&target, learner, optimizer, position, best)?;
        self.prune(root, position)?;
        Ok(target)
    }

    /// Writes the checkpoint of this moment as `target`, in one step.
    fn write(
        &self,
        target: &Path,
        learner: &Learner<D>,
        optimizer: &Optimizer<D>,
        position: &Position,
        best: Option<&mut Kept>,
    ) -> Result<()> {
        let new = NewFolder::begin(target)?;
        let inner = self.model.with(learner.bert().share(), self.model.changed.with(&self.scope));
        match &self.lora {
            Some(config) => inner.write_adapter(new.path(), config, &self.scope)?,
            None => inner.write(new.path(), None)?,
        }
        self.write_moments(&new.path().join(MOMENTS), learner, optimizer)?;
        if let Some(best) = best.filter(|best| best.step() != position.step) {
            write_best(&new.path().join(BEST), learner, best)?;
        }
        let state = self.state(position, optimizer).to_json();
        crate::engine::save::write(&new.path().join(STATE), state.as_bytes())?;
        new.commit()
    }

    fn write_moments(&self, path: &Path, learner: &Learner<D>, optimizer: &Optimizer<D>) -> Result<()> {
        let named = learner.bert().tensors(&self.scope)?;
        let mut outputs = Vec::with_capacity(2 * named.len());
        for ((name, _), moments) in named.iter().zip(optimizer.moments()) {
            for (prefix, moment) in [("exp_avg", &moments.mean), ("exp_avg_sq", &moments.square)] {
                outputs.push(f32_output(&self.model.device, format!("{prefix}.{name}"), moment)?);
            }
        }
        let step = optimizer.count().to_string();
        save::write(path, &outputs, &[("format", "pt"), ("step", &step)])
    }

    fn state(&self, position: &Position, optimizer: &Optimizer<D>) -> TrainerState {
        let steps = |every: Every| match every {
            Every::Steps(steps) => steps,
            Every::Epoch | Every::Never => 0,
        };
        let options = &self.options;
        let epoch = position.history.iter().rev().map(|record| match record {
            Record::Step(step) => step.epoch,
            Record::Evaluation(found) => found.epoch,
        });
        let mut state = TrainerState::new();
        state.epoch = epoch.into_iter().next().unwrap_or(0.0);
        (state.global_step, state.max_steps) = (position.step, self.total);
        (state.logging_steps, state.eval_steps, state.save_steps) =
            (1, steps(options.evaluate), steps(options.checkpoint));
        (state.train_batch_size, state.num_train_epochs) = (Some(options.batch_size as u64), options.epochs);
        state.log_history = position.history.iter().map(log).collect();
        (state.best_metric, state.best_global_step) = (position.seen.best, position.best_step);
        let best = self.folder.as_ref().zip(position.best_step);
        state.best_model_checkpoint = best
            .map(|(root, step)| (root.join(format!("{PREFIX}{step}")), step == position.step))
            .filter(|(folder, is_this)| *is_this || folder.exists())
            .map(|(folder, _)| folder.to_string_lossy().into_owned());
        state.early_stopping = (options.patience > 0).then(|| EarlyStopping {
            patience: options.patience.into(),
            threshold: options.threshold,
            counter: position.seen.without_improvement.into(),
        });
        state.cloze = object(json!({
            "options": self.fingerprint,
            "metric": self.metric,
            "epochs_done": position.epoch,
            "batches_done": position.batch,
            "optimizer_steps": optimizer.count(),
            // as bits: JSON has no infinity, which a perplexity can be
            "best_metric_bits": position.seen.best.map(f64::to_bits),
            "without_improvement": position.seen.without_improvement,
            "stopped": position.stopped,
            "source": position.source,
        }));
        state
    }

    /// Removes all but the newest checkpoints and that of the best evaluation.
    fn prune(&self, root: &Path, position: &Position) -> Result<()> {
        if self.options.keep_checkpoints == 0 {
            return Ok(());
        }
        let mut steps = checkpoints(root)?;
        steps.sort_unstable_by(|a, b| b.cmp(a));
        for step in steps.into_iter().skip(self.options.keep_checkpoints) {
            if Some(step) != position.best_step {
                remove_folder(&root.join(format!("{PREFIX}{step}")))?;
            }
        }
        Ok(())
    }
}

fn write_best<D: Ops>(path: &Path, learner: &Learner<D>, best: &mut Kept) -> Result<()> {
    best.file.seek(SeekFrom::Start(0)).map_err(scratch)?;
    let named = learner.bert().tensors(learner.scope())?;
    let mut outputs = Vec::with_capacity(named.len());
    for (name, tensor) in named {
        let values = best.next(tensor.rows() * tensor.cols())?;
        let bytes = Cow::Owned(f32_bytes(&values).into_owned());
        outputs.push(Output { shape: stored_shape(&name, tensor), key: name, storage: DType::F32.into(), bytes });
    }
    save::write(path, &outputs, &[("format", "pt")])
}

/// The line of `log_history` as HuggingFace's Trainer writes it.
fn log(record: &Record) -> Map<String, Value> {
    object(match record {
        Record::Step(step) => {
            let mut line = json!({
                "epoch": step.epoch,
                "grad_norm": step.gradient_norm,
                "learning_rate": step.learning_rate,
                "loss": step.loss,
                "step": step.step,
            });
            for ([loss, accuracy], part) in PARTS.into_iter().zip([step.words, step.next]) {
                if let Some(Mean { loss: mean, accuracy: share }) = part {
                    (line[loss], line[accuracy]) = (json!(mean), json!(share));
                }
            }
            line
        }
        Record::Evaluation(found) => {
            let mut line = Map::new();
            line.insert("epoch".into(), json!(found.epoch));
            line.insert("step".into(), json!(found.step));
            for (name, value) in found.metrics.iter() {
                line.insert(format!("eval_{name}"), json!(value));
            }
            line.insert("best".into(), json!(found.best));
            Value::Object(line)
        }
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn position(state: &TrainerState) -> Result<Position> {
    let cloze = &state.cloze;
    let best = match cloze.get("best_metric_bits") {
        None | Some(Value::Null) => None,
        Some(bits) => {
            let bits = bits.as_u64().ok_or_else(|| Error::file(format!("{STATE}: best_metric_bits: {bits}")))?;
            Some(f64::from_bits(bits))
        }
    };
    let without = number(cloze, "without_improvement")?;
    Ok(Position {
        step: state.global_step,
        epoch: number(cloze, "epochs_done")?,
        batch: number(cloze, "batches_done")?,
        seen: Seen { best, without_improvement: u32::try_from(without).unwrap_or(u32::MAX) },
        best_step: state.best_global_step,
        stopped: cloze.get("stopped").and_then(Value::as_bool).unwrap_or(false),
        source: cloze.get("source").and_then(Value::as_u64),
        history: state.log_history.iter().filter_map(record).collect(),
    })
}

/// A line of `log_history` read back.
fn record(line: &Map<String, Value>) -> Option<Record> {
    use crate::train::fit::{EvaluationRecord, StepRecord};
    use crate::train::metrics::Metrics;
    let value = |name: &str| line.get(name).and_then(Value::as_f64);
    let (step, epoch) = (line.get("step")?.as_u64()?, value("epoch")?);
    if let Some(loss) = value("loss") {
        let (learning_rate, gradient_norm) = (value("learning_rate")?, value("grad_norm")?);
        let [words, next] = PARTS
            .map(|[loss, accuracy]| value(loss).zip(value(accuracy)).map(|(loss, accuracy)| Mean { loss, accuracy }));
        return Some(Record::Step(StepRecord { step, epoch, loss, learning_rate, gradient_norm, words, next }));
    }
    let mut metrics = Metrics::new();
    for (name, value) in line {
        if let Some(name) = name.strip_prefix("eval_") {
            // JSON has no NaN: it was written as null
            metrics.push(name, value.as_f64().unwrap_or(f64::NAN));
        }
    }
    let best = line.get("best").and_then(Value::as_bool).unwrap_or(false);
    Some(Record::Evaluation(EvaluationRecord { step, epoch, metrics, best }))
}

fn number(cloze: &Map<String, Value>, key: &str) -> Result<u64> {
    cloze.get(key).and_then(Value::as_u64).ok_or_else(|| {
        Error::file(format!("{STATE}: no whole number {key:?} of cloze's, expected a checkpoint that cloze wrote"))
    })
}

fn same_options(cloze: &Map<String, Value>, now: &Value) -> Result<()> {
    let (Some(Value::Object(then)), Value::Object(now)) = (cloze.get("options"), now) else {
        return Err(Error::file(format!("{STATE}: no options of cloze's, expected a checkpoint that cloze wrote")));
    };
    // through text on both sides: numbers of f32 print differently as f64
    let differs = now.iter().find(|(name, value)| then.get(*name).map(Value::to_string) != Some(value.to_string()));
    match differs {
        None => Ok(()),
        Some((name, value)) => {
            let before = then.get(name).map_or_else(|| "nothing".to_owned(), Value::to_string);
            Err(Error::argument(format!("option {name}: the checkpoint's is {before}, this training's {value}")))
        }
    }
}

/// A checkpoint, or the newest in a folder of them.
fn find(path: &Path) -> Result<PathBuf> {
    if path.join(STATE).exists() {
        return Ok(path.to_owned());
    }
    let newest = if path.is_dir() { checkpoints(path)?.into_iter().max() } else { None };
    match newest {
        Some(step) => Ok(path.join(format!("{PREFIX}{step}"))),
        None => Err(Error::missing(format!("{}: no checkpoint, expected {STATE} or {PREFIX}…", path.display()))),
    }
}

/// Steps of the complete checkpoints in a folder.
fn checkpoints(root: &Path) -> Result<Vec<u64>> {
    let mut steps = Vec::new();
    for entry in fs::read_dir(root).map_err(|e| Error::io(root, &e))? {
        let entry = entry.map_err(|e| Error::io(root, &e))?;
        let name = entry.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|step| step.parse().ok());
        if let Some(step) = step.filter(|_| entry.path().join(STATE).exists()) {
            steps.push(step);
        }
    }
    Ok(steps)
}

fn tensors(weights: &Weights) -> Result<BTreeMap<String, Vec<f32>>> {
    weights.tensors().map(|(name, _, stored)| Ok((name.to_owned(), stored?.float()?.to_f32()))).collect()
}

/// Pairs and saved modules under the names that train.
fn adapter_tensors(folder: &Path) -> Result<BTreeMap<String, Vec<f32>>> {
    let stored = StoredAdapter::open(folder)?;
    let mut all: BTreeMap<String, Vec<f32>> =
        stored.saved.iter().map(|(name, tensor)| (name.clone(), tensor.to_f32())).collect();
    for (module, pair) in &stored.pairs {
        all.insert(format!("{module}.lora_A.weight"), pair.a.to_f32());
        all.insert(format!("{module}.lora_B.weight"), pair.b.to_f32());
    }
    Ok(all)
}

fn get<'a>(tensors: &'a BTreeMap<String, Vec<f32>>, name: &str, count: usize) -> Result<&'a [f32]> {
    match tensors.get(name) {
        Some(values) if values.len() == count => Ok(values),
        Some(values) => Err(Error::file(format!("tensor {name:?}: {} numbers, expected {count}", values.len()))),
        None => Err(Error::new(Status::InvalidFile, format!("tensor {name:?} is not there, but it trains"))),
    }
}
