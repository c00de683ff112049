//! Typed reading of a JSON object's keys. Every error names the key, its value, and what was expected.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Parses `bytes` as one JSON object.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(bytes).map_err(|e| Error::file(format!("not a JSON object: {e}")))
}

/// A JSON object whose keys are read by type. `null` counts as absent, except where a size or number is read: there
/// HuggingFace has no meaning for it either.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a>(pub &'a Map<String, Value>);

impl<'a> Keys<'a> {
    /// The value, unless absent or `null`.
    pub fn given(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub fn text(self, key: &str) -> Result<Option<&'a str>> {
        self.read(key, "a string", Value::as_str)
    }

    pub fn flag(self, key: &str) -> Result<Option<bool>> {
        self.read(key, "true or false", Value::as_bool)
    }

    pub fn object(self, key: &str) -> Result<Option<&'a Map<String, Value>>> {
        self.read(key, "an object", Value::as_object)
    }

    pub fn texts(self, key: &str) -> Result<Option<Vec<&'a str>>> {
        self.read(key, "a list of strings", |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    /// A whole number in `range`.
    pub fn size(self, key: &str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let fits = |value: &Value| usize::try_from(value.as_u64()?).ok().filter(|n| range.contains(n));
        self.0.get(key).map(|value| fits(value).ok_or_else(|| wrong(key, value, &expected))).transpose()
    }

    /// A number for which `fits` holds, as f32; `expected` says the same in words.
    pub fn number(self, key: &str, expected: &str, fits: impl Fn(f32) -> bool) -> Result<Option<f32>> {
        let read = |value: &Value| value.as_f64().map(|x| x as f32).filter(|x| x.is_finite() && fits(*x));
        self.0.get(key).map(|value| read(value).ok_or_else(|| wrong(key, value, expected))).transpose()
    }

    fn read<T>(self, key: &str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        self.given(key).map(|value| read(value).ok_or_else(|| wrong(key, value, expected))).transpose()
    }
}

/// `key: value, expected …`
pub(super) fn wrong(key: &str, value: &Value, expected: &str) -> Error {
    Error::file(format!("{key}: {value}, expected {expected}"))
}
