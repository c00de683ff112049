//! Labels and their numbers.

use super::examples::{Dataset, Target};
use crate::error::{Error, Result};
use std::collections::{BTreeSet, HashMap};

/// Most names that a message lists.
const LISTED: usize = 20;

/// The names of the labels; the number of a label is its place.
///
/// Invariants: at least one name, none empty, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    names: Vec<String>,
    ids: HashMap<String, usize>,
}

impl Labels {
    /// Labels in the order given.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: no name, an empty one, the same one twice.
    pub fn new(names: Vec<String>) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::argument("no labels, expected at least one"));
        }
        let mut ids = HashMap::with_capacity(names.len());
        for (id, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err(Error::argument(format!("label {id} has an empty name")));
            }
            if let Some(first) = ids.insert(name.clone(), id) {
                return Err(Error::argument(format!("label \"{name}\" is both {first} and {id}")));
            }
        }
        Ok(Self { names, ids })
    }

    /// The labels that occur in `dataset`.
    ///
    /// Sorted by number if all are whole numbers, else by code points, but tags with `O` first where it occurs. (Scripts
    /// of HuggingFace sort numbers as text too: 10 before 2.)
    ///
    /// # Errors
    ///
    /// `InvalidInput`: no label or tag occurs.
    pub fn find(dataset: &Dataset) -> Result<Self> {
        let mut found = BTreeSet::new();
        let mut tags = false;
        for example in dataset.examples() {
            match &example.target {
                Target::Label(label) => found.extend([label.as_str()]),
                Target::Labels(labels) => found.extend(labels.iter().map(String::as_str)),
                Target::Tags(list) => {
                    tags = true;
                    found.extend(list.iter().map(String::as_str));
                }
                Target::None | Target::Number(_) | Target::Numbers(_) | Target::Span { .. } | Target::Ids(_) => {}
            }
        }
        if found.is_empty() {
            return Err(Error::input(format!("no labels in {} examples", dataset.len())));
        }
        let mut names: Vec<&str> = found.into_iter().collect();
        let numbers: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
        if numbers.is_some() {
            // stable: names of one number, "1" and "01", stay sorted as text
            names.sort_by_key(|name| name.parse::<i64>().unwrap_or_default());
        } else if tags {
            names.sort_by_key(|name| *name != "O");
        }
        Self::new(names.into_iter().map(str::to_owned).collect())
    }

    /// The names, by number.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never: there is at least one label.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The number of label `name`.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: there is no such label; the message lists those that there are, the first twenty of many.
    pub fn id(&self, name: &str) -> Result<usize> {
        self.ids.get(name).copied().ok_or_else(|| {
            let mut known =
                self.names.iter().take(LISTED).map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
            if self.len() > LISTED {
                known.push_str(&format!(" … ({} in all)", self.len()));
            }
            Error::input(format!("label \"{name}\", expected one of {known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::examples::{Example, Source};

    fn dataset(targets: Vec<Target>) -> Dataset {
        let mut dataset = Dataset::new();
        for target in targets {
            let input = match &target {
                Target::Tags(tags) => Source::Words(vec!["w".to_owned(); tags.len()]),
                _ => Source::Text("t".to_owned()),
            };
            dataset.push(Example { input, target }).unwrap();
        }
        dataset
    }

    fn found(targets: Vec<Target>) -> Vec<String> {
        Labels::find(&dataset(targets)).unwrap().names().to_vec()
    }

    fn label(name: &str) -> Target {
        Target::Label(name.to_owned())
    }

    #[test]
    fn labels_are_sorted_numbers_by_value() {
        assert_eq!(found(vec![label("b"), label("a"), label("b"), label("C")]), ["C", "a", "b"]);
        assert_eq!(found(vec![label("10"), label("-1"), label("2")]), ["-1", "2", "10"]);
        assert_eq!(found(vec![label("10"), label("2"), label("x")]), ["10", "2", "x"]);
        assert_eq!(found(vec![label("1"), label("01"), label("0")]), ["0", "01", "1"]);
        let several = Target::Labels(vec!["z".to_owned(), "y".to_owned()]);
        assert_eq!(found(vec![several, Target::Labels(vec![])]), ["y", "z"]);
    }

    #[test]
    fn the_tag_outside_comes_first() {
        let tags = |tags: &[&str]| Target::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(found(vec![tags(&["B-X", "I-X", "O"]), tags(&["B-A"])]), ["O", "B-A", "B-X", "I-X"]);
        assert_eq!(found(vec![label("O"), label("B")]), ["B", "O"]);
    }

    #[test]
    fn an_unknown_label_is_told_the_known_ones() {
        let labels = Labels::new(vec!["no".to_owned(), "yes".to_owned()]).unwrap();
        assert_eq!((labels.id("yes").unwrap(), labels.len()), (1, 2));
        assert_eq!(labels.id("maybe").unwrap_err().message(), "label \"maybe\", expected one of \"no\", \"yes\"");
        let many = Labels::new((0..77).map(|n| n.to_string()).collect()).unwrap();
        assert!(many.id("x").unwrap_err().message().ends_with("\"18\", \"19\" … (77 in all)"));
    }

    #[test]
    fn no_labels_and_doubled_ones_are_refused() {
        let error = Labels::find(&dataset(vec![Target::None, Target::Number(1.0)])).unwrap_err();
        assert_eq!(error.message(), "no labels in 2 examples");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert!(Labels::new(vec![]).is_err());
        assert!(Labels::new(names(&["a", ""])).is_err());
        assert_eq!(Labels::new(names(&["a", "b", "a"])).unwrap_err().message(), "label \"a\" is both 0 and 2");
    }
}
