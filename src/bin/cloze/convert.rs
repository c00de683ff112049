//! `cloze convert`: a model with its weights in another type.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cloze::engine::{DType, Storage};
use cloze::error::Error;
use serde_json::json;

use crate::model::ModelArgs;
use crate::output::{Output, grouped};
use crate::stop::Done;
use crate::train::places;

/// Write a model with its weights in another type
///
/// Everything else stays: configuration, tokenizer, named heads, pipeline. Numbers are rounded to the nearest; one that
/// the type cannot hold is an error that names its tensor.
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze convert --model my-bert --dtype f16 --out my-bert-16

JSON: out, dtype, parameters, bytes (of model.safetensors)")]
pub struct Convert {
    #[command(flatten)]
    model: ModelArgs,

    /// Type of the weights
    #[arg(long, value_enum)]
    dtype: TypeName,

    /// Folder for the model; replaces a model that is there, nothing else
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum TypeName {
    /// 32 bits
    F32,
    /// 16 bits: 11 of precision, up to 65504
    F16,
    /// 16 bits: 8 of precision, as large as f32
    Bf16,
    /// 8 bits and a scale for every output in the encoder's linear layers; all else as it is
    Int8,
}

impl Convert {
    pub fn run(&self) -> Done {
        places::check_folder(&self.out)?;
        let storage = match self.dtype {
            TypeName::F32 => Storage::Float(DType::F32),
            TypeName::F16 => Storage::Float(DType::F16),
            TypeName::Bf16 => Storage::Float(DType::Bf16),
            TypeName::Int8 => Storage::Int8,
        };
        let model = self.model.open()?;
        model.save_as(&self.out, storage)?;
        let file = self.out.join("model.safetensors");
        let bytes = fs::metadata(&file).map_err(|error| Error::io(&file, &error))?.len();
        let parameters = model.info().parameters;
        let mut out = Output::new(&indicatif::ProgressBar::hidden());
        if self.json {
            out.json(&json!({"out": self.out, "dtype": storage.to_string(), "parameters": parameters, "bytes": bytes}));
        } else {
            let (parameters, bytes) = (grouped(parameters), grouped(bytes));
            out.line(format!("model in {}: {parameters} parameters in {storage}, {bytes} bytes", self.out.display()));
        }
        out.flush()
    }
}
