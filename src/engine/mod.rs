//! The model as users hold it: opened once, then asked from any number of threads.
//!
//! ```no_run
//! use cloze::engine::{FillOptions, Input, Model, OpenOptions, Run, Task, TextOptions};
//!
//! let model = Model::open("path/to/bert".as_ref(), &OpenOptions::default())?;
//! let texts = model.encode(&[Input::Text("Paris is the [MASK] of France.")], Task::Fill, &TextOptions::default())?;
//! let masks = model.fill(&texts, &FillOptions::default(), Run::default())?;
//! for candidate in &masks[0][0].candidates {
//!     println!("{:.3} {}", candidate.probability, model.token(candidate.id).unwrap_or("?"));
//! }
//! # Ok::<(), cloze::error::Error>(())
//! ```

mod adapters;
mod answers;
mod device;
mod evaluate;
mod files;
mod fresh;
mod generate;
mod heads;
mod info;
mod input;
mod save;
mod trainer;
mod vocabulary;
mod whitening;

pub use crate::batch::Tokens;
pub use crate::bert::{Direction, Problem};
pub use crate::device::Bytes;
pub use crate::device::cpu::Memory;
pub use crate::dtype::{DType, Storage};
pub use crate::ops::pooling::Pooling;
pub use crate::pool::Cancel;
pub use crate::tasks::{Aggregation, Candidate, Ending, Entity, NewToken, Sampling};
pub use crate::text::{Casing, OffsetUnit, Overflow, Span, VocabularyFiles, VocabularyOptions, convert_offsets};
pub use crate::train::closed_form::ClosedForm;
pub use crate::train::corpus::{Corpus, Lines, MaskUnit, Notice, Recipe, Renewal};
pub use crate::train::examples::{Dataset, Example, Source as ExampleInput, Target};
pub use crate::train::files::{Column, Columns, Format, Header, Kind};
pub use crate::train::fit::{EvaluationRecord, Every, Position, Record, Size, StepRecord};
pub use crate::train::labels::Labels;
pub use crate::train::losses::Mean;
pub use crate::train::memory::Need;
pub use crate::train::metrics::Metrics;
pub use crate::train::metrics::confusion::Confusion;
pub use crate::train::objective::Objective;
pub use crate::train::schedule::Schedule;
pub use crate::weights::{NewFolder, Report, StoredFile, replace_file};
pub use answers::{
    EmbedOptions, FillOptions, Mask, Method, Run, Score, ScoreOptions, TagOptions, Tagged, TokenScore, perplexity,
    perplexity_of,
};
pub use device::{DeviceChoice, DeviceDescription, Precision, device_at, device_count, devices};
pub use evaluate::Evaluation;
pub use fresh::FreshOptions;
pub use generate::{Continuation, GenerateOptions};
pub use info::{Info, Task};
pub use input::{Encoded, Input, Item, TextOptions};
pub use trainer::{FitEvent, FitRun, Fitted, LoraOptions, Solved, TrainOptions, Trainable, Trainer};

pub use vocabulary::{learn_vocabulary, save_vocabulary, tokenizer_files};

use std::path::Path;
use std::sync::Arc;

use crate::bert::{Architecture, Bert, Bias, Config, Loader, Scope, Sentence, sentence};
use crate::device::Cpu;
use crate::error::{Error, Result, Status};
use crate::tasks::{Pipeline, Stage};
use crate::text::{self, Tokenizer};
use crate::weights::Weights;
use device::{Chosen, On, Place, Placeable, on};
use files::{Files, Source};
use heads::NamedHead;

/// How a model is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// Worker threads of this model; 0 takes one per processor.
    pub threads: usize,
    /// What it runs on.
    pub device: DeviceChoice,
    /// What it computes in there.
    pub precision: Precision,
    /// How the CPU keeps its weights.
    pub memory: Memory,
}

/// An open model. Clones share it; every method may run on any number of threads at once.
pub struct Model(On<Models>);

/// Models, by their device.
struct Models;

impl Placeable for Models {
    type On<D: Place> = Arc<Inner<D>>;
}

/// Parts are shared between a model and those made from it: by training, by an adapter, by another head.
struct Inner<D: Place> {
    device: D,
    bert: Bert<D>,
    /// Parts of `bert` that are not as the folder stores them.
    changed: Scope,
    /// Heads beside the folder's own.
    heads: Vec<Arc<NamedHead<D>>>,
    /// From hidden states to embeddings, as the folder says.
    pipeline: Arc<Pipeline<D>>,
    sentence: Arc<Option<Sentence>>,
    shared: Arc<Shared>,
}

/// What a folder gives all models made from it, on whatever device.
struct Shared {
    /// Threads for work on text: of a model on the CPU, its own.
    host: Cpu,
    /// Why the model does not run on a CUDA device though it might have.
    device_note: Option<String>,
    /// Or why text cannot be read; token ids always can.
    tokenizer: Result<Tokenizer>,
    /// Most tokens of a text, special ones included.
    max_tokens: usize,
    weights: Weights,
    source: Source,
}

impl<D: Place> Inner<D> {
    fn load(device: D, host: Cpu, device_note: Option<String>, files: &Files<'_>) -> Result<Self> {
        let sentence = match files.read("modules.json")? {
            Some(modules) => Some(Sentence::parse(&modules, |name| files.read(name))?),
            None => None,
        };
        let root = sentence.as_ref().map_or_else(String::new, |s| s.transformer.clone());
        let root = root.as_str();
        let place = |name: &str| files::join(root, name);
        let Some(config) = files.read(&place("config.json"))? else {
            return Err(Error::missing(format!("{}: no config.json", files.name())));
        };
        let config = Config::parse(&config).map_err(|e| e.within(files.name()))?;
        let mut weights = files.weights(root)?;
        let bert = Bert::load(&device, config, &mut weights).map_err(|e| e.within(files.name()))?;
        let pipeline = pipeline(&device, files, sentence.as_ref(), bert.config().hidden)?;
        let tokenizer = tokenizer(files, &place, bert.config().architecture)?;
        let stated = [
            tokenizer.as_ref().ok().and_then(Tokenizer::model_max_length),
            sentence.as_ref().and_then(|s| s.max_seq_length),
        ];
        let max_tokens = stated.into_iter().flatten().fold(bert.config().max_positions, usize::min);
        let heads = heads::load(&device, files, root, bert.config())?;
        Ok(Self {
            device,
            bert,
            changed: Scope::default(),
            heads,
            pipeline: Arc::new(pipeline),
            sentence: Arc::new(sentence),
            shared: Arc::new(Shared { host, device_note, tokenizer, max_tokens, weights, source: files.source(root) }),
        })
    }

    /// A model of the same folder with other parameters or heads.
    fn with(&self, bert: Bert<D>, changed: Scope) -> Self {
        Self {
            device: self.device.clone(),
            bert,
            changed,
            heads: self.heads.clone(),
            pipeline: Arc::clone(&self.pipeline),
            sentence: Arc::clone(&self.sentence),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<D: Place> From<Inner<D>> for Model {
    fn from(inner: Inner<D>) -> Self {
        Arc::new(inner).into()
    }
}

impl<D: Place> From<Arc<Inner<D>>> for Model {
    fn from(inner: Arc<Inner<D>>) -> Self {
        Self(D::place(inner))
    }
}

impl Clone for Model {
    fn clone(&self) -> Self {
        on!(&self.0, |inner| Arc::clone(inner).into())
    }
}

impl Model {
    /// Opens a HuggingFace model folder. Weights stay in the mapped files; in f32, the CPU reads none before the first
    /// answer (see [`Memory`]).
    ///
    /// Fails with `Io` or `Missing` when a file cannot be read or is not there, `InvalidFile` when one breaks its format or
    /// a tensor has the wrong shape, `Unsupported` when the folder asks for what cloze does not compute or the device does
    /// not compute in the precision, `NoDevice` when the device cannot be used, telling why, and `Missing` when the encoder
    /// lacks a tensor. A missing head or tokenizer is an error of the call that needs it.
    pub fn open(folder: &Path, options: &OpenOptions) -> Result<Self> {
        Self::load(&Files::folder(folder)?, options)
    }

    /// Opens a model whose files are in memory, named as in a folder: `config.json`, `model.safetensors`,
    /// `tokenizer.json`, `1_Pooling/config.json` …. The CPU does not copy weights: the buffers live as long as the model.
    pub fn from_memory(files: &[(&str, Bytes)], options: &OpenOptions) -> Result<Self> {
        Self::load(&Files::memory(files), options)
    }

    fn load(files: &Files<'_>, options: &OpenOptions) -> Result<Self> {
        device::choose(options, |Chosen { device, host, note }| {
            on!(device, |device| Inner::load(device, host, note, files).map(Self::from))
        })
    }

    /// What the model is and can do.
    pub fn info(&self) -> Info {
        on!(&self.0, |inner| Info::of(inner))
    }

    /// Which tensors of the checkpoint are used, unused and ignored.
    pub fn report(&self) -> Report {
        self.shared().weights.report()
    }

    /// Labels of the classifier, by their numbers; none without a classifier.
    pub fn labels(&self) -> &[String] {
        on!(&self.0, |inner| inner.labels())
    }

    /// The tokenizer, or why the folder has none that can be used.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.shared().tokenizer()
    }

    /// The token with number `id`, as the vocabulary spells it.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokenizer().ok()?.token(id)
    }

    fn config(&self) -> &Config {
        on!(&self.0, |inner| inner.bert.config())
    }

    fn shared(&self) -> &Shared {
        on!(&self.0, |inner| &inner.shared)
    }
}

impl Shared {
    fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().map_err(Clone::clone)
    }

    /// Names the tensor that holds NaN or an infinity, where that is why a result is not finite.
    fn explain(&self, error: Error) -> Error {
        if error.status() != Status::NotFinite {
            return error;
        }
        match self.weights.first_non_finite() {
            Some(culprit) => Error::new(Status::NotFinite, format!("{error}; {culprit}")),
            None => error,
        }
    }
}

/// The steps after the encoder: those of a sentence-transformers folder, else the mean of all tokens, which is what
/// sentence-transformers takes for a plain folder.
fn pipeline<D: Place>(
    device: &D,
    files: &Files<'_>,
    sentence: Option<&Sentence>,
    hidden: usize,
) -> Result<Pipeline<D>> {
    let Some(sentence) = sentence else {
        return Ok(Pipeline { pooling: vec![Pooling::Mean], stages: Vec::new(), keep: None });
    };
    sentence.width(hidden).map_err(|e| e.within(files.name()))?;
    let mut stages = Vec::with_capacity(sentence.stages.len());
    for stage in &sentence.stages {
        stages.push(match stage {
            sentence::Stage::Normalize => Stage::Normalize,
            sentence::Stage::Dense(dense) => {
                let mut weights = files.weights(&dense.folder)?;
                let mut loader = Loader { device, weights: &mut weights, fresh: None };
                let bias = if dense.bias { Bias::Stored } else { Bias::None };
                let loaded = loader.dense_with("linear", dense.in_features, dense.out_features, bias);
                Stage::Dense(loaded.map_err(|e| e.within(&dense.folder))?, dense.activation)
            }
        });
    }
    Ok(Pipeline { pooling: sentence.pooling.modes.clone(), stages, keep: sentence.truncate })
}

/// The tokenizer of the folder. A folder without a usable one still answers from token ids: that is no error yet.
fn tokenizer(
    files: &Files<'_>,
    place: &dyn Fn(&str) -> String,
    architecture: Architecture,
) -> Result<Result<Tokenizer>> {
    let read = |name: &str| files.read(&place(name));
    let (json, config, vocab) = (read("tokenizer.json")?, read("tokenizer_config.json")?, read("vocab.txt")?);
    let (special, added) = (read("special_tokens_map.json")?, read("added_tokens.json")?);
    let sentence = read("sentence_bert_config.json")?;
    let kind = match architecture {
        Architecture::Bert => text::Kind::Bert,
        Architecture::Albert => text::Kind::Albert,
    };
    let found = text::Files {
        tokenizer_json: json.as_deref(),
        tokenizer_config: config.as_deref(),
        vocab_txt: vocab.as_deref(),
        special_tokens_map: special.as_deref(),
        added_tokens: added.as_deref(),
        sentence_bert_config: sentence.as_deref(),
    };
    match Tokenizer::new(&found, kind) {
        Err(error) if matches!(error.status(), Status::Missing | Status::Unsupported) => {
            Ok(Err(error.within(files.name())))
        }
        Err(error) => Err(error.within(files.name())),
        Ok(tokenizer) => Ok(Ok(tokenizer)),
    }
}
