//! Examples as their source gives them: text or token ids, and what the model is to answer.

use crate::batch::Tokens;
use crate::error::{Error, Result};

/// One example as its source gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What the model reads.
    pub input: Source,
    /// What it is to answer.
    pub target: Target,
}

/// What the model reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A text.
    Text(String),
    /// Two texts that belong together: premise and hypothesis, question and context.
    Pair(String, String),
    /// A text split into words, for tagging.
    Words(Vec<String>),
    /// A sequence as the model sees it, special tokens included, from the caller's own tokenizer.
    Tokens(Tokens),
}

/// What the model is to answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Nothing is known: text to learn a language from, or to answer for.
    None,
    /// One label.
    Label(String),
    /// Any number of labels, none among them.
    Labels(Vec<String>),
    /// A number.
    Number(f32),
    /// Several numbers.
    Numbers(Vec<f32>),
    /// The tag of each word.
    Tags(Vec<String>),
    /// A stretch of the second text, the context.
    Span {
        /// The stretch itself; empty where the context holds no answer.
        answer: String,
        /// First byte of it in the context.
        start: usize,
    },
    /// The label id of each token, −100 where none counts: for [`Source::Tokens`].
    Ids(Vec<i32>),
}

/// Examples and where each came from.
///
/// Invariants: texts and words are not empty; a target has the size of its input (one tag a word, one id a token) and
/// an answer stands in its context where it says; numbers are finite.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    examples: Vec<Example>,
    /// Name of the file; empty for examples that come from memory.
    file: String,
    /// Line of each example in it, counted from 1; 0 for an example that comes from memory.
    lines: Vec<usize>,
}

impl Dataset {
    /// No examples, to be filled from memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// No examples, to be filled from `file`.
    pub(super) fn of_file(file: &str) -> Self {
        Self { file: file.to_owned(), ..Self::default() }
    }

    /// Appends an example.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, naming the example: it breaks an invariant of [`Dataset`]. Nothing is appended then.
    pub fn push(&mut self, example: Example) -> Result<()> {
        self.push_from(example, 0)
    }

    /// Appends an example that begins on `line` of the file.
    pub(super) fn push_from(&mut self, example: Example, line: usize) -> Result<()> {
        check(&example).map_err(|error| error.within(self.place_of(self.len(), line)))?;
        self.examples.push(example);
        self.lines.push(line);
        Ok(())
    }

    /// Copies of the examples with these numbers, in this order; a number may come more than once.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, naming the first number that there is no example of.
    pub fn select(&self, numbers: &[usize]) -> Result<Self> {
        if let Some((place, number)) = numbers.iter().enumerate().find(|(_, number)| **number >= self.len()) {
            let count = self.len();
            return Err(Error::argument(format!("example number {place} is {number}, expected less than {count}")));
        }
        Ok(Self {
            examples: numbers.iter().map(|&number| self.examples[number].clone()).collect(),
            file: self.file.clone(),
            lines: numbers.iter().map(|&number| self.lines[number]).collect(),
        })
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// The examples, in order.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// Where example `index` came from, for messages: `train.tsv:17`, or `example 16`, counted from 0, from memory.
    pub fn place(&self, index: usize) -> String {
        self.place_of(index, self.lines.get(index).copied().unwrap_or_default())
    }

    fn place_of(&self, index: usize, line: usize) -> String {
        match line {
            0 => format!("example {index}"),
            _ => format!("{}:{line}", self.file),
        }
    }
}

fn check(example: &Example) -> Result<()> {
    check_input(&example.input)?;
    match (&example.target, &example.input) {
        (Target::Number(number), _) => finite(&[*number]),
        (Target::Numbers(numbers), _) if numbers.is_empty() => Err(Error::input("no numbers, expected at least one")),
        (Target::Numbers(numbers), _) => finite(numbers),
        (Target::Label(label), _) => named(std::slice::from_ref(label)),
        (Target::Labels(labels), _) => named(labels),
        (Target::Tags(tags), Source::Words(words)) => {
            same("tags", tags.len(), "words", words.len())?;
            named(tags)
        }
        (Target::Tags(_), _) => Err(Error::input("tags for a text that is not split into words")),
        (Target::Ids(ids), Source::Tokens(tokens)) => same("label ids", ids.len(), "tokens", tokens.ids.len()),
        (Target::Ids(_), _) => Err(Error::input("label ids for a text, expected token ids")),
        (Target::Span { answer, start }, Source::Pair(_, context)) => check_answer(answer, *start, context),
        (Target::Span { .. }, _) => Err(Error::input("an answer without a question and a context")),
        (Target::None, _) => Ok(()),
    }
}

fn check_input(input: &Source) -> Result<()> {
    let text = |which: &str, text: &str| match text.trim().is_empty() {
        true => Err(Error::input(format!("{which} is empty"))),
        false => Ok(()),
    };
    match input {
        Source::Text(only) => text("the text", only),
        Source::Pair(first, second) => text("the first text", first).and_then(|()| text("the second text", second)),
        Source::Words(words) if words.is_empty() => Err(Error::input("no words, expected at least one")),
        Source::Words(words) => match words.iter().position(String::is_empty) {
            Some(index) => Err(Error::input(format!("word {index} of {} is empty", words.len()))),
            None => Ok(()),
        },
        Source::Tokens(tokens) if tokens.ids.is_empty() => Err(Error::input("no tokens, expected at least one")),
        Source::Tokens(tokens) => same("segments", tokens.types.len(), "tokens", tokens.ids.len()),
    }
}

fn check_answer(answer: &str, start: usize, context: &str) -> Result<()> {
    if answer.is_empty() {
        return Ok(());
    }
    match context.get(start..) {
        Some(rest) if rest.starts_with(answer) => Ok(()),
        rest => {
            let found: String = rest.unwrap_or_default().chars().take(answer.chars().count()).collect();
            Err(Error::input(format!("answer \"{answer}\" at byte {start}, the context has \"{found}\" there")))
        }
    }
}

fn finite(numbers: &[f32]) -> Result<()> {
    match numbers.iter().find(|number| !number.is_finite()) {
        Some(number) => Err(Error::input(format!("{number}, expected a finite number"))),
        None => Ok(()),
    }
}

fn named(labels: &[String]) -> Result<()> {
    match labels.iter().any(String::is_empty) {
        true => Err(Error::input("the label is empty")),
        false => Ok(()),
    }
}

fn same(what: &str, count: usize, of: &str, expected: usize) -> Result<()> {
    match count == expected {
        true => Ok(()),
        false => Err(Error::input(format!("{count} {what} for {expected} {of}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Source {
        Source::Text(text.to_owned())
    }

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn examples_keep_their_order_and_place() {
        let mut dataset = Dataset::of_file("train.tsv");
        dataset.push_from(Example { input: text("a"), target: Target::None }, 17).unwrap();
        dataset.push(Example { input: text("b"), target: Target::Label("x".to_owned()) }).unwrap();
        assert_eq!((dataset.len(), dataset.is_empty()), (2, false));
        assert_eq!(dataset.examples()[0].input, text("a"));
        assert_eq!((dataset.place(0), dataset.place(1)), ("train.tsv:17".to_owned(), "example 1".to_owned()));
    }

    #[test]
    fn what_breaks_an_invariant_is_refused_and_not_kept() {
        let pair = |a: &str, b: &str| Source::Pair(a.to_owned(), b.to_owned());
        let span = |answer: &str, start| Target::Span { answer: answer.to_owned(), start };
        let tokens = |types: usize| Source::Tokens(Tokens { ids: vec![1, 2], types: vec![0; types] });
        let words = |words: &[&str]| Source::Words(strings(words));
        for (input, target, message) in [
            (text(" \n"), Target::None, "the text is empty"),
            (pair("a", ""), Target::None, "the second text is empty"),
            (words(&[]), Target::None, "no words, expected at least one"),
            (words(&["a", ""]), Target::None, "word 1 of 2 is empty"),
            (words(&["a", "b"]), Target::Tags(strings(&["O"])), "1 tags for 2 words"),
            (text("a b"), Target::Tags(strings(&["O", "O"])), "tags for a text that is not split into words"),
            (tokens(1), Target::None, "1 segments for 2 tokens"),
            (tokens(2), Target::Ids(vec![0]), "1 label ids for 2 tokens"),
            (text("a"), Target::Ids(vec![0]), "label ids for a text, expected token ids"),
            (text("a"), Target::Number(f32::NAN), "NaN, expected a finite number"),
            (text("a"), Target::Numbers(vec![]), "no numbers, expected at least one"),
            (text("a"), Target::Label(String::new()), "the label is empty"),
            (text("a"), span("a", 0), "an answer without a question and a context"),
            (pair("q", "né or"), span("or", 3), "answer \"or\" at byte 3, the context has \" o\" there"),
            (pair("q", "né"), span("é", 2), "answer \"é\" at byte 2, the context has \"\" there"),
            (pair("q", "né"), span("é", 9), "answer \"é\" at byte 9, the context has \"\" there"),
        ] {
            let mut dataset = Dataset::new();
            let error = dataset.push(Example { input, target }).unwrap_err();
            assert_eq!(error.message(), format!("example 0: {message}"));
            assert!(dataset.is_empty());
        }
        let mut dataset = Dataset::new();
        dataset.push(Example { input: pair("q", "né or"), target: span("or", 4) }).unwrap();
        dataset.push(Example { input: pair("q", "né or"), target: span("", 0) }).unwrap();
        dataset.push(Example { input: text("a"), target: Target::Labels(vec![]) }).unwrap();
    }
}
