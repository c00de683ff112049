//! `cloze nsp`: does one text follow another.

use clap::Args;
use cloze::engine::{Task, TextOptions};
use serde_json::json;

use crate::model::ModelArgs;
use crate::output::{number, one_line};
use crate::stop::Done;
use crate::texts::{LengthArgs, Shape, TextArgs};
use crate::work::Work;

/// Judge whether a text B follows a text A (next-sentence prediction)
///
/// Takes A and B as two arguments, or pairs with a TAB between their texts: each an argument or a line of --file.
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze nsp --model bert-base-uncased 'He opened the fridge.' 'It was empty.'

JSON: a, b, is_next
  is_next is a probability; a and b are null with --ids, which needs --types to tell A from B")]
pub struct Nsp {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    length: LengthArgs,

    /// Take special tokens such as [SEP] inside a text as plain text
    #[arg(long)]
    plain: bool,

    /// Print JSON, one object a pair
    #[arg(long)]
    json: bool,
}

impl Nsp {
    pub fn run(&self) -> Done {
        let texts = self.texts.open(Shape::Pair, None)?;
        let model = self.model.open()?;
        let reading = TextOptions { plain: self.plain, ..self.length.options() };
        let mut work = Work::new(&model, texts, Task::NextSentence, reading);
        let mut out = work.output();
        let mut headed = self.json;
        while let Some(batch) = work.next()? {
            let answers = work.ask(&batch, |run| model.next_sentence(&batch.encoded, run))?;
            if !std::mem::replace(&mut headed, true) {
                out.line("is_next  A | B");
            }
            for (text, is_next) in batch.texts().iter().zip(answers) {
                if self.json {
                    out.json(&json!({"a": text.first(), "b": text.second(), "is_next": number(is_next)}));
                } else {
                    let bar = out.bar(is_next);
                    let gap = if bar.is_empty() { "" } else { "  " };
                    out.line(format!("{is_next:>7.4}  {bar}{gap}{}", one_line(&text.label())));
                }
            }
            out.flush()?;
        }
        Ok(())
    }
}
