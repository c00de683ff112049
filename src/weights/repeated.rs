//! Keys that occur twice in one JSON object. JSON parsers keep one of them silently; in a file that says where
//! tensors lie, that would hide a tensor.

use std::collections::HashSet;

/// The first key that an object of `json`, at any depth, holds twice. `json` must be valid JSON.
pub(super) fn repeated_key(json: &str) -> Option<String> {
    let mut open: Vec<HashSet<String>> = Vec::new();
    let mut rest = json;
    while let Some(at) = rest.find(['{', '}', '"']) {
        let (token, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = after;
        match token {
            b'{' => open.push(HashSet::new()),
            b'}' => drop(open.pop()),
            _ => {
                let length = string_length(after)?;
                rest = &after[length + 1..];
                if rest.trim_start().starts_with(':') {
                    let key: String = serde_json::from_str(&json_string(&after[..length])).ok()?;
                    if let Some(repeated) = open.last_mut()?.replace(key) {
                        return Some(repeated);
                    }
                }
            }
        }
    }
    None
}

/// Bytes before the quote that closes the string which `text` continues.
fn string_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn json_string(inner: &str) -> String {
    format!("\"{inner}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_keys_that_are_equal_once_unescaped() {
        for (json, found) in [
            (r#"{"a": 1, "b": {"a": 2}, "c": ["a", "a"]}"#, None),
            (r#"{"a": 1, "b": 2, "a": 3}"#, Some("a")),
            (r#"{"a": "x", "\u0061" : 3}"#, Some("a")),
            (r#"{"x": {"k\"": 1, "{": 2, "k\"": 3}}"#, Some("k\"")),
            (r#"{"a\\": 1, "a": ":"}"#, None),
            (r#"[{"a": 1}, {"a": 1}]"#, None),
            ("{}", None),
            ("1", None),
        ] {
            assert_eq!(repeated_key(json).as_deref(), found, "{json}");
        }
    }
}
