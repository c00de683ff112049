//! Texts and token ids as a model takes them.

use super::device::on;
use super::{Model, Task};
use crate::batch::Tokens;
use crate::bert::Config;
use crate::error::{Error, Result};
use crate::text::{Encode, Encoding, Overflow};

/// One input.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A text.
    Text(&'a str),
    /// Two texts that belong together.
    Pair(&'a str, &'a str),
    /// A sequence as the model sees it, special tokens included, from the caller's own tokenizer.
    Tokens {
        /// Token ids.
        ids: &'a [u32],
        /// Segments, as many as ids; empty for all 0.
        types: &'a [u32],
    },
}

/// How texts become tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextOptions<'a> {
    /// Whether `[MASK]` and its like inside a text are plain text: for text that others wrote.
    pub plain: bool,
    /// What happens to a text that is too long; `None` cuts it for embedding and classification, where
    /// HuggingFace's tools cut, and is an error for the tasks in which every token counts.
    pub overflow: Option<Overflow>,
    /// Most tokens of a text, special ones included; 0 for what the model allows.
    pub max_tokens: usize,
    /// Name of the sentence-transformers prompt put before each text; `None` takes the folder's default for embedding.
    pub prompt: Option<&'a str>,
}

/// One input, encoded.
#[derive(Clone, Debug)]
pub struct Item {
    /// What the model reads.
    pub tokens: Tokens,
    /// Where each token came from; `None` for inputs given as token ids.
    pub encoding: Option<Encoding>,
}

/// Inputs that have been encoded and checked: every id, segment and length fits the model.
#[derive(Clone, Debug)]
pub struct Encoded {
    items: Vec<Item>,
}

impl Encoded {
    /// The inputs, in order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Tokens of all inputs together.
    pub fn tokens(&self) -> usize {
        self.items.iter().map(|item| item.tokens.ids.len()).sum()
    }

    /// Tokens of all texts together that are not the template's special ones: the most entities there can be.
    pub fn plain_tokens(&self) -> usize {
        let plain = |encoding: &Encoding| encoding.special.iter().filter(|&&special| !special).count();
        self.items.iter().filter_map(|item| item.encoding.as_ref()).map(plain).sum()
    }

    pub(super) fn sequences(&self) -> Vec<Tokens> {
        self.items.iter().map(|item| item.tokens.clone()).collect()
    }
}

impl Model {
    /// Encodes inputs for a task. Cheap beside the task itself.
    ///
    /// Fails with `InvalidInput` when a text is too long and may not be cut, or ids do not fit the model, naming the input
    /// by its place; and with what [`Model::tokenizer`] says when there is text but no tokenizer.
    pub fn encode(&self, inputs: &[Input<'_>], task: Task, options: &TextOptions<'_>) -> Result<Encoded> {
        let prompt = self.prompt(task, options.prompt)?;
        let limit = match options.max_tokens {
            0 => self.shared().max_tokens,
            asked => asked.min(self.config().max_positions),
        };
        let overflow = options.overflow.unwrap_or(match task {
            Task::Embed | Task::Classify => Overflow::Truncate,
            Task::Fill | Task::Score | Task::NextSentence | Task::HiddenStates | Task::Tag | Task::Generate => {
                Overflow::Refuse
            }
        });
        let encode = Encode { special_tokens: true, parse_special: !options.plain, max_tokens: limit, overflow };
        let items = inputs.iter().enumerate().map(|(index, input)| {
            let item = match *input {
                Input::Text(text) => self.text(text, None, prompt, &encode),
                Input::Pair(a, b) => self.text(a, Some(b), prompt, &encode),
                Input::Tokens { ids, types } => tokens(ids, types),
            };
            item.and_then(|item| check(self.config(), &item.tokens).map(|()| item))
                .map_err(|e| e.within(format!("input {index}")))
        });
        Ok(Encoded { items: items.collect::<Result<_>>()? })
    }

    fn text(&self, text: &str, pair: Option<&str>, prompt: &str, options: &Encode) -> Result<Item> {
        let tokenizer = self.tokenizer()?;
        let encoding = match prompt {
            "" => tokenizer.encode(text, pair, options)?,
            prompt => tokenizer.encode(&format!("{prompt}{text}"), pair, options)?,
        };
        let tokens = Tokens { ids: encoding.ids.clone(), types: encoding.types.clone() };
        Ok(Item { tokens, encoding: Some(encoding) })
    }

    /// The text that goes before every input.
    fn prompt(&self, task: Task, name: Option<&str>) -> Result<&str> {
        let Some(sentence) = on!(&self.0, |inner| &*inner.sentence) else {
            return match name {
                None => Ok(""),
                Some(name) => Err(Error::missing(format!("prompt \"{name}\": the folder has no prompts"))),
            };
        };
        let default = (task == Task::Embed).then_some(sentence.default_prompt.as_deref()).flatten();
        let Some(name) = name.or(default) else { return Ok("") };
        let Some((_, text)) = sentence.prompts.iter().find(|(n, _)| n == name) else {
            let names: Vec<&str> = sentence.prompts.iter().map(|(n, _)| n.as_str()).collect();
            return Err(Error::argument(format!("prompt \"{name}\": the folder has {}", names.join(", "))));
        };
        if !text.is_empty() && !sentence.pooling.include_prompt {
            return Err(Error::unsupported(format!("prompt \"{name}\": pooling with \"include_prompt\": false")));
        }
        Ok(text)
    }
}

/// Fails with `InvalidInput` where tokens do not fit the model.
pub(super) fn check(config: &Config, tokens: &Tokens) -> Result<()> {
    let (count, limit) = (tokens.ids.len(), config.max_positions);
    if count > limit {
        return Err(Error::input(format!("{count} tokens, at most {limit} fit this model")));
    }
    if let Some(id) = tokens.ids.iter().find(|&&id| id as usize >= config.vocabulary) {
        return Err(Error::input(format!("token id {id}, the model's vocabulary has {}", config.vocabulary)));
    }
    if let Some(segment) = tokens.types.iter().find(|&&t| t as usize >= config.token_types) {
        return Err(Error::input(format!("token type {segment}, the model has {}", config.token_types)));
    }
    Ok(())
}

fn tokens(ids: &[u32], types: &[u32]) -> Result<Item> {
    if ids.is_empty() {
        return Err(Error::input("no token ids: at least one is needed"));
    }
    let types = if types.is_empty() { vec![0; ids.len()] } else { types.to_vec() };
    if types.len() != ids.len() {
        return Err(Error::input(format!("{} token types for {} token ids", types.len(), ids.len())));
    }
    Ok(Item { tokens: Tokens { ids: ids.to_vec(), types }, encoding: None })
}
