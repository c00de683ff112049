//! `cloze eval`: how good a model is on a file of examples.

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;

use clap::Args;
use cloze::engine::{Objective, Run};
use cloze::error::{Error, Status};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::examples::{FileArgs, Task};
use crate::interrupt;
use crate::model::ModelArgs;
use crate::output::Output;
use crate::stop::{Done, Stop};
use crate::train::{lines, object};

/// Measure a trained model on a file of examples
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze eval --model my-classifier --data test.tsv

JSON: metrics: {loss, and accuracy, f1 …, by the task}")]
pub struct Eval {
    #[command(flatten)]
    model: ModelArgs,

    /// Examples to evaluate on
    #[arg(long, value_name = "FILE")]
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

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub fn run(&self) -> Done {
        if let Some(task) = self.task {
            task.objective()?;
        }
        let mut model = self.model.open()?;
        if let Some(adapter) = &self.adapter {
            model = model.with_adapter(adapter)?;
        }
        if let Some(head) = &self.head {
            model = model.with_head(head)?;
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
        let stopped = |error: Error| match error.status() {
            Status::Cancelled => Error::new(Status::Cancelled, "stopped before the end"),
            _ => error,
        };
        let metrics = found.map_err(stopped)?.metrics;
        let mut out = Output::new(&bar);
        if self.json {
            out.json(&json!({"metrics": object(&metrics)}));
        } else {
            lines(&metrics).iter().for_each(|line| out.line(line));
        }
        out.flush()
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
