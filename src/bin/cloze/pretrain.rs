//! `cloze pretrain`: a language from plain text.

pub mod start;
pub mod text;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use cloze::engine::{Corpus, FitEvent, FitRun, Fitted, Model, Notice, Objective, TrainOptions, Trainer, replace_file};
use cloze::error::Error;
use serde_json::json;

use crate::interrupt;
use crate::output::grouped;
use crate::report::Report;
use crate::stop::{Done, Stop};
use crate::train::options::{CheckpointArgs, CourseArgs, EvaluationArgs, MemoryArgs, facts};
use crate::train::places;
use crate::train::watch::{Manner, Pace, Watch, lines};
use start::StartArgs;
use text::{DrawArgs, TextArgs};

/// Pretrain a model on plain text, from nothing or from a folder
///
/// Text is a folder of .txt files, or one file: a blank line between documents, in them paragraphs or a sentence a line.
/// From nothing, it learns a vocabulary, makes random weights, and trains them; with --model, it goes on with a model on
/// text of your own. Writes a model folder that this program and transformers open.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cloze pretrain --corpus books --dev held-out --vocab-size 8192 --layers 4 --hidden 256 --heads 4 \\
    --max-tokens 128 --batch 32 --lr 5e-4 --warmup 200 --unigram-bias --epochs 3 --checkpoints run --out my-bert
  cloze pretrain --model all-MiniLM-L6-v2 --fresh-head --task mlm --corpus notes --out adapted

JSON, a line each:
  step, epoch, loss, learning_rate, mlm_loss, mlm_accuracy, nsp_loss, nsp_accuracy, tokens_per_second
                                     every --log-every steps and before each evaluation; means since the last
  epoch, metrics, seconds            for each evaluation: loss, perplexity, mlm_loss, mlm_accuracy, nsp_loss, nsp_accuracy
  best, out                          at the end; best: {metric, value, step}, null without --dev")]
pub struct Pretrain {
    /// Text to learn from
    #[arg(long, value_name = "PATH")]
    pub corpus: PathBuf,

    /// Text to evaluate on
    #[arg(long, value_name = "PATH")]
    pub dev: Option<PathBuf>,

    /// Folder for the trained model; replaces a model that is there, nothing else
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Page with the curves and the metrics
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,

    /// What to learn
    #[arg(long, value_enum, default_value = "mlm+nsp")]
    pub task: Language,

    #[command(flatten)]
    pub start: StartArgs,
    /// Most tokens of an example, special ones included [default: what the model allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(5..), help_heading = "Text")]
    pub max_tokens: Option<u32>,

    #[command(flatten)]
    pub text: TextArgs,
    #[command(flatten)]
    pub draw: DrawArgs,
    #[command(flatten)]
    pub course: CourseArgs,
    #[command(flatten)]
    pub evaluation: EvaluationArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub checkpoints: CheckpointArgs,

    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,

    /// Steps to a line of JSON
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..), requires = "json")]
    pub log_every: u64,
}

/// What is learned of a language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Words for masked places
    Mlm,
    /// The same, and whether one text follows another
    #[value(name = "mlm+nsp")]
    MlmNsp,
}

impl Language {
    pub fn objective(self) -> Objective {
        match self {
            Language::Mlm => Objective::MaskedLm,
            Language::MlmNsp => Objective::Pretraining,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Language::Mlm => "masked words",
            Language::MlmNsp => "masked words and next sentences",
        }
    }
}

impl Pretrain {
    pub fn run(&self) -> Done {
        let checkpoint = self.check_places()?;
        let manner = match self.json {
            true => Manner::Json { every: self.log_every },
            false => Manner::Table { metric: self.dev.is_some().then(|| "perplexity".to_owned()) },
        };
        let cancel = interrupt::watched()?;
        let mut options = self.options()?;
        let start = self.start.begin(&self.corpus, self.text.lines(), &options, checkpoint.as_deref())?;
        start.trains.set(&mut options);
        let mut trainer = Trainer::new(&start.model, &options, None)?;
        if let Some(checkpoint) = &checkpoint {
            trainer.resume(checkpoint)?;
        }
        let mut watch = Watch::new(manner, Pace::Tokens, trainer.position().step);
        start.notes.iter().for_each(|note| watch.say(note));
        let corpus = self.read(&start.model, &self.corpus, "to learn from", &mut watch)?;
        let dev =
            self.dev.as_deref().map(|dev| self.read(&start.model, dev, "to evaluate on", &mut watch)).transpose()?;
        let (count, all) = (trainer.parameter_count() as u64, start.model.info().parameters);
        watch.say(format!("learns {}: {} parameters of {}", self.task.name(), grouped(count), grouped(all)));
        if !trainer.fresh().is_empty() && self.start.is_model() {
            watch.say(format!("new, at random: {}", trainer.fresh().join(", ")));
        }
        self.checkpoints.introduce(trainer.position().step, &mut watch);
        watch.say("");

        let mut observe = |event: &FitEvent<'_>| {
            watch.see(event);
            true
        };
        let run = FitRun { cancel: Some(&cancel), observe: Some(&mut observe) };
        let fitted = trainer.pretrain(&corpus, dev.as_ref(), run);
        watch.finish();
        let fitted = fitted.map_err(|error| self.checkpoints.kept(error, &watch))?;
        self.save(&trainer, &fitted, &options, &corpus, &mut watch)?;
        watch.printed()
    }

    /// The checkpoint to go on from.
    fn check_places(&self) -> Result<Option<PathBuf>, Stop> {
        if let Some(checkpoints) = self.checkpoints.checkpoints.as_deref() {
            places::check_apart(("--checkpoints", checkpoints), ("--out", &self.out))?;
        }
        places::check_folder(&self.out)?;
        if let Some(file) = &self.report {
            places::check_file(file)?;
        }
        self.checkpoints.begin()
    }

    fn max_tokens(&self) -> usize {
        self.max_tokens.map_or(0, |most| most as usize)
    }

    fn options(&self) -> Result<TrainOptions, Stop> {
        let mut options = TrainOptions { objective: self.task.objective(), ..TrainOptions::default() };
        options.fresh_head = self.start.fresh_head;
        options.max_tokens = self.max_tokens();
        self.text.put(&mut options);
        self.draw.put(&mut options);
        self.course.put(&mut options)?;
        self.evaluation.put(&mut options);
        self.memory.put(&mut options);
        self.checkpoints.put(&mut options);
        Ok(options)
    }

    fn read(&self, model: &Model, path: &Path, what: &str, watch: &mut Watch) -> Result<Corpus, Error> {
        let corpus = model.corpus(path, self.text.lines(), self.max_tokens())?;
        for Notice { place, message } in corpus.notices() {
            watch.say(format!("{place}: {message}"));
        }
        let (documents, sentences) = (grouped(corpus.documents() as u64), grouped(corpus.sentences() as u64));
        watch
            .say(format!("{documents} documents of {sentences} sentences, {} tokens {what}", grouped(corpus.tokens())));
        Ok(corpus)
    }

    fn save(
        &self,
        trainer: &Trainer,
        fitted: &Fitted,
        options: &TrainOptions,
        corpus: &Corpus,
        watch: &mut Watch,
    ) -> Result<(), Error> {
        trainer.save(&self.out)?;
        let which = match fitted.best {
            Some((step, _)) if self.evaluation.keeps_best() => format!(", as it was at step {}", grouped(step)),
            _ => String::new(),
        };
        watch.say(format!("model in {}{which}", self.out.display()));
        if let Some(file) = &self.report {
            let report = Report {
                title: format!("pretraining on {}", self.corpus.display()),
                facts: self.facts(options, corpus),
                history: &trainer.position().history,
                metric: trainer.metric(),
                kept: fitted.metrics.as_ref(),
                confusion: None,
                labels: &[],
            };
            let written = report.html().and_then(|page| replace_file(file, page.as_bytes()));
            written.map_err(|error| error.within("the model is saved, the report is not"))?;
            watch.say(format!("report in {}", file.display()));
        }
        if let (Some(metrics), Some(dev)) = (&fitted.metrics, &self.dev) {
            watch.say(format!("\non {}", dev.display()));
            lines(metrics).iter().for_each(|line| watch.say(line));
        }
        let best = fitted.best.map(|(step, value)| json!({"metric": trainer.metric(), "value": value, "step": step}));
        watch.report(&json!({"best": best, "out": self.out}));
        Ok(())
    }

    fn facts(&self, options: &TrainOptions, corpus: &Corpus) -> Vec<(&'static str, String)> {
        let text = format!("{}, {} tokens", self.corpus.display(), grouped(corpus.tokens()));
        let mut all = vec![("learned from", text), ("learns", self.task.name().to_owned())];
        if let Some(dev) = &self.dev {
            all.push(("evaluated on", dev.display().to_string()));
        }
        all.extend(facts(options));
        all.push(("model saved in", self.out.display().to_string()));
        all
    }
}
