//! `cloze eval`: how good a model is on a file of examples, or on text.

mod language;

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;

use clap::Args;
use cloze::engine::{Metrics, Objective, Run};
use cloze::error::{Error, Status};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::examples::{FileArgs, Task};
use crate::interrupt;
use crate::model::ModelArgs;
use crate::output::Output;
use crate::pretrain::text::TextArgs;
use crate::stop::{Done, Stop};
use crate::train::{lines, object};

/// Measure a trained model on a file of examples, or on text
#[derive(Args)]
#[command(after_help = "\
Examples:
  cloze eval --model my-classifier --data test.tsv
  cloze eval --model my-bert --task mlm+nsp --data held-out

JSON: metrics: {loss, and accuracy, f1 …, by the task}; of text: {loss, perplexity, mlm_loss, mlm_accuracy, nsp_loss,
  nsp_accuracy}")]
pub struct Eval {
    #[command(flatten)]
    model: ModelArgs,

    /// Examples to evaluate on; for mlm and mlm+nsp text, as 'cloze pretrain' takes it
    #[arg(long, value_name = "PATH")]
    data: PathBuf,

    /// What the model does [default: what its head was trained for]
    #[arg(long, value_enum)]
    task: Option<Task>,

    /// Head beside the folder's own
    #[arg(long, value_name = "NAME")]
    head: Option<String>,

    /// Folder of low-rank pairs to put into the model, as peft writes it
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,

    /// Most tokens of a text, special ones included; longer texts are cut [default: what the model allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,

    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    text: TextArgs,

    /// Most examples of the text that are evaluated [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Text")]
    examples: Option<u32>,

    /// Seed of the pairs and masks of the text [default: 42]
    #[arg(long, value_name = "N", help_heading = "Text")]
    seed: Option<u64>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub fn run(&self) -> Done {
        if let Some(task) = self.task {
            task.objective()?;
        }
        let language = self.task.and_then(Task::language);
        self.check(language)?;
        let mut model = self.model.open()?;
        if let Some(adapter) = &self.adapter {
            model = model.with_adapter(adapter)?;
        }
        if let Some(head) = &self.head {
            model = model.with_head(head)?;
        }
        if let Some(language) = language {
            return self.measure(&model, language);
        }
        let (task, objective) = match self.task {
            Some(task) => (task, task.objective()?),
            None => own(model.objective()?)?,
        };
        let data = self.files.read(&self.data, task)?;
        let bar = bar(data.len());
        let mut progress = |done: u64, _: u64| {
            bar.set_position(done);
            true
        };
        let cancel = interrupt::watched()?;
        let run = Run { cancel: Some(&cancel), progress: Some(&mut progress) };
        let found = model.evaluate(objective, &data, self.max_tokens.map_or(0, |most| most as usize), run);
        bar.finish_and_clear();
        self.tell(&found.map_err(stopped)?.metrics, &[], &bar)
    }

    /// Notes are for people.
    fn tell(&self, metrics: &Metrics, notes: &[String], bar: &ProgressBar) -> Done {
        let mut out = Output::new(bar);
        if self.json {
            out.json(&json!({"metrics": object(metrics)}));
        } else {
            notes.iter().for_each(|note| out.line(note));
            lines(metrics).iter().for_each(|line| out.line(line));
        }
        out.flush()
    }
}

fn stopped(error: Error) -> Error {
    match error.status() {
        Status::Cancelled => Error::new(Status::Cancelled, "stopped before the end"),
        _ => error,
    }
}

/// The task of the head that the folder has.
fn own(objective: Objective) -> Result<(Task, Objective), Stop> {
    let task = Task::of(objective);
    let task = task.ok_or_else(|| Error::unsupported(format!("{objective:?}: not evaluated on files; give --task")))?;
    Ok((task, objective))
}

/// Where people watch, a bar of `count` examples.
fn bar(count: usize) -> ProgressBar {
    let target = if stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(count as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {eta} left") {
        bar.set_style(style);
    }
    bar
}
