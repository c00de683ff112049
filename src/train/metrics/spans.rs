//! Entities that tags spell out, and how many of them were found: the default mode of `seqeval`, that of `conlleval`.
//!
//! A tag is a prefix and a type: `B-person`. The rules are lenient: `I` without `B` before it begins an entity, as does
//! any change of type; `E` ends one and `S` is one alone.

use super::confusion::Counts;
use std::collections::{BTreeMap, HashSet};

/// An entity: its type and the words `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entity<'a> {
    /// What follows the prefix; `_` where nothing does.
    pub name: &'a str,
    /// First word.
    pub start: usize,
    /// First word after.
    pub end: usize,
}

/// Whether every tag is `O` or has one of the prefixes `B-`, `I-`, `E-`, `S-`. Entities mean something only then;
/// part-of-speech tags, say, spell none.
pub fn spell_entities<T: AsRef<str>>(tags: &[T]) -> bool {
    let prefixed = |tag: &str| ["B-", "I-", "E-", "S-"].iter().any(|prefix| tag.starts_with(prefix));
    tags.iter().all(|tag| tag.as_ref() == "O" || prefixed(tag.as_ref()))
}

/// The entities of one sentence, in order.
pub fn entities<T: AsRef<str>>(tags: &[T]) -> Vec<Entity<'_>> {
    let outside = Tag { prefix: 'O', name: "" };
    let (mut found, mut start, mut previous) = (Vec::new(), 0, outside);
    for (index, tag) in tags.iter().map(|tag| Tag::of(tag.as_ref())).chain([outside]).enumerate() {
        if tag.ends(previous) {
            found.push(Entity { name: previous.name, start, end: index });
        }
        if tag.begins(previous) {
            start = index;
        }
        previous = tag;
    }
    found
}

/// Entities found, by type; an entity counts as a hit when type, start and end are right. One list of tags a sentence.
pub fn counts<'a, T: AsRef<str>>(predicted: &'a [Vec<T>], actual: &'a [Vec<T>]) -> BTreeMap<&'a str, Counts> {
    let mut counts: BTreeMap<&str, Counts> = BTreeMap::new();
    for (predicted, actual) in predicted.iter().zip(actual) {
        let (predicted, actual) = (entities(predicted), entities(actual));
        let right: HashSet<Entity<'_>> = actual.iter().copied().collect();
        for entity in actual {
            counts.entry(entity.name).or_default().actual += 1;
        }
        for entity in predicted {
            let counts = counts.entry(entity.name).or_default();
            counts.predicted += 1;
            counts.hits += u64::from(right.contains(&entity));
        }
    }
    counts
}

#[derive(Clone, Copy)]
struct Tag<'a> {
    prefix: char,
    name: &'a str,
}

impl<'a> Tag<'a> {
    fn of(tag: &'a str) -> Self {
        let mut rest = tag.chars();
        let prefix = rest.next().unwrap_or('O');
        let name = rest.as_str().split_once('-').map_or(rest.as_str(), |(_, name)| name);
        Self { prefix, name: if name.is_empty() { "_" } else { name } }
    }

    /// Whether an entity begins here.
    fn begins(self, previous: Self) -> bool {
        match (previous.prefix, self.prefix) {
            (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I') => true,
            (_, prefix) => prefix != 'O' && self.name != previous.name,
        }
    }

    /// Whether an entity ended before.
    fn ends(self, previous: Self) -> bool {
        match (previous.prefix, self.prefix) {
            ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O') => true,
            (prefix, _) => prefix != 'O' && self.name != previous.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::close;
    use super::super::confusion::{Average, averaged};
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        text.split(' ').collect()
    }

    /// Expected values are those of seqeval 1.2.2, whose ends are the last words.
    #[test]
    fn entities_are_those_of_seqeval() {
        for (tags, expected) in [
            ("B-X I-X O", &[("X", 0, 1)][..]),
            ("I-X I-X O I-Y", &[("X", 0, 1), ("Y", 3, 3)]),
            ("B-X B-X I-Y I-X", &[("X", 0, 0), ("X", 1, 1), ("Y", 2, 2), ("X", 3, 3)]),
            (
                "O B-X I-X B-Y E-Y S-Z S-Z E-Z I-Z",
                &[("X", 1, 2), ("Y", 3, 4), ("Z", 5, 5), ("Z", 6, 6), ("Z", 7, 7), ("Z", 8, 8)],
            ),
            ("B-X E-X E-X I-X O E-Y", &[("X", 0, 1), ("X", 2, 2), ("X", 3, 3), ("Y", 5, 5)]),
            ("I-A I-B B-B I-A", &[("A", 0, 0), ("B", 1, 1), ("B", 2, 2), ("A", 3, 3)]),
            ("O O", &[]),
            ("B-X S-X I-X B-a-b I-a-b I-b", &[("X", 0, 0), ("X", 1, 1), ("X", 2, 2), ("a-b", 3, 4), ("b", 5, 5)]),
            ("B I O I B", &[("_", 0, 1), ("_", 3, 3), ("_", 4, 4)]),
            ("X-A X-A X-B O X-B", &[("A", 0, 1), ("B", 2, 2), ("B", 4, 4)]),
        ] {
            let tags_split = split(tags);
            let found: Vec<_> = entities(&tags_split).iter().map(|e| (e.name, e.start, e.end - 1)).collect();
            assert_eq!(found, expected, "{tags}");
        }
    }

    #[test]
    fn scores_are_those_of_seqeval() {
        let actual =
            ["O O B-MISC I-MISC I-MISC O", "B-PER I-PER O", "B-LOC O I-LOC B-ORG", "I-PER O B-LOC B-LOC"].map(split);
        let predicted =
            ["O O O B-MISC I-MISC O", "B-PER I-PER O", "I-LOC O B-LOC I-ORG", "I-PER I-PER O B-LOC"].map(split);
        let counts = counts(&predicted, &actual);
        let of = |name: &str| (counts[name].hits, counts[name].predicted, counts[name].actual);
        assert_eq!((of("LOC"), of("MISC"), of("ORG"), of("PER")), ((3, 3, 4), (0, 1, 1), (1, 1, 1), (1, 2, 2)));
        let counts: Vec<Counts> = counts.into_values().collect();
        let micro = averaged(&counts, Average::Micro);
        close(micro.precision, 0.7142857142857143);
        close(micro.recall, 0.625);
        close(micro.f1, 0.6666666666666666);
        // seqeval prints six places
        assert!((averaged(&counts, Average::Macro).f1 - 0.589286).abs() < 1e-6);
        assert!((averaged(&counts, Average::Weighted).f1 - 0.678571).abs() < 1e-6);
    }

    #[test]
    fn tags_without_prefixes_spell_nothing() {
        assert!(spell_entities(&["O", "B-X", "I-X"]) && spell_entities(&["S-X"]));
        assert!(spell_entities(&["O"]) && !spell_entities(&["NOUN", "O"]) && !spell_entities(&["B", "I"]));
    }
}
