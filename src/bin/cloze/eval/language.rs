//! How well a model reads text.

use cloze::engine::{Model, Notice, Run, TrainOptions};

use super::{Eval, bar, stopped};
use crate::interrupt;
use crate::output::grouped;
use crate::pretrain::Language;
use crate::stop::{Done, Stop};

impl Eval {
    /// Fails on options that concern the other kind of data.
    pub(super) fn check(&self, language: Option<Language>) -> Result<(), Stop> {
        let examples = self.examples.map(|_| "--examples").or(self.seed.map(|_| "--seed"));
        let wrong = match language {
            Some(_) => self.files.given().or(self.head.as_ref().map(|_| "--head")),
            None => self.text.given().or(examples),
        };
        match (wrong, language) {
            (None, _) => Ok(()),
            (Some(option), Some(_)) => Err(Stop::usage(format!("{option} does not go with text"))),
            (Some(option), None) => Err(Stop::usage(format!("{option} goes with --task mlm or mlm+nsp"))),
        }
    }

    /// Loss and accuracy on text: of masked words, and of next sentences.
    pub(super) fn measure(&self, model: &Model, language: Language) -> Done {
        let mut options = TrainOptions { objective: language.objective(), ..TrainOptions::default() };
        options.max_tokens = self.max_tokens.map_or(0, |most| most as usize);
        options.dev_examples = self.examples.map_or(0, |most| most as usize);
        options.seed = self.seed.unwrap_or(options.seed);
        self.text.put(&mut options);
        let cancel = interrupt::watched()?;
        let corpus = model.corpus(&self.data, self.text.lines(), options.max_tokens)?;
        let mut notes: Vec<String> =
            corpus.notices().iter().map(|Notice { place, message }| format!("{place}: {message}")).collect();
        let (documents, sentences) = (grouped(corpus.documents() as u64), grouped(corpus.sentences() as u64));
        notes.push(format!("{documents} documents of {sentences} sentences, {} tokens", grouped(corpus.tokens())));
        let bar = bar(0);
        let mut progress = |done: u64, all: u64| {
            bar.set_length(all);
            bar.set_position(done);
            true
        };
        let run = Run { cancel: Some(&cancel), progress: Some(&mut progress) };
        let found = model.evaluate_corpus(options.objective, &corpus, &options, run);
        bar.finish_and_clear();
        self.tell(&found.map_err(stopped)?.metrics, &notes, &bar)
    }
}
