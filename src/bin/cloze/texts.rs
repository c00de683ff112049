//! Where the texts come from: arguments, a file, or token ids.

use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use cloze::engine::{Input, Overflow, TextOptions};
use cloze::error::{Error, Status};

use crate::stop::Stop;

/// Texts that are read, answered and printed together: enough to keep all threads busy, few enough that answers flow.
const CHUNK: usize = 256;

#[derive(Args)]
pub struct TextArgs {
    /// Texts; one with spaces goes in quotes
    #[arg(value_name = "TEXT", conflicts_with_all = ["file", "ids"])]
    texts: Vec<String>,

    /// File of texts, one a line, blank lines included; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "ids")]
    file: Option<PathBuf>,

    /// Token ids in place of a text, special tokens included: --ids "101 2023 103 102"; may be repeated
    #[arg(long, value_name = "IDS", value_parser = parse_ids)]
    ids: Vec<Ids>,

    /// Segment of every id: --types "0 0 1 1"; once for each --ids [default: all 0]
    #[arg(long, value_name = "TYPES", value_parser = parse_ids, requires = "ids")]
    types: Vec<Ids>,
}

#[derive(Args)]
pub struct LengthArgs {
    /// Cut texts that are too long
    #[arg(long, conflicts_with = "no_truncate")]
    truncate: bool,

    /// Fail on texts that are too long
    ///
    /// Without either option, texts are cut for embed and classify; elsewhere a text that is too long is an error.
    #[arg(long)]
    no_truncate: bool,

    /// Most tokens of a text, special ones included [default: what the model allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
}

impl LengthArgs {
    pub fn options(&self) -> TextOptions<'static> {
        let overflow = match (self.truncate, self.no_truncate) {
            (true, _) => Some(Overflow::Truncate),
            (_, true) => Some(Overflow::Refuse),
            _ => None,
        };
        TextOptions { overflow, max_tokens: self.max_tokens.map_or(0, |n| n as usize), ..TextOptions::default() }
    }
}

/// Numbers of one `--ids` or `--types`.
#[derive(Clone)]
struct Ids(Vec<u32>);

fn parse_ids(text: &str) -> Result<Ids, String> {
    let parts = text.split(|c: char| c.is_whitespace() || c == ',').filter(|part| !part.is_empty());
    let number = |part: &str| part.parse().map_err(|_| format!("\"{part}\" is no token id"));
    parts.map(number).collect::<Result<_, _>>().map(Ids)
}

/// One input of a verb.
pub enum Text {
    Single(String),
    Pair(String, String),
    Ids { ids: Vec<u32>, types: Vec<u32> },
}

impl Text {
    pub fn input(&self) -> Input<'_> {
        match self {
            Text::Single(text) => Input::Text(text),
            Text::Pair(a, b) => Input::Pair(a, b),
            Text::Ids { ids, types } => Input::Tokens { ids, types },
        }
    }

    /// The text; `None` for token ids.
    pub fn first(&self) -> Option<&str> {
        match self {
            Text::Single(text) | Text::Pair(text, _) => Some(text),
            Text::Ids { .. } => None,
        }
    }

    /// The second text of a pair.
    pub fn second(&self) -> Option<&str> {
        match self {
            Text::Pair(_, second) => Some(second),
            _ => None,
        }
    }

    /// For people.
    pub fn label(&self) -> String {
        let text = match self {
            Text::Single(text) => text.clone(),
            Text::Pair(a, b) => format!("{a} | {b}"),
            Text::Ids { ids, .. } => ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "),
        };
        crate::output::one_line(&text)
    }
}

/// What a TAB in a text means to a verb.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// White space.
    Single,
    /// It parts two texts, and must be there.
    Pair,
    /// It parts two texts.
    Either,
}

impl Shape {
    fn text(self, text: String) -> Result<Text, Error> {
        if self == Shape::Single {
            return Ok(Text::Single(text));
        }
        match (text.split_once('\t'), self) {
            (Some((_, b)), _) if b.contains('\t') => {
                Err(Error::input(format!("{} TABs, expected one between two texts", text.matches('\t').count())))
            }
            (Some((a, b)), _) => Ok(Text::Pair(a.to_owned(), b.to_owned())),
            (None, Shape::Pair) => Err(Error::input("no TAB, expected one between two texts")),
            (None, _) => Ok(Text::Single(text)),
        }
    }
}

/// Texts in chunks.
pub struct Texts {
    origin: Origin,
    shape: Shape,
}

enum Origin {
    Arguments { left: std::vec::IntoIter<Text>, given: usize, bytes: u64 },
    Lines { reader: Box<dyn BufRead>, name: String, line: usize, bytes: Option<u64> },
}

/// Texts that are answered together.
pub struct Chunk {
    pub texts: Vec<Text>,
    /// What errors call each.
    pub places: Vec<String>,
    /// Bytes that were read for them.
    pub bytes: u64,
}

impl TextArgs {
    /// The texts that were asked for. `pair` is the second text of every one that is an argument.
    pub fn open(&self, shape: Shape, pair: Option<&str>) -> Result<Texts, Stop> {
        if pair.is_some() && self.texts.is_empty() {
            return Err(Stop::usage("--pair goes with a text; in a file, a TAB parts the two texts of a line"));
        }
        let origin = match &self.file {
            Some(file) => lines(file)?,
            None => self.arguments(shape, pair)?,
        };
        Ok(Texts { origin, shape })
    }

    fn arguments(&self, shape: Shape, pair: Option<&str>) -> Result<Origin, Stop> {
        if !self.types.is_empty() && self.types.len() != self.ids.len() {
            return Err(Stop::usage(format!("{} --types for {} --ids", self.types.len(), self.ids.len())));
        }
        let mut texts = Vec::new();
        for (index, ids) in self.ids.iter().enumerate() {
            let types = self.types.get(index).map_or_else(Vec::new, |types| types.0.clone());
            texts.push(Text::Ids { ids: ids.0.clone(), types });
        }
        match (shape, self.texts.as_slice()) {
            (Shape::Pair, [a, b]) if !a.contains('\t') => texts.push(Text::Pair(a.clone(), b.clone())),
            (_, given) => {
                for (index, text) in given.iter().enumerate() {
                    texts.push(match pair {
                        Some(pair) => Text::Pair(text.clone(), pair.to_owned()),
                        None => shape.text(text.clone()).map_err(|e| {
                            Stop::usage(if given.len() == 1 {
                                e.to_string()
                            } else {
                                format!("text {}: {e}", index + 1)
                            })
                        })?,
                    });
                }
            }
        }
        if texts.is_empty() {
            return Err(Stop::usage("no text: give one, or --file FILE (- for standard input), or --ids"));
        }
        let (given, bytes) = (texts.len(), texts.iter().map(size).sum());
        Ok(Origin::Arguments { left: texts.into_iter(), given, bytes })
    }
}

fn lines(file: &Path) -> Result<Origin, Stop> {
    if file == Path::new("-") {
        let reader = Box::new(BufReader::new(stdin()));
        return Ok(Origin::Lines { reader, name: "standard input".to_owned(), line: 0, bytes: None });
    }
    let opened = File::open(file).map_err(|error| Error::io(file, &error))?;
    let about = opened.metadata().map_err(|error| Error::io(file, &error))?;
    let bytes = about.is_file().then_some(about.len());
    let name = file.display().to_string();
    Ok(Origin::Lines { reader: Box::new(BufReader::new(opened)), name, line: 0, bytes })
}

/// Bytes of work in a text, for progress.
fn size(text: &Text) -> u64 {
    match text {
        Text::Single(text) => text.len() as u64,
        Text::Pair(a, b) => (a.len() + b.len()) as u64,
        Text::Ids { ids, .. } => ids.len() as u64,
    }
}

impl Texts {
    /// Bytes of all texts, where that is known beforehand.
    pub fn bytes(&self) -> Option<u64> {
        match &self.origin {
            Origin::Arguments { bytes, .. } => Some(*bytes),
            Origin::Lines { bytes, .. } => *bytes,
        }
    }

    /// How many texts there are, where that is known beforehand.
    pub fn count(&self) -> Option<usize> {
        match &self.origin {
            Origin::Arguments { given, .. } => Some(*given),
            Origin::Lines { .. } => None,
        }
    }

    /// The next texts; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Chunk>, Error> {
        let mut chunk = Chunk { texts: Vec::new(), places: Vec::new(), bytes: 0 };
        while chunk.texts.len() < CHUNK {
            match &mut self.origin {
                Origin::Arguments { left, given, .. } => {
                    let place = *given - left.len() + 1;
                    let Some(text) = left.next() else { break };
                    chunk.bytes += size(&text);
                    chunk.places.push(if *given == 1 { String::new() } else { format!("text {place}") });
                    chunk.texts.push(text);
                }
                Origin::Lines { reader, name, line, .. } => {
                    let Some((text, bytes)) = read_line(reader, *line == 0).map_err(|e| match e {
                        BadLine::Io(error) => Error::new(Status::Io, format!("{name}: {error}")),
                        BadLine::Utf8(byte) => {
                            Error::input(format!("{name}: line {}: byte {byte} is not UTF-8", *line + 1))
                        }
                    })?
                    else {
                        break;
                    };
                    *line += 1;
                    let place = format!("{name}: line {line}");
                    chunk.texts.push(self.shape.text(text).map_err(|e| e.within(&place))?);
                    chunk.places.push(place);
                    chunk.bytes += bytes;
                }
            }
        }
        Ok((!chunk.texts.is_empty()).then_some(chunk))
    }
}

enum BadLine {
    Io(std::io::Error),
    /// The first byte of the line that is not UTF-8.
    Utf8(usize),
}

/// A line without its end (LF or CRLF) and the bytes it took; without a byte order mark where it is the `first`.
fn read_line(reader: &mut dyn BufRead, first: bool) -> Result<Option<(String, u64)>, BadLine> {
    let mut line = Vec::new();
    let bytes = reader.read_until(b'\n', &mut line).map_err(BadLine::Io)?;
    if bytes == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    let text = String::from_utf8(line).map_err(|error| BadLine::Utf8(error.utf8_error().valid_up_to()))?;
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) if first => rest.to_owned(),
        _ => text,
    };
    Ok(Some((text, bytes as u64)))
}

impl Chunk {
    pub fn inputs(&self) -> Vec<Input<'_>> {
        self.texts.iter().map(Text::input).collect()
    }

    /// The engine counts inputs within a call; people count lines of their file.
    pub fn locate(&self, error: Error) -> Error {
        let named = error.message().strip_prefix("input ").and_then(|rest| rest.split_once(": "));
        let found = named.and_then(|(index, rest)| Some((self.places.get(index.parse::<usize>().ok()?)?, rest)));
        match found {
            Some((place, rest)) if place.is_empty() => Error::new(error.status(), rest),
            Some((place, rest)) => Error::new(error.status(), rest).within(place),
            None => error,
        }
    }
}
