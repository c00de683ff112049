//! `cloze generate`: how a text goes on.

use clap::Args;
use cloze::engine::{Continuation, Ending, GenerateOptions, Model, NewToken, Sampling, Task, TextOptions};
use serde_json::{Value, json};

use crate::model::{ModelArgs, spelling};
use crate::output::{Output, number, one_line};
use crate::stop::Done;
use crate::texts::{Shape, Text, TextArgs};
use crate::work::Work;

/// Go on with a text, with a causal model
///
/// A token at a time follows, until [SEP], the most tokens asked for, or the end of the model's positions. The likeliest
/// token is taken each time, unless --temperature or another option of drawing is given: then tokens are drawn, and one
/// seed gives one text.
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze generate --model my-bert-decoder 'Once upon a' --max-tokens 40 --temperature 0.8 --count 3

JSON: text, continuations: [{text, tokens: [{token, log_probability}], finished}]
  a continuation's text goes on right after the text; finished tells whether [SEP], its last token, ended it; text is
  null with --ids, and everywhere without a tokenizer")]
pub struct Generate {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    texts: TextArgs,

    /// Take special tokens such as [MASK] inside a text as plain text
    #[arg(long)]
    plain: bool,

    /// Most new tokens of a continuation [default: what the model has positions for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,

    /// Draw tokens: below 1 likely ones more often than their probability, above 1 less often [default of drawing: 1]
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,

    /// Draw among the K likeliest tokens
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,

    /// Draw among the likeliest tokens whose probabilities sum to P
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,

    /// Seed of the drawing [default: 0]
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,

    /// Continuations of every text
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,

    /// Id of the token that ends a text, for a folder without tokenizer
    #[arg(long, value_name = "ID")]
    end_id: Option<u32>,

    /// Print JSON, one object a text
    #[arg(long)]
    json: bool,
}

impl Generate {
    pub fn run(&self) -> Done {
        let texts = self.texts.open(Shape::Single, None)?;
        let model = self.model.open()?;
        let options = GenerateOptions {
            max_tokens: self.max_tokens.map_or(0, |n| n as usize),
            count: usize::from(self.count),
            sampling: self.sampling(),
            end: self.end_id,
        };
        let reading = TextOptions { plain: self.plain, ..TextOptions::default() };
        let mut work = Work::new(&model, texts, Task::Generate, reading);
        let mut out = work.output();
        while let Some(batch) = work.next()? {
            let generated = work.ask(&batch, |run| model.generate(&batch.encoded, &options, run))?;
            for (text, continuations) in batch.texts().iter().zip(&generated) {
                if self.json {
                    out.json(&object(&model, text, continuations));
                } else {
                    continuations.iter().for_each(|continuation| read(text, continuation, &mut out));
                }
            }
            out.flush()?;
        }
        Ok(())
    }

    /// Tokens are drawn as soon as anything is said of drawing.
    fn sampling(&self) -> Option<Sampling> {
        let drawn = self.temperature.is_some() || self.top_k.is_some() || self.top_p.is_some() || self.seed.is_some();
        (drawn || self.count > 1).then(|| Sampling {
            temperature: self.temperature.unwrap_or(1.0),
            top_k: self.top_k.map_or(0, |k| k as usize),
            top_p: self.top_p.unwrap_or(1.0),
            seed: self.seed.unwrap_or(0),
        })
    }
}

fn object(model: &Model, text: &Text, continuations: &[Continuation]) -> Value {
    let token = |t: &NewToken| json!({"token": spelling(model, t.id), "log_probability": number(t.log_probability)});
    let one = |continuation: &Continuation| {
        json!({
            "text": continuation.text,
            "tokens": continuation.tokens.iter().map(token).collect::<Vec<_>>(),
            "finished": continuation.ending == Ending::Finished,
        })
    };
    json!({"text": text.first(), "continuations": continuations.iter().map(one).collect::<Vec<_>>()})
}

/// The text and how it goes on, in one line.
fn read(text: &Text, continuation: &Continuation, out: &mut Output) {
    let after = match &continuation.text {
        Some(after) if text.first().is_some() => after.clone(),
        _ => continuation.tokens.iter().map(|token| format!(" {}", token.id)).collect(),
    };
    out.line(one_line(&format!("{}{after}", text.label())));
}
