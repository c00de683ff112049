//! Models of random weights, to be pretrained.

use std::sync::Arc;

use super::device::{self, Chosen, Place, on};
use super::evaluate::check_direction;
use super::files::Files;
use super::{Bytes, Inner, Model, OpenOptions, Shared, tokenizer};
use crate::bert::{Architecture, Bert, Config, Fresh, HeadPart, Scope};
use crate::device::Cpu;
use crate::error::{Error, Result};
use crate::ops::pooling::Pooling;
use crate::tasks::Pipeline;
use crate::train::objective::Objective;
use crate::weights::Weights;

/// What a new model is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct FreshOptions {
    /// Of the weights.
    pub seed: u64,
    /// What it is to learn first: which heads it has.
    pub objective: Objective,
}

impl Default for FreshOptions {
    fn default() -> Self {
        Self { seed: 42, objective: Objective::Pretraining }
    }
}

impl Model {
    /// A model of random weights, as HuggingFace's `_init_weights` makes them: normal with `initializer_range`, norms 1,
    /// biases and the padding's row 0. `config` is the text of a `config.json`, `files` are those of a tokenizer, by name.
    ///
    /// The same seed gives the same bits. Saved, it is a complete HuggingFace folder.
    ///
    /// Fails with `InvalidFile` when the configuration is not one, `Missing` when there is no tokenizer, `InvalidArgument`
    /// when the tokenizer has more tokens than `vocab_size`, naming both, and `Unsupported` when the architecture has no
    /// head for the objective or the direction is not the objective's.
    pub fn fresh(config: &[u8], files: &[(&str, Bytes)], options: &FreshOptions, open: &OpenOptions) -> Result<Self> {
        let config = Config::parse(config)?;
        check_direction(&config, options.objective)?;
        let files = Files::memory(files);
        device::choose(open, |Chosen { device, host, note }| {
            on!(device, |device| Inner::fresh(device, host, note, &config, &files, options).map(Self::from))
        })
    }
}

impl<D: Place> Inner<D> {
    fn fresh(
        device: D,
        host: Cpu,
        device_note: Option<String>,
        config: &Config,
        files: &Files<'_>,
        options: &FreshOptions,
    ) -> Result<Self> {
        let tokenizer = tokenizer(files, &str::to_owned, config.architecture)??;
        if tokenizer.size() > config.vocabulary {
            let (size, rows) = (tokenizer.size(), config.vocabulary);
            return Err(Error::argument(format!("vocab_size: {rows}, the tokenizer has {size} tokens")));
        }
        let scope = whole(config, options.objective)?;
        let mut fresh = Fresh::of(config, options.seed, wanted(&scope, config.architecture));
        let mut nothing = Weights::empty();
        let bert = Bert::load_or_make(&device, config.clone(), &mut nothing, Some(&mut fresh))?;
        let longest = config.max_positions;
        Ok(Self {
            device,
            bert,
            changed: scope,
            heads: Vec::new(),
            pipeline: Arc::new(Pipeline { pooling: vec![Pooling::Mean], stages: Vec::new(), keep: None }),
            sentence: Arc::new(None),
            shared: Arc::new(Shared {
                host,
                device_note,
                max_tokens: tokenizer.model_max_length().map_or(longest, |most| most.min(longest)),
                tokenizer: Ok(tokenizer),
                weights: nothing,
                source: files.source(""),
            }),
        })
    }
}

/// Everything that a model for `objective` consists of.
fn whole(config: &Config, objective: Objective) -> Result<Scope> {
    let heads = objective.heads().to_vec();
    if !heads.iter().all(|head| matches!(head, HeadPart::MaskedLm | HeadPart::NextSentence)) {
        return Err(Error::argument(format!(
            "a new model for {objective:?}, expected masked or next words, or next sentences"
        )));
    }
    if config.architecture == Architecture::Albert && heads.contains(&HeadPart::NextSentence) {
        return Err(Error::unsupported("ALBERT has no next-sentence head: learn masked words alone"));
    }
    Ok(Scope {
        embeddings: true,
        groups: (0..config.groups).collect(),
        adapter: false,
        pooler: objective.is_pooled(),
        heads,
    })
}

/// What the names of its tensors begin with.
fn wanted(scope: &Scope, architecture: Architecture) -> Vec<&'static str> {
    let mut wanted = vec!["embeddings.", "encoder."];
    if scope.pooler {
        wanted.push("pooler.");
    }
    for head in &scope.heads {
        match (head, architecture) {
            (HeadPart::MaskedLm, Architecture::Bert) => wanted.push("cls.predictions."),
            (HeadPart::MaskedLm, Architecture::Albert) => wanted.push("predictions."),
            (HeadPart::NextSentence, _) => wanted.push("cls.seq_relationship."),
            _ => {}
        }
    }
    wanted
}
