//! Which modules a configuration means.

use regex::{Captures, Regex};

use crate::error::{Error, Result};

/// A regular expression over module paths.
///
/// PEFT uses Python's `re`. Look-around and back-references, which need time without bound, are refused.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Matches a whole path.
    pub fn whole(text: &str) -> Result<Self> {
        Self::compile(text, format!(r"\A(?:{text})\z"))
    }

    /// Matches a path, or what follows one of its dots.
    pub fn ending(text: &str) -> Result<Self> {
        Self::compile(text, format!(r"\A(?:.*\.)?(?:{text})\z"))
    }

    /// Matches `text.N.` at the start of a path or after a dot, and tells N. Alternatives in `text` reach to the ends,
    /// as they do in PEFT.
    pub fn layers(text: &str) -> Result<Self> {
        Self::compile(text, format!(r"\A(?:(?:^|.*?\.){text}\.(?P<layer>\d+)\.)"))
    }

    fn compile(text: &str, whole: String) -> Result<Self> {
        let regex = Regex::new(&whole)
            .map_err(|e| Error::unsupported(format!("pattern {text:?} is not one that is supported: {e}")))?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// The pattern as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches.
    pub fn matches(&self, path: &str) -> bool {
        self.regex.is_match(path)
    }

    fn captures<'p>(&self, path: &'p str) -> Option<Captures<'p>> {
        self.regex.captures(path)
    }
}

/// Patterns of one spelling are one.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

/// Some modules.
#[derive(Clone, Debug, PartialEq)]
pub enum Modules {
    /// Those whose path is a name of the list, or ends in a dot and one.
    Names(Vec<String>),
    /// Those whose whole path matches.
    Pattern(Pattern),
}

impl Modules {
    pub(super) fn contains(&self, path: &str) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|name| name == path || ends_in(path, name)),
            Self::Pattern(pattern) => pattern.matches(path),
        }
    }
}

/// `target_modules`: what is adapted.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// These.
    Modules(Modules),
    /// `all-linear`: every linear layer but a masked-LM decoder.
    AllLinear,
}

/// Whether `path` ends in a dot and `name`.
fn ends_in(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether `name` is one or several whole components of `path`, side by side.
pub(super) fn lies_in(path: &str, name: &str) -> bool {
    format!(".{path}.").contains(&format!(".{name}."))
}

/// The number of the layer that `path` lies in. Without patterns that is the first number which stands alone between
/// dots and has at least two components before it.
pub(super) fn layer(path: &str, patterns: &[Pattern]) -> Option<usize> {
    if patterns.is_empty() {
        let components: Vec<&str> = path.split('.').collect();
        let (_, inner) = components.split_last()?;
        let number = |part: &&&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        return inner.iter().skip(2).find(number)?.parse().ok();
    }
    let found = patterns.iter().find_map(|pattern| pattern.captures(path))?;
    found.name("layer")?.as_str().parse().ok()
}
