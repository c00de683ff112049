//! Learning a language from plain text: masked words, and whether a text follows another.

use std::path::Path;
use std::sync::Arc;

use super::training::Training;
use super::{FitRun, Fitted, TrainOptions};
use crate::engine::device::{Place, on};
use crate::engine::{Evaluation, Inner, Model, Run};
use crate::error::{Error, Result};
use crate::train::corpus::{Corpus, Cutter, Lesson, Lines, Recipe, Renewal, Segments, Shuffling, Stream};
use crate::train::encode::Item;
use crate::train::examples::Dataset;
use crate::train::fit::Examples;
use crate::train::objective::Objective;
use crate::train::prefix::{CacheLimits, PrefixCache};

impl Model {
    /// Reads a folder of text files, or one file, and splits it into this model's tokens. `max_tokens` is that of the
    /// examples to be made of it (0: what the model allows); a sentence that does not fit becomes several.
    ///
    /// Fails with `Io` when a file cannot be read, `InvalidFile`, naming file, line and byte, on one that is not UTF-8 text,
    /// `InvalidInput` when there is no text, and `Missing` when the model has no tokenizer or that no `[MASK]`.
    pub fn corpus(&self, path: &Path, lines: Lines, max_tokens: usize) -> Result<Corpus> {
        let longest = Segments::Pair.room(self.example_tokens(max_tokens))?;
        Corpus::read(path, lines, &self.shared().host, self.tokenizer()?, longest)
    }

    /// The same of documents in memory, each a list of sentences.
    pub fn corpus_of(&self, documents: &[Vec<&str>], max_tokens: usize) -> Result<Corpus> {
        let longest = Segments::Pair.room(self.example_tokens(max_tokens))?;
        Corpus::of_documents(documents, &self.shared().host, self.tokenizer()?, longest)
    }

    /// What this model's own heads make of a corpus: of the first `most` examples, or of all for 0. The same seed gives the
    /// same examples and masks.
    ///
    /// Fails with `Missing` when the model lacks a head that the objective needs.
    pub fn evaluate_corpus(
        &self,
        objective: Objective,
        corpus: &Corpus,
        options: &TrainOptions,
        run: Run<'_>,
    ) -> Result<Evaluation> {
        on!(&self.0, |inner| {
            let items = held_out(inner, objective, corpus, options)?;
            inner.evaluate_items(objective, &items, &Dataset::new(), options.max_tokens, run)
        })
    }

    fn example_tokens(&self, max_tokens: usize) -> usize {
        on!(&self.0, |inner| inner.example_tokens(max_tokens))
    }
}

impl<D: Place> Training<D> {
    pub fn pretrain(&mut self, train: &Corpus, dev: Option<&Corpus>, run: FitRun<'_>) -> Result<Fitted> {
        let (model, options) = (Arc::clone(&self.model), self.options.clone());
        if options.batch_tokens > 0 || options.group_by_length {
            return Err(Error::argument(
                "batch_tokens and group_by_length: a corpus gives batches of examples as they come",
            ));
        }
        let dev_items = dev
            .map(|dev| held_out(&model, options.objective, dev, &options))
            .transpose()
            .map_err(|error| error.within("development text"))?;
        let mut stream = stream(&model, options.objective, train, &options, options.pretraining)?;
        self.fit_pass(model.example_tokens(options.max_tokens), options.batch_size)?;
        if options.unigram_bias && self.position.step == 0 {
            self.begin_with_frequencies(train)?;
        }
        let mut cache = PrefixCache::new(0, CacheLimits { memory: 0, file: 0 });
        let dev = dev_items.as_deref().map(|items| Examples { items, cache: &mut cache });
        self.go_through(&mut stream, dev, &Dataset::new(), run)
    }

    /// Makes ln((count + 1) / (tokens + V)) of each token of `corpus` the bias of its logit; of ids without a token, that of
    /// a count of 0.
    fn begin_with_frequencies(&mut self, corpus: &Corpus) -> Result<()> {
        let named = self.learner.bert().tensors(self.learner.scope())?;
        let place = self.learner.bert().word_bias().and_then(|bias| named.iter().position(|(name, _)| name == bias));
        let place =
            place.ok_or_else(|| Error::argument("unigram_bias: the bias of the words' logits does not train"))?;
        let counts = corpus.counts()?;
        let (device, mut pairs) = (&self.model.device, self.learner.pairs_mut()?);
        let bias = &mut pairs[place].0;
        let words = bias.rows() * bias.cols();
        let total = (corpus.tokens() + words as u64) as f64;
        let count = |id: usize| counts.get(id).copied().unwrap_or(0);
        let begun: Vec<f32> = (0..words).map(|id| ((count(id) + 1) as f64 / total).ln() as f32).collect();
        bias.set(device, &begun)
    }
}

/// The batches of a corpus.
fn stream<'c, D: Place>(
    model: &Inner<D>,
    objective: Objective,
    corpus: &'c Corpus,
    options: &TrainOptions,
    recipe: Recipe,
) -> Result<Stream<'c>> {
    let (segments, lesson) = match objective {
        Objective::MaskedLm => (Segments::One, Lesson::Words),
        Objective::Pretraining => (Segments::Pair, Lesson::WordsAndNext),
        other => {
            return Err(Error::argument(format!(
                "objective {other:?} from plain text, expected masked words, alone or with next sentences"
            )));
        }
    };
    let shuffling = if options.shuffle { Shuffling::On } else { Shuffling::Off };
    let max_tokens = model.example_tokens(options.max_tokens);
    let cutter = Cutter::new(corpus, recipe, segments, max_tokens, options.seed)?;
    Ok(Stream::new(cutter, lesson, shuffling, options.batch_size))
}

/// Examples to evaluate on: the same in every evaluation.
fn held_out<D: Place>(
    model: &Inner<D>,
    objective: Objective,
    corpus: &Corpus,
    options: &TrainOptions,
) -> Result<Vec<Item>> {
    let recipe = Recipe { renewal: Renewal::Never, ..options.pretraining };
    let most = if options.dev_examples == 0 { usize::MAX } else { options.dev_examples };
    stream(model, objective, corpus, options, recipe)?.take(0, most)
}
