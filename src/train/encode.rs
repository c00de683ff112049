//! From examples to what training computes with: token ids and label numbers.

use super::examples::{Dataset, Example, Source, Target};
use super::labels::Labels;
use crate::batch::Tokens;
use crate::error::{Error, Result};
use crate::text::{Encode, Encoding, Overflow, Tokenizer};

pub use crate::ops::cross_entropy::IGNORED;

/// An example as training sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What the model reads.
    pub tokens: Tokens,
    /// What it is to answer.
    pub target: ItemTarget,
    /// For an example of words, the first token of each: the one whose label is the word's. `None` for a word that has
    /// no token or was cut off; its prediction counts as `O`.
    pub first: Vec<Option<usize>>,
}

/// What the model is to answer, in numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemTarget {
    /// Nothing is known.
    None,
    /// The label.
    Label(usize),
    /// For every label 1 or 0.
    Labels(Vec<f32>),
    /// Numbers.
    Numbers(Vec<f32>),
    /// The label of each token; [`IGNORED`] for those of the template and all but the first of a word.
    Tags(Vec<i32>),
    /// The first and the last token of an answer; both 0, the `[CLS]`, where there is none or it was cut off.
    Span {
        /// First token.
        start: usize,
        /// Last token.
        end: usize,
    },
    /// The word of each masked token, [`IGNORED`] elsewhere, and 0 where the second text follows the first, else 1.
    Pretraining {
        /// One id a token.
        words: Vec<i32>,
        /// 0 or 1.
        next: usize,
    },
}

impl ItemTarget {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            ItemTarget::None => "no target",
            ItemTarget::Label(_) => "one label",
            ItemTarget::Labels(_) => "any number of labels",
            ItemTarget::Numbers(_) => "numbers",
            ItemTarget::Tags(_) => "a label for each token",
            ItemTarget::Span { .. } => "an answer",
            ItemTarget::Pretraining { .. } => "words and whether the second text follows",
        }
    }
}

/// How examples become items.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// The tokenizer; not needed where all examples are token ids.
    pub tokenizer: Option<&'a Tokenizer>,
    /// The labels; not needed where no target has any.
    pub labels: Option<&'a Labels>,
    /// Most tokens of an item. Texts are cut, the longer of a pair first.
    pub max_tokens: usize,
}

/// The items of `dataset`, in order.
///
/// # Errors
///
/// Each names the example:
///
/// - `InvalidInput`: a label that [`Settings::labels`] lacks; a label id that it has no name for; token ids that are more
///   than [`Settings::max_tokens`].
/// - `Missing`: a text without a tokenizer.
/// - `InvalidArgument`: a label without [`Settings::labels`]; fewer tokens than the tokenizer's template needs.
pub fn items(dataset: &Dataset, settings: &Settings<'_>) -> Result<Vec<Item>> {
    let encode = |(index, example)| item(example, settings).map_err(|error| error.within(dataset.place(index)));
    dataset.examples().iter().enumerate().map(encode).collect()
}

/// The text of an answer from token `start` to token `end` of a question with its context; empty where that is no stretch
/// of the context.
///
/// # Errors
///
/// Those of [`items`], and `InvalidArgument` for an example that is no pair of texts.
pub fn answer<'e>(example: &'e Example, settings: &Settings<'_>, start: usize, end: usize) -> Result<&'e str> {
    let Source::Pair(question, context) = &example.input else {
        return Err(Error::argument("an answer without a question and a context"));
    };
    let encoding = tokenizer(settings)?.encode(question, Some(context), &options(settings))?;
    let in_context = |token: usize| encoding.sequence.get(token) == Some(&Some(1));
    if start > end || !in_context(start) || !in_context(end) {
        return Ok("");
    }
    Ok(context.get(encoding.offsets[start].start..encoding.offsets[end].end).unwrap_or_default())
}

fn item(example: &Example, settings: &Settings<'_>) -> Result<Item> {
    let mut first = Vec::new();
    let encoding = match &example.input {
        Source::Text(text) => tokenizer(settings)?.encode(text, None, &options(settings))?,
        Source::Pair(a, b) => tokenizer(settings)?.encode(a, Some(b), &options(settings))?,
        Source::Words(words) => {
            let list: Vec<&str> = words.iter().map(String::as_str).collect();
            let encoding = tokenizer(settings)?.encode_words(&list, &options(settings))?;
            first = first_tokens(&encoding, words.len());
            encoding
        }
        Source::Tokens(tokens) => return given(tokens, &example.target, settings),
    };
    let target = match &example.target {
        Target::Tags(tags) => ItemTarget::Tags(token_tags(tags, &first, encoding.len(), settings)?),
        Target::Span { answer, start } => span(&encoding, *start, start + answer.len()),
        other => target(other, settings)?,
    };
    Ok(Item { tokens: Tokens { ids: encoding.ids, types: encoding.types }, target, first })
}

/// Token ids from the caller's own tokenizer.
fn given(tokens: &Tokens, known: &Target, settings: &Settings<'_>) -> Result<Item> {
    let (count, most) = (tokens.ids.len(), settings.max_tokens);
    if count > most {
        return Err(Error::input(format!("{count} tokens, at most {most} fit")));
    }
    Ok(Item { tokens: tokens.clone(), target: target(known, settings)?, first: Vec::new() })
}

fn target(target: &Target, settings: &Settings<'_>) -> Result<ItemTarget> {
    Ok(match target {
        Target::None => ItemTarget::None,
        Target::Label(label) => ItemTarget::Label(labels(settings)?.id(label)?),
        Target::Labels(list) => {
            let labels = labels(settings)?;
            let mut hot = vec![0.0; labels.len()];
            for label in list {
                hot[labels.id(label)?] = 1.0;
            }
            ItemTarget::Labels(hot)
        }
        Target::Number(number) => ItemTarget::Numbers(vec![*number]),
        Target::Numbers(numbers) => ItemTarget::Numbers(numbers.clone()),
        Target::Ids(ids) => {
            let count = settings.labels.map_or(usize::MAX, Labels::len);
            let known = |id: i32| id == IGNORED || usize::try_from(id).is_ok_and(|id| id < count);
            match ids.iter().find(|id| !known(**id)) {
                Some(id) if settings.labels.is_some() => {
                    return Err(Error::input(format!("label id {id}, expected 0 to {} or {IGNORED}", count - 1)));
                }
                Some(id) => return Err(Error::input(format!("label id {id}, expected 0 or more, or {IGNORED}"))),
                None => ItemTarget::Tags(ids.clone()),
            }
        }
        Target::Tags(_) | Target::Span { .. } => {
            return Err(Error::internal("a target of words or of an answer for token ids"));
        }
    })
}

fn first_tokens(encoding: &Encoding, words: usize) -> Vec<Option<usize>> {
    let mut first = vec![None; words];
    for (token, word) in encoding.words.iter().enumerate() {
        if let Some(place) = word.and_then(|word| first.get_mut(word as usize)) {
            place.get_or_insert(token);
        }
    }
    first
}

fn token_tags(tags: &[String], first: &[Option<usize>], tokens: usize, settings: &Settings<'_>) -> Result<Vec<i32>> {
    let labels = labels(settings)?;
    let mut ids = vec![IGNORED; tokens];
    for (tag, first) in tags.iter().zip(first) {
        let id = labels.id(tag)?;
        if let Some(token) = *first {
            ids[token] = i32::try_from(id).map_err(|_| Error::argument(format!("label {id} is past {}", i32::MAX)))?;
        }
    }
    Ok(ids)
}

/// The last token of the context that begins at or before byte `start`, and the first that ends at or after byte `end`.
fn span(encoding: &Encoding, start: usize, end: usize) -> ItemTarget {
    let context = || encoding.sequence.iter().enumerate().filter(|(_, of)| **of == Some(1)).map(|(token, _)| token);
    let first = context().rfind(|&token| encoding.offsets[token].start <= start);
    let last = context().find(|&token| encoding.offsets[token].end >= end);
    match (first, last) {
        (Some(first), Some(last)) if start < end && first <= last => ItemTarget::Span { start: first, end: last },
        _ => ItemTarget::Span { start: 0, end: 0 },
    }
}

fn tokenizer<'a>(settings: &Settings<'a>) -> Result<&'a Tokenizer> {
    settings.tokenizer.ok_or_else(|| Error::missing("a text, but the model has no tokenizer"))
}

fn labels<'a>(settings: &Settings<'a>) -> Result<&'a Labels> {
    settings.labels.ok_or_else(|| Error::argument("a label, but no labels are expected"))
}

fn options(settings: &Settings<'_>) -> Encode {
    Encode { max_tokens: settings.max_tokens, overflow: Overflow::Truncate, ..Encode::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;
    use crate::text::{Files, Kind};

    const WORDS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n##x\n##y\n?\né\n";

    fn bert() -> Tokenizer {
        let config = br#"{"do_lower_case": false}"#;
        let files = Files { vocab_txt: Some(WORDS.as_bytes()), tokenizer_config: Some(config), ..Files::default() };
        Tokenizer::new(&files, Kind::Bert).unwrap()
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|item| (*item).to_owned()).collect()
    }

    fn named(names: &[&str]) -> Labels {
        Labels::new(strings(names)).unwrap()
    }

    fn text(text: &str) -> Source {
        Source::Text(text.to_owned())
    }

    fn encoded(input: Source, target: Target, names: &[&str], max_tokens: usize) -> Result<Item> {
        let mut dataset = Dataset::new();
        dataset.push(Example { input, target }).unwrap();
        let (tokenizer, labels) = (bert(), named(names));
        let settings = Settings { tokenizer: Some(&tokenizer), labels: Some(&labels), max_tokens };
        items(&dataset, &settings).map(|mut items| items.remove(0))
    }

    #[test]
    fn texts_and_pairs_are_cut_to_fit() {
        let item = encoded(text("ax b c"), Target::Label("yes".to_owned()), &["no", "yes"], 5).unwrap();
        assert_eq!(item.tokens, Tokens { ids: vec![2, 5, 8, 6, 3], types: vec![0; 5] });
        assert_eq!((item.target, item.first), (ItemTarget::Label(1), vec![]));
        let pair = Source::Pair("a b c".to_owned(), "c".to_owned());
        let item = encoded(pair, Target::Number(0.5), &["no"], 6).unwrap();
        assert_eq!(item.tokens, Tokens { ids: vec![2, 5, 6, 3, 7, 3], types: vec![0, 0, 0, 0, 1, 1] });
        assert_eq!(item.target, ItemTarget::Numbers(vec![0.5]));
    }

    #[test]
    fn several_labels_become_ones() {
        let target = |list: &[&str]| encoded(text("a"), Target::Labels(strings(list)), &["x", "y", "z"], 9);
        assert_eq!(target(&["z", "x"]).unwrap().target, ItemTarget::Labels(vec![1.0, 0.0, 1.0]));
        assert_eq!(target(&[]).unwrap().target, ItemTarget::Labels(vec![0.0; 3]));
        let message = "example 0: label \"w\", expected one of \"x\", \"y\", \"z\"";
        assert_eq!(target(&["w"]).unwrap_err().message(), message);
    }

    #[test]
    fn the_first_token_of_a_word_has_its_tag() {
        let words = Source::Words(strings(&["axy", "\u{200d}", "b?", "c"]));
        let tags = Target::Tags(strings(&["B-X", "I-X", "O", "B-Y"]));
        let names = ["O", "B-X", "I-X", "B-Y"];
        let item = encoded(words.clone(), tags.clone(), &names, 99).unwrap();
        assert_eq!(item.tokens.ids, [2, 5, 8, 9, 6, 10, 7, 3]);
        assert_eq!(item.target, ItemTarget::Tags(vec![-100, 1, -100, -100, 0, -100, 3, -100]));
        assert_eq!(item.first, [Some(1), None, Some(4), Some(6)]);
        let cut = encoded(words.clone(), tags.clone(), &names, 6).unwrap();
        assert_eq!(cut.target, ItemTarget::Tags(vec![-100, 1, -100, -100, 0, -100]));
        assert_eq!(cut.first, [Some(1), None, Some(4), None]);
        // a tag that no token shows is checked too
        assert!(encoded(words, tags, &["O", "B-X", "B-Y"], 99).is_err());
    }

    #[test]
    fn answers_become_tokens_and_tokens_answers() {
        let context = "é ax bxy c";
        let pair = Source::Pair("a?".to_owned(), context.to_owned());
        // [CLS] a ? [SEP] é a ##x b ##x ##y c [SEP]
        for (answer, max_tokens, expected) in [
            ("ax", 99, (5, 6)),
            ("x b", 99, (6, 7)),
            ("c", 99, (10, 10)),
            ("é ax bxy c", 99, (4, 10)),
            ("", 99, (0, 0)),
            ("bxy", 11, (7, 9)),
            ("bxy", 10, (0, 0)),
            ("c", 10, (0, 0)),
        ] {
            let start = context.find(answer).unwrap();
            let target = Target::Span { answer: answer.to_owned(), start };
            let item = encoded(pair.clone(), target, &["-"], max_tokens).unwrap();
            let (start, end) = expected;
            assert_eq!(item.target, ItemTarget::Span { start, end }, "{answer} of {max_tokens}");
        }
        let tokenizer = bert();
        let settings = Settings { tokenizer: Some(&tokenizer), labels: None, max_tokens: 99 };
        let example = Example { input: pair, target: Target::None };
        let back = |start, end| answer(&example, &settings, start, end).unwrap();
        assert_eq!((back(5, 6), back(4, 10), back(6, 7)), ("ax", context, "x b"));
        for (start, end) in [(0, 0), (1, 5), (7, 6), (4, 11), (4, 99)] {
            assert_eq!(back(start, end), "");
        }
    }

    #[test]
    fn token_ids_are_taken_as_they_are() {
        let tokens = Tokens { ids: vec![9, 9, 9], types: vec![0, 1, 1] };
        let input = || Source::Tokens(tokens.clone());
        let item = encoded(input(), Target::Ids(vec![-100, 1, 0]), &["x", "y"], 3).unwrap();
        assert_eq!((&item.tokens, item.target), (&tokens, ItemTarget::Tags(vec![-100, 1, 0])));
        let message = |target, max_tokens| encoded(input(), target, &["x", "y"], max_tokens).unwrap_err();
        let error = message(Target::Ids(vec![0, 2, 0]), 3);
        assert_eq!(error.message(), "example 0: label id 2, expected 0 to 1 or -100");
        assert_eq!(message(Target::None, 2).message(), "example 0: 3 tokens, at most 2 fit");

        let mut dataset = Dataset::new();
        dataset.push(Example { input: input(), target: Target::None }).unwrap();
        let bare = Settings { tokenizer: None, labels: None, max_tokens: 3 };
        assert_eq!(items(&dataset, &bare).unwrap()[0].target, ItemTarget::None);
        dataset.push(Example { input: text("a"), target: Target::None }).unwrap();
        let error = items(&dataset, &bare).unwrap_err();
        assert_eq!(
            (error.status(), error.message()),
            (Status::Missing, "example 1: a text, but the model has no tokenizer")
        );
    }
}
