//! Which model, and how it is opened.

use std::path::{Path, PathBuf};

use clap::Args;
use cloze::engine::{DeviceChoice, Memory, Model, OpenOptions, Precision};

use crate::stop::Stop;

const VARIABLE: &str = "CLOZE_MODEL";

/// The model of the source tree that the program was built from.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/model");

#[derive(Args)]
pub struct ModelArgs {
    /// Folder of the model [env: CLOZE_MODEL] [default: model in the source tree of this program]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    #[command(flatten)]
    runs: RunsOn,
}

/// What a model runs on.
#[derive(Args, Clone, Default)]
pub struct RunsOn {
    /// Worker threads [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Device: cpu, cuda (the first), cuda:N, or auto: CUDA where it can be used, else the CPU
    #[arg(long, value_name = "NAME", default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,

    /// What is computed in: f32; bf16; on the CPU int8; with CUDA f16, which does not train [default: bf16 with CUDA, else
    /// f32]
    #[arg(long, value_name = "TYPE", default_value = "auto", hide_default_value = true)]
    precision: Precision,

    /// Keep f32 weights in the mapped file alone, which processes share, and not once more as products read them
    #[arg(long)]
    least_memory: bool,
}

impl RunsOn {
    pub fn options(&self) -> OpenOptions {
        let (device, precision) = (self.device, self.precision);
        let memory = if self.least_memory { Memory::Least } else { Memory::Fast };
        OpenOptions { threads: self.threads.map_or(0, usize::from), device, precision, memory }
    }
}

impl ModelArgs {
    /// The folder: `--model`, else the environment's, else the source tree's.
    pub fn folder(&self) -> Result<PathBuf, Stop> {
        let given = self.model.clone().or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
        let given = given.filter(|folder| !folder.as_os_str().is_empty());
        let found = given.or_else(|| Some(PathBuf::from(SHIPPED)).filter(|folder| is_model(folder)));
        found.ok_or_else(|| {
            Stop::usage(format!("no model: give --model DIR, or set {VARIABLE}; there is none in {SHIPPED}"))
        })
    }

    pub fn runs_on(&self) -> &RunsOn {
        &self.runs
    }

    pub fn open(&self) -> Result<Model, Stop> {
        Ok(Model::open(&self.folder()?, &self.runs.options())?)
    }
}

fn is_model(folder: &Path) -> bool {
    folder.join("config.json").is_file()
}

/// Whether `token` continues a word: it has the prefix for that, or, in a vocabulary that marks what begins a word, no
/// such mark.
pub fn continues(model: &Model, token: &str) -> bool {
    match model.tokenizer().ok().and_then(|t| t.subword_prefix()) {
        Some(prefix) => !prefix.is_empty() && token.starts_with(prefix),
        None => !token.starts_with(['▁', 'Ġ']),
    }
}

/// A token without its mark of continuing or beginning a word.
pub fn bare<'a>(model: &Model, token: &'a str) -> &'a str {
    match model.tokenizer().ok().and_then(|t| t.subword_prefix()) {
        Some(prefix) => token.strip_prefix(prefix).unwrap_or(token),
        None => token.strip_prefix(['▁', 'Ġ']).unwrap_or(token),
    }
}

/// The token's spelling, or its number where the folder has no tokenizer.
pub fn spelling(model: &Model, id: u32) -> String {
    model.token(id).map_or_else(|| format!("#{id}"), str::to_owned)
}
