//! Files of examples: tables, JSON lines, columns of words and tags, plain lines.
//!
//! Files are UTF-8; a byte order mark is skipped and lines may end in `\r\n`. Every error names the file and the line.

mod conll;
mod jsonl;
mod table;

pub use table::{Column, Columns, Header};

use super::examples::{Dataset, Example, Source, Target};
use crate::error::{Error, Result};
use std::path::Path;

/// Names of the field with the (first) text, in lower case; earlier ones go first.
const TEXT: &[&str] = &[
    "question",
    "query",
    "text",
    "sentence",
    "sentence1",
    "text_a",
    "text1",
    "question1",
    "premise",
    "content",
    "review",
    "tweet",
];
/// Names of the field with the second text.
const SECOND: &[&str] = &["text_b", "text2", "sentence2", "question2", "hypothesis", "context", "passage", "document"];
/// The same beside a field called "question" or "query".
const ASKED: &[&str] =
    &["text_b", "text2", "sentence2", "question2", "hypothesis", "context", "passage", "document", "text", "sentence"];
/// Names of the field with the label or number.
const LABEL: &[&str] = &[
    "label",
    "labels",
    "category",
    "class",
    "target",
    "score",
    "intent",
    "sentiment",
    "gold_label",
    "similarity",
    "similarity_score",
];

/// How a file is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Fields between tabs, one example a line. Nothing is quoted: a quote character is text.
    Tsv(Columns),
    /// Fields between commas, quoted as in RFC 4180.
    Csv(Columns),
    /// A JSON object a line: `text`, `text_b`, `label`, `labels`; `tokens` and `tags`; `question`, `context`, `answers`.
    JsonLines,
    /// A word and its tag a line, in the first and the last of several columns; a blank line ends a sentence.
    Conll,
    /// One text a line; blank lines are skipped.
    Lines,
}

impl Format {
    /// The format that the extension of `path` means.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: it means none.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "tsv" => Ok(Self::Tsv(Columns::default())),
            "csv" => Ok(Self::Csv(Columns::default())),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            "conll" | "bio" | "iob" | "iob2" => Ok(Self::Conll),
            "txt" => Ok(Self::Lines),
            _ => Err(Error::argument(format!(
                "{}: extension \"{extension}\", expected tsv, csv, jsonl, conll or txt, or a format by name",
                path.display()
            ))),
        }
    }

    /// The same format with its columns chosen.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: it is no table.
    pub fn with_columns(self, columns: Columns) -> Result<Self> {
        match self {
            Self::Tsv(_) => Ok(Self::Tsv(columns)),
            Self::Csv(_) => Ok(Self::Csv(columns)),
            Self::JsonLines | Self::Conll | Self::Lines => {
                Err(Error::argument("columns are chosen, but the file is neither tsv nor csv"))
            }
        }
    }
}

/// What the examples of a file are to have for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// None; where the file has any, they are left out.
    None,
    /// One label each.
    Label,
    /// Any number of labels: a list in JSON, with commas between them in a table.
    Labels,
    /// A number, or several with commas between them in a table and as a list in JSON.
    Numbers,
    /// Words and the tag of each.
    Tags,
    /// A question, a context, and where in it the answer stands.
    Span,
}

impl Kind {
    /// What is expected, for messages.
    fn name(self) -> &'static str {
        match self {
            Self::None => "text",
            Self::Label => "a label",
            Self::Labels => "labels",
            Self::Numbers => "numbers",
            Self::Tags => "words with tags",
            Self::Span => "questions with answers",
        }
    }
}

impl Dataset {
    /// Reads the examples of a file; without `format`, of the one that its extension means.
    ///
    /// # Errors
    ///
    /// - `Io`: the file cannot be read.
    /// - `InvalidFile`: it is not UTF-8, not of its format, lacks a field, or holds no example.
    /// - `InvalidInput`: an example breaks an invariant of [`Dataset`].
    /// - `InvalidArgument`: the extension means no format; the format cannot hold what `kind` expects; a column that was
    ///   chosen does not exist.
    pub fn read(path: &Path, format: Option<Format>, kind: Kind) -> Result<Self> {
        let format = format.map_or_else(|| Format::of(path), Ok)?;
        let bytes = std::fs::read(path).map_err(|error| Error::io(path, &error))?;
        let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into());
        Self::parse(&name, &bytes, &format, kind)
    }

    /// The examples of a file with the given content; `name` is for messages.
    ///
    /// # Errors
    ///
    /// As [`Dataset::read`].
    pub fn parse(name: &str, bytes: &[u8], format: &Format, kind: Kind) -> Result<Self> {
        let text = decode(bytes).map_err(|error| within_line(name, error))?;
        let mut dataset = Self::of_file(name);
        match format {
            Format::Tsv(columns) => table::read(&mut dataset, name, table::tabs(text), columns, kind)?,
            Format::Csv(columns) => {
                let rows = table::commas(text).map_err(|error| within_line(name, error))?;
                table::read(&mut dataset, name, rows.into_iter(), columns, kind)?;
            }
            Format::JsonLines => jsonl::read(&mut dataset, name, text, kind)?,
            Format::Conll => conll::read(&mut dataset, name, text, kind)?,
            Format::Lines => lines(&mut dataset, name, text, kind)?,
        }
        match dataset.is_empty() {
            true => Err(Error::file(format!("{name}: no examples"))),
            false => Ok(dataset),
        }
    }
}

fn lines(dataset: &mut Dataset, name: &str, text: &str, kind: Kind) -> Result<()> {
    if kind != Kind::None {
        return Err(Error::argument(format!("{name}: plain lines, expected {}", kind.name())));
    }
    for (line, text) in numbered(text).filter(|(_, text)| !text.trim().is_empty()) {
        dataset.push_from(Example { input: Source::Text(text.to_owned()), target: Target::None }, line)?;
    }
    Ok(())
}

/// Lines without their ends, numbered from 1. Only `\n` and `\r\n` end a line.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

/// The text behind a byte order mark, or the line of the first byte that is not UTF-8 and what to say of it.
fn decode(bytes: &[u8]) -> std::result::Result<&str, (usize, Error)> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let (before, after) = bytes.split_at(error.valid_up_to());
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count();
        let byte = after.first().copied().unwrap_or_default();
        (line, Error::file(format!("byte {byte:#04x} at place {column} of the line is not UTF-8")))
    })
}

fn within_line(name: &str, (line, error): (usize, Error)) -> Error {
    error.within(format!("{name}:{line}"))
}

/// `"a", "b", "c"`.
fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// Names of the field with the second text where the first has the name `first`.
fn second(first: &str) -> &'static [&'static str] {
    if matches!(first, "question" | "query") { ASKED } else { SECOND }
}

/// A number as a table spells it.
fn number(text: &str) -> Result<f32> {
    text.trim().parse().map_err(|_| Error::file(format!("\"{text}\", expected a number")))
}

/// One number, or several.
fn numbers(mut numbers: Vec<f32>) -> Target {
    match numbers.pop() {
        Some(only) if numbers.is_empty() => Target::Number(only),
        Some(last) => {
            numbers.push(last);
            Target::Numbers(numbers)
        }
        None => Target::Numbers(numbers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    #[test]
    fn extensions_mean_formats() {
        let of = |path: &str| Format::of(Path::new(path));
        assert_eq!(of("a/b.TSV").unwrap(), Format::Tsv(Columns::default()));
        assert_eq!(of("b.csv").unwrap(), Format::Csv(Columns::default()));
        assert_eq!(of("b.jsonl").unwrap(), Format::JsonLines);
        assert_eq!(of("emerging.dev.conll").unwrap(), Format::Conll);
        assert_eq!(of("b.txt").unwrap(), Format::Lines);
        let error = of("b.annotated").unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        let expected = "expected tsv, csv, jsonl, conll or txt, or a format by name";
        assert_eq!(error.message(), format!("b.annotated: extension \"annotated\", {expected}"));
        assert!(of("b").is_err());
        assert!(Format::Conll.with_columns(Columns::default()).is_err());
    }

    #[test]
    fn lines_are_texts_and_blank_ones_are_skipped() {
        let read = |text: &[u8], kind| Dataset::parse("t.txt", text, &Format::Lines, kind);
        let dataset = read(b"\xEF\xBB\xBFa b\r\n\r\n  \nc", Kind::None).unwrap();
        let texts: Vec<_> = dataset.examples().iter().map(|example| example.input.clone()).collect();
        assert_eq!(texts, [Source::Text("a b".to_owned()), Source::Text("c".to_owned())]);
        assert_eq!(dataset.place(1), "t.txt:4");
        let error = read(b"a", Kind::Label).unwrap_err();
        assert_eq!(error.message(), "t.txt: plain lines, expected a label");
    }

    #[test]
    fn empty_files_and_bytes_that_are_no_text_are_refused() {
        for format in ["t.tsv", "t.csv", "t.jsonl", "t.conll", "t.txt"] {
            let format = Format::of(Path::new(format)).unwrap();
            for content in [&b""[..], b"\n\r\n", b"\xEF\xBB\xBF\n"] {
                let error = Dataset::parse("t", content, &format, Kind::None).unwrap_err();
                assert_eq!((error.status(), error.message()), (Status::InvalidFile, "t: no examples"));
            }
            let error = Dataset::parse("t", b"a\nb\xC3\xA9\xFFc\n", &format, Kind::None).unwrap_err();
            assert_eq!(error.message(), "t:2: byte 0xff at place 3 of the line is not UTF-8");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Dataset::read(Path::new("nowhere/x.tsv"), None, Kind::Label).unwrap_err();
        assert_eq!(error.status(), Status::Io);
        assert!(error.message().starts_with("nowhere/x.tsv: "));
    }
}
