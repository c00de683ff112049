//! `cloze classify`: labels of texts.

use clap::Args;
use cloze::engine::{Task, TextOptions};
use serde_json::{Value, json};

use crate::model::ModelArgs;
use crate::output::{Output, number, width};
use crate::stop::Done;
use crate::texts::{LengthArgs, Shape, Text, TextArgs};
use crate::work::Work;

/// Label whole texts, or pairs of texts
///
/// The labels are those that the model was trained for. A pair is written with a TAB between its texts.
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze classify --model sentiment-bert 'What a lovely film.' 'What a bore.'

JSON: text, labels: [{label, probability}]
  likeliest label first; a pair's text keeps its TAB; text is null with --ids;
  a model trained to predict numbers gives its number as probability")]
pub struct Classify {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    length: LengthArgs,

    /// Second text of a pair
    #[arg(long, value_name = "B", conflicts_with_all = ["file", "ids"])]
    pair: Option<String>,

    /// Take special tokens such as [SEP] inside a text as plain text
    #[arg(long)]
    plain: bool,

    /// Most labels of a text [default: all]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,

    /// Print JSON, one object a text
    #[arg(long)]
    json: bool,
}

impl Classify {
    pub fn run(&self) -> Done {
        let texts = self.texts.open(Shape::Either, self.pair.as_deref())?;
        let model = self.model.open()?;
        let reading = TextOptions { plain: self.plain, ..self.length.options() };
        let mut work = Work::new(&model, texts, Task::Classify, reading);
        let mut out = work.output();
        let single = work.is_single();
        while let Some(batch) = work.next()? {
            let answers = work.ask(&batch, |run| model.classify(&batch.encoded, run))?;
            for (text, values) in batch.texts().iter().zip(answers) {
                let labels = self.best(model.labels(), &values);
                if self.json {
                    out.json(&object(text, &labels));
                } else {
                    read(text, &labels, single, &mut out);
                }
            }
            out.flush()?;
        }
        Ok(())
    }

    /// Labels with their values, the largest first; of equals the one with the lower number.
    fn best<'a>(&self, labels: &'a [String], values: &[f32]) -> Vec<(&'a str, f32)> {
        let mut best: Vec<(&str, f32)> = labels.iter().map(String::as_str).zip(values.iter().copied()).collect();
        best.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        best.truncate(self.top_k.map_or(usize::MAX, |k| k as usize));
        best
    }
}

fn object(text: &Text, labels: &[(&str, f32)]) -> Value {
    let whole = match text {
        Text::Pair(a, b) => Some(format!("{a}\t{b}")),
        other => other.first().map(str::to_owned),
    };
    let label = |(label, value): &(&str, f32)| json!({"label": label, "probability": number(*value)});
    json!({"text": whole, "labels": labels.iter().map(label).collect::<Vec<_>>()})
}

fn read(text: &Text, labels: &[(&str, f32)], single: bool, out: &mut Output) {
    if !single {
        out.line(text.label());
    }
    let column = width(labels.iter().map(|(label, _)| *label));
    for (label, value) in labels {
        let bar = out.bar(*value);
        out.line(format!("  {label:<column$}  {value:>7.4}  {bar}"));
    }
    if !single {
        out.line("");
    }
}
