//! `cloze tokenize`: a text as the model sees it.

use clap::{Args, ValueEnum};
use cloze::engine::{Item, Model, OffsetUnit, Span, Task, TextOptions, convert_offsets};
use serde_json::{Value, json};

use crate::model::ModelArgs;
use crate::output::{Output, one_line, width};
use crate::stop::Done;
use crate::texts::{LengthArgs, Shape, Text, TextArgs};
use crate::work::Work;

/// Show the tokens of a text as the model sees them
///
/// A pair of texts is written with a TAB between them, or with --pair.
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze tokenize --model bert-base-uncased 'Tokenisation, step by step'

JSON: ids, tokens, offsets, types
  one entry for each token; an offset is [start, end] in the token's own text, [0, 0] for [CLS] and [SEP];
  offsets is null with --ids, and a token is null where the folder has no name for it")]
pub struct Tokenize {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    length: LengthArgs,

    /// Second text of a pair
    #[arg(long, value_name = "B", conflicts_with_all = ["file", "ids"])]
    pair: Option<String>,

    /// Take special tokens such as [MASK] inside a text as plain text
    #[arg(long)]
    plain: bool,

    /// What offsets count
    #[arg(long, value_enum, default_value_t = Unit::Bytes)]
    offsets: Unit,

    /// Print JSON, one object a text
    #[arg(long)]
    json: bool,
}

/// What offsets count.
#[derive(Clone, Copy, ValueEnum)]
pub enum Unit {
    /// Bytes of the UTF-8 text
    Bytes,
    /// Unicode code points, as Python
    Codepoints,
    /// UTF-16 units, as JavaScript and Java
    Utf16,
}

impl From<Unit> for OffsetUnit {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::Bytes => OffsetUnit::Bytes,
            Unit::Codepoints => OffsetUnit::CodePoints,
            Unit::Utf16 => OffsetUnit::Utf16,
        }
    }
}

impl Tokenize {
    pub fn run(&self) -> Done {
        let texts = self.texts.open(Shape::Either, self.pair.as_deref())?;
        let model = self.model.open()?;
        let reading = TextOptions { plain: self.plain, ..self.length.options() };
        let mut work = Work::new(&model, texts, Task::HiddenStates, reading);
        let mut out = work.output();
        let single = work.is_single();
        while let Some(batch) = work.next()? {
            for (text, item) in batch.texts().iter().zip(batch.encoded.items()) {
                let offsets = offsets(text, item, self.offsets.into());
                if self.json {
                    out.json(&object(&model, item, offsets.as_deref()));
                } else {
                    read(&model, text, item, offsets.as_deref(), single, &mut out);
                }
            }
            out.flush()?;
        }
        Ok(())
    }
}

/// Spans of the tokens, each in its own text; `None` for token ids.
fn offsets(text: &Text, item: &Item, unit: OffsetUnit) -> Option<Vec<Span>> {
    let encoding = item.encoding.as_ref()?;
    let first = convert_offsets(text.first()?, &encoding.offsets, unit);
    let Some(second) = text.second() else { return Some(first) };
    let second = convert_offsets(second, &encoding.offsets, unit);
    let own = |((sequence, a), b): ((&Option<u8>, Span), Span)| if *sequence == Some(1) { b } else { a };
    Some(encoding.sequence.iter().zip(first).zip(second).map(own).collect())
}

fn object(model: &Model, item: &Item, offsets: Option<&[Span]>) -> Value {
    let spans = offsets.map(|spans| spans.iter().map(|span| [span.start, span.end]).collect::<Vec<_>>());
    let tokens: Vec<Option<&str>> = item.tokens.ids.iter().map(|&id| model.token(id)).collect();
    json!({"ids": item.tokens.ids, "tokens": tokens, "offsets": spans, "types": item.tokens.types})
}

fn read(model: &Model, text: &Text, item: &Item, offsets: Option<&[Span]>, single: bool, out: &mut Output) {
    if !single {
        out.line(text.label());
    }
    let tokens: Vec<String> = item.tokens.ids.iter().map(|&id| one_line(model.token(id).unwrap_or("?"))).collect();
    let column = width(tokens.iter().map(String::as_str)).max("token".len());
    out.line(format!(
        "  {:>8}  {:<column$}  {:>4}  {}",
        "id",
        "token",
        "type",
        if offsets.is_some() { "offsets" } else { "" }
    ));
    for (index, token) in tokens.iter().enumerate() {
        let span = offsets.map_or_else(String::new, |spans| format!("{}..{}", spans[index].start, spans[index].end));
        let (id, segment) = (item.tokens.ids[index], item.tokens.types[index]);
        out.line(format!("  {id:>8}  {token:<column$}  {segment:>4}  {span}"));
    }
    if !single {
        out.line("");
    }
}
