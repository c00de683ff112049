//! Files of examples, and what a model is to learn from them.

use std::path::Path;

use clap::{Args, ValueEnum};
use cloze::engine::{Column, Columns, Dataset, Format, Header, Kind, Objective};
use cloze::error::{Error, Result};

use crate::pretrain::Language;

#[derive(Args)]
pub struct FileArgs {
    /// Format of the files [default: what their extensions mean: .tsv .csv .jsonl .conll .txt]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Files")]
    format: Option<FormatName>,

    /// Columns of a table by number or name, where they are not found by themselves: text=4,label=2 or
    /// text=question,text_b=answer,label=3; header=yes or header=no tells of the first line
    #[arg(long, value_name = "LIST", value_parser = parse_columns, help_heading = "Files")]
    columns: Option<Columns>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    /// Fields between TABs: text[, text_b], label; with or without a header
    Tsv,
    /// Fields between commas, quoted where needed
    Csv,
    /// A JSON object a line: text, text_b, label or labels; tokens and tags; question, context and answers
    Jsonl,
    /// A word and its tag a line, a blank line between sentences
    Conll,
}

/// What is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// One label of several for a text or a pair of texts
    Classify,
    /// Any number of labels
    Multilabel,
    /// A number, or several
    Regress,
    /// A label for each word
    Tag,
    /// Where in a context the answer to a question stands
    Answer,
    /// The next word at each place of a text: causal models
    Clm,
    /// Words for masked places of plain text
    Mlm,
    /// Whether one text follows another
    #[value(hide = true)] // refused by name, see `objective`
    Nsp,
    /// Words for masked places, and whether one text follows another
    #[value(name = "mlm+nsp")]
    MlmNsp,
}

impl Task {
    /// What the library calls it.
    ///
    /// Fails with `Unsupported` for what is not learned by itself.
    pub fn objective(self) -> Result<Objective> {
        match self {
            Task::Classify => Ok(Objective::Classify),
            Task::Multilabel => Ok(Objective::MultiLabel),
            Task::Regress => Ok(Objective::Regress),
            Task::Tag => Ok(Objective::Tag),
            Task::Answer => Ok(Objective::Span),
            Task::Clm => Ok(Objective::CausalLm),
            Task::Mlm => Ok(Objective::MaskedLm),
            Task::MlmNsp => Ok(Objective::Pretraining),
            Task::Nsp => Err(Error::unsupported(
                "--task nsp: next sentences are not learned or evaluated without masked words, expected mlm+nsp",
            )),
        }
    }

    /// What it is of plain text, where it has no files of examples.
    pub fn language(self) -> Option<Language> {
        match self {
            Task::Mlm => Some(Language::Mlm),
            Task::MlmNsp => Some(Language::MlmNsp),
            _ => None,
        }
    }

    /// The task that the library calls `objective`, where it can be evaluated on a file.
    pub fn of(objective: Objective) -> Option<Self> {
        let same = |task: &Task| task.objective().is_ok_and(|other| other == objective);
        Task::value_variants().iter().copied().find(same)
    }

    /// As `--task` has it.
    pub fn name(self) -> &'static str {
        match self {
            Task::Classify => "classify",
            Task::Multilabel => "multilabel",
            Task::Regress => "regress",
            Task::Tag => "tag",
            Task::Answer => "answer",
            Task::Clm => "clm",
            Task::Mlm => "mlm",
            Task::Nsp => "nsp",
            Task::MlmNsp => "mlm+nsp",
        }
    }

    /// What its examples have for a target.
    fn kind(self) -> Kind {
        match self {
            Task::Classify => Kind::Label,
            Task::Multilabel => Kind::Labels,
            Task::Regress => Kind::Numbers,
            Task::Tag => Kind::Tags,
            Task::Answer => Kind::Span,
            Task::Clm | Task::Mlm | Task::Nsp | Task::MlmNsp => Kind::None,
        }
    }
}

impl FileArgs {
    /// An option that was given.
    pub fn given(&self) -> Option<&'static str> {
        match (self.format, &self.columns) {
            (Some(_), _) => Some("--format"),
            (_, Some(_)) => Some("--columns"),
            _ => None,
        }
    }

    /// The examples of `file` for `task`.
    pub fn read(&self, file: &Path, task: Task) -> Result<Dataset> {
        let named = |name| match name {
            FormatName::Tsv => Format::Tsv(Columns::default()),
            FormatName::Csv => Format::Csv(Columns::default()),
            FormatName::Jsonl => Format::JsonLines,
            FormatName::Conll => Format::Conll,
        };
        let mut format = self.format.map(named).map_or_else(|| Format::of(file), Ok)?;
        if let Some(columns) = &self.columns {
            format = format.with_columns(columns.clone()).map_err(|error| error.within(file.display()))?;
        }
        Dataset::read(file, Some(format), task.kind())
    }
}

fn parse_columns(list: &str) -> std::result::Result<Columns, String> {
    let mut columns = Columns::default();
    for part in list.split(',') {
        let Some((key, value)) = part.split_once('=').filter(|(_, value)| !value.is_empty()) else {
            return Err(format!("\"{part}\", expected KEY=COLUMN"));
        };
        let column = || value.parse().map_or_else(|_| Column::Name(value.to_owned()), Column::Number);
        match (key.trim(), value) {
            ("text", _) => columns.text = Some(column()),
            ("text_b", _) => columns.second = Some(column()),
            ("label", _) => columns.label = Some(column()),
            ("header", "yes") => columns.header = Header::Present,
            ("header", "no") => columns.header = Header::Absent,
            _ => return Err(format!("\"{part}\", expected text=, text_b=, label= or header=yes|no")),
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_numbers_or_names() {
        let found = parse_columns("text=4,text_b=hypothesis,label=2,header=no").unwrap();
        assert_eq!(found.text, Some(Column::Number(4)));
        assert_eq!(found.second, Some(Column::Name("hypothesis".to_owned())));
        assert_eq!((found.label, found.header), (Some(Column::Number(2)), Header::Absent));
        for wrong in ["", "4", "text=", "words=1", "header=perhaps"] {
            assert!(parse_columns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_task_that_learns_from_files_is_found_again() {
        for task in Task::value_variants() {
            if let Ok(objective) = task.objective() {
                assert_eq!(Task::of(objective), Some(*task));
            }
            assert_eq!(task.to_possible_value().unwrap().get_name(), task.name());
        }
    }
}
