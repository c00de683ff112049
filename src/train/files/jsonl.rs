//! A JSON object a line. Keys that are not asked for are left alone.

use super::{Kind, LABEL, TEXT, numbered, numbers, quoted, second};
use crate::error::{Error, Result};
use crate::train::examples::{Dataset, Example, Source, Target};
use serde_json::Value;

const WORDS: &[&str] = &["tokens", "words"];
const TAGS: &[&str] = &["tags", "ner_tags", "labels"];

pub(super) fn read(dataset: &mut Dataset, name: &str, text: &str, kind: Kind) -> Result<()> {
    for (line, text) in numbered(text).filter(|(_, text)| !text.trim().is_empty()) {
        let example = example(text, kind).map_err(|error| error.within(format!("{name}:{line}")))?;
        dataset.push_from(example, line)?;
    }
    Ok(())
}

fn example(text: &str, kind: Kind) -> Result<Example> {
    let object: Value = serde_json::from_str(text).map_err(|error| Error::file(error.to_string()))?;
    if !object.is_object() {
        return Err(Error::file(format!("{}, expected an object", short(&object))));
    }
    match kind {
        Kind::Tags => {
            let tags = strings(required(&object, TAGS)?)?;
            Ok(Example { input: Source::Words(strings(required(&object, WORDS)?)?), target: Target::Tags(tags) })
        }
        Kind::Span => span(&object),
        Kind::None if find(&object, TEXT).is_none() && find(&object, WORDS).is_some() => {
            Ok(Example { input: Source::Words(strings(required(&object, WORDS)?)?), target: Target::None })
        }
        Kind::None | Kind::Label | Kind::Labels | Kind::Numbers => {
            Ok(Example { input: texts(&object)?, target: target(&object, kind)? })
        }
    }
}

/// One text or two.
fn texts(object: &Value) -> Result<Source> {
    let (first_key, first) = required(object, TEXT).and_then(|(key, value)| Ok((key, string(key, value)?)))?;
    Ok(match find(object, second(first_key)) {
        Some((key, value)) => Source::Pair(first, string(key, value)?),
        None => Source::Text(first),
    })
}

fn target(object: &Value, kind: Kind) -> Result<Target> {
    match kind {
        Kind::Label => required(object, LABEL).and_then(|(key, value)| label(key, value)).map(Target::Label),
        Kind::Labels => match find(object, &["labels"]).map_or_else(|| required(object, LABEL), Ok)? {
            (key, value @ Value::Array(_)) => strings((key, value)).map(Target::Labels),
            (key, single) => Ok(Target::Labels(vec![label(key, single)?])),
        },
        Kind::Numbers => match required(object, LABEL)? {
            (key, Value::Array(list)) => {
                list.iter().map(|value| float(key, value)).collect::<Result<Vec<_>>>().map(numbers)
            }
            (key, value) => float(key, value).map(Target::Number),
        },
        Kind::None | Kind::Tags | Kind::Span => Ok(Target::None),
    }
}

/// SQuAD's fields. Of several answers the first counts; none at all is a question that the context leaves open.
fn span(object: &Value) -> Result<Example> {
    let text = |key: &'static str| required(object, &[key]).and_then(|(key, value)| string(key, value));
    let (question, context) = (text("question")?, text("context")?);
    let (_, answers) = required(object, &["answers"])?;
    let list = |key: &str| match answers.get(key) {
        Some(Value::Array(list)) => Ok(list),
        other => Err(Error::file(format!("answers.{key}: {}, expected a list", short(other.unwrap_or(&Value::Null))))),
    };
    let (texts, starts) = (list("text")?, list("answer_start")?);
    if texts.len() != starts.len() {
        return Err(Error::file(format!("answers: {} texts, {} starts", texts.len(), starts.len())));
    }
    let target = match (texts.first(), starts.first()) {
        (Some(answer), Some(start)) => {
            let answer = string("answers.text", answer)?;
            let start = start.as_u64().and_then(|start| usize::try_from(start).ok());
            let start = start
                .ok_or_else(|| Error::file(format!("answers.answer_start: {}, expected a place", short(&starts[0]))))?;
            // Python's places count code points
            let byte = context.char_indices().map(|(byte, _)| byte).nth(start).ok_or_else(|| {
                let count = context.chars().count();
                Error::file(format!("answers.answer_start: {start}, the context has {count} characters"))
            })?;
            Target::Span { answer, start: byte }
        }
        _ => Target::Span { answer: String::new(), start: 0 },
    };
    Ok(Example { input: Source::Pair(question, context), target })
}

/// The first of `keys` that the object has and what it says; null counts as absent.
fn find<'a, 'k>(object: &'a Value, keys: &[&'k str]) -> Option<(&'k str, &'a Value)> {
    keys.iter().find_map(|key| Some((*key, object.get(key).filter(|value| !value.is_null())?)))
}

fn required<'a, 'k>(object: &'a Value, keys: &[&'k str]) -> Result<(&'k str, &'a Value)> {
    find(object, keys).ok_or_else(|| match keys {
        [only] => Error::file(format!("no \"{only}\"")),
        _ => Error::file(format!("none of {}", quoted(keys))),
    })
}

fn string(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(Error::file(format!("{key}: {}, expected a string", short(other)))),
    }
}

/// Labels may be numbers.
fn label(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        other => Err(Error::file(format!("{key}: {}, expected a label", short(other)))),
    }
}

fn strings((key, value): (&str, &Value)) -> Result<Vec<String>> {
    match value {
        Value::Array(list) => list.iter().map(|value| label(key, value)).collect(),
        other => Err(Error::file(format!("{key}: {}, expected a list", short(other)))),
    }
}

fn float(key: &str, value: &Value) -> Result<f32> {
    let number = value.as_f64();
    number.map(|number| number as f32).ok_or_else(|| Error::file(format!("{key}: {}, expected a number", short(value))))
}

/// A value as a message shows it.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;

    fn read(text: &str, kind: Kind) -> Result<Vec<Example>> {
        Dataset::parse("t.jsonl", text.as_bytes(), &Format::JsonLines, kind).map(|dataset| dataset.examples().to_vec())
    }

    fn one(text: &str, kind: Kind) -> Example {
        read(text, kind).unwrap().remove(0)
    }

    fn text(text: &str) -> Source {
        Source::Text(text.to_owned())
    }

    fn pair(a: &str, b: &str) -> Source {
        Source::Pair(a.to_owned(), b.to_owned())
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn texts_and_labels_by_any_of_their_names() {
        let label = |label: &str| Target::Label(label.to_owned());
        for (json, input, target) in [
            (r#"{"text": "a\tb", "label": "x", "id": 3}"#, text("a\tb"), label("x")),
            (r#"{"premise": "a", "hypothesis": "b", "label": 2}"#, pair("a", "b"), label("2")),
            (r#"{"sentence": "b", "question": "a", "label": true}"#, pair("a", "b"), label("true")),
            (r#"{"text": "a", "text_b": null, "category": "x"}"#, text("a"), label("x")),
        ] {
            assert_eq!(one(json, Kind::Label), Example { input, target });
        }
    }

    #[test]
    fn several_labels_and_numbers() {
        let target = |json, kind| one(json, kind).target;
        assert_eq!(target(r#"{"text":"a","labels":["x",1]}"#, Kind::Labels), Target::Labels(strings(&["x", "1"])));
        assert_eq!(target(r#"{"text":"a","labels":[]}"#, Kind::Labels), Target::Labels(vec![]));
        assert_eq!(target(r#"{"text":"a","category":"x"}"#, Kind::Labels), Target::Labels(strings(&["x"])));
        let both = r#"{"text":"a","label":"x","labels":["y"]}"#;
        assert_eq!(target(both, Kind::Labels), Target::Labels(strings(&["y"])));
        assert_eq!(target(r#"{"text":"a","score":2}"#, Kind::Numbers), Target::Number(2.0));
        assert_eq!(target(r#"{"text":"a","labels":[0.5,-1]}"#, Kind::Numbers), Target::Numbers(vec![0.5, -1.0]));
        assert_eq!(target(r#"{"text":"a","label":"x"}"#, Kind::None), Target::None);
    }

    #[test]
    fn words_and_tags() {
        let json = r#"{"tokens": ["New", "York"], "ner_tags": ["B", "I"]}"#;
        let words = Source::Words(strings(&["New", "York"]));
        let tagged = Example { input: words.clone(), target: Target::Tags(strings(&["B", "I"])) };
        assert_eq!(one(json, Kind::Tags), tagged);
        assert_eq!(one(json, Kind::None), Example { input: words, target: Target::None });
        assert_eq!(one(r#"{"words":["a"],"ner_tags":[7]}"#, Kind::Tags).target, Target::Tags(strings(&["7"])));
    }

    #[test]
    fn answers_are_placed_by_code_points() {
        let json = r#"{"question":"q?","context":"né où","answers":{"text":["où","né"],"answer_start":[3,0]}}"#;
        let target = Target::Span { answer: "où".to_owned(), start: 4 };
        assert_eq!(one(json, Kind::Span), Example { input: pair("q?", "né où"), target });
        let open = r#"{"question":"q?","context":"c","answers":{"text":[],"answer_start":[]}}"#;
        assert_eq!(one(open, Kind::Span).target, Target::Span { answer: String::new(), start: 0 });
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_with_its_line() {
        for (kind, json, message) in [
            (Kind::Label, "[1]", "[1], expected an object"),
            (Kind::Label, r#"{"text":"a"}"#, "none of \"label\", \"labels\", \"category\", "),
            (Kind::Label, r#"{"label":"a"}"#, "none of \"question\", \"query\", \"text\", "),
            (Kind::Label, r#"{"text":7,"label":"a"}"#, "text: 7, expected a string"),
            (Kind::Label, r#"{"text":"a","label":["b"]}"#, "label: [\"b\"], expected a label"),
            (Kind::Label, r#"{"text":" ","label":"b"}"#, "the text is empty"),
            (Kind::Numbers, r#"{"text":"a","label":"b"}"#, "label: \"b\", expected a number"),
            (Kind::Numbers, r#"{"text":"a","label":1e300}"#, "inf, expected a finite number"),
            (Kind::Tags, r#"{"tokens":["a","b"],"tags":["O"]}"#, "1 tags for 2 words"),
            (Kind::Tags, r#"{"tokens":"a b","tags":["O"]}"#, "tokens: \"a b\", expected a list"),
            (Kind::Span, r#"{"question":"q","context":"c"}"#, "no \"answers\""),
            (
                Kind::Span,
                r#"{"question":"q","context":"c","answers":{"text":["c"],"answer_start":[1]}}"#,
                "answers.answer_start: 1, the context has 1 characters",
            ),
            (
                Kind::Span,
                r#"{"question":"q","context":"cd","answers":{"text":["c"],"answer_start":[1]}}"#,
                "answer \"c\" at byte 1, the context has \"d\" there",
            ),
            (
                Kind::Span,
                r#"{"question":"q","context":"c","answers":{"text":["c"],"answer_start":[]}}"#,
                "answers: 1 texts, 0 starts",
            ),
        ] {
            let error = read(&format!("\r\n{json}\r\n"), kind).unwrap_err();
            let expected = format!("t.jsonl:2: {message}");
            assert!(error.message().starts_with(&expected), "{error} is not {expected}");
        }
        let error = read("{\"text\":", Kind::None).unwrap_err();
        assert!(error.message().starts_with("t.jsonl:1: EOF"), "{error}");
    }
}
