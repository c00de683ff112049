//! What a template in `tokenizer.json` must hold: the `tokenizers` crate takes it on trust and panics where it is wrong.

use super::settings::short;
use crate::error::{Error, Result};
use serde_json::Value;

/// Post-processors that put tokens around the text; the others only touch places.
const ADDING: &[&str] = &["BertProcessing", "RobertaProcessing", "TemplateProcessing"];

/// Checks the value of `post_processor`.
///
/// # Errors
///
/// Two post-processors that add tokens (not supported); a template that has a text twice or not at all; one that names a
/// special token without an entry in `special_tokens`.
pub(super) fn check(value: &Value) -> Result<()> {
    let mut parts = Vec::new();
    flatten(value, &mut parts);
    let adding: Vec<&str> = parts.iter().filter_map(|part| kind(part)).filter(|kind| ADDING.contains(kind)).collect();
    if adding.len() > 1 {
        let both = adding.join("\" and \"");
        return Err(Error::unsupported(format!("post_processor: \"{both}\" together are not supported")));
    }
    for part in parts.into_iter().filter(|part| kind(part) == Some("TemplateProcessing")) {
        check_pieces(part, "single", &["A"])?;
        check_pieces(part, "pair", &["A", "B"])?;
    }
    Ok(())
}

fn kind(value: &Value) -> Option<&str> {
    value.get("type")?.as_str()
}

fn flatten<'a>(value: &'a Value, parts: &mut Vec<&'a Value>) {
    match value.get("processors").and_then(Value::as_array) {
        Some(list) => list.iter().for_each(|part| flatten(part, parts)),
        None => parts.push(value),
    }
}

fn check_pieces(template: &Value, key: &str, expected: &[&str]) -> Result<()> {
    let wrong = |why: String| Error::file(format!("post_processor: {key}: {why}"));
    let pieces = template.get(key).and_then(Value::as_array);
    let pieces = pieces.ok_or_else(|| wrong("absent, expected a list".to_owned()))?;
    let mut texts = Vec::new();
    for piece in pieces {
        let id = |kind: &str| piece.get(kind)?.get("id")?.as_str();
        match (id("Sequence"), id("SpecialToken")) {
            (Some(text), _) => texts.push(text),
            (_, Some(name)) if template.get("special_tokens").is_some_and(|all| all.get(name).is_some()) => {}
            (_, Some(name)) => return Err(wrong(format!("\"{name}\" is not in special_tokens"))),
            _ => return Err(wrong(format!("{}, expected Sequence or SpecialToken", short(piece)))),
        }
    }
    texts.sort_unstable();
    if texts != expected {
        return Err(wrong(format!("texts {texts:?}, expected {expected:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    fn template(single: &str, pair: &str, special: &str) -> String {
        let pieces = |text: &str| {
            let piece = |name: &str| match name {
                "A" | "B" => format!(r#"{{"Sequence":{{"id":"{name}","type_id":0}}}}"#),
                _ => format!(r#"{{"SpecialToken":{{"id":"{name}","type_id":0}}}}"#),
            };
            text.split(' ').map(piece).collect::<Vec<_>>().join(",")
        };
        let (single, pair) = (pieces(single), pieces(pair));
        format!(
            r#"{{"type":"TemplateProcessing","single":[{single}],"pair":[{pair}],"special_tokens":{{"{special}":{{}}}}}}"#
        )
    }

    fn checked(json: &str) -> Result<()> {
        check(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn every_text_comes_once_and_every_token_has_an_entry() {
        checked(&template("X A X", "X A X B X", "X")).unwrap();
        for (json, message) in [
            (template("X A X", "X A X X", "X"), "post_processor: pair: texts [\"A\"], expected [\"A\", \"B\"]"),
            (template("A B", "A B", "X"), "post_processor: single: texts [\"A\", \"B\"], expected [\"A\"]"),
            (template("A A", "A B", "X"), "post_processor: single: texts [\"A\", \"A\"], expected [\"A\"]"),
            (template("X A Y", "A B", "X"), "post_processor: single: \"Y\" is not in special_tokens"),
            (r#"{"type":"TemplateProcessing"}"#.to_owned(), "post_processor: single: absent, expected a list"),
        ] {
            let error = checked(&json).unwrap_err();
            assert_eq!((error.status(), error.message()), (Status::InvalidFile, message));
        }
    }

    #[test]
    fn one_of_a_sequence_may_add_tokens() {
        let list = |parts: &[&str]| format!(r#"{{"type":"Sequence","processors":[{}]}}"#, parts.join(","));
        let template = template("A", "A B", "X");
        checked(&list(&[r#"{"type":"ByteLevel"}"#, &template])).unwrap();
        let error = checked(&list(&[&template, &list(&[&template])])).unwrap_err();
        assert_eq!(error.status(), Status::Unsupported);
    }
}
