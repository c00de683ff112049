//! What a model is and can do, as plain data.

use serde_json::{Value, json};

use super::answers::{causal, not_causal};
use super::device::{DeviceDescription, Place, on};
use super::{Inner, Model};
use crate::bert::{Architecture, Direction, Head, Problem};
use crate::dtype::DType;
use crate::error::Result;

/// What a model can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Words for masks.
    Fill,
    /// Pseudo-log-likelihood, or log-likelihood.
    Score,
    /// Whether B follows A.
    NextSentence,
    /// One vector a text.
    Embed,
    /// Hidden states of chosen layers.
    HiddenStates,
    /// Labels of a text.
    Classify,
    /// Labels of tokens.
    Tag,
    /// What follows a text.
    Generate,
}

impl Task {
    /// All tasks.
    pub const ALL: [Task; 8] = [
        Task::Fill,
        Task::Score,
        Task::NextSentence,
        Task::Embed,
        Task::HiddenStates,
        Task::Classify,
        Task::Tag,
        Task::Generate,
    ];

    /// Lower-case name, as the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Task::Fill => "fill",
            Task::Score => "score",
            Task::NextSentence => "nsp",
            Task::Embed => "embed",
            Task::HiddenStates => "hidden",
            Task::Classify => "classify",
            Task::Tag => "tag",
            Task::Generate => "generate",
        }
    }
}

/// The shape of a model and what its checkpoint holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// `bert` or `albert`.
    pub architecture: &'static str,
    /// Whether a token sees all others, or those before it.
    pub direction: Direction,
    /// L
    pub layers: usize,
    /// H
    pub hidden: usize,
    /// A
    pub heads: usize,
    /// F
    pub intermediate: usize,
    /// V: rows of the word embeddings.
    pub vocabulary: usize,
    /// Ids below this are the tokenizer's; V without one.
    pub words: usize,
    /// Segments.
    pub token_types: usize,
    /// Most tokens of a text, special ones included.
    pub max_tokens: usize,
    /// Most tokens of a sequence given as ids.
    pub max_positions: usize,
    /// Length of an embedding.
    pub embedding: usize,
    /// Elements in the tensors that are used.
    pub parameters: u64,
    /// Storage types of those tensors, joined by `+`.
    pub dtype: String,
    /// Number of labels of the classifier; 0 without one.
    pub labels: usize,
    /// What the classifier was trained for, where the folder says so.
    pub problem: Option<Problem>,
    /// Tasks that the checkpoint has heads for.
    pub tasks: Vec<Task>,
    /// Heads in the checkpoint: `masked_lm`, `next_sentence`, `pooler`, `sequence`, `token`.
    pub heads_present: Vec<&'static str>,
    /// Why heads that `architectures` promises are not there.
    pub missing: Vec<String>,
    /// Why text cannot be read, if so.
    pub text_unavailable: Option<String>,
    /// Worker threads.
    pub threads: usize,
    /// Instruction set in use, of the CPU.
    pub isa: &'static str,
    /// What the model runs on.
    pub device: DeviceDescription,
    /// Why that is the CPU, where [`DeviceChoice::Auto`](super::DeviceChoice::Auto) found no CUDA device.
    pub device_note: Option<String>,
}

impl Info {
    pub(super) fn of<D: Place>(model: &Inner<D>) -> Self {
        let (config, report) = (model.bert.config(), model.shared.weights.report());
        let heads = model.bert.heads();
        let dtypes: Vec<String> = report.stored.iter().map(ToString::to_string).collect();
        Self {
            architecture: match config.architecture {
                Architecture::Bert => "bert",
                Architecture::Albert => "albert",
            },
            direction: config.direction,
            layers: config.layers,
            hidden: config.hidden,
            heads: config.heads,
            intermediate: config.intermediate,
            vocabulary: config.vocabulary,
            words: model.words(),
            token_types: config.token_types,
            max_tokens: model.shared.max_tokens,
            max_positions: config.max_positions,
            embedding: model.pipeline.width(config.hidden),
            // of a model that was made, not read, the report knows nothing
            parameters: if dtypes.is_empty() {
                model.bert.numbers(&model.changed).unwrap_or_default()
            } else {
                report.parameters
            },
            dtype: if dtypes.is_empty() { DType::F32.to_string() } else { dtypes.join("+") },
            labels: model.labels().len(),
            problem: config.problem,
            tasks: Task::ALL.into_iter().filter(|&task| model.can(task)).collect(),
            heads_present: [
                ("masked_lm", heads.masked_lm.is_ok()),
                ("next_sentence", heads.next_sentence.is_ok()),
                ("pooler", heads.pooler.is_ok()),
                ("sequence", heads.sequence.is_ok()),
                ("token", heads.token.is_ok()),
            ]
            .into_iter()
            .filter_map(|(name, present)| present.then_some(name))
            .collect(),
            missing: model.missing(),
            text_unavailable: model.shared.tokenizer.as_ref().err().map(ToString::to_string),
            threads: model.shared.host.threads(),
            isa: model.shared.host.isa().name(),
            device: model.device.describe(),
            device_note: model.shared.device_note.clone(),
        }
    }
}

impl Model {
    /// Fails with `Missing`, naming the tensor, when the checkpoint lacks the head that `task` needs, and with
    /// `Unsupported` when the task needs the other direction.
    pub fn supports(&self, task: Task) -> Result<()> {
        on!(&self.0, |inner| inner.check(task))
    }

    /// H, the hidden size.
    pub fn hidden(&self) -> usize {
        self.config().hidden
    }

    /// L, the number of layers.
    pub fn layers(&self) -> usize {
        self.config().layers
    }

    /// Ids below this are words that may fill a mask.
    pub fn words(&self) -> usize {
        on!(&self.0, |inner| inner.words())
    }

    /// [`Model::info`] and [`Model::report`] as one JSON object. Keys are never renamed.
    pub fn report_json(&self) -> Value {
        let (info, report) = (self.info(), self.report());
        let files: Vec<Value> =
            report.files.iter().map(|file| json!({ "name": file.name, "bytes": file.bytes })).collect();
        json!({
            "architecture": info.architecture,
            "layers": info.layers,
            "hidden": info.hidden,
            "heads": info.heads,
            "vocab": info.vocabulary,
            "parameters": info.parameters,
            "dtype": info.dtype,
            "heads_present": info.heads_present,
            "unused": report.unused,
            "missing": info.missing,
            "intermediate": info.intermediate,
            "words": info.words,
            "token_types": info.token_types,
            "max_tokens": info.max_tokens,
            "max_positions": info.max_positions,
            "embedding": info.embedding,
            "labels": self.labels(),
            "tasks": info.tasks.iter().map(|task| task.name()).collect::<Vec<_>>(),
            "text_unavailable": info.text_unavailable,
            "threads": info.threads,
            "isa": info.isa,
            "files": files,
            "used": report.used,
            "ignored": report.ignored,
            "direction": match info.direction {
                Direction::Bidirectional => "bidirectional",
                Direction::Causal => "causal",
            },
            "device": info.device.id,
            "device_name": info.device.name,
            "device_note": info.device_note,
            "precision": info.device.precision.to_string(),
        })
    }
}

impl<D: Place> Inner<D> {
    /// Ids below this are words: those of the tokenizer, but never more than the model has rows for.
    pub(super) fn words(&self) -> usize {
        let rows = self.bert.config().vocabulary;
        self.shared.tokenizer.as_ref().map_or(rows, |t| t.size().min(rows))
    }

    /// Labels of the classifier; none without one, whatever config.json lists.
    pub(super) fn labels(&self) -> &[String] {
        let heads = self.bert.heads();
        if heads.sequence.is_ok() || heads.token.is_ok() { &self.bert.config().labels } else { &[] }
    }

    fn can(&self, task: Task) -> bool {
        self.check(task).is_ok()
    }

    pub(super) fn check(&self, task: Task) -> Result<()> {
        fn present<T>(head: &Head<T>) -> Result<()> {
            head.as_ref().map(|_| ()).map_err(Clone::clone)
        }
        let heads = self.bert.heads();
        let direction = self.bert.config().direction;
        match task {
            Task::Fill if direction == Direction::Causal => Err(causal("filling masks")),
            Task::Generate if direction == Direction::Bidirectional => Err(not_causal("generating text")),
            Task::Fill | Task::Score | Task::Generate => present(&heads.masked_lm),
            Task::NextSentence => present(&heads.next_sentence).and_then(|()| present(&heads.pooler)),
            Task::Embed | Task::HiddenStates => Ok(()),
            Task::Classify => present(&heads.sequence).and_then(|()| present(&heads.pooler)),
            Task::Tag => present(&heads.token),
        }
    }

    fn missing(&self) -> Vec<String> {
        fn absent<T>(head: &Head<T>) -> Option<String> {
            head.as_ref().err().map(ToString::to_string)
        }
        let heads = self.bert.heads();
        let promised = |parts: &[&str]| {
            self.bert.config().architectures.iter().any(|name| parts.iter().any(|part| name.ends_with(part)))
        };
        let lacks = [
            promised(&["ForMaskedLM", "ForPreTraining", "LMHeadModel"]).then(|| absent(&heads.masked_lm)),
            promised(&["ForNextSentencePrediction", "BertForPreTraining"])
                .then(|| absent(&heads.next_sentence).or_else(|| absent(&heads.pooler))),
            promised(&["ForSequenceClassification"]).then(|| absent(&heads.sequence).or_else(|| absent(&heads.pooler))),
            promised(&["ForTokenClassification"]).then(|| absent(&heads.token)),
        ];
        lacks.into_iter().flatten().flatten().collect()
    }
}
