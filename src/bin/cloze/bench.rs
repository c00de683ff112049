//! `cloze bench`: how fast a model runs here.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use cloze::engine::{
    Dataset, EmbedOptions, Encoded, Example, ExampleInput, Info, Input, Model, Objective, Overflow, Run, ScoreOptions,
    Target, Task, TextOptions, Tokens, TrainOptions, Trainer,
};
use cloze::error::{Error, Result};
use serde_json::{Map, Value, json};

use crate::model::ModelArgs;
use crate::output::Output;
use crate::stop::{Done, Stop};
use crate::train::values::{Trains, parse_trains};

/// Measure how fast a model runs on this machine
///
/// Each workload runs twice to warm up, then again and again for --seconds (3 to 50 times); the median time is reported.
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze bench --model bert-base-uncased --workload encode --batch 8 --seq 128 --threads 2

JSON: workload, precision, threads, median_ms, runs, and
  encode: batch, seq, tokens, gflops
  ragged: batch, texts, tokens, gflops, sentences_per_s
  pll:    texts, tokens
  finetune, pretrain: trainable, batch, seq, tokens, parameters
  gflops are 10^9 floating-point operations a second")]
pub struct Bench {
    #[command(flatten)]
    model: ModelArgs,

    /// What to run
    #[arg(long, value_enum, default_value_t = Workload::Encode)]
    workload: Workload,

    /// Texts in a batch [default: 1 for encode, 32 for ragged, 16 for finetune and pretrain]
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,

    /// Tokens in each text of encode
    #[arg(long, value_name = "S", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    seq: u16,

    /// Mean of each text's tokens, in place of all hidden states of encode and ragged
    #[arg(long)]
    pooled: bool,

    /// What trains in finetune and pretrain: head, top:N, layers, all, lora:R
    #[arg(long, value_name = "WHAT", default_value = "top:2", value_parser = parse_trains)]
    trainable: Trains,

    /// How long to repeat
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0)]
    seconds: f64,

    /// Texts for ragged and pll, one a line; what follows the last TAB of a line is a label and left out
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Workload {
    /// Final hidden states of batches of random tokens, all texts equally long
    Encode,
    /// Final hidden states of the first 320 texts of --file, in batches
    Ragged,
    /// Pseudo-log-likelihood of the first 16 texts of --file
    Pll,
    /// Training steps of a classifier on random tokens: forward, backward, clipping, AdamW; nothing is cached
    Finetune,
    /// The same of a masked language model, 15 % of the tokens masked
    Pretrain,
}

impl Bench {
    pub fn run(&self) -> Done {
        if !self.seconds.is_finite() || self.seconds < 0.0 {
            return Err(Stop::usage(format!("--seconds {}: expected a number from 0 on", self.seconds)));
        }
        let texts = match (self.workload, &self.file) {
            (Workload::Encode | Workload::Finetune | Workload::Pretrain, None) => Vec::new(),
            (Workload::Encode | Workload::Finetune | Workload::Pretrain, Some(_)) => {
                return Err(Stop::usage("--file goes with --workload ragged or pll"));
            }
            (_, None) => return Err(Stop::usage("--workload ragged and pll need --file, texts one a line")),
            (Workload::Ragged, Some(file)) => read(file, 320)?,
            (Workload::Pll, Some(file)) => read(file, 16)?,
        };
        let model = self.model.open()?;
        let measured = match self.workload {
            Workload::Encode => self.encode(&model)?,
            Workload::Ragged => self.ragged(&model, &texts)?,
            Workload::Pll => self.pll(&model, &texts)?,
            Workload::Finetune => self.finetune(&model)?,
            Workload::Pretrain => self.pretrain(&model)?,
        };
        let mut out = Output::new(&indicatif::ProgressBar::hidden());
        out.json(&measured);
        out.flush()
    }

    fn encode(&self, model: &Model) -> Result<Value> {
        let (batch, seq) = (usize::from(self.batch.unwrap_or(1)), usize::from(self.seq));
        let info = model.info();
        let rows = random(batch, seq, info.vocabulary);
        let inputs: Vec<Input<'_>> = rows.iter().map(|ids| Input::Tokens { ids, types: &[] }).collect();
        let encoded = model.encode(&inputs, Task::HiddenStates, &TextOptions::default())?;
        let timed = self.time(|| self.answer(model, &encoded, info.layers))?;
        let mut result = self.result(&info, format!("encode-b{batch}-s{seq}"), &timed);
        result.insert("batch".to_owned(), json!(batch));
        result.insert("seq".to_owned(), json!(seq));
        result.insert("tokens".to_owned(), json!(batch * seq));
        result.insert("gflops".to_owned(), json!((gflop(&info, &[encoded]) / timed.median_s).round()));
        Ok(Value::Object(result))
    }

    fn ragged(&self, model: &Model, texts: &[String]) -> Result<Value> {
        let batch = usize::from(self.batch.unwrap_or(32));
        let info = model.info();
        let batches: Vec<Encoded> =
            texts.chunks(batch).map(|texts| encode(model, texts, Task::HiddenStates)).collect::<Result<_>>()?;
        let timed = self.time(|| batches.iter().try_for_each(|batch| self.answer(model, batch, info.layers)))?;
        let mut result = self.result(&info, "ragged".to_owned(), &timed);
        result.insert("batch".to_owned(), json!(batch));
        result.insert("texts".to_owned(), json!(texts.len()));
        result.insert("tokens".to_owned(), json!(batches.iter().map(Encoded::tokens).sum::<usize>()));
        result.insert("gflops".to_owned(), json!((gflop(&info, &batches) / timed.median_s).round()));
        result.insert("sentences_per_s".to_owned(), json!(rounded(texts.len() as f64 / timed.median_s, 1)));
        Ok(Value::Object(result))
    }

    fn pll(&self, model: &Model, texts: &[String]) -> Result<Value> {
        let encoded = encode(model, texts, Task::Score)?;
        let tokens: usize = model.scored_positions(&encoded).iter().map(Vec::len).sum();
        let timed = self.time(|| model.score(&encoded, &ScoreOptions::default(), Run::default()).map(drop))?;
        let mut result = self.result(&model.info(), format!("pll-{}-sentences", texts.len()), &timed);
        result.insert("texts".to_owned(), json!(texts.len()));
        result.insert("tokens".to_owned(), json!(tokens));
        Ok(Value::Object(result))
    }

    fn finetune(&self, model: &Model) -> Result<Value> {
        let (batch, seq) = (usize::from(self.batch.unwrap_or(16)), usize::from(self.seq));
        let info = model.info();
        let mut examples = Dataset::new();
        for (index, ids) in random(batch, seq, info.vocabulary).into_iter().enumerate() {
            let types = vec![0; ids.len()];
            let target = Target::Label(["no", "yes"][index % 2].to_owned());
            examples.push(Example { input: ExampleInput::Tokens(Tokens { ids, types }), target })?;
        }
        self.steps(model, &examples, Objective::Classify, "finetune")
    }

    fn pretrain(&self, model: &Model) -> Result<Value> {
        let (batch, seq) = (usize::from(self.batch.unwrap_or(16)), usize::from(self.seq));
        let mut examples = Dataset::new();
        for ids in random(batch, seq, model.info().vocabulary) {
            // every seventh place: 15 % of them
            let labels =
                ids.iter().enumerate().map(|(place, &id)| if place % 7 == 3 { id as i32 } else { -100 }).collect();
            let types = vec![0; ids.len()];
            examples
                .push(Example { input: ExampleInput::Tokens(Tokens { ids, types }), target: Target::Ids(labels) })?;
        }
        self.steps(model, &examples, Objective::MaskedLm, "pretrain")
    }

    /// Training steps on one batch.
    fn steps(&self, model: &Model, examples: &Dataset, objective: Objective, name: &str) -> Result<Value> {
        let (batch, seq) = (examples.len(), usize::from(self.seq));
        let mut options = TrainOptions { objective, learning_rate: 2e-5, ..TrainOptions::default() };
        self.trainable.set(&mut options);
        let mut trainer = Trainer::new(model, &options, Some(examples))?;
        let timed = self.time(|| {
            trainer.accumulate(examples, None)?;
            trainer.apply(None).map(drop)
        })?;
        let mut result = self.result(&model.info(), format!("{name}-b{batch}-s{seq}"), &timed);
        result.insert("trainable".to_owned(), json!(self.trainable.to_string()));
        result.insert("batch".to_owned(), json!(batch));
        result.insert("seq".to_owned(), json!(seq));
        result.insert("tokens".to_owned(), json!(batch * seq));
        result.insert("parameters".to_owned(), json!(trainer.parameter_count()));
        Ok(Value::Object(result))
    }

    /// What encode and ragged ask for.
    fn answer(&self, model: &Model, encoded: &Encoded, layer: usize) -> Result<()> {
        match self.pooled {
            true => model.embed(encoded, &EmbedOptions::default(), Run::default()).map(drop),
            false => model.hidden_states(encoded, &[layer], Run::default()).map(drop),
        }
    }

    fn result(&self, info: &Info, workload: String, timed: &Timed) -> Map<String, Value> {
        let pairs = [
            ("workload", json!(workload)),
            ("precision", json!(info.device.precision.to_string())),
            ("threads", json!(info.threads)),
            ("median_ms", json!(rounded(timed.median_s * 1e3, 2))),
            ("runs", json!(timed.runs)),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Median time of `work` after two runs to warm up.
    fn time(&self, mut work: impl FnMut() -> Result<()>) -> Result<Timed> {
        work()?;
        work()?;
        let limit = Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::MAX);
        let (begin, mut times) = (Instant::now(), Vec::new());
        while times.len() < 3 || (begin.elapsed() < limit && times.len() < 50) {
            let start = Instant::now();
            work()?;
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let (low, high) = (times[(times.len() - 1) / 2], times[times.len() / 2]);
        Ok(Timed { median_s: (low + high) / 2.0, runs: times.len() })
    }
}

struct Timed {
    median_s: f64,
    runs: usize,
}

fn encode(model: &Model, texts: &[String], task: Task) -> Result<Encoded> {
    let inputs: Vec<Input<'_>> = texts.iter().map(|text| Input::Text(text)).collect();
    model.encode(&inputs, task, &TextOptions { overflow: Some(Overflow::Truncate), ..TextOptions::default() })
}

/// The first `count` lines, each up to its last TAB.
fn read(file: &Path, count: usize) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file).map_err(|error| Error::io(file, &error))?;
    let line = |line: &str| line.rsplit_once('\t').map_or(line, |(text, _)| text).to_owned();
    let texts: Vec<String> = text.lines().take(count).map(line).collect();
    match texts.is_empty() {
        true => Err(Error::input(format!("{}: no text", file.display()))),
        false => Ok(texts),
    }
}

/// Ids that are words in BERT's vocabularies, whose first thousand are special, unused and single characters.
fn random(rows: usize, columns: usize, vocabulary: usize) -> Vec<Vec<u32>> {
    let (low, high) = if vocabulary > 2000 { (1000, vocabulary.min(30_000)) } else { (0, vocabulary) };
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        low as u32 + (state % (high - low) as u64) as u32
    };
    (0..rows).map(|_| (0..columns).map(|_| next()).collect()).collect()
}

/// 10⁹ floating-point operations of the encoder: the four H × H products, the two H × F products, and attention's two
/// s × s products of every layer.
fn gflop(info: &Info, batches: &[Encoded]) -> f64 {
    let (h, f) = (info.hidden as f64, info.intermediate as f64);
    let sequence = |s: f64| s * (8.0 * h * h + 4.0 * h * f) + 4.0 * s * s * h;
    let lengths = batches.iter().flat_map(Encoded::items).map(|item| item.tokens.ids.len() as f64);
    info.layers as f64 * lengths.map(sequence).sum::<f64>() / 1e9
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
