//! Agreement of answers with those of people, as the script of SQuAD measures it.

use std::collections::HashMap;

/// Whether `answer` is one of `right` once both are normalized.
pub fn exact_match(answer: &str, right: &[&str]) -> bool {
    let answer = normalize(answer);
    right.iter().any(|right| normalize(right) == answer)
}

/// F1 of the words that `answer` and the best of `right` share, counted as often as they occur.
///
/// Where either has no words, as "no answer" has none, 1 if neither has, else 0.
pub fn word_f1(answer: &str, right: &[&str]) -> f64 {
    let answer = normalize(answer);
    right.iter().map(|right| f1(&answer, &normalize(right))).fold(0.0, f64::max)
}

fn f1(answer: &str, right: &str) -> f64 {
    let mut left: HashMap<&str, usize> = HashMap::new();
    right.split(' ').filter(|word| !word.is_empty()).for_each(|word| *left.entry(word).or_default() += 1);
    let count = |text: &str| text.split(' ').filter(|word| !word.is_empty()).count();
    let (predicted, actual) = (count(answer), count(right));
    if predicted == 0 || actual == 0 {
        return if predicted == actual { 1.0 } else { 0.0 };
    }
    let mut hits = 0;
    for word in answer.split(' ') {
        if let Some(left) = left.get_mut(word).filter(|left| **left > 0) {
            *left -= 1;
            hits += 1;
        }
    }
    2.0 * f64::from(hits) / (predicted + actual) as f64
}

/// Lower case, without ASCII punctuation, without the words "a", "an", "the", one space between words.
fn normalize(text: &str) -> String {
    let text: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let mut kept = String::new();
    let characters: Vec<char> = text.chars().collect();
    for run in characters.chunk_by(|a, b| a.is_alphanumeric() == b.is_alphanumeric()) {
        let run: String = run.iter().collect();
        kept.push_str(if matches!(run.as_str(), "a" | "an" | "the") { " " } else { &run });
    }
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::close;
    use super::*;

    #[test]
    fn normal_forms_are_those_of_squad() {
        for (text, normal) in [
            ("The  Cat's (a) hat!", "cats hat"),
            ("an apple\tA DAY", "apple day"),
            ("the—end theatre U.S.A.", "—end theatre usa"),
            ("a_b", "ab"),
            ("a.", ""),
        ] {
            assert_eq!(normalize(text), normal, "{text}");
        }
    }

    #[test]
    fn the_best_right_answer_counts() {
        assert!(exact_match("The Denver Broncos", &["Carolina", "denver broncos."]));
        assert!(!exact_match("Denver", &["denver broncos."]));
        close(word_f1("the denver denver team", &["Denver Broncos", "a Denver"]), 0.5);
        close(word_f1("Denver Broncos", &["Denver Broncos of Colorado"]), 2.0 / 3.0);
        assert_eq!(word_f1("x", &["y"]), 0.0);
    }

    #[test]
    fn no_answer_agrees_with_no_answer_alone() {
        assert!(exact_match("", &[""]) && !exact_match("", &["x"]));
        assert_eq!((word_f1("", &[""]), word_f1("", &["x"]), word_f1("x", &[""])), (1.0, 0.0, 0.0));
    }
}
