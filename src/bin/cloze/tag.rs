//! `cloze tag`: labels of words.

use clap::{Args, ValueEnum};
use cloze::engine::{Aggregation, Encoded, Model, Run, Span, TagOptions, Task, TextOptions, convert_offsets};
use cloze::error::Result;
use serde_json::{Value, json};

use crate::model::{ModelArgs, spelling};
use crate::output::{Output, number, one_line, width};
use crate::stop::Done;
use crate::texts::{LengthArgs, Shape, Text, TextArgs};
use crate::tokenize::Unit;
use crate::work::{Batch, Work};

/// Label stretches of a text: names, places, parts of speech
///
/// The labels are those that the model was trained for; stretches labelled O (nothing) are left out.
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze tag --model ner-bert --aggregation first 'Ada Lovelace lived in London.'

JSON: text, entities: [{label, start, end, text, probability}]
  labels lose their B- and I- unless --aggregation is none; with --ids every token is an entity of its own,
  text is null, start and end are null, and an entity's text is its token")]
pub struct Tag {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    length: LengthArgs,

    /// Take special tokens such as [SEP] inside a text as plain text
    #[arg(long)]
    plain: bool,

    /// How tokens become entities
    #[arg(long, value_enum, default_value_t = Strategy::Simple)]
    aggregation: Strategy,

    /// Keep stretches labelled O
    #[arg(long)]
    all: bool,

    /// What start and end count
    #[arg(long, value_enum, default_value_t = Unit::Bytes)]
    offsets: Unit,

    /// Print JSON, one object a text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Strategy {
    /// Every token is an entity
    None,
    /// Neighbouring tokens of one label are an entity
    Simple,
    /// Words take the label of their first token
    First,
    /// Words take the label that is likeliest on average over their tokens
    Average,
    /// Words take the label of their surest token
    Max,
}

struct Entity {
    label: String,
    span: Option<Span>,
    text: String,
    probability: f32,
}

impl Tag {
    pub fn run(&self) -> Done {
        let texts = self.texts.open(Shape::Single, None)?;
        let model = self.model.open()?;
        let reading = TextOptions { plain: self.plain, ..self.length.options() };
        let mut work = Work::new(&model, texts, Task::Tag, reading);
        let mut out = work.output();
        let single = work.is_single();
        while let Some(batch) = work.next()? {
            let answers = work.ask(&batch, |run| self.entities(&model, &batch, run))?;
            for (text, entities) in batch.texts().iter().zip(&answers) {
                if self.json {
                    out.json(&object(text, entities));
                } else {
                    read(text, entities, single, &mut out);
                }
            }
            out.flush()?;
        }
        Ok(())
    }

    fn entities(&self, model: &Model, batch: &Batch, run: Run<'_>) -> Result<Vec<Vec<Entity>>> {
        let texts: Option<Vec<&str>> = batch.texts().iter().map(Text::first).collect();
        let Some(texts) = texts else { return self.tokens(model, &batch.encoded, run) };
        let aggregation = match self.aggregation {
            Strategy::None => Aggregation::None,
            Strategy::Simple => Aggregation::Simple,
            Strategy::First => Aggregation::First,
            Strategy::Average => Aggregation::Average,
            Strategy::Max => Aggregation::Max,
        };
        let options = TagOptions { aggregation, keep_outside: self.all };
        let found = model.entities(&batch.encoded, &texts, &options, run)?;
        let named = |(text, entities): (&&str, Vec<cloze::engine::Entity>)| {
            let bytes: Vec<Span> = entities.iter().map(|e| e.span).collect();
            let spans = convert_offsets(text, &bytes, self.offsets.into());
            let entity = |(entity, span): (cloze::engine::Entity, Span)| Entity {
                label: self.label(&model.labels()[entity.label]).to_owned(),
                span: Some(span),
                text: text.get(entity.span.start..entity.span.end).unwrap_or_default().to_owned(),
                probability: entity.probability,
            };
            entities.into_iter().zip(spans).map(entity).collect()
        };
        Ok(texts.iter().zip(found).map(named).collect())
    }

    /// The label of every token by itself.
    fn tokens(&self, model: &Model, encoded: &Encoded, run: Run<'_>) -> Result<Vec<Vec<Entity>>> {
        let tagged = model.tag(encoded, run)?;
        let answers = encoded.items().iter().zip(tagged).map(|(item, tagged)| {
            let tokens = item.tokens.ids.iter().zip(tagged).filter_map(|(&id, tagged)| {
                let likelier = |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
                let (label, probability) = tagged.probabilities.into_iter().enumerate().reduce(likelier)?;
                let label = model.labels().get(label)?.clone();
                (self.all || label != "O").then(|| Entity { label, span: None, text: spelling(model, id), probability })
            });
            tokens.collect()
        });
        Ok(answers.collect())
    }

    /// A group has the label without the mark of beginning or continuing.
    fn label<'a>(&self, label: &'a str) -> &'a str {
        match self.aggregation {
            Strategy::None => label,
            _ => label.strip_prefix("B-").or_else(|| label.strip_prefix("I-")).unwrap_or(label),
        }
    }
}

fn object(text: &Text, entities: &[Entity]) -> Value {
    let entity = |entity: &Entity| {
        json!({
            "label": entity.label,
            "start": entity.span.map(|s| s.start),
            "end": entity.span.map(|s| s.end),
            "text": entity.text,
            "probability": number(entity.probability),
        })
    };
    json!({"text": text.first(), "entities": entities.iter().map(entity).collect::<Vec<_>>()})
}

fn read(text: &Text, entities: &[Entity], single: bool, out: &mut Output) {
    if !single {
        out.line(text.label());
    }
    let spans: Vec<String> =
        entities.iter().map(|e| e.span.map_or_else(String::new, |s| format!("{}..{}", s.start, s.end))).collect();
    let labels = width(entities.iter().map(|e| e.label.as_str()));
    let places = width(spans.iter().map(String::as_str));
    for (entity, span) in entities.iter().zip(&spans) {
        let (label, probability, text) = (&entity.label, entity.probability, one_line(&entity.text));
        out.line(format!("  {label:<labels$}  {probability:.4}  {span:<places$}  {text}"));
    }
    if entities.is_empty() {
        out.line("  nothing found");
    }
    if !single {
        out.line("");
    }
}
