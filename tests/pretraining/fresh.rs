//! Small models of random weights, and text for them.

use std::path::Path;
use std::sync::Arc;

use cloze::engine::{
    Bytes, Corpus, FreshOptions, Lines, Model, Objective, OpenOptions, VocabularyFiles, VocabularyOptions,
    learn_vocabulary,
};
use serde_json::json;

/// H, F and positions of a model of two layers and two heads.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub hidden: usize,
    pub intermediate: usize,
    pub positions: usize,
}

pub const SMALL: Sizes = Sizes { hidden: 32, intermediate: 48, positions: 32 };

/// An uncased vocabulary of at most `size` tokens.
pub fn vocabulary(text: &Path, size: usize) -> VocabularyFiles {
    let options = VocabularyOptions { size, ..VocabularyOptions::default() };
    learn_vocabulary(text, Lines::Paragraphs, &options).unwrap()
}

pub fn fresh(files: &VocabularyFiles, sizes: Sizes, objective: Objective, threads: usize) -> Model {
    let files: Vec<(&str, Bytes)> =
        files.iter().map(|(name, bytes)| (name.as_str(), Arc::new(bytes.clone()) as Bytes)).collect();
    let words = &files.iter().find(|(name, _)| *name == "vocab.txt").unwrap().1;
    let words = (**words).as_ref().split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
    let config = json!({
        "model_type": "bert",
        "vocab_size": words,
        "hidden_size": sizes.hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": sizes.intermediate,
        "max_position_embeddings": sizes.positions,
    });
    let options = FreshOptions { seed: 42, objective };
    Model::fresh(config.to_string().as_bytes(), &files, &options, &OpenOptions { threads, ..OpenOptions::default() })
        .unwrap()
}

/// Documents of sentences in which one word calls for the next. Other seeds give other text.
pub fn text(documents: usize, seed: u64) -> String {
    let (who, does, what) = (
        ["Anna", "The cat", "A bird", "My brother"],
        ["sees", "wants", "finds"],
        ["a small table", "the old garden", "nothing at all", "seven apples", "his own shadow"],
    );
    let mut state = seed;
    let mut roll = |bound: usize| {
        // Knuth's linear congruential generator, its upper bits
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let mut all = String::new();
    for _ in 0..documents {
        for _ in 0..3 + roll(4) {
            let first = roll(who.len());
            let sentence =
                format!("{} {} {}. ", who[first], does[roll(does.len())], what[(first + roll(2)) % what.len()]);
            all.push_str(&sentence);
        }
        all.push_str("\n\n");
    }
    all
}

/// What knowing how often each token comes, and nothing of its neighbours, leaves to guess, in nats a token.
pub fn unigram_entropy(corpus: &Corpus) -> f64 {
    let share = |count: u64| count as f64 / corpus.tokens() as f64;
    let counts = corpus.counts().unwrap();
    counts.into_iter().filter(|count| *count > 0).map(|count| -share(count) * share(count).ln()).sum()
}
