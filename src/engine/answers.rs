//! The questions a model answers.

use std::collections::BTreeSet;

use super::device::{Place, on};
use super::{Encoded, Inner, Item, Model, Shared};
use crate::bert::Direction;
use crate::error::{Error, Result, Status};
use crate::ops::pooling::Pooling;
use crate::pool::Cancel;
use crate::tasks::{self, Aggregation, Candidate, Entity, Function, Labelled, Masking, Pipeline, Scored, Stage, Words};
use crate::text::Encoding;

/// What a call reports to and how it is stopped.
#[derive(Default)]
pub struct Run<'a> {
    /// A flag that stops the call, polled many times a second.
    pub cancel: Option<&'a Cancel>,
    /// Called on the caller's thread with the units of work done and the units there are; `false` stops the call.
    pub progress: Option<&'a mut dyn FnMut(u64, u64) -> bool>,
}

/// How masks are filled.
#[derive(Clone, Copy, Debug, Default)]
pub struct FillOptions<'a> {
    /// Candidates for each mask; 0 for 5, as HuggingFace.
    pub top_k: usize,
    /// Only these ids, if not empty; one given twice counts once. Probabilities stay those over the whole vocabulary.
    pub targets: &'a [u32],
    /// Id of the mask token; `None` asks the tokenizer.
    pub mask: Option<u32>,
}

impl FillOptions<'_> {
    /// Candidates that each mask gets from a model of `words` words.
    pub fn candidates(&self, words: usize) -> usize {
        let asked = if self.top_k == 0 { 5 } else { self.top_k };
        asked.min(if self.targets.is_empty() { words } else { self.distinct_targets().len() })
    }

    fn distinct_targets(&self) -> Vec<u32> {
        self.targets.iter().copied().collect::<BTreeSet<u32>>().into_iter().collect()
    }
}

/// A masked place and what may stand there.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// Position among the input's tokens.
    pub position: usize,
    /// The likeliest first.
    pub candidates: Vec<Candidate>,
}

/// What a score is the sum of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// ln P of each token with that token masked: the pseudo-log-likelihood of a bidirectional model.
    PseudoLogLikelihood,
    /// The same with the later pieces of its word masked too: `PLL-word-l2r`.
    WordLeftToRight,
    /// ln P of each token given those before it: the log-likelihood by the chain rule, of a causal model.
    Causal,
}

/// How sequences are scored.
#[derive(Clone, Copy, Debug)]
pub struct ScoreOptions {
    /// What is added up.
    pub method: Method,
    /// Id of the mask token; `None` asks the tokenizer. Of no meaning to a causal model.
    pub mask: Option<u32>,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self { method: Method::PseudoLogLikelihood, mask: None }
    }
}

/// The (pseudo-)log-likelihood of an input.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Σ ln P over `tokens`.
    pub total: f64,
    /// Every scored token: all but special ones, and of a causal model all but the first, `[CLS]`.
    pub tokens: Vec<TokenScore>,
}

/// One scored token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenScore {
    /// Position among the input's tokens.
    pub position: usize,
    /// Token id.
    pub id: u32,
    /// Natural logarithm of its probability where it is masked, or where what comes before it is known.
    pub log_probability: f32,
}

/// (Pseudo-)perplexity of a corpus: e^(−Σ scores / Σ tokens); 1 for a corpus of no tokens.
pub fn perplexity(scores: &[Score]) -> f64 {
    let tokens: usize = scores.iter().map(|s| s.tokens.len()).sum();
    perplexity_of(scores.iter().map(|s| s.total).sum(), tokens as u64)
}

/// (Pseudo-)perplexity of `tokens` tokens whose scores have the sum `total`.
pub fn perplexity_of(total: f64, tokens: u64) -> f64 {
    if tokens == 0 { 1.0 } else { (-total / tokens as f64).exp() }
}

/// How texts are embedded.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbedOptions {
    /// `None` pools and continues as the folder says, or takes the mean where it says nothing. Naming a pooling replaces
    /// all of the folder's steps by it.
    pub pooling: Option<Pooling>,
    /// Makes embeddings of unit length, also where the folder does not.
    pub normalize: bool,
}

/// How tokens are tagged.
#[derive(Clone, Copy, Debug)]
pub struct TagOptions {
    /// How tokens become entities.
    pub aggregation: Aggregation,
    /// Whether stretches labelled `O` are returned too.
    pub keep_outside: bool,
}

impl Default for TagOptions {
    fn default() -> Self {
        Self { aggregation: Aggregation::Simple, keep_outside: false }
    }
}

/// The label of one token.
#[derive(Clone, Debug, PartialEq)]
pub struct Tagged {
    /// Probability of every label.
    pub probabilities: Vec<f32>,
}

impl Model {
    /// Positions of the masks of every input: what [`Model::fill`] will answer, at no cost.
    ///
    /// Fails with `InvalidInput` when an input has no mask.
    pub fn masks(&self, inputs: &Encoded, options: &FillOptions<'_>) -> Result<Vec<Vec<usize>>> {
        let mask = self.shared().mask(options.mask)?;
        let find = |(index, item): (usize, &Item)| {
            let places: Vec<usize> =
                (0..item.tokens.ids.len()).filter(|&position| item.tokens.ids[position] == mask).collect();
            if places.is_empty() {
                let name = self.token(mask).map_or_else(|| format!("token {mask}"), |t| format!("\"{t}\""));
                return Err(Error::input(format!("input {index}: no mask, expected {name} in it")));
            }
            Ok(places)
        };
        inputs.items().iter().enumerate().map(find).collect()
    }

    /// The best words for every mask of every input. HuggingFace's `fill-mask`, but only real tokens are candidates.
    ///
    /// Fails with `Unsupported` on a causal model.
    pub fn fill(&self, inputs: &Encoded, options: &FillOptions<'_>, run: Run<'_>) -> Result<Vec<Vec<Mask>>> {
        if self.config().direction == Direction::Causal {
            return Err(causal("filling masks"));
        }
        let places = self.masks(inputs, options)?;
        let targets = options.distinct_targets();
        let words = match targets.as_slice() {
            [] => Words::Below(self.words()),
            targets => Words::Of(targets),
        };
        let top_k = options.candidates(self.words());
        let filled = on!(&self.0, |inner| inner.run(run, |device, progress| {
            tasks::fill(device, &inner.bert, &inputs.sequences(), &places, words, top_k, progress)
        }))?;
        let mask = |(position, candidates)| Mask { position, candidates };
        Ok(places.into_iter().zip(filled).map(|(p, c)| p.into_iter().zip(c).map(mask).collect()).collect())
    }

    /// Positions of every input that [`Model::score`] will score, at no cost: all but those of the template's special
    /// tokens. Of inputs given as ids, all but the tokenizer's `[CLS]`, `[SEP]` and `[PAD]`. A causal model scores all but
    /// the first.
    pub fn scored_positions(&self, inputs: &Encoded) -> Vec<Vec<usize>> {
        inputs.items().iter().map(|item| self.positions(item)).collect()
    }

    /// The pseudo-log-likelihood of every input, or its log-likelihood to a causal model.
    ///
    /// Fails with `Unsupported` when the method is not the model's: masks mean nothing to a causal model, and a
    /// bidirectional one has no order of its tokens.
    pub fn score(&self, inputs: &Encoded, options: &ScoreOptions, run: Run<'_>) -> Result<Vec<Score>> {
        let masking = match (options.method, self.config().direction) {
            (Method::PseudoLogLikelihood, Direction::Bidirectional) => Some(Masking::Alone),
            (Method::WordLeftToRight, Direction::Bidirectional) => Some(Masking::WordLeftToRight),
            (Method::Causal, Direction::Causal) => None,
            (Method::Causal, Direction::Bidirectional) => return Err(not_causal("the method causal")),
            (_, Direction::Causal) => return Err(causal("a pseudo-log-likelihood, which masks tokens")),
        };
        let positions = self.scored_positions(inputs);
        let values = match masking {
            None => on!(&self.0, |inner| inner.run(run, |device, progress| {
                tasks::causal_score(device, &inner.bert, &inputs.sequences(), progress)
            }))?,
            Some(masking) => self.masked_scores(inputs, &positions, masking, options.mask, run)?,
        };
        let collect = |((item, positions), values): ((&Item, &Vec<usize>), Vec<f32>)| Score {
            total: values.iter().map(|&v| f64::from(v)).sum(),
            tokens: positions
                .iter()
                .zip(values)
                .map(|(&position, log_probability)| TokenScore {
                    position,
                    id: item.tokens.ids[position],
                    log_probability,
                })
                .collect(),
        };
        Ok(inputs.items().iter().zip(&positions).zip(values).map(collect).collect())
    }

    fn masked_scores(
        &self,
        inputs: &Encoded,
        positions: &[Vec<usize>],
        masking: Masking,
        mask: Option<u32>,
        run: Run<'_>,
    ) -> Result<Vec<Vec<f32>>> {
        let mask = self.shared().mask(mask)?;
        let scored = |(item, positions): (&Item, &Vec<usize>)| {
            Ok(Scored {
                tokens: item.tokens.clone(),
                positions: positions.clone(),
                words: match masking {
                    Masking::Alone => vec![None; item.tokens.ids.len()],
                    Masking::WordLeftToRight => self.shared().word_numbers(item)?,
                },
            })
        };
        let scored: Vec<Scored> = inputs.items().iter().zip(positions).map(scored).collect::<Result<_>>()?;
        on!(&self.0, |inner| inner
            .run(run, |device, progress| { tasks::score(device, &inner.bert, &scored, mask, masking, progress) }))
    }

    /// Probability for every pair that its second text follows its first.
    pub fn next_sentence(&self, pairs: &Encoded, run: Run<'_>) -> Result<Vec<f32>> {
        on!(&self.0, |inner| inner
            .run(run, |device, progress| { tasks::next_sentence(device, &inner.bert, &pairs.sequences(), progress) }))
    }

    /// Length of an embedding under `options`.
    pub fn embedding_width(&self, options: &EmbedOptions) -> usize {
        let hidden = self.hidden();
        if options.pooling.is_some() { hidden } else { on!(&self.0, |inner| inner.pipeline.width(hidden)) }
    }

    /// One vector an input.
    pub fn embed(&self, inputs: &Encoded, options: &EmbedOptions, run: Run<'_>) -> Result<Vec<Vec<f32>>> {
        on!(&self.0, |inner| inner.embed(inputs, options, run))
    }

    /// For every input and layer, hidden states `[T, H]` row-major. Layer 0 is the embeddings, L the last.
    pub fn hidden_states(&self, inputs: &Encoded, layers: &[usize], run: Run<'_>) -> Result<Vec<Vec<Vec<f32>>>> {
        on!(&self.0, |inner| inner.run(run, |device, progress| {
            tasks::hidden_states(device, &inner.bert, &inputs.sequences(), layers, progress)
        }))
    }

    /// One value a label for every input: probabilities, or the numbers of a regression.
    pub fn classify(&self, inputs: &Encoded, run: Run<'_>) -> Result<Vec<Vec<f32>>> {
        let function = Function::of(self.config());
        on!(&self.0, |inner| inner.run(run, |device, progress| {
            tasks::classify(device, &inner.bert, &inputs.sequences(), function, progress)
        }))
    }

    /// Probabilities of all labels for every token of every input, special tokens included.
    pub fn tag(&self, inputs: &Encoded, run: Run<'_>) -> Result<Vec<Vec<Tagged>>> {
        let tagged = on!(&self.0, |inner| inner
            .run(run, |device, progress| { tasks::tag(device, &inner.bert, &inputs.sequences(), progress) }))?;
        let wrap = |probabilities| Tagged { probabilities };
        Ok(tagged.into_iter().map(|tokens| tokens.into_iter().map(wrap).collect()).collect())
    }

    /// The entities that the tokens of `texts` form; spans in bytes. `texts` are those that `inputs` were encoded from.
    ///
    /// Fails with `InvalidInput` for inputs given as token ids and for pairs: their tokens lie in no single text.
    pub fn entities(
        &self,
        inputs: &Encoded,
        texts: &[&str],
        options: &TagOptions,
        run: Run<'_>,
    ) -> Result<Vec<Vec<Entity>>> {
        if texts.len() != inputs.items().len() {
            return Err(Error::argument(format!("{} texts for {} inputs", texts.len(), inputs.items().len())));
        }
        let spans = |(index, item): (usize, &Item)| match &item.encoding {
            Some(encoding) if !encoding.sequence.contains(&Some(1)) => Ok(encoding.clone()),
            _ => Err(Error::input(format!("input {index}: entities need a single text, not token ids or a pair"))),
        };
        let encodings: Vec<Encoding> = inputs.items().iter().enumerate().map(spans).collect::<Result<_>>()?;
        let (tagged, labels) = (self.tag(inputs, run)?, self.labels());
        let mut answers = Vec::with_capacity(texts.len());
        for ((encoding, tagged), text) in encodings.iter().zip(tagged).zip(texts) {
            let tokens = self.shared().labelled(encoding, tagged, text)?;
            let mut entities = tasks::entities(&tokens, labels, options.aggregation);
            entities.retain(|entity| options.keep_outside || labels[entity.label] != "O");
            answers.push(entities);
        }
        Ok(answers)
    }

    fn positions(&self, item: &Item) -> Vec<usize> {
        if self.config().direction == Direction::Causal {
            return (1..item.tokens.ids.len()).collect();
        }
        let special = self.tokenizer().map_or([None; 3], |tokenizer| {
            let special = tokenizer.special();
            [special.cls, special.sep, special.pad]
        });
        let template = |position: usize| match &item.encoding {
            Some(encoding) => encoding.special[position],
            None => special.contains(&Some(item.tokens.ids[position])),
        };
        (0..item.tokens.ids.len()).filter(|&position| !template(position)).collect()
    }
}

impl<D: Place> Inner<D> {
    fn embed(&self, inputs: &Encoded, options: &EmbedOptions, run: Run<'_>) -> Result<Vec<Vec<f32>>> {
        let own = options.pooling.map(|pooling| Pipeline { pooling: vec![pooling], stages: Vec::new(), keep: None });
        let mut vectors = self.run(run, |device, progress| {
            tasks::embed(device, &self.bert, own.as_ref().unwrap_or(&self.pipeline), &inputs.sequences(), progress)
        })?;
        let normal = own.is_none() && self.pipeline.ends_normal();
        if options.normalize && !normal {
            vectors.iter_mut().for_each(|vector| to_unit_length(vector));
        }
        Ok(vectors)
    }

    /// Runs a task on this model's device under the caller's cancellation and progress.
    pub(super) fn run<R>(&self, run: Run<'_>, task: impl FnOnce(&D, tasks::Progress<'_>) -> Result<R>) -> Result<R> {
        let Run { cancel, mut progress } = run;
        let device = self.device.cancelled_by(cancel);
        device.check_cancel()?;
        let mut report = |done, total| {
            device.check_cancel()?;
            match progress.as_mut().is_none_or(|progress| progress(done, total)) {
                true => Ok(()),
                false => Err(Error::new(Status::Cancelled, "cancelled by the progress callback")),
            }
        };
        task(&device, &mut report).map_err(|error| self.shared.explain(error))
    }
}

impl Shared {
    /// The mask's id: the caller's, or the tokenizer's.
    fn mask(&self, given: Option<u32>) -> Result<u32> {
        if let Some(id) = given {
            return Ok(id);
        }
        let tokenizer = self.tokenizer().map_err(|e| e.within("mask token"))?;
        tokenizer.special().mask.ok_or_else(|| Error::missing("the tokenizer has no mask token"))
    }

    /// Word of each token: the tokenizer's, or of ids what continues after `##`. Words of the second text follow on.
    fn word_numbers(&self, item: &Item) -> Result<Vec<Option<u32>>> {
        if let Some(encoding) = &item.encoding {
            let first = encoding.words.iter().zip(&encoding.sequence);
            let end = first.filter(|(_, s)| **s == Some(0)).filter_map(|(w, _)| *w).max().map_or(0, |w| w + 1);
            let number =
                |(word, text): (&Option<u32>, &Option<u8>)| word.map(|w| w + if *text == Some(1) { end } else { 0 });
            return Ok(encoding.words.iter().zip(&encoding.sequence).map(number).collect());
        }
        let tokenizer = self.tokenizer().map_err(|e| e.within("words of token ids"))?;
        let Some(prefix) = tokenizer.subword_prefix() else {
            return Err(Error::unsupported("words of token ids: the tokenizer does not mark what continues a word"));
        };
        let mut word = 0;
        Ok(item
            .tokens
            .ids
            .iter()
            .map(|&id| {
                word += u32::from(!tokenizer.token(id).is_some_and(|t| t.starts_with(prefix)));
                Some(word)
            })
            .collect())
    }

    /// The tokens of a text without the template's, each with whether it continues a word as HuggingFace's pipeline
    /// decides it: its spelling is not as long as its stretch of text, or, where the vocabulary has no prefix for
    /// continuations, no space stands before it.
    fn labelled(&self, encoding: &Encoding, tagged: Vec<super::Tagged>, text: &str) -> Result<Vec<Labelled>> {
        let tokenizer = self.tokenizer()?;
        let tokens = (0..encoding.len()).zip(tagged).filter(|(index, _)| !encoding.special[*index]);
        let label = |(index, tagged): (usize, super::Tagged)| {
            let (id, span) = (encoding.ids[index], encoding.offsets[index]);
            let stretch = text.get(span.start..span.end).ok_or_else(|| {
                Error::argument(format!("bytes {}..{} of a text of {}", span.start, span.end, text.len()))
            })?;
            let continues = if Some(id) == tokenizer.special().unk {
                false
            } else if tokenizer.subword_prefix().is_some_and(|prefix| !prefix.is_empty()) {
                tokenizer.token(id).unwrap_or_default().chars().count() != stretch.chars().count()
            } else {
                let before = text[..span.start].chars().next_back();
                before.is_some_and(|c| c != ' ') && !stretch.starts_with(' ')
            };
            Ok(Labelled { span, continues, probabilities: tagged.probabilities })
        };
        tokens.map(label).collect()
    }
}

impl<D: crate::device::Device> Pipeline<D> {
    fn ends_normal(&self) -> bool {
        self.keep.is_none() && matches!(self.stages.last(), Some(Stage::Normalize))
    }
}

fn to_unit_length(vector: &mut [f32]) {
    let length = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt().max(1e-12);
    vector.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
}

/// The refusal of what needs both sides of a token.
pub(super) fn causal(what: &str) -> Error {
    Error::unsupported(format!(
        "{what}: this model is causal (config.json: is_decoder is true), expected a bidirectional one"
    ))
}

/// The refusal of what needs an order of the tokens.
pub(super) fn not_causal(what: &str) -> Error {
    Error::unsupported(format!(
        "{what}: this model is bidirectional (config.json: is_decoder is not true), expected a causal one"
    ))
}
