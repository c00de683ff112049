//! Words and tags in columns, as the CoNLL shared tasks have them: the word first, the tag last, a blank line between
//! sentences. Columns end at tabs where a line has one, else at white space. Lines with `-DOCSTART-` are no words.

use super::{Kind, numbered};
use crate::error::{Error, Result};
use crate::train::examples::{Dataset, Example, Source, Target};

pub(super) fn read(dataset: &mut Dataset, name: &str, text: &str, kind: Kind) -> Result<()> {
    if !matches!(kind, Kind::Tags | Kind::None) {
        return Err(Error::argument(format!("{name}: words with tags, expected {}", kind.name())));
    }
    let mut sentence = Sentence::default();
    let mut width = None;
    for (line, text) in numbered(text) {
        let columns = columns(text);
        let (Some(word), Some(tag)) = (columns.first(), columns.last()) else {
            sentence.end(dataset, kind)?;
            continue;
        };
        if *word == "-DOCSTART-" {
            sentence.end(dataset, kind)?;
            continue;
        }
        let wrong = |why: String| Err(Error::file(format!("{name}:{line}: {why}")));
        if kind == Kind::Tags && columns.len() < 2 {
            return wrong("1 column, expected a word and its tag".to_owned());
        }
        let (first_line, expected) = *width.get_or_insert((line, columns.len()));
        if columns.len() != expected {
            return wrong(format!("{} columns, line {first_line} has {expected}", columns.len()));
        }
        if word.is_empty() || tag.is_empty() {
            return wrong(format!("word \"{word}\" with tag \"{tag}\", expected neither empty"));
        }
        sentence.line.get_or_insert(line);
        sentence.words.push((*word).to_owned());
        sentence.tags.push((*tag).to_owned());
    }
    sentence.end(dataset, kind)
}

fn columns(line: &str) -> Vec<&str> {
    match line.contains('\t') && !line.trim().is_empty() {
        true => line.split('\t').map(str::trim).collect(),
        false => line.split_whitespace().collect(),
    }
}

/// The words read so far.
#[derive(Default)]
struct Sentence {
    /// Line of the first.
    line: Option<usize>,
    words: Vec<String>,
    tags: Vec<String>,
}

impl Sentence {
    fn end(&mut self, dataset: &mut Dataset, kind: Kind) -> Result<()> {
        let Self { line: Some(line), words, tags } = std::mem::take(self) else { return Ok(()) };
        let target = if kind == Kind::Tags { Target::Tags(tags) } else { Target::None };
        dataset.push_from(Example { input: Source::Words(words), target }, line)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;

    fn read(text: &str, kind: Kind) -> Result<Dataset> {
        Dataset::parse("t.conll", text.as_bytes(), &Format::Conll, kind)
    }

    fn sentence(words: &[&str], tags: &[&str]) -> Example {
        let strings = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
        Example { input: Source::Words(strings(words)), target: Target::Tags(strings(tags)) }
    }

    #[test]
    fn blank_lines_end_sentences_and_tags_stand_last() {
        let text = "-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\r\nrejects VBZ I-VP O\r\n\n \t\n\nPeter NNP I-NP B-PER";
        let dataset = read(text, Kind::Tags).unwrap();
        assert_eq!(
            dataset.examples(),
            [sentence(&["EU", "rejects"], &["B-ORG", "O"]), sentence(&["Peter"], &["B-PER"])]
        );
        assert_eq!((dataset.place(0), dataset.place(1)), ("t.conll:3".to_owned(), "t.conll:8".to_owned()));
    }

    #[test]
    fn between_tabs_a_word_may_have_spaces() {
        let dataset = read("New York\tB-LOC\n…\u{a0}\tO\n", Kind::Tags).unwrap();
        assert_eq!(dataset.examples(), [sentence(&["New York", "…"], &["B-LOC", "O"])]);
    }

    #[test]
    fn words_alone_will_do_where_no_tags_are_wanted() {
        let dataset = read("a\nb\n", Kind::None).unwrap();
        assert_eq!(dataset.examples()[0].input, sentence(&["a", "b"], &[]).input);
        assert_eq!(dataset.examples()[0].target, Target::None);
    }

    #[test]
    fn broken_lines_are_named() {
        for (text, message) in [
            ("a O\nb\n", "t.conll:2: 1 column, expected a word and its tag"),
            ("a X O\nb O\n", "t.conll:2: 2 columns, line 1 has 3"),
            ("a O\n\nb X O\n", "t.conll:3: 3 columns, line 1 has 2"),
            ("a\tO\n\tO\n", "t.conll:2: word \"\" with tag \"O\", expected neither empty"),
            ("a\tO\nb\t\n", "t.conll:2: word \"b\" with tag \"\", expected neither empty"),
        ] {
            assert_eq!(read(text, Kind::Tags).unwrap_err().message(), message);
        }
        assert_eq!(read("a O", Kind::Label).unwrap_err().message(), "t.conll: words with tags, expected a label");
    }
}
