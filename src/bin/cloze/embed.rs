//! `cloze embed`: a vector for each text.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cloze::engine::{EmbedOptions, Pooling, Task, TextOptions};
use serde_json::{Value, json};

use crate::model::ModelArgs;
use crate::npy::Npy;
use crate::output::{Output, number};
use crate::stop::Done;
use crate::texts::{LengthArgs, Shape, Text, TextArgs};
use crate::work::Work;

/// Turn texts into vectors whose closeness tells how alike they are
///
/// For reading, only the first numbers of a vector are shown; of two texts also their cosine similarity.
/// --json and --npy have all numbers.
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze embed --model all-MiniLM-L6-v2 'a cat on a mat' 'a kitten on a rug'
  cloze embed --model all-MiniLM-L6-v2 --file sentences.txt --npy sentences.npy

JSON: text, embedding
  text is null with --ids")]
pub struct Embed {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    length: LengthArgs,

    /// Take special tokens such as [SEP] inside a text as plain text
    #[arg(long)]
    plain: bool,

    /// How the vectors of a text's tokens become one
    #[arg(long, value_enum, default_value_t = PoolingName::Auto)]
    pooling: PoolingName,

    /// Make vectors of length 1
    #[arg(long)]
    normalize: bool,

    /// Prompt of the folder that goes before each text [default: the folder's default prompt]
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,

    /// Write the vectors to FILE in NumPy's format (float32, a row for each text) instead of printing them
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    npy: Option<PathBuf>,

    /// Print JSON, one object a text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum PoolingName {
    /// As the folder says, with all its later steps; the mean where it says nothing
    Auto,
    /// The first token's vector
    Cls,
    /// The mean
    Mean,
    /// The largest value of each column
    Max,
}

/// Numbers of a vector that are shown for reading.
const SHOWN: usize = 6;

impl Embed {
    pub fn run(&self) -> Done {
        let texts = self.texts.open(Shape::Single, None)?;
        let model = self.model.open()?;
        let pooling = match self.pooling {
            PoolingName::Auto => None,
            PoolingName::Cls => Some(Pooling::Cls),
            PoolingName::Mean => Some(Pooling::Mean),
            PoolingName::Max => Some(Pooling::Max),
        };
        let options = EmbedOptions { pooling, normalize: self.normalize };
        let columns = model.embedding_width(&options);
        let mut npy = self.npy.as_deref().map(|path| Npy::create(path, columns)).transpose()?;
        let reading = TextOptions { plain: self.plain, prompt: self.prompt.as_deref(), ..self.length.options() };
        let mut work = Work::new(&model, texts, Task::Embed, reading);
        let mut out = work.output();
        let two = work.count() == Some(2);
        while let Some(batch) = work.next()? {
            let vectors = work.ask(&batch, |run| model.embed(&batch.encoded, &options, run))?;
            for (text, vector) in batch.texts().iter().zip(&vectors) {
                match &mut npy {
                    Some(npy) => npy.row(vector)?,
                    None if self.json => out.json(&object(text, vector)),
                    None => read(text, vector, &mut out),
                }
            }
            if let (true, None, false, [a, b]) = (two, &npy, self.json, vectors.as_slice()) {
                out.line(format!("\ncosine similarity  {:.4}", cosine(a, b)));
            }
            out.flush()?;
        }
        if let (Some(npy), Some(path)) = (npy, &self.npy) {
            let rows = npy.finish()?;
            out.line(format!("{}: {rows} x {columns} float32", path.display()));
        }
        out.flush()
    }
}

fn object(text: &Text, vector: &[f32]) -> Value {
    json!({"text": text.first(), "embedding": vector.iter().map(|&v| number(v)).collect::<Vec<_>>()})
}

fn read(text: &Text, vector: &[f32], out: &mut Output) {
    let shown: Vec<String> = vector.iter().take(SHOWN).map(|v| format!("{v:>8.4}")).collect();
    let rest = match vector.len() {
        n if n > SHOWN => format!(" ... {} more", n - SHOWN),
        _ => String::new(),
    };
    out.line(text.label());
    out.line(format!("  {}{rest}  (length {:.4})", shown.join(" "), dot(vector, vector).sqrt()));
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt()).max(f64::MIN_POSITIVE)
}
