//! Where sentences end: the bounds of Unicode's UAX #29, less those after an abbreviation, an initial, or where a sentence
//! plainly goes on.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// What ends in a full stop that does not end a sentence, before a capital letter.
const ABBREVIATIONS: [&str; 42] = [
    "Mr", "Mrs", "Ms", "Messrs", "Mme", "Mlle", "Dr", "Prof", "St", "Sr", "Jr", "Rev", "Revd", "Hon", "Esq", "Capt",
    "Col", "Gen", "Lieut", "Lt", "Maj", "Sergt", "Sgt", "Corp", "Adm", "Gov", "Sen", "Rep", "Pres", "Supt", "Mt", "No",
    "Nos", "Vol", "Fig", "Ch", "vs", "viz", "cf", "e.g", "i.e", "approx",
];

/// The sentences of a paragraph: ranges of bytes, in order, without white space around them, none empty. Together they hold
/// everything that is not white space.
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (start, piece) in text.split_sentence_bound_indices() {
        let trimmed = piece.trim();
        if trimmed.is_empty() {
            continue;
        }
        let first = start + (piece.len() - piece.trim_start().len());
        let end = first + trimmed.len();
        match found.last_mut() {
            Some(last) if goes_on(&text[last.clone()], trimmed) => last.end = end,
            _ => found.push(first..end),
        }
    }
    found
}

/// Whether `next` belongs to the sentence that `before` begins.
fn goes_on(before: &str, next: &str) -> bool {
    let starts = next.trim_start_matches(is_quote);
    starts.is_empty()
        || starts.starts_with(|c: char| c.is_lowercase() || matches!(c, '—' | '–' | '-' | ',' | ';' | ':' | ')' | ']'))
        || before.strip_suffix('.').is_some_and(ends_in_abbreviation)
}

fn ends_in_abbreviation(before: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || is_quote(c) || matches!(c, '—' | '–' | '(' | '['));
    let word = word.into_iter().next().unwrap_or_default();
    let mut letters = word.chars();
    let is_initial =
        matches!((letters.next(), letters.next()), (Some(only), None) if only.is_uppercase() && only != 'I');
    // "U.S", "J.R.R"
    let are_initials = word.contains('.') && word.split('.').all(|part| part.chars().count() == 1);
    is_initial || are_initials || ABBREVIATIONS.contains(&word)
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '‘' | '’' | '“' | '”' | '«' | '»')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str) -> Vec<&str> {
        sentences(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn sentences_end_where_a_reader_would_end_them() {
        for expected in [
            &["It rained.", "She opened the window!", "Why?"][..],
            &["Mr. Darcy bowed to Mrs. Bennet.", "Dr. Watson left."],
            &["J. Smith and A. B. Jones met in the U.S. Army.", "They talked."],
            &["‘Oh dear! Oh dear!’ said Alice.", "‘I shall be late!’"][1..],
            &["‘Oh dear!’ said Alice; ‘I shall be late!’", "She ran."],
            &["“Is it you?” he asked.", "“It is I.”"],
            &["So it was I.", "Nobody knew."],
            &["He waited ... and waited.", "Then he went."],
            &["What a day! — and what a night.", "He slept."],
            &["He paid 3.50 for it.", "It was cheap."],
            &["See No. 5 for it.", "(He did.)", "Good."],
            &["No.", "He would not."][1..],
            &["H. americanus is larger .", "It eats fish ."],
        ] {
            assert_eq!(split(&expected.join(" ")), expected);
        }
    }

    #[test]
    fn nothing_is_in_no_sentence() {
        assert!(split("").is_empty() && split(" \t\u{2003}").is_empty());
        assert_eq!(split("  no full stop  "), ["no full stop"]);
    }

    proptest! {
        #[test]
        fn all_that_is_not_white_space_is_in_one_sentence(text in "[A-Za-z .!?‘’“”é\u{2003}—,]{0,80}") {
            let ranges = sentences(&text);
            let mut before = 0;
            for range in &ranges {
                prop_assert!(range.start >= before && !range.is_empty());
                prop_assert!(text[before..range.start].trim().is_empty());
                prop_assert_eq!(text[range.clone()].trim(), &text[range.clone()]);
                before = range.end;
            }
            prop_assert!(text[before..].trim().is_empty());
        }
    }
}
