//! The command line of cloze.

#![forbid(unsafe_code)]
#![allow(missing_docs)] // a program has no users of its items

mod bench;
mod classify;
mod convert;
mod devices;
mod embed;
mod eval;
mod examples;
mod fill;
mod generate;
mod info;
mod interrupt;
mod model;
mod npy;
mod nsp;
mod output;
mod pretrain;
mod report;
mod score;
mod stop;
mod tag;
mod texts;
mod tokenize;
mod train;
mod work;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use stop::Stop;

/// Ask a BERT model: fill in blanks, score sentences, go on with a text, compare, embed, classify and tag; and train it.
///
/// The model is a folder as HuggingFace stores it: config.json, model.safetensors, and tokenizer.json or vocab.txt.
/// Without --model it is the folder that CLOZE_MODEL names, else `model` in the source tree that the program was built
/// from. Nothing is downloaded and nothing leaves this machine.
#[derive(Parser)]
#[command(name = "cloze", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  cloze info --model bert-base-uncased
  cloze fill --model bert-base-uncased 'Paris is the [MASK] of France.'
  cloze generate --model my-bert-decoder 'Once upon a' --max-tokens 40
  cloze embed --model all-MiniLM-L6-v2 --file sentences.txt --npy sentences.npy
  cloze train --model all-MiniLM-L6-v2 --task classify --train train.tsv --dev dev.tsv --out my-classifier

With --json every verb prints one JSON object a line.
Exit status: 0 done, 1 failed, 2 wrong usage. 'cloze <verb> --help' tells more.";

#[derive(Subcommand)]
enum Verb {
    Info(info::Info),
    Tokenize(tokenize::Tokenize),
    Fill(fill::Fill),
    Score(score::Score),
    Generate(generate::Generate),
    Nsp(nsp::Nsp),
    Embed(embed::Embed),
    Classify(classify::Classify),
    Tag(tag::Tag),
    Train(Box<train::Train>),
    Pretrain(Box<pretrain::Pretrain>),
    Eval(eval::Eval),
    Convert(convert::Convert),
    Devices(devices::Devices),
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Info(verb) => verb.run(),
        Verb::Tokenize(verb) => verb.run(),
        Verb::Fill(verb) => verb.run(),
        Verb::Score(verb) => verb.run(),
        Verb::Generate(verb) => verb.run(),
        Verb::Nsp(verb) => verb.run(),
        Verb::Embed(verb) => verb.run(),
        Verb::Classify(verb) => verb.run(),
        Verb::Tag(verb) => verb.run(),
        Verb::Train(verb) => verb.run(),
        Verb::Pretrain(verb) => verb.run(),
        Verb::Eval(verb) => verb.run(),
        Verb::Convert(verb) => verb.run(),
        Verb::Devices(verb) => verb.run(),
        Verb::Bench(verb) => verb.run(),
    };
    match result {
        Ok(()) | Err(Stop::Closed) => ExitCode::SUCCESS,
        Err(Stop::Failed(error)) => complain(error.message(), 1),
        Err(Stop::Usage(message)) => complain(&message, 2),
    }
}

/// One line on stderr; where stderr is closed there is nobody to tell.
fn complain(message: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "cloze: {}", output::one_line(message));
    ExitCode::from(code)
}
