//! Two ways to the same library: the Rust API, and the C ABI of the built shared library.

#![allow(clippy::unwrap_used)] // a test may panic

pub mod c;
pub mod rust;
pub mod training;

use std::path::Path;

use cloze::engine::{Aggregation, Input, Method, OffsetUnit, Pooling};

/// What a call answers; a failure is its status and its message.
pub type Answer<T> = Result<T, (i32, String)>;

#[derive(Debug, PartialEq)]
pub struct Shape {
    pub layers: usize,
    pub hidden: usize,
    pub vocabulary: usize,
    pub max_tokens: usize,
    pub embedding: usize,
    pub labels: usize,
    pub tasks: usize,
    pub reads_text: bool,
    pub parameters: u64,
}

#[derive(Debug, PartialEq)]
pub struct Token {
    pub id: u32,
    pub segment: u32,
    pub word: Option<u32>,
    /// Of the text or its pair.
    pub place: Option<(u8, usize, usize)>,
}

#[derive(Debug, PartialEq)]
pub struct Word {
    pub input: usize,
    pub position: usize,
    pub id: u32,
    pub probability: f32,
}

/// How tokens are generated; a temperature of 0 takes the likeliest.
#[derive(Clone, Copy, Default)]
pub struct Drawing {
    pub max_tokens: usize,
    pub count: usize,
    pub temperature: f32,
    pub top_k: usize,
    pub top_p: f32,
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct New {
    pub input: usize,
    pub continuation: usize,
    pub id: u32,
    pub log_probability: f32,
}

#[derive(Debug, PartialEq)]
pub struct Entity {
    pub input: usize,
    pub label: usize,
    pub start: usize,
    pub end: usize,
    pub probability: f64,
}

/// What happens while a call runs, and what was seen.
#[derive(Default)]
pub struct Watch {
    /// The cancel flag is set before the call.
    pub cancelled: bool,
    /// The progress callback asks to stop.
    pub stop: bool,
    /// What the callback was told.
    pub seen: Vec<(u64, u64)>,
}

/// Everything that a user can ask, with as few words as a test needs.
pub trait Library {
    type Model;

    fn open(&self, folder: &Path) -> Answer<Self::Model>;
    /// All files of `folder` handed over in memory.
    fn open_memory(&self, files: &[(String, Vec<u8>)]) -> Answer<Self::Model>;
    fn info(&self, model: &Self::Model) -> Answer<Shape>;
    fn report(&self, model: &Self::Model) -> Answer<String>;
    fn label(&self, model: &Self::Model, label: u32) -> Answer<String>;
    fn tokenize(&self, model: &Self::Model, inputs: &[Input<'_>], unit: OffsetUnit) -> Answer<Vec<Token>>;
    fn token_text(&self, model: &Self::Model, id: u32) -> Answer<String>;
    fn token_id(&self, model: &Self::Model, token: &str) -> Answer<u32>;
    fn decode(&self, model: &Self::Model, ids: &[u32]) -> Answer<String>;
    fn fill(&self, model: &Self::Model, inputs: &[Input<'_>], top_k: u32, targets: &[u32]) -> Answer<Vec<Word>>;
    fn score(&self, model: &Self::Model, inputs: &[Input<'_>], method: Method) -> Answer<Vec<(f64, u64)>>;
    fn score_tokens(&self, model: &Self::Model, inputs: &[Input<'_>], method: Method) -> Answer<Vec<Word>>;
    /// Continuations of every prompt by `options`; a callback that wants no more after `most` tokens of all.
    fn generate(&self, model: &Self::Model, prompts: &[Input<'_>], options: &Drawing, most: usize) -> Answer<Vec<New>>;
    fn perplexity(&self, scores: &[(f64, u64)]) -> f64;
    fn next_sentence(&self, model: &Self::Model, inputs: &[Input<'_>]) -> Answer<Vec<f32>>;
    fn embed(
        &self,
        model: &Self::Model,
        inputs: &[Input<'_>],
        pooling: Option<Pooling>,
        prompt: Option<&str>,
        watch: &mut Watch,
    ) -> Answer<Vec<f32>>;
    fn hidden_states(&self, model: &Self::Model, inputs: &[Input<'_>], layers: &[u32]) -> Answer<Vec<f32>>;
    fn classify(&self, model: &Self::Model, inputs: &[Input<'_>]) -> Answer<Vec<f32>>;
    fn tag(
        &self,
        model: &Self::Model,
        inputs: &[Input<'_>],
        aggregation: Aggregation,
        unit: OffsetUnit,
    ) -> Answer<Vec<Entity>>;
    fn tag_tokens(&self, model: &Self::Model, inputs: &[Input<'_>]) -> Answer<Vec<f32>>;
}
