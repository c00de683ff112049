//! What follows a text.

use super::answers::not_causal;
use super::device::on;
use super::{Encoded, Item, Model, Run, Shared};
use crate::batch::Tokens;
use crate::bert::Direction;
use crate::error::{Error, Result};
use crate::tasks::{self, Ending, Generation, NewToken, Sampling};

/// What is generated, and when it ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct GenerateOptions {
    /// Most new tokens of a continuation; 0 for what the model has positions for.
    pub max_tokens: usize,
    /// Continuations of every prompt; 0 for 1. Without `sampling` there is but one.
    pub count: usize,
    /// How tokens are drawn; `None` takes the likeliest each time.
    pub sampling: Option<Sampling>,
    /// Id of the token that ends a text; `None` asks the tokenizer for its `[SEP]`. Where there is neither, texts end at
    /// `max_tokens` or the model's positions.
    pub end: Option<u32>,
}

impl GenerateOptions {
    /// Continuations of every prompt.
    pub fn continuations(&self) -> usize {
        self.count.max(1)
    }

    /// Most new tokens of a continuation, as far as the model's positions reach.
    fn most_tokens(&self) -> usize {
        if self.max_tokens == 0 { usize::MAX } else { self.max_tokens }
    }
}

/// What follows a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// The new text, as it goes on right after the prompt's; `None` where the folder has no tokenizer.
    pub text: Option<String>,
    /// The new tokens, that which ends the text included: the sum of their logarithms is that of the continuation.
    pub tokens: Vec<NewToken>,
    /// Why there are no more.
    pub ending: Ending,
}

impl Model {
    /// Most tokens that [`Model::generate`] will give for every prompt, at no cost.
    pub fn generated_tokens(&self, prompts: &Encoded, options: &GenerateOptions) -> usize {
        let positions = self.config().max_positions;
        let room =
            |item: &Item| options.most_tokens().min(positions.saturating_sub(self.shared().prompt(item).ids.len()));
        prompts.items().iter().map(room).sum::<usize>().saturating_mul(options.continuations())
    }

    /// Continuations of every prompt, a token at a time, until `[SEP]`, the most tokens asked for, or the end of the
    /// model's positions. The `[SEP]` that the tokenizer puts after a text is no part of a prompt; token ids are taken as
    /// they are. `[PAD]`, `[UNK]`, `[CLS]`, `[MASK]` and ids that the tokenizer does not know are never generated.
    ///
    /// A continuation depends on its prompt, its number and the seed: not on other prompts, and not on threads.
    ///
    /// Fails with `Unsupported` on a bidirectional model.
    pub fn generate(
        &self,
        prompts: &Encoded,
        options: &GenerateOptions,
        run: Run<'_>,
    ) -> Result<Vec<Vec<Continuation>>> {
        self.generate_streaming(prompts, options, &mut |_| true, run)
    }

    /// [`Model::generate`], which shows each token on the caller's thread as soon as it is there; `false` ends that
    /// continuation.
    pub fn generate_streaming(
        &self,
        prompts: &Encoded,
        options: &GenerateOptions,
        each: &mut dyn FnMut(&NewToken) -> bool,
        run: Run<'_>,
    ) -> Result<Vec<Vec<Continuation>>> {
        if self.config().direction == Direction::Bidirectional {
            return Err(not_causal("generating text"));
        }
        match options.sampling {
            Some(sampling) => sampling.check()?,
            None if options.continuations() > 1 => {
                return Err(Error::argument(format!(
                    "{} continuations of the likeliest tokens would be one and the same, expected 1 or sampling",
                    options.count
                )));
            }
            None => (),
        }
        let sequences: Vec<Tokens> = prompts.items().iter().map(|item| self.shared().prompt(item)).collect();
        let tokenizer = self.tokenizer().ok();
        let end = options.end.or(tokenizer.and_then(|tokenizer| tokenizer.special().sep));
        let generation = Generation {
            count: options.continuations(),
            max_tokens: options.most_tokens(),
            end,
            allowed: &self.generable(end),
            sampling: options.sampling,
        };
        let generated = on!(&self.0, |inner| inner.run(run, |device, progress| {
            tasks::generate(device, &inner.bert, &sequences, &generation, each, progress)
        }))?;
        let answers = sequences.iter().zip(generated).map(|(prompt, continuations)| {
            let one = |continuation: tasks::Continuation| {
                let ids: Vec<u32> = continuation.tokens.iter().map(|token| token.id).collect();
                let text = tokenizer.map(|_| self.following(&prompt.ids, &ids)).transpose()?;
                Ok(Continuation { text, tokens: continuation.tokens, ending: continuation.ending })
            };
            continuations.into_iter().map(one).collect()
        });
        answers.collect()
    }

    /// The text of `ids` after that of `prompt`: with the space before it, or without where its first token goes on a word.
    fn following(&self, prompt: &[u32], ids: &[u32]) -> Result<String> {
        let tokenizer = self.tokenizer()?;
        let (before, whole) = (tokenizer.decode(prompt, true)?, tokenizer.decode(&[prompt, ids].concat(), true)?);
        match whole.strip_prefix(&before) {
            Some(text) => Ok(text.to_owned()),
            // Tidying may join what follows to the last word.
            None => tokenizer.decode(ids, true),
        }
    }

    /// Ids that may be generated: words, and what ends a text.
    fn generable(&self, end: Option<u32>) -> Vec<u32> {
        let left_out = self.tokenizer().map_or([None; 4], |tokenizer| {
            let special = tokenizer.special();
            [special.pad, special.unk, special.cls, special.mask]
        });
        (0..self.words() as u32).filter(|id| Some(*id) == end || !left_out.contains(&Some(*id))).collect()
    }
}

impl Shared {
    /// What the model reads of a prompt.
    fn prompt(&self, item: &Item) -> Tokens {
        let mut tokens = item.tokens.clone();
        let separator = self.tokenizer().ok().and_then(|tokenizer| tokenizer.special().sep);
        let added = item.encoding.as_ref().is_some_and(|encoding| encoding.special.last() == Some(&true));
        if added && tokens.ids.len() > 1 && tokens.ids.last().copied() == separator {
            tokens.ids.pop();
            tokens.types.pop();
        }
        tokens
    }
}
