//! Texts through a model, a chunk at a time, with a progress bar where people watch.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use cloze::engine::{Encoded, Model, Run, Task, TextOptions};
use cloze::error::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{Output, grouped};
use crate::texts::{Chunk, Text, Texts};

/// Work shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_millis(700);

/// The texts of a verb on their way through the model.
pub struct Work<'a> {
    model: &'a Model,
    texts: Texts,
    task: Task,
    options: TextOptions<'a>,
    progress: Progress,
}

/// Texts as the model takes them.
pub struct Batch {
    chunk: Chunk,
    pub encoded: Encoded,
}

impl Batch {
    pub fn texts(&self) -> &[Text] {
        &self.chunk.texts
    }
}

impl<'a> Work<'a> {
    pub fn new(model: &'a Model, texts: Texts, task: Task, options: TextOptions<'a>) -> Self {
        let progress = Progress::new(texts.bytes());
        Self { model, texts, task, options, progress }
    }

    /// Stdout beside this work's bar.
    pub fn output(&self) -> Output {
        Output::new(&self.progress.bar)
    }

    /// Whether there is just one text.
    pub fn is_single(&self) -> bool {
        self.texts.count() == Some(1)
    }

    /// How many texts there are, where that is known beforehand.
    pub fn count(&self) -> Option<usize> {
        self.texts.count()
    }

    /// The next texts; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Batch>> {
        let Some(chunk) = self.texts.next()? else {
            self.progress.bar.finish_and_clear();
            return Ok(None);
        };
        let encoded = self.model.encode(&chunk.inputs(), self.task, &self.options);
        let encoded = encoded.map_err(|error| chunk.locate(error))?;
        Ok(Some(Batch { chunk, encoded }))
    }

    /// Asks the model about `batch`.
    pub fn ask<R>(&mut self, batch: &Batch, question: impl FnOnce(Run<'_>) -> Result<R>) -> Result<R> {
        let progress = &mut self.progress;
        let mut report = |done: u64, total: u64| {
            progress.show(batch, done as f64 / total.max(1) as f64);
            true
        };
        let answer = question(Run { cancel: None, progress: Some(&mut report) });
        self.progress.done(batch);
        answer.map_err(|error| {
            self.progress.bar.finish_and_clear();
            batch.chunk.locate(error)
        })
    }
}

struct Progress {
    bar: ProgressBar,
    started: Instant,
    bytes: u64,
    texts: u64,
}

impl Progress {
    fn new(bytes: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::hidden());
        let template = match bytes {
            Some(_) => "{bar:30} {percent:>3} %  {msg}  {eta} left",
            None => "{spinner} {msg}  {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, started: Instant::now(), bytes: 0, texts: 0 }
    }

    fn show(&self, batch: &Batch, part: f64) {
        if self.bar.is_hidden() && stderr().is_terminal() && self.started.elapsed() > PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let texts = self.texts + (batch.chunk.texts.len() as f64 * part) as u64;
        self.bar.set_position(self.bytes + (batch.chunk.bytes as f64 * part) as u64);
        self.bar.set_message(format!("{} texts", grouped(texts)));
    }

    fn done(&mut self, batch: &Batch) {
        self.texts += batch.chunk.texts.len() as u64;
        self.bytes += batch.chunk.bytes;
    }
}
