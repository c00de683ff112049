//! `cloze info`: what a folder holds and what it can do.

use clap::Args;
use cloze::engine::{
    self, Direction, FillOptions, GenerateOptions, Model, Report, Run, ScoreOptions, Task, TextOptions,
};
use cloze::error::Result;

use crate::model::ModelArgs;
use crate::output::{Output, grouped, one_line};
use crate::score;
use crate::stop::Done;

/// Show what a model folder holds and what it can do
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze info --model bert-base-uncased

JSON: architecture, layers, hidden, heads, vocab, parameters, dtype, heads_present, unused, missing,
  and intermediate, words, token_types, max_tokens, max_positions, embedding, labels, tasks,
  text_unavailable, threads, isa, files: [{name, bytes}], used, ignored, direction,
  device, device_name, device_note, precision
  unused, ignored and used name tensors; missing says why heads that the folder promises are not there;
  device_note why --device auto found no CUDA device")]
pub struct Info {
    #[command(flatten)]
    model: ModelArgs,

    /// List every tensor that is not used
    #[arg(long)]
    verbose: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Names shown of a long list.
const SHOWN: usize = 5;

impl Info {
    pub fn run(&self) -> Done {
        let folder = self.model.folder()?;
        let model = self.model.open()?;
        let (info, report) = (model.info(), model.report());
        let mut out = Output::new(&indicatif::ProgressBar::hidden());
        if self.json {
            out.json(&model.report_json());
        } else {
            out.line(folder.display().to_string());
            shape(&info, &report, &mut out);
            abilities(&model, &info, &mut out);
            self.tensors(&info, &report, &mut out);
        }
        out.flush()
    }

    fn tensors(&self, info: &engine::Info, report: &Report, out: &mut Output) {
        out.line("\ntensors");
        field(out, "used", &grouped(report.used.len() as u64));
        for (name, tensors) in [("unused", &report.unused), ("ignored", &report.ignored), ("missing", &info.missing)] {
            if !tensors.is_empty() {
                field(out, name, &tensors.len().to_string());
            }
            let shown = if self.verbose { tensors.len() } else { tensors.len().min(SHOWN) };
            for tensor in &tensors[..shown] {
                field(out, "", &one_line(tensor));
            }
            if shown < tensors.len() {
                field(out, "", &format!("... and {} more: --verbose lists all", tensors.len() - shown));
            }
        }
    }
}

fn field(out: &mut Output, name: &str, value: &str) {
    out.line(format!("  {name:<13} {value}"));
}

fn shape(info: &engine::Info, report: &Report, out: &mut Output) {
    let plural =
        |count: usize, one: &str| format!("{} {one}{}", grouped(count as u64), if count == 1 { "" } else { "s" });
    let sizes = [
        plural(info.layers, "layer"),
        format!("{} wide", info.hidden),
        plural(info.heads, "attention head"),
        format!("{} in between", info.intermediate),
    ];
    let direction = match info.direction {
        Direction::Bidirectional => "",
        Direction::Causal => ", causal",
    };
    field(out, "architecture", &format!("{}{direction}", info.architecture));
    field(out, "size", &sizes.join(", "));
    field(out, "parameters", &format!("{} ({})", grouped(info.parameters), info.dtype));
    let words = match info.words {
        words if words == info.vocabulary => String::new(),
        words => format!(", {} of them words", grouped(words as u64)),
    };
    field(out, "vocabulary", &format!("{} tokens{words}", grouped(info.vocabulary as u64)));
    let longest = match info.max_positions {
        positions if positions == info.max_tokens => String::new(),
        positions => format!(" (as ids {})", grouped(positions as u64)),
    };
    field(out, "longest text", &format!("{} tokens{longest}", grouped(info.max_tokens as u64)));
    field(out, "embedding", &format!("{} numbers", grouped(info.embedding as u64)));
    if let Some(why) = &info.text_unavailable {
        field(out, "text", &format!("token ids only: {}", one_line(why)));
    }
    let threads = plural(info.threads, "thread");
    field(out, "runs on", &format!("{}, {}, {}, {threads}", info.device.id, info.device.name, info.device.precision));
    if let Some(note) = &info.device_note {
        field(out, "", &format!("not on CUDA: {}", one_line(note)));
    }
    let files: Vec<&str> = report.files.iter().map(|file| file.name.as_str()).collect();
    let more = if files.len() > 1 { format!(" and {} more", files.len() - 1) } else { String::new() };
    let first = files.first().copied().unwrap_or_default();
    field(out, "weights", &format!("{first}{more}, {}", size(report.bytes())));
}

fn abilities(model: &Model, info: &engine::Info, out: &mut Output) {
    out.line("\nverbs");
    field(out, "tokenize", if info.text_unavailable.is_none() { "yes" } else { "no: token ids only" });
    for task in Task::ALL.into_iter().filter(|task| *task != Task::HiddenStates) {
        let answer = match (info.tasks.contains(&task), task) {
            (true, Task::Classify | Task::Tag) => format!("yes: {}", labels(model)),
            (true, _) => "yes".to_owned(),
            (false, _) => format!("no: {}", one_line(&why_not(model, task))),
        };
        field(out, task.name(), &answer);
    }
}

fn labels(model: &Model) -> String {
    let labels = model.labels();
    let shown: Vec<&str> = labels.iter().take(SHOWN).map(String::as_str).collect();
    let more = if labels.len() > SHOWN { format!(", ... {} labels", labels.len()) } else { String::new() };
    one_line(&format!("{}{more}", shown.join(", ")))
}

/// Which head is not there, or what the model itself says where there is more to it.
fn why_not(model: &Model, task: Task) -> String {
    match refusal(model, task) {
        Err(error) if !error.message().starts_with("tensor ") => error.to_string(),
        _ => match task {
            Task::Fill | Task::Score | Task::Generate => "no language-model head",
            Task::NextSentence => "no next-sentence head",
            Task::Classify => "no classifier of texts",
            Task::Tag => "no classifier of tokens",
            Task::Embed | Task::HiddenStates => "no encoder",
        }
        .to_owned(),
    }
}

/// What the model says when it is asked about nothing.
fn refusal(model: &Model, task: Task) -> Result<()> {
    let (nothing, run) = (model.encode(&[], task, &TextOptions::default())?, Run::default());
    let mask = Some(0);
    match task {
        Task::Fill => model.fill(&nothing, &FillOptions { mask, ..FillOptions::default() }, run).map(drop),
        Task::Score => model.score(&nothing, &ScoreOptions { mask, method: score::own(model) }, run).map(drop),
        Task::Generate => model.generate(&nothing, &GenerateOptions::default(), run).map(drop),
        Task::NextSentence => model.next_sentence(&nothing, run).map(drop),
        Task::Classify => model.classify(&nothing, run).map(drop),
        Task::Tag => model.tag(&nothing, run).map(drop),
        Task::Embed | Task::HiddenStates => Ok(()),
    }
}

/// Bytes in the unit that people read.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{} bytes", grouped(bytes)),
        10_000..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
