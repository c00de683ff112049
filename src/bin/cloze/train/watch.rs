//! What people and programs see of a training while it runs.

use std::io::{IsTerminal, stderr};
use std::time::Instant;

use cloze::engine::{EvaluationRecord, FitEvent, Mean as Part, Metrics, Size, StepRecord};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};

use crate::output::{Output, number};
use crate::stop::Stop;

/// Prints the events of a training.
pub struct Watch {
    out: Output,
    bar: ProgressBar,
    manner: Manner,
    started: Instant,
    /// Of steps since the last line of them.
    recent: Mean,
    /// Of the same steps: words and next sentences.
    parts: [PartMean; 2],
    /// Of steps since the last row of the table.
    since_row: Mean,
    last: Option<StepRecord>,
    printed: Option<u64>,
    total: u64,
    pace: Pace,
    /// Examples or tokens a second, over about ten steps.
    speed: Option<f64>,
    has_header: bool,
    failed: Option<Stop>,
}

/// For whom lines are printed.
pub enum Manner {
    /// For programs: a line every so many steps, and one for each evaluation.
    Json { every: u64 },
    /// For people: a row for each evaluation with the metric of this name, or for each epoch without any.
    Table { metric: Option<String> },
}

/// What speed is told in.
#[derive(Clone, Copy)]
pub enum Pace {
    Examples,
    Tokens,
}

impl Pace {
    fn of(self, size: &Size) -> f64 {
        match self {
            Pace::Examples => size.examples as f64,
            Pace::Tokens => size.tokens as f64,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Pace::Examples => "examples",
            Pace::Tokens => "tokens",
        }
    }
}

#[derive(Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    /// The mean so far; begins anew.
    fn take(&mut self) -> f64 {
        let Self { sum, count } = std::mem::take(self);
        sum / f64::from(count)
    }
}

/// Of [`StepRecord::words`] and [`StepRecord::next`], in JSON.
const PARTS: [&str; 2] = ["mlm", "nsp"];

/// The mean of what steps tell of one part.
#[derive(Default)]
struct PartMean {
    loss: Mean,
    accuracy: Mean,
}

impl PartMean {
    fn add(&mut self, part: Option<Part>) {
        if let Some(Part { loss, accuracy }) = part {
            self.loss.add(loss);
            self.accuracy.add(accuracy);
        }
    }

    /// The mean so far, of anything; begins anew.
    fn take(&mut self) -> Option<Part> {
        (self.loss.count > 0).then(|| Part { loss: self.loss.take(), accuracy: self.accuracy.take() })
    }
}

impl Watch {
    /// A watch over a training that has done `steps` already.
    pub fn new(manner: Manner, pace: Pace, steps: u64) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{bar:14} {percent:>3} %  {eta:>3} left  {wide_msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_position(steps);
        bar.reset_eta();
        Self {
            out: Output::new(&bar),
            bar,
            manner,
            started: Instant::now(),
            recent: Mean::default(),
            parts: Default::default(),
            since_row: Mean::default(),
            last: None,
            printed: None,
            total: 0,
            pace,
            speed: None,
            has_header: false,
            failed: None,
        }
    }

    /// Prints a line of text that is for people alone.
    pub fn say(&mut self, line: impl AsRef<str>) {
        if let Manner::Table { .. } = self.manner {
            self.out.line(line);
            self.flush();
        }
    }

    /// Prints an object that is for programs alone.
    pub fn report(&mut self, object: &Value) {
        if let Manner::Json { .. } = self.manner {
            self.out.json(object);
            self.flush();
        }
    }

    /// Takes in what happened.
    pub fn see(&mut self, event: &FitEvent<'_>) {
        match event {
            FitEvent::Step { record, total, size, seconds } => {
                self.total = *total;
                self.step(record, self.pace.of(size) / seconds.max(1e-9));
            }
            FitEvent::Evaluation { record, seconds } => self.evaluation(record, *seconds),
            FitEvent::Checkpoint { .. } => {}
        }
    }

    fn step(&mut self, record: &StepRecord, speed: f64) {
        self.recent.add(record.loss);
        self.since_row.add(record.loss);
        self.last = Some(*record);
        let speed = self.speed.map_or(speed, |before| 0.9 * before + 0.1 * speed);
        self.speed = Some(speed);
        self.parts.iter_mut().zip([record.words, record.next]).for_each(|(mean, part)| mean.add(part));
        self.draw(record, speed);
        match &self.manner {
            Manner::Json { every } if record.step.is_multiple_of(*every) => self.print_step(),
            Manner::Table { metric: None } if record.epoch.fract() == 0.0 => self.row(None),
            _ => {}
        }
    }

    fn draw(&mut self, record: &StepRecord, speed: f64) {
        if self.bar.is_hidden() && stderr().is_terminal() {
            self.bar.set_length(self.total);
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(record.step);
        let (step, total, loss, rate) = (record.step, self.total, record.loss, record.learning_rate);
        let of = self.pace.name();
        self.bar.set_message(format!("{step}/{total}  loss {loss:.4}  lr {rate:.1e}  {speed:.0} {of}/s"));
    }

    fn evaluation(&mut self, record: &EvaluationRecord, seconds: f64) {
        match self.manner {
            Manner::Json { .. } => {
                self.print_step();
                let line = json!({"epoch": record.epoch, "metrics": object(&record.metrics), "seconds": seconds});
                self.out.json(&line);
                self.flush();
            }
            Manner::Table { .. } => self.row(Some(record)),
        }
    }

    /// The line of the last step, where it has not been printed.
    fn print_step(&mut self) {
        let Some(last) = self.last.filter(|last| self.printed != Some(last.step)) else { return };
        self.printed = Some(last.step);
        let loss = self.recent.take();
        let mut line = json!({
            "step": last.step, "epoch": last.epoch, "loss": loss, "learning_rate": number(last.learning_rate as f32),
        });
        for (name, mean) in PARTS.into_iter().zip(&mut self.parts) {
            if let Some(Part { loss, accuracy }) = mean.take() {
                (line[format!("{name}_loss")], line[format!("{name}_accuracy")]) = (json!(loss), json!(accuracy));
            }
        }
        if let (Pace::Tokens, Some(speed)) = (self.pace, self.speed) {
            line["tokens_per_second"] = json!(speed.round());
        }
        self.out.json(&line);
        self.flush();
    }

    /// A row of the table: the mean loss since the row before, and what the evaluation found.
    fn row(&mut self, found: Option<&EvaluationRecord>) {
        let Some(last) = self.last else { return };
        let metric = match &self.manner {
            Manner::Table { metric } => metric.clone(),
            Manner::Json { .. } => return,
        };
        let column = metric.as_ref().map_or(0, |metric| metric.len().max(8));
        if !std::mem::replace(&mut self.has_header, true) {
            let dev = metric.as_ref().map_or_else(String::new, |name| format!("  {:>8}  {name:>column$}", "dev loss"));
            self.out.line(format!("{:>6}  {:>7}  {:>8}{dev}  {:>8}", "epoch", "step", "loss", "time"));
        }
        let mut line = format!("{:>6.2}  {:>7}  {:>8.4}", last.epoch, last.step, self.since_row.take());
        if let (Some(found), Some(metric)) = (found, &metric) {
            let value = |name: &str| found.metrics.get(name).unwrap_or(f64::NAN);
            line += &format!("  {:>8.4}  {:>column$.4}", value("loss"), value(metric));
        }
        line += &format!("  {:>8}", clock(self.started.elapsed().as_secs()));
        if found.is_some_and(|found| found.best) {
            line += "  best";
        }
        self.out.line(line);
        self.flush();
    }

    /// The training is over: what has not been printed yet, then the bar goes.
    pub fn finish(&mut self) {
        match &self.manner {
            Manner::Json { .. } => self.print_step(),
            Manner::Table { metric: None } if self.since_row.count > 0 => self.row(None),
            Manner::Table { .. } => {}
        }
        if self.has_header {
            self.say("");
        }
        self.bar.finish_and_clear();
    }

    /// The last step that was seen.
    pub fn last(&self) -> Option<&StepRecord> {
        self.last.as_ref()
    }

    /// Steps there are to be; 0 before the first.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Fails as the first line did that could not be printed: a training goes on without its reader.
    pub fn printed(&mut self) -> Result<(), Stop> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn flush(&mut self) {
        if self.failed.is_none() {
            self.failed = self.out.flush().err();
        }
    }
}

/// Metrics as a JSON object; what is not defined is null.
pub fn object(metrics: &Metrics) -> Value {
    metrics.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect::<Map<_, _>>().into()
}

/// Metrics for reading, a line each.
pub fn lines(metrics: &Metrics) -> Vec<String> {
    let column = crate::output::width(metrics.iter().map(|(name, _)| name));
    metrics.iter().map(|(name, value)| format!("  {name:<column$}  {value:>8.4}")).collect()
}

/// Seconds as h:mm:ss or m:ss.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}
