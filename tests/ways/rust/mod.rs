//! The Rust API.

use std::path::Path;
use std::sync::Arc;

use cloze::engine::{
    Aggregation, Bytes, Cancel, EmbedOptions, Encoded, FillOptions, GenerateOptions, Input, Method, Model, NewToken,
    OffsetUnit, OpenOptions, Pooling, Run, Sampling, ScoreOptions, Span, TagOptions, Task, TextOptions,
    convert_offsets, perplexity_of,
};
use cloze::error::Error;

use super::{Answer, Drawing, Entity, Library, New, Shape, Token, Watch, Word};

mod training;

pub struct Rust;

fn failure(error: Error) -> (i32, String) {
    (error.status().code(), error.message().to_owned())
}

fn encode(model: &Model, inputs: &[Input<'_>], task: Task) -> Answer<Encoded> {
    model.encode(inputs, task, &TextOptions::default()).map_err(failure)
}

impl Library for Rust {
    type Model = Model;

    fn open(&self, folder: &Path) -> Answer<Model> {
        Model::open(folder, &OpenOptions { threads: 2, ..OpenOptions::default() }).map_err(failure)
    }

    fn open_memory(&self, files: &[(String, Vec<u8>)]) -> Answer<Model> {
        let named = |(name, data): &(String, Vec<u8>)| (name.clone(), Arc::new(data.clone()) as Bytes);
        let files: Vec<(String, Bytes)> = files.iter().map(named).collect();
        let files: Vec<(&str, Bytes)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        Model::from_memory(&files, &OpenOptions { threads: 2, ..OpenOptions::default() }).map_err(failure)
    }

    fn info(&self, model: &Model) -> Answer<Shape> {
        let info = model.info();
        Ok(Shape {
            layers: info.layers,
            hidden: info.hidden,
            vocabulary: info.vocabulary,
            max_tokens: info.max_tokens,
            embedding: info.embedding,
            labels: info.labels,
            tasks: info.tasks.len(),
            reads_text: info.text_unavailable.is_none(),
            parameters: info.parameters,
        })
    }

    fn report(&self, model: &Model) -> Answer<String> {
        Ok(model.report_json().to_string())
    }

    fn label(&self, model: &Model, label: u32) -> Answer<String> {
        let found = model.labels().get(label as usize);
        found.cloned().ok_or_else(|| (if model.labels().is_empty() { 7 } else { 1 }, String::new()))
    }

    fn tokenize(&self, model: &Model, inputs: &[Input<'_>], unit: OffsetUnit) -> Answer<Vec<Token>> {
        let encoded = encode(model, inputs, Task::HiddenStates)?;
        let mut tokens = Vec::new();
        for (item, input) in encoded.items().iter().zip(inputs) {
            for (position, (&id, &segment)) in item.tokens.ids.iter().zip(&item.tokens.types).enumerate() {
                let Some(encoding) = &item.encoding else {
                    tokens.push(Token { id, segment, word: None, place: None });
                    continue;
                };
                let place = encoding.sequence[position].map(|which| {
                    let text = match (*input, which) {
                        (Input::Text(text) | Input::Pair(text, _), 0) | (Input::Pair(_, text), _) => text,
                        _ => unreachable!(),
                    };
                    let Span { start, end } = convert_offsets(text, &[encoding.offsets[position]], unit)[0];
                    (which, start, end)
                });
                tokens.push(Token { id, segment, word: encoding.words[position], place });
            }
        }
        Ok(tokens)
    }

    fn token_text(&self, model: &Model, id: u32) -> Answer<String> {
        model.tokenizer().map_err(failure)?.token(id).map(str::to_owned).ok_or_else(|| (3, String::new()))
    }

    fn token_id(&self, model: &Model, token: &str) -> Answer<u32> {
        model.tokenizer().map_err(failure)?.id(token).ok_or_else(|| (7, String::new()))
    }

    fn decode(&self, model: &Model, ids: &[u32]) -> Answer<String> {
        model.tokenizer().and_then(|tokenizer| tokenizer.decode(ids, true)).map_err(failure)
    }

    fn fill(&self, model: &Model, inputs: &[Input<'_>], top_k: u32, targets: &[u32]) -> Answer<Vec<Word>> {
        model.supports(Task::Fill).map_err(failure)?;
        let options = FillOptions { top_k: top_k as usize, targets, mask: None };
        let filled = model.fill(&encode(model, inputs, Task::Fill)?, &options, Run::default()).map_err(failure)?;
        let mut words = Vec::new();
        for (input, masks) in filled.iter().enumerate() {
            for mask in masks {
                words.extend(mask.candidates.iter().map(|word| Word {
                    input,
                    position: mask.position,
                    id: word.id,
                    probability: word.probability,
                }));
            }
        }
        Ok(words)
    }

    fn score(&self, model: &Model, inputs: &[Input<'_>], method: Method) -> Answer<Vec<(f64, u64)>> {
        let options = ScoreOptions { method, mask: None };
        let scores = model.score(&encode(model, inputs, Task::Score)?, &options, Run::default()).map_err(failure)?;
        Ok(scores.iter().map(|score| (score.total, score.tokens.len() as u64)).collect())
    }

    fn score_tokens(&self, model: &Model, inputs: &[Input<'_>], method: Method) -> Answer<Vec<Word>> {
        let options = ScoreOptions { method, mask: None };
        let scores = model.score(&encode(model, inputs, Task::Score)?, &options, Run::default()).map_err(failure)?;
        let words = scores.iter().enumerate().flat_map(|(input, score)| {
            score.tokens.iter().map(move |token| Word {
                input,
                position: token.position,
                id: token.id,
                probability: token.log_probability,
            })
        });
        Ok(words.collect())
    }

    fn generate(&self, model: &Model, prompts: &[Input<'_>], options: &Drawing, most: usize) -> Answer<Vec<New>> {
        let sampling = (options.temperature != 0.0).then_some(Sampling {
            temperature: options.temperature,
            top_k: options.top_k,
            top_p: if options.top_p == 0.0 { 1.0 } else { options.top_p },
            seed: options.seed,
        });
        let Drawing { max_tokens, count, .. } = *options;
        let options = GenerateOptions { max_tokens, count, sampling, end: None };
        let prompts = encode(model, prompts, Task::Generate)?;
        let mut left = most;
        let mut each = |_: &NewToken| {
            left = left.saturating_sub(1);
            left > 0
        };
        let answers = model.generate_streaming(&prompts, &options, &mut each, Run::default()).map_err(failure)?;
        let new = |token: &NewToken| New {
            input: token.input,
            continuation: token.continuation,
            id: token.id,
            log_probability: token.log_probability,
        };
        Ok(answers.iter().flatten().flat_map(|continuation| &continuation.tokens).map(new).collect())
    }

    fn perplexity(&self, scores: &[(f64, u64)]) -> f64 {
        perplexity_of(scores.iter().map(|score| score.0).sum(), scores.iter().map(|score| score.1).sum())
    }

    fn next_sentence(&self, model: &Model, inputs: &[Input<'_>]) -> Answer<Vec<f32>> {
        model.next_sentence(&encode(model, inputs, Task::NextSentence)?, Run::default()).map_err(failure)
    }

    fn embed(
        &self,
        model: &Model,
        inputs: &[Input<'_>],
        pooling: Option<Pooling>,
        prompt: Option<&str>,
        watch: &mut Watch,
    ) -> Answer<Vec<f32>> {
        let text = TextOptions { prompt, ..TextOptions::default() };
        let encoded = model.encode(inputs, Task::Embed, &text).map_err(failure)?;
        let cancel = Cancel::new();
        if watch.cancelled {
            cancel.set();
        }
        let mut progress = |done, total| {
            watch.seen.push((done, total));
            !watch.stop
        };
        let run = Run { cancel: Some(&cancel), progress: Some(&mut progress) };
        let vectors = model.embed(&encoded, &EmbedOptions { pooling, normalize: false }, run).map_err(failure)?;
        Ok(vectors.concat())
    }

    fn hidden_states(&self, model: &Model, inputs: &[Input<'_>], layers: &[u32]) -> Answer<Vec<f32>> {
        let layers: Vec<usize> = layers.iter().map(|&layer| layer as usize).collect();
        let encoded = encode(model, inputs, Task::HiddenStates)?;
        let states = model.hidden_states(&encoded, &layers, Run::default()).map_err(failure)?;
        Ok(states.concat().concat())
    }

    fn classify(&self, model: &Model, inputs: &[Input<'_>]) -> Answer<Vec<f32>> {
        Ok(model.classify(&encode(model, inputs, Task::Classify)?, Run::default()).map_err(failure)?.concat())
    }

    fn tag(
        &self,
        model: &Model,
        inputs: &[Input<'_>],
        aggregation: Aggregation,
        unit: OffsetUnit,
    ) -> Answer<Vec<Entity>> {
        let texts: Vec<&str> =
            inputs.iter().map(|input| if let Input::Text(text) = *input { text } else { "" }).collect();
        let encoded = encode(model, inputs, Task::Tag)?;
        let options = TagOptions { aggregation, keep_outside: false };
        let found = model.entities(&encoded, &texts, &options, Run::default()).map_err(failure)?;
        let mut entities = Vec::new();
        for (input, (found, text)) in found.iter().zip(texts).enumerate() {
            for entity in found {
                let span = convert_offsets(text, &[entity.span], unit)[0];
                entities.push(Entity {
                    input,
                    label: entity.label,
                    start: span.start,
                    end: span.end,
                    probability: f64::from(entity.probability),
                });
            }
        }
        Ok(entities)
    }

    fn tag_tokens(&self, model: &Model, inputs: &[Input<'_>]) -> Answer<Vec<f32>> {
        let tagged = model.tag(&encode(model, inputs, Task::Tag)?, Run::default()).map_err(failure)?;
        Ok(tagged.concat().into_iter().flat_map(|token| token.probabilities).collect())
    }
}
