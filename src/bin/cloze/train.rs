//! `cloze train`: a model learns from files of examples.

mod language;
pub mod options;
pub mod places;
pub mod values;
pub mod watch;

use std::path::{Path, PathBuf};

use clap::Args;
use cloze::engine::{
    Cancel, Confusion, Dataset, FitEvent, FitRun, Fitted, Model, Run, TrainOptions, Trainer, replace_file,
};
use cloze::error::Error;
use serde_json::json;

use crate::examples::{FileArgs, Task};
use crate::interrupt;
use crate::model::ModelArgs;
use crate::output::{grouped, one_line};
use crate::pretrain::text::{DrawArgs, TextArgs};
use crate::report::Report;
use crate::stop::{Done, Stop};
use options::{CheckpointArgs, CourseArgs, EvaluationArgs, HeadArgs, LabelArgs, MemoryArgs};
use values::Trains;
use watch::{Manner, Pace, Watch};
pub use watch::{lines, object};

/// Labels whose names are told before training.
const SHOWN: usize = 6;

/// Train a model on files of examples, or on text
///
/// Reads examples, trains, and writes a model folder that this program and transformers open. Defaults are those of
/// HuggingFace's Trainer. Ctrl-C stops between two steps; checkpoints are kept.
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze train --model all-MiniLM-L6-v2 --task classify --train train.tsv --dev dev.tsv \\
    --trainable top:2 --lr 1e-4 --batch 32 --warmup 0.1 --out my-classifier --report report.html

  cloze train --model bert-base-uncased --task mlm --train notes --dev held-out --epochs 3 --out adapted

Files of examples: .tsv and .csv (text[, text_b], label; header optional), .jsonl (text, text_b, label or labels;
  tokens, tags; question, context, answers), .conll (word and tag), for clm also .txt (a text a line). Text, for mlm and
  mlm+nsp: a folder of .txt files, or one file, as 'cloze pretrain' takes it

JSON, a line each:
  step, epoch, loss, learning_rate   every --log-every steps and before each evaluation; loss is the mean since the last
  epoch, metrics, seconds            for each evaluation
  best, out                          at the end; best: {metric, value, step}, null without --dev")]
pub struct Train {
    #[command(flatten)]
    model: ModelArgs,

    /// What to learn
    #[arg(long, value_enum)]
    task: Task,

    /// Examples to learn from, or text
    #[arg(long, value_name = "PATH")]
    train: PathBuf,

    /// Examples to evaluate on, or text
    #[arg(long, value_name = "PATH")]
    dev: Option<PathBuf>,

    /// Folder for the trained model; replaces a model that is there, nothing else
    #[arg(long, value_name = "DIR", required_unless_present = "adapter_out")]
    out: Option<PathBuf>,

    /// Folder for the pairs of --trainable lora:R, as peft reads it
    #[arg(long, value_name = "DIR")]
    adapter_out: Option<PathBuf>,

    /// Page with the curves, the metrics and the confusion matrix
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,

    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    head: HeadArgs,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    course: CourseArgs,
    #[command(flatten)]
    labels: LabelArgs,
    #[command(flatten)]
    evaluation: EvaluationArgs,
    #[command(flatten)]
    memory: MemoryArgs,

    #[command(flatten)]
    checkpoints: CheckpointArgs,

    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,

    /// Steps to a line of JSON
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..), requires = "json")]
    log_every: u64,
}

/// What a training is made of.
struct Job {
    folder: PathBuf,
    model: Model,
    options: TrainOptions,
    train: Dataset,
    dev: Option<Dataset>,
    cancel: Cancel,
}

impl Train {
    pub fn run(&self) -> Done {
        self.task.objective()?;
        if let Some(language) = self.task.language() {
            return self.pretraining(language)?.run();
        }
        self.check_examples()?;
        let checkpoint = self.check_places()?;
        let job = self.job()?;
        let mut trainer = Trainer::new(&job.model, &job.options, Some(&job.train))?;
        if let Some(checkpoint) = &checkpoint {
            trainer.resume(checkpoint)?;
        }
        let metric = job.dev.is_some().then(|| trainer.metric().to_owned());
        let mut watch = Watch::new(self.manner(metric.clone()), Pace::Examples, trainer.position().step);
        self.introduce(&job, &trainer, &mut watch);
        let fitted = self.fit(&job, &mut trainer, &mut watch)?;
        self.save(&trainer, &fitted, &mut watch)?;
        if let Some(file) = &self.report {
            let written = self.page(&job, &trainer, &fitted).and_then(|page| replace_file(file, page.as_bytes()));
            written.map_err(|error| error.within("the model is saved, the report is not"))?;
            watch.say(format!("report in {}", file.display()));
        }
        self.conclude(&fitted, metric.as_deref(), &mut watch);
        watch.printed()
    }

    /// The checkpoint to go on from.
    fn check_places(&self) -> Result<Option<PathBuf>, Stop> {
        if self.adapter_out.is_some() && !matches!(self.head.trains(), Trains::Lora(_)) {
            return Err(Stop::usage("--adapter-out goes with --trainable lora:R"));
        }
        let (out, adapter) = (("--out", self.out.as_deref()), ("--adapter-out", self.adapter_out.as_deref()));
        let checkpoints = ("--checkpoints", self.checkpoints.checkpoints.as_deref());
        for ((option, inner), (other, outer)) in
            [(checkpoints, out), (checkpoints, adapter), (adapter, out), (out, adapter)]
        {
            if let (Some(inner), Some(outer)) = (inner, outer) {
                places::check_apart((option, inner), (other, outer))?;
            }
        }
        for folder in [&self.out, &self.adapter_out].into_iter().flatten() {
            places::check_folder(folder)?;
        }
        if let Some(file) = &self.report {
            places::check_file(file)?;
        }
        self.checkpoints.begin()
    }

    fn job(&self) -> Result<Job, Stop> {
        let folder = self.model.folder()?;
        let train = self.files.read(&self.train, self.task)?;
        let dev = self.dev.as_deref().map(|file| self.files.read(file, self.task)).transpose()?;
        let mut options = options::options(
            self.task,
            &train,
            &self.course,
            &self.labels,
            &self.head,
            &self.evaluation,
            &self.memory,
        )?;
        self.checkpoints.put(&mut options);
        Ok(Job { folder, model: self.model.open()?, options, train, dev, cancel: interrupt::watched()? })
    }

    fn manner(&self, metric: Option<String>) -> Manner {
        if self.json { Manner::Json { every: self.log_every } } else { Manner::Table { metric } }
    }

    fn introduce(&self, job: &Job, trainer: &Trainer, watch: &mut Watch) {
        if matches!(self.task, Task::Classify | Task::Multilabel | Task::Tag) {
            let labels = trainer.labels();
            let shown: Vec<String> = labels.iter().take(SHOWN).map(|label| one_line(label)).collect();
            let more = if labels.len() > SHOWN { ", …" } else { "" };
            watch.say(format!("{} labels: {}{more}", labels.len(), shown.join(", ")));
        }
        let count = |data: &Dataset| grouped(data.len() as u64);
        let dev = job.dev.as_ref().map_or_else(String::new, |dev| format!(", {} to evaluate on", count(dev)));
        watch.say(format!("{} examples to learn from{dev}", count(&job.train)));
        watch.say(format!("learns {}", self.learning(job, trainer)));
        self.checkpoints.introduce(trainer.position().step, watch);
        watch.say("");
    }

    /// What learns, in a few words.
    fn learning(&self, job: &Job, trainer: &Trainer) -> String {
        let what = match self.head.trains() {
            Trains::Head => "the head".to_owned(),
            Trains::Top(1) => "the top layer and the head".to_owned(),
            Trains::Top(layers) => format!("the top {layers} layers and the head"),
            Trains::All => "everything".to_owned(),
            Trains::Layers => "all layers and the head".to_owned(),
            Trains::Lora(rank) => format!("pairs of rank {rank} and the head"),
        };
        let (count, all) = (trainer.parameter_count() as u64, job.model.info().parameters);
        format!("{what}: {} parameters, the model has {}", grouped(count), grouped(all))
    }

    /// Trains; a failure tells what is kept.
    fn fit(&self, job: &Job, trainer: &mut Trainer, watch: &mut Watch) -> Result<Fitted, Error> {
        let mut observe = |event: &FitEvent<'_>| {
            watch.see(event);
            true
        };
        let run = FitRun { cancel: Some(&job.cancel), observe: Some(&mut observe) };
        let fitted = trainer.fit(&job.train, job.dev.as_ref(), run);
        watch.finish();
        fitted.map_err(|error| self.checkpoints.kept(error, watch))
    }

    fn save(&self, trainer: &Trainer, fitted: &Fitted, watch: &mut Watch) -> Result<(), Error> {
        let which = match fitted.best {
            Some((step, _)) if self.evaluation.keeps_best() => format!(", as it was at step {}", grouped(step)),
            _ => String::new(),
        };
        if let Some(out) = &self.out {
            trainer.save(out)?;
            watch.say(format!("model in {}{which}", out.display()));
        }
        if let Some(out) = &self.adapter_out {
            trainer.save_adapter(out)?;
            watch.say(format!("adapter in {}{which}", out.display()));
        }
        Ok(())
    }

    fn conclude(&self, fitted: &Fitted, metric: Option<&str>, watch: &mut Watch) {
        if let (Some(metrics), Some(dev)) = (&fitted.metrics, &self.dev) {
            watch.say(format!("\non {}", dev.display()));
            lines(metrics).iter().for_each(|line| watch.say(line));
        }
        let best = fitted.best.map(|(step, value)| json!({"metric": metric, "value": value, "step": step}));
        let mut last = json!({"best": best, "out": self.out.as_ref().or(self.adapter_out.as_ref())});
        if let (Some(_), Some(adapter)) = (&self.out, &self.adapter_out) {
            last["adapter_out"] = json!(adapter);
        }
        watch.report(&last);
    }

    /// The report.
    fn page(&self, job: &Job, trainer: &Trainer, fitted: &Fitted) -> Result<String, Error> {
        let confusion = self.confusion(job, trainer)?;
        let name = job.folder.file_name().unwrap_or(job.folder.as_os_str()).to_string_lossy();
        let report = Report {
            title: format!("{} with {name}", self.task.name()),
            facts: self.facts(job, trainer),
            history: &trainer.position().history,
            metric: trainer.metric(),
            kept: fitted.metrics.as_ref(),
            confusion: confusion.as_ref(),
            labels: trainer.labels(),
        };
        report.html()
    }

    /// Of the parameters that were saved, on the development examples.
    fn confusion(&self, job: &Job, trainer: &Trainer) -> Result<Option<Confusion>, Error> {
        let (Some(dev), Task::Classify) = (&job.dev, self.task) else { return Ok(None) };
        let mut model = trainer.snapshot()?;
        if !job.options.head.is_empty() {
            model = model.with_head(&job.options.head)?;
        }
        let run = Run { cancel: Some(&job.cancel), ..Run::default() };
        Ok(model.evaluate(job.options.objective, dev, job.options.max_tokens, run)?.confusion)
    }

    fn facts(&self, job: &Job, trainer: &Trainer) -> Vec<(&'static str, String)> {
        let file = |file: &Path, data: &Dataset| format!("{}, {} examples", file.display(), grouped(data.len() as u64));
        let mut facts =
            vec![("model", job.folder.display().to_string()), ("learned from", file(&self.train, &job.train))];
        if let (Some(path), Some(dev)) = (&self.dev, &job.dev) {
            facts.push(("evaluated on", file(path, dev)));
        }
        facts.push(("learns", self.learning(job, trainer)));
        facts.extend(options::facts(&job.options));
        facts.push(("threads", job.model.info().threads.to_string()));
        facts.extend(self.out.iter().map(|out| ("model saved in", out.display().to_string())));
        facts.extend(self.adapter_out.iter().map(|out| ("adapter saved in", out.display().to_string())));
        facts
    }
}
