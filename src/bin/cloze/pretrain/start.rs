//! What pretraining begins with: a model folder, or nothing but sizes and a vocabulary.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use cloze::engine::{
    Bytes, Casing, FreshOptions, Lines, Model, TrainOptions, VocabularyOptions, learn_vocabulary, tokenizer_files,
};
use cloze::error::Error;
use serde_json::{Value, json};

use crate::model::RunsOn;
use crate::output::grouped;
use crate::stop::Stop;
use crate::train::values::{Trains, parse_trains};

#[derive(Args, Default)]
pub struct StartArgs {
    /// Folder of a model to go on with; without, weights begin at random
    #[arg(long, value_name = "DIR", help_heading = "Start")]
    model: Option<PathBuf>,

    /// Give the model of --model a new head where it has none for the task, or in place of its own
    #[arg(long, requires = "model", help_heading = "Start")]
    pub fresh_head: bool,

    /// What learns of --model: all, layers, top:N or head
    #[arg(long, value_name = "WHAT", value_parser = parse_trains, requires = "model", help_heading = "Start")]
    trainable: Option<Trains>,

    #[command(flatten)]
    runs: RunsOn,

    /// Folder whose vocabulary is taken, instead of learning one
    #[arg(long, value_name = "DIR", conflicts_with = "model", help_heading = "Start")]
    vocab: Option<PathBuf>,

    /// Tokens of the vocabulary that is learned [default: 30522]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..), conflicts_with_all = ["model", "vocab"],
          help_heading = "Start")]
    vocab_size: Option<u32>,

    /// Keep capital letters and accents, instead of lower-casing
    #[arg(long, conflicts_with_all = ["model", "vocab"], help_heading = "Start")]
    cased: bool,

    /// config.json with the sizes; those given beside it go before
    #[arg(long, value_name = "FILE", conflicts_with = "model", help_heading = "Start")]
    config: Option<PathBuf>,

    /// L [default: 12]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "model", help_heading = "Start")]
    layers: Option<u32>,

    /// H [default: 768]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "model", help_heading = "Start")]
    hidden: Option<u32>,

    /// A, which divides H [default: H / 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "model", help_heading = "Start")]
    heads: Option<u32>,

    /// F [default: 4 H]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "model", help_heading = "Start")]
    intermediate: Option<u32>,

    /// Positions of the model [default: --max-tokens, else 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(5..), conflicts_with = "model", help_heading = "Start")]
    positions: Option<u32>,
}

/// What training begins with.
pub struct Start {
    pub model: Model,
    pub trains: Trains,
    /// What there is to say of it.
    pub notes: Vec<String>,
}

impl StartArgs {
    /// Going on with the model in `folder`.
    pub fn with_model(folder: PathBuf, runs: RunsOn, trainable: Trains, fresh_head: bool) -> Self {
        Self { model: Some(folder), trainable: Some(trainable), fresh_head, runs, ..Self::default() }
    }

    /// Whether training goes on with a model.
    pub fn is_model(&self) -> bool {
        self.model.is_some()
    }

    /// The model to train: opened, or new. A run that goes on takes vocabulary and sizes from its checkpoint.
    pub fn begin(
        &self,
        corpus: &Path,
        lines: Lines,
        training: &TrainOptions,
        checkpoint: Option<&Path>,
    ) -> Result<Start, Stop> {
        let open = self.runs.options();
        if let Some(folder) = &self.model {
            let trains = self.trainable.unwrap_or(Trains::All);
            return Ok(Start { model: Model::open(folder, &open)?, trains, notes: Vec::new() });
        }
        let mut notes = Vec::new();
        let files: Vec<(String, Bytes)> = match (checkpoint, self.vocab.as_deref()) {
            (Some(folder), _) | (None, Some(folder)) => {
                tokenizer_files(folder)?.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
            }
            (None, None) => {
                let casing = if self.cased { Casing::Cased } else { Casing::Uncased };
                let usual = VocabularyOptions::default();
                let size = self.vocab_size.map_or(usual.size, |size| size as usize);
                let files = learn_vocabulary(corpus, lines, &VocabularyOptions { size, casing, ..usual })?;
                notes.push(format!("a vocabulary of at most {} tokens learned", grouped(size as u64)));
                files.into_iter().map(|(name, bytes)| (name, Arc::new(bytes) as Bytes)).collect()
            }
        };
        let config = match checkpoint {
            Some(folder) => read(&folder.join("config.json"))?,
            None => self.config(&files, training.max_tokens)?.to_string().into_bytes(),
        };
        let named: Vec<(&str, Bytes)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let options = FreshOptions { seed: training.seed, objective: training.objective };
        let model = Model::fresh(&config, &named, &options, &open)?;
        Ok(Start { model, trains: Trains::All, notes })
    }

    /// The config.json of a new model.
    fn config(&self, files: &[(String, Bytes)], max_tokens: usize) -> Result<Value, Stop> {
        let mut config = match &self.config {
            None => json!({}),
            Some(path) => {
                let parsed: Result<Value, _> = serde_json::from_slice(&read(path)?);
                parsed.map_err(|error| Error::file(format!("{}: {error}", path.display())))?
            }
        };
        if !config.is_object() {
            let what = self.config.as_deref().unwrap_or(Path::new("config.json")).display();
            return Err(Error::file(format!("{what}: not a JSON object")).into());
        }
        let hidden = self.hidden.map(u64::from).or_else(|| config["hidden_size"].as_u64()).unwrap_or(768);
        let vocabulary = files.iter().find(|(name, _)| name == "vocab.txt");
        let words = vocabulary
            .map(|(_, text)| (**text).as_ref().split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count());
        let mut put = |key: &str, given: Option<u64>, usual: Option<u64>| {
            let has = config.get(key).is_some();
            if let Some(value) = given.or(usual.filter(|_| !has)) {
                config[key] = json!(value);
            }
        };
        put("hidden_size", self.hidden.map(u64::from), Some(hidden));
        put("num_hidden_layers", self.layers.map(u64::from), Some(12));
        put("num_attention_heads", self.heads.map(u64::from), Some((hidden / 64).max(1)));
        put("intermediate_size", self.intermediate.map(u64::from), Some(4 * hidden));
        let positions = if max_tokens > 0 { max_tokens as u64 } else { 512 };
        put("max_position_embeddings", self.positions.map(u64::from), Some(positions));
        put("vocab_size", None, words.map(|words| words as u64));
        if config.get("model_type").is_none() {
            config["model_type"] = json!("bert");
        }
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::io(path, &error))
}
