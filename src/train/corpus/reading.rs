//! Text files to documents of sentences, one line at a time.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::text::sentences;

/// What a line of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// A paragraph, whose sentences are found by their punctuation.
    Paragraphs,
    /// One sentence.
    Sentences,
}

/// What reading comes upon, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A sentence, not empty and without white space around it.
    Sentence {
        /// It.
        text: &'a str,
        /// Its file, of [`Found::files`].
        file: usize,
        /// The line, from 1.
        line: usize,
    },
    /// What follows belongs to another document.
    EndOfDocument,
}

/// Something that was left out or cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// File, with the line where there is one.
    pub place: String,
    /// What about it.
    pub message: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, message } = self;
        if place.is_empty() { f.write_str(message) } else { write!(f, "{place}: {message}") }
    }
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The files, in order.
    pub files: Vec<PathBuf>,
    /// What was left out.
    pub notices: Vec<Notice>,
}

/// Reads a folder of text files, in it and below, or one file. Of a folder, files whose names end in `.txt` are read, in the
/// order of their paths' bytes with `/` between names; names that begin with a dot are passed over. A blank line or the end of a file ends a
/// document. Lines end in `\n` or `\r\n`; a byte order mark is skipped.
///
/// Fails with `Io` when a file cannot be read, `InvalidFile`, naming file, line and byte, when one is not UTF-8 text, before
/// anything is visited, and `InvalidInput` when there is no text.
pub fn read(path: &Path, lines: Lines, visit: &mut dyn FnMut(Piece<'_>) -> Result<()>) -> Result<Found> {
    let mut found = files(path)?;
    let mut has_text = false;
    for file in &found.files {
        match check(file)? {
            true => has_text = true,
            false => {
                let message = "no text".to_owned();
                found.notices.push(Notice { place: file.display().to_string(), message });
            }
        }
    }
    if !has_text {
        let count = found.files.len();
        return Err(Error::input(format!("{}: no text in {count} files, expected .txt files", path.display())));
    }
    for (number, file) in found.files.iter().enumerate() {
        each_line(file, &mut |line, bytes| {
            // checked above; a file that has changed since is told like any other
            let text = std::str::from_utf8(bytes).map_err(|_| not_text(file, line, bytes))?.trim();
            if text.is_empty() {
                return visit(Piece::EndOfDocument);
            }
            match lines {
                Lines::Sentences => visit(Piece::Sentence { text, file: number, line }),
                Lines::Paragraphs => sentences(text)
                    .into_iter()
                    .try_for_each(|range| visit(Piece::Sentence { text: &text[range], file: number, line })),
            }
        })?;
        visit(Piece::EndOfDocument)?;
    }
    Ok(found)
}

/// The text files of a folder, or the one file.
fn files(path: &Path) -> Result<Found> {
    let about = fs::metadata(path).map_err(|error| Error::io(path, &error))?;
    if !about.is_dir() {
        return Ok(Found { files: vec![path.to_owned()], notices: Vec::new() });
    }
    let (mut files, mut others) = (Vec::new(), Vec::new());
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| Error::io(&folder, &error))? {
            let entry = entry.map_err(|error| Error::io(&folder, &error))?;
            let (name, file) = (entry.file_name(), entry.path());
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let about = fs::metadata(&file).map_err(|error| Error::io(&file, &error))?;
            let is_text = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"));
            match (about.is_dir(), is_text) {
                (true, _) => folders.push(file),
                (false, true) => files.push(file),
                (false, false) => others.push(file),
            }
        }
    }
    for list in [&mut files, &mut others] {
        list.sort_by(|a, b| portable(a).cmp(portable(b)));
    }
    let notices = others.first().map(|first| Notice {
        place: first.display().to_string(),
        message: format!("not .txt and left out; {} such files in all", others.len()),
    });
    Ok(Found { files, notices: notices.into_iter().collect() })
}

/// The bytes of a path with `/` between its names: a corpus has one order on every system.
fn portable(path: &Path) -> impl Iterator<Item = u8> {
    let bytes = path.as_os_str().as_encoded_bytes().iter();
    bytes.map(|&byte| if std::path::is_separator(char::from(byte)) { b'/' } else { byte })
}

/// Whether a file has text at all.
fn check(file: &Path) -> Result<bool> {
    let mut has_text = false;
    each_line(file, &mut |line, bytes| match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => {
            has_text = has_text || !text.trim().is_empty();
            Ok(())
        }
        _ => Err(not_text(file, line, bytes)),
    })?;
    Ok(has_text)
}

/// Visits the lines of a file, numbered from 1, without their ends.
fn each_line(file: &Path, visit: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
    let io = |error: std::io::Error| Error::io(file, &error);
    let mut reader = BufReader::with_capacity(1 << 16, File::open(file).map_err(io)?);
    let mut bytes = Vec::new();
    let mut line = 0;
    while reader.read_until(b'\n', &mut bytes).map_err(io)? > 0 {
        line += 1;
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        visit(line, if line == 1 { text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text) } else { text })?;
        bytes.clear();
    }
    Ok(())
}

fn not_text(file: &Path, line: usize, bytes: &[u8]) -> Error {
    let place = match std::str::from_utf8(bytes) {
        Ok(text) => text.find('\0').unwrap_or_default(),
        Err(error) => error.valid_up_to(),
    };
    let byte = bytes.get(place).copied().unwrap_or_default();
    let what = if byte == 0 { "is no text" } else { "is not UTF-8" };
    Error::file(format!(
        "{}:{line}: byte {byte:#04x} at place {place} of the line {what}; convert the file, or take it out of the corpus",
        file.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    fn all(path: &Path, lines: Lines) -> Result<(Vec<String>, Found)> {
        let mut seen = Vec::new();
        let found = read(path, lines, &mut |piece| {
            seen.push(match piece {
                Piece::Sentence { text, file, line } => format!("{file}:{line} {text}"),
                Piece::EndOfDocument => "-".to_owned(),
            });
            Ok(())
        })?;
        Ok((seen, found))
    }

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        place
    }

    #[test]
    fn files_come_in_the_order_of_their_paths_and_blank_lines_part_documents() {
        let place = folder(&[
            ("b.txt", b"\xEF\xBB\xBFOne. Two.\r\n\r\nThree."),
            ("a/z.TXT", b"\n Four.\t\n \n\n"),
            ("aB.txt", b"Five."), // between / and the separator of Windows
            (".hidden.txt", b"\xFF"),
            ("notes.md", b"\xFF"),
            ("table.tsv", b""),
            ("c.txt", b" \n"),
        ]);
        let (seen, found) = all(place.path(), Lines::Paragraphs).unwrap();
        let expected = [
            "-",
            "0:2 Four.",
            "-",
            "-",
            "-",
            "1:1 Five.",
            "-",
            "2:1 One.",
            "2:1 Two.",
            "-",
            "2:3 Three.",
            "-",
            "-",
            "-",
        ];
        assert_eq!(seen, expected);
        let names: Vec<_> = found.files.iter().map(|f| f.strip_prefix(place.path()).unwrap().to_owned()).collect();
        assert_eq!(names, ["a/z.TXT", "aB.txt", "b.txt", "c.txt"].map(PathBuf::from));
        let notices: Vec<String> = found.notices.iter().map(ToString::to_string).collect();
        let at = |name: &str| place.path().join(name).display().to_string();
        assert_eq!(
            notices,
            [
                format!("{}: not .txt and left out; 2 such files in all", at("notes.md")),
                format!("{}: no text", at("c.txt")),
            ]
        );
        let (seen, _) = all(&place.path().join("b.txt"), Lines::Sentences).unwrap();
        assert_eq!(seen, ["0:1 One. Two.", "-", "0:3 Three.", "-"]);
    }

    #[test]
    fn a_file_that_is_no_text_is_named_before_anything_is_visited() {
        for (bytes, message) in [
            (&b"good\nca\xC3\xA9\xFF"[..], "b.txt:2: byte 0xff at place 4 of the line is not UTF-8; convert the file"),
            (b"\x89PNG\0", "b.txt:1: byte 0x89 at place 0 of the line is not UTF-8"),
            (b"a\0b", "b.txt:1: byte 0x00 at place 1 of the line is no text"),
        ] {
            let place = folder(&[("a.txt", b"text"), ("b.txt", bytes)]);
            let error = read(place.path(), Lines::Sentences, &mut |_| panic!("visited")).unwrap_err();
            assert_eq!(error.status(), Status::InvalidFile);
            assert!(error.message().contains(message), "{error}");
        }
    }

    #[test]
    fn nothing_to_read_is_an_error_with_a_name() {
        let place = folder(&[("a.txt", b""), ("b.md", b"text")]);
        let error = all(place.path(), Lines::Paragraphs).unwrap_err();
        assert_eq!(error.status(), Status::InvalidInput);
        assert!(error.message().ends_with("no text in 1 files, expected .txt files"), "{error}");
        let error = all(&place.path().join("nowhere"), Lines::Paragraphs).unwrap_err();
        assert_eq!(error.status(), Status::Io);
        assert!(error.message().contains("nowhere"), "{error}");
    }
}
