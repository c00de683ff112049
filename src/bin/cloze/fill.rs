//! `cloze fill`: the best words for the blanks.

use clap::Args;
use cloze::engine::{Candidate, FillOptions, Input, Item, Mask, Model, Task, TextOptions};
use cloze::error::{Error, Result};
use serde_json::{Value, json};

use crate::model::{ModelArgs, bare, continues, spelling};
use crate::output::{Output, number, width};
use crate::stop::Done;
use crate::texts::{LengthArgs, Shape, Text, TextArgs};
use crate::work::Work;

/// Find the words that best fill the blanks of a text
///
/// A blank is written as the model's mask token, [MASK] for BERT. Each blank is filled by itself; the other blanks of the
/// text stay blank meanwhile.
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze fill --model bert-base-uncased --top-k 3 'Paris is the [MASK] of France.'

JSON: text, masks: [{position, candidates: [{id, token, probability, text}]}]
  position counts tokens; a candidate's text is the whole text with the blank filled; text is null with --ids")]
pub struct Fill {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    length: LengthArgs,

    /// Candidates for each blank
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top_k: u32,

    /// Only these words, each one token of the vocabulary; probabilities stay those among all words
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    targets: Vec<String>,

    /// Id of the mask token, for a folder without tokenizer
    #[arg(long, value_name = "ID")]
    mask_id: Option<u32>,

    /// Print JSON, one object a text
    #[arg(long)]
    json: bool,
}

impl Fill {
    pub fn run(&self) -> Done {
        let texts = self.texts.open(Shape::Single, None)?;
        let model = self.model.open()?;
        let targets = self.targets.iter().map(|word| target(&model, word)).collect::<Result<Vec<u32>>>()?;
        let options = FillOptions { top_k: self.top_k as usize, targets: &targets, mask: self.mask_id };
        let mut work = Work::new(&model, texts, Task::Fill, self.length.options());
        let mut out = work.output();
        let single = work.is_single();
        while let Some(batch) = work.next()? {
            let filled = work.ask(&batch, |run| model.fill(&batch.encoded, &options, run))?;
            for ((text, item), masks) in batch.texts().iter().zip(batch.encoded.items()).zip(&filled) {
                if self.json {
                    out.json(&object(&model, text, item, masks)?);
                } else {
                    read(&model, text, item, masks, single, &mut out)?;
                }
            }
            out.flush()?;
        }
        Ok(())
    }
}

/// The token that `word` is.
fn target(model: &Model, word: &str) -> Result<u32> {
    let tokenizer = model.tokenizer()?;
    if let Some(id) = tokenizer.id(word) {
        return Ok(id);
    }
    let plain = TextOptions { plain: true, ..TextOptions::default() };
    let encoded = model.encode(&[Input::Text(word)], Task::Fill, &plain)?;
    let pieces: Vec<u32> = encoded.items().iter().flat_map(own_tokens).collect();
    match pieces.as_slice() {
        [id] if Some(*id) != tokenizer.special().unk => Ok(*id),
        [] | [_] => Err(Error::input(format!("target \"{word}\": not in the vocabulary"))),
        pieces => {
            let names: Vec<String> = pieces.iter().map(|&id| spelling(model, id)).collect();
            let pieces = names.join(" ");
            Err(Error::input(format!("target \"{word}\": {} tokens ({pieces}), expected one", names.len())))
        }
    }
}

/// Ids of an input without those of the template.
fn own_tokens(item: &Item) -> Vec<u32> {
    let special = item.encoding.as_ref().map(|e| e.special.as_slice()).unwrap_or_default();
    item.tokens.ids.iter().zip(special).filter(|(_, special)| !**special).map(|(id, _)| *id).collect()
}

fn object(model: &Model, text: &Text, item: &Item, masks: &[Mask]) -> Result<Value> {
    let candidate = |position: usize, candidate: &Candidate| {
        Ok(json!({
            "id": candidate.id,
            "token": model.token(candidate.id),
            "probability": number(candidate.probability),
            "text": filled(model, text, item, position, candidate.id)?,
        }))
    };
    let mask = |mask: &Mask| {
        let candidates = mask.candidates.iter().map(|c| candidate(mask.position, c)).collect::<Result<Vec<_>>>()?;
        Ok(json!({"position": mask.position, "candidates": candidates}))
    };
    let masks = masks.iter().map(mask).collect::<Result<Vec<_>>>()?;
    Ok(json!({"text": text.first(), "masks": masks}))
}

fn read(model: &Model, text: &Text, item: &Item, masks: &[Mask], single: bool, out: &mut Output) -> Result<()> {
    if !single {
        out.line(text.label());
    }
    for (number, mask) in masks.iter().enumerate() {
        if masks.len() > 1 {
            out.line(format!("blank {}", number + 1));
        }
        let words: Vec<String> = mask.candidates.iter().map(|c| spelling(model, c.id)).collect();
        let column = width(words.iter().map(String::as_str));
        for (candidate, word) in mask.candidates.iter().zip(&words) {
            let whole = filled(model, text, item, mask.position, candidate.id)?.unwrap_or_default();
            let (p, bar) = (candidate.probability, out.bar(candidate.probability));
            let gap = if bar.is_empty() { "" } else { "  " };
            out.line(format!("  {p:.4}  {bar}{gap}{word:<column$}  {}", crate::output::one_line(&whole)));
        }
    }
    if !single {
        out.line("");
    }
    Ok(())
}

/// The text with the mask at `position` replaced by token `id`: joined to the word before it where the token continues
/// words. `None` for ids without a tokenizer.
fn filled(model: &Model, text: &Text, item: &Item, position: usize, id: u32) -> Result<Option<String>> {
    let (Some(text), Some(encoding)) = (text.first(), &item.encoding) else {
        return decoded(model, item, position, id);
    };
    let span = encoding.offsets[position];
    let token = spelling(model, id);
    // A mask that strips white space has it in its span.
    let spaces = |part: &str| part.len() - part.trim_start().len();
    let start = text.get(span.start..span.end).map_or(span.start, |mask| span.start + spaces(mask));
    let end = text.get(start..span.end).map_or(span.end, |mask| start + mask.trim_end().len());
    let (before, after) = (text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default());
    let before = if continues(model, &token) { before.trim_end() } else { before };
    Ok(Some(format!("{before}{}{after}", bare(model, &token))))
}

fn decoded(model: &Model, item: &Item, position: usize, id: u32) -> Result<Option<String>> {
    let Ok(tokenizer) = model.tokenizer() else { return Ok(None) };
    let special = tokenizer.special();
    let template = [special.cls, special.sep, special.pad];
    let ids: Vec<u32> = (0..item.tokens.ids.len())
        .map(|place| if place == position { id } else { item.tokens.ids[place] })
        .filter(|id| !template.contains(&Some(*id)) && (*id as usize) < tokenizer.size())
        .collect();
    tokenizer.decode(&ids, false).map(Some)
}
