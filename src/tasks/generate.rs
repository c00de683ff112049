//! Generate: the continuation of a text, a token at a time.
//!
//! Prompts are read once, however many continuations each has. All texts of a run take a step together: the weights are
//! read once for all of them.

use std::slice::from_ref;

use super::choice::{Sampling, likeliest};
use super::{Progress, chunks, finite, vocabulary};
use crate::batch::Tokens;
use crate::bert::{Asked, Bert, Cache, Part};
use crate::device::Tensor;
use crate::error::{Error, Result};
use crate::ops::{Ops, softmax};

/// What is generated, and when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Generation<'a> {
    /// Continuations of every prompt.
    pub count: usize,
    /// Most new tokens; prompt and continuation together never have more than the model has positions.
    pub max_tokens: usize,
    /// The token that ends a text: `[SEP]`.
    pub end: Option<u32>,
    /// Ids that may follow.
    pub allowed: &'a [u32],
    /// How they are drawn; `None` takes the likeliest.
    pub sampling: Option<Sampling>,
}

/// A token as it was generated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewToken {
    /// Number of its prompt.
    pub input: usize,
    /// Number of its continuation of that prompt.
    pub continuation: usize,
    /// Token id.
    pub id: u32,
    /// Natural logarithm of the probability that the model gives it, over the whole vocabulary and before temperature,
    /// `top_k` and `top_p`.
    pub log_probability: f32,
}

/// Why a continuation has no more tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The text ends here: its last token is the one that ends texts.
    Finished,
    /// It has as many tokens as were asked for, or as the model has positions for.
    Length,
    /// The caller had enough.
    Stopped,
}

/// What follows a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// The new tokens, that which ends the text included.
    pub tokens: Vec<NewToken>,
    /// Why there are no more.
    pub ending: Ending,
}

/// `count` continuations of each prompt, which is a sequence as the model reads it, without an end. Tokens are shown to
/// `each` as they are generated; `false` ends the continuation with that token.
///
/// Fails with `Missing` when the model has no language-model head.
pub fn generate<D: Ops>(
    device: &D,
    bert: &Bert<D>,
    prompts: &[Tokens],
    generation: &Generation<'_>,
    each: &mut dyn FnMut(&NewToken) -> bool,
    progress: Progress<'_>,
) -> Result<Vec<Vec<Continuation>>> {
    bert.heads().masked_lm.as_ref().map_err(Clone::clone)?;
    if let Some(id) = generation.allowed.iter().find(|&&id| id as usize >= bert.config().vocabulary) {
        return Err(Error::input(format!("token id {id} in a vocabulary of {}", bert.config().vocabulary)));
    }
    let most = |input: usize| {
        let room = bert.config().max_positions.saturating_sub(prompts[input].ids.len());
        generation.max_tokens.min(room)
    };
    let mut texts: Vec<Text> = (0..prompts.len())
        .flat_map(|input| (0..generation.count).map(move |continuation| (input, continuation)))
        .map(|(input, continuation)| Text::new(input, continuation, most(input)))
        .collect();
    let total: usize = texts.iter().map(|text| text.most).sum();
    let mut done = 0;
    // Keys and values of a run's texts exist at once, and a row of logits of each.
    let portions = device.portions();
    let length =
        |text: &Text| (prompts[text.input].ids.len() + text.most).max(portions.answer_tokens / portions.answer_logits);
    for run in chunks(texts.iter().map(length), portions.answer_tokens) {
        let texts = &mut texts[run];
        let mut report = |texts: &[Text]| {
            let here: usize = texts.iter().map(Text::done).sum();
            progress((done + here) as u64, total as u64)
        };
        go_on(device, bert, prompts, generation, texts, each, &mut report)?;
        done += texts.iter().map(Text::done).sum::<usize>();
    }
    let mut answers: Vec<Vec<Continuation>> = vec![Vec::with_capacity(generation.count); prompts.len()];
    for text in texts {
        let ending = text.ending.unwrap_or(Ending::Length);
        answers[text.input].push(Continuation { tokens: text.tokens, ending });
    }
    Ok(answers)
}

/// A continuation in the making.
struct Text {
    input: usize,
    continuation: usize,
    /// Most tokens that it may get.
    most: usize,
    tokens: Vec<NewToken>,
    ending: Option<Ending>,
}

impl Text {
    fn new(input: usize, continuation: usize, most: usize) -> Self {
        let ending = (most == 0).then_some(Ending::Length);
        Self { input, continuation, most, tokens: Vec::new(), ending }
    }

    /// Tokens that it has, or will not get any more.
    fn done(&self) -> usize {
        if self.ending.is_some() { self.most } else { self.tokens.len() }
    }

    fn add(&mut self, token: NewToken, end: Option<u32>, each: &mut dyn FnMut(&NewToken) -> bool) {
        self.tokens.push(token);
        self.ending = match each(&token) {
            _ if end == Some(token.id) => Some(Ending::Finished),
            false => Some(Ending::Stopped),
            true => (self.tokens.len() == self.most).then_some(Ending::Length),
        };
    }

    /// Its last token and that one's segment, which is the prompt's last.
    fn last(&self, prompts: &[Tokens]) -> Option<(u32, u32)> {
        Some((self.tokens.last()?.id, *prompts[self.input].types.last()?))
    }
}

/// Generates some texts, a step of all of them after another.
fn go_on<D: Ops>(
    device: &D,
    bert: &Bert<D>,
    prompts: &[Tokens],
    generation: &Generation<'_>,
    texts: &mut [Text],
    each: &mut dyn FnMut(&NewToken) -> bool,
    report: &mut dyn FnMut(&[Text]) -> Result<()>,
) -> Result<()> {
    let mut going: Vec<usize> = (0..texts.len()).filter(|&text| texts[text].ending.is_none()).collect();
    if going.is_empty() {
        return report(texts);
    }
    // Texts of one prompt are neighbours, and each begins as a copy of its slot.
    let mut inputs: Vec<usize> = going.iter().map(|&text| texts[text].input).collect();
    inputs.dedup();
    let mut rows: Vec<usize> =
        going.iter().map(|&text| inputs.partition_point(|&input| input < texts[text].input)).collect();
    let prompt =
        |(slot, &input): (usize, &usize)| Part { slot, ids: &prompts[input].ids, types: &prompts[input].types };
    let parts: Vec<Part<'_>> = inputs.iter().enumerate().map(prompt).collect();
    let mut cache = Cache::new(inputs.len());
    let mut next = device.enter(|| {
        let next = predict(device, bert, &mut cache, &parts)?;
        cache.select(device, &rows).map(|()| next)
    })?;
    loop {
        for (&text, &row) in going.iter().zip(&rows) {
            let token = next.choose(row, generation, &texts[text])?;
            texts[text].add(token, generation.end, each);
        }
        report(texts)?;
        let left: Vec<usize> = (0..going.len()).filter(|&slot| texts[going[slot]].ending.is_none()).collect();
        if left.is_empty() {
            return Ok(());
        }
        if left.len() < going.len() {
            device.enter(|| cache.select(device, &left))?;
            going = left.iter().map(|&slot| going[slot]).collect();
        }
        let last: Vec<(u32, u32)> = going.iter().filter_map(|&text| texts[text].last(prompts)).collect();
        let part = |(slot, (id, segment))| Part { slot, ids: from_ref(id), types: from_ref(segment) };
        let parts: Vec<Part<'_>> = last.iter().map(|(id, segment)| (id, segment)).enumerate().map(part).collect();
        next = device.enter(|| predict(device, bert, &mut cache, &parts))?;
        rows = (0..going.len()).collect();
    }
}

/// What the model expects after some texts.
struct Predictions {
    /// `[texts, V]`
    logits: Vec<f32>,
    /// ln Σ e^logit of every text.
    totals: Vec<f32>,
    vocabulary: usize,
}

impl Predictions {
    /// The next token of a text whose prediction is the row `row`.
    fn choose(&self, row: usize, generation: &Generation<'_>, text: &Text) -> Result<NewToken> {
        let logits = &self.logits[row * self.vocabulary..][..self.vocabulary];
        let id = match generation.sampling {
            None => likeliest(logits, generation.allowed),
            Some(sampling) => {
                sampling.draw(logits, generation.allowed, text.continuation as u32, text.tokens.len() as u32)
            }
        };
        let id = id.ok_or_else(|| Error::input("no token may follow: all of the vocabulary is left out"))?;
        let log_probability = logits[id as usize] - self.totals[row];
        Ok(NewToken { input: text.input, continuation: text.continuation, id, log_probability })
    }
}

/// Reads the parts and predicts what follows each.
fn predict<D: Ops>(device: &D, bert: &Bert<D>, cache: &mut Cache<D>, parts: &[Part<'_>]) -> Result<Predictions> {
    let hidden = bert.encoder().step(device, cache, parts, Asked::Last)?;
    let (mut values, mut totals) = (Vec::new(), Vec::new());
    let mut sums = Tensor::new(device, 0, 0)?;
    vocabulary(device, bert, &hidden, |_, logits| {
        softmax::log_sum_exp(device, logits, &mut sums)?;
        totals.extend(sums.to_host(device)?);
        values.extend(logits.to_values(device)?);
        Ok(())
    })?;
    finite("language-model output", &totals)?;
    Ok(Predictions { logits: values, totals, vocabulary: bert.config().vocabulary })
}
