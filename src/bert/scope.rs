//! Which parts of a model train, and the gradients of exactly those.

use std::sync::Arc;

use crate::device::{Device, Tensor};
use crate::error::{Error, Result};
use crate::ops::Ops;
use crate::ops::linear::Weight;

use super::adapter::{self, Adapter, pooler_module};
use super::encoder::EncoderGradients;
use super::heads::Head;
use super::masked_lm::MaskedLm;
use super::parameters::Dense;
use super::trainable::{Content, Named};
use super::{Bert, Config};

/// Parts of a model that train. Everything else is frozen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The embedding tables, their norm and projection.
    pub embeddings: bool,
    /// Groups of layers, by number; BERT's groups are its layers.
    pub groups: Vec<usize>,
    /// The low-rank pairs.
    pub adapter: bool,
    /// The pooler.
    pub pooler: bool,
    /// Heads, the last added last.
    pub heads: Vec<HeadPart>,
}

impl Scope {
    /// All but the low-rank pairs.
    pub fn without_adapter(&self) -> Self {
        Self { adapter: false, ..self.clone() }
    }

    /// Everything that is in either.
    pub fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.embeddings |= other.embeddings;
        both.adapter |= other.adapter;
        both.pooler |= other.pooler;
        both.groups.extend(other.groups.iter().filter(|group| !self.groups.contains(group)));
        other.heads.iter().for_each(|&head| both.add(head));
        both
    }

    /// Adds a head as the last. Classifiers of texts and of tokens have one name, `classifier`: the last of them stays.
    pub fn add(&mut self, part: HeadPart) {
        let classifier = |head: HeadPart| matches!(head, HeadPart::Sequence | HeadPart::Token);
        self.heads.retain(|&head| head != part && !(classifier(head) && classifier(part)));
        self.heads.push(part);
    }
}

/// A head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadPart {
    /// Words for masked places.
    MaskedLm,
    /// Whether the second text follows the first.
    NextSentence,
    /// Labels of a text.
    Sequence,
    /// Labels of each token.
    Token,
    /// First and last token of an answer.
    Span,
}

impl HeadPart {
    const ALL: [HeadPart; 5] =
        [HeadPart::MaskedLm, HeadPart::NextSentence, HeadPart::Sequence, HeadPart::Token, HeadPart::Span];

    /// Whether the head stands on the pooler.
    pub fn is_pooled(self) -> bool {
        matches!(self, HeadPart::NextSentence | HeadPart::Sequence)
    }
}

/// Gradients of the parts in a [`Scope`], in the types of the parameters.
pub struct Gradients<D: Device> {
    /// Of the encoder.
    pub encoder: EncoderGradients<D>,
    /// Of the pooler.
    pub pooler: Option<Dense<D>>,
    /// Of the masked-LM head.
    pub masked_lm: Option<MaskedLm<D>>,
    /// Of the next-sentence head.
    pub next_sentence: Option<Dense<D>>,
    /// Of the sequence classifier.
    pub sequence: Option<Dense<D>>,
    /// Of the token classifier.
    pub token: Option<Dense<D>>,
    /// Of the span head.
    pub span: Option<Dense<D>>,
}

impl<D: Ops> Gradients<D> {
    /// Zeros for every part in `scope`, which `bert` has.
    pub fn zeros(device: &D, bert: &Bert<D>, scope: &Scope) -> Result<Self> {
        let zeros = Content::Zeros;
        let encoder = &bert.encoder;
        let mut groups = Vec::with_capacity(encoder.groups.len());
        for (number, group) in encoder.groups.iter().enumerate() {
            let layer = |layer: &Arc<_>| match scope.groups.contains(&number) {
                true => super::Layer::like(layer, device, zeros).map(Some),
                false => Ok(None),
            };
            groups.push(group.iter().map(layer).collect::<Result<_>>()?);
        }
        let dense = |wanted: bool, head: &Head<Arc<Dense<D>>>| match wanted {
            true => present(head)?.like(device, zeros).map(Some),
            false => Ok(None),
        };
        let has = |part| scope.heads.contains(&part);
        let heads = &bert.heads;
        Ok(Self {
            encoder: EncoderGradients {
                embeddings: match scope.embeddings {
                    true => Some(encoder.embeddings.like(device, zeros)?),
                    false => None,
                },
                groups,
                adapter: match (&encoder.adapter, scope.adapter) {
                    (Some(adapter), true) => Some(adapter.like(device, zeros)?),
                    _ => None,
                },
            },
            pooler: dense(scope.pooler, &heads.pooler)?,
            masked_lm: match has(HeadPart::MaskedLm) {
                true => Some(present(&heads.masked_lm)?.like(device, zeros)?),
                false => None,
            },
            next_sentence: dense(has(HeadPart::NextSentence), &heads.next_sentence)?,
            sequence: dense(has(HeadPart::Sequence), &heads.sequence)?,
            token: dense(has(HeadPart::Token), &heads.token)?,
            span: dense(has(HeadPart::Span), &heads.span)?,
        })
    }

    /// Every gradient, in the order of [`Bert::tensors`].
    pub fn tensors_mut(&mut self) -> Result<Vec<&mut Tensor<D>>> {
        let mut list = Vec::new();
        if let Some(embeddings) = &mut self.encoder.embeddings {
            list.extend(embeddings.tensors_mut()?);
        }
        for layer in self.encoder.groups.iter_mut().flatten().flatten() {
            list.extend(layer.tensors_mut()?);
        }
        if let Some(adapter) = &mut self.encoder.adapter {
            list.extend(adapter.tensors_mut());
        }
        if let Some(pooler) = &mut self.pooler {
            list.extend(pooler.tensors_mut()?);
        }
        if let Some(head) = &mut self.masked_lm {
            list.extend(head.tensors_mut()?);
        }
        let dense = [&mut self.next_sentence, &mut self.sequence, &mut self.token, &mut self.span];
        for dense in dense.into_iter().flatten() {
            list.extend(dense.tensors_mut()?);
        }
        Ok(list)
    }
}

impl<D: Ops> Bert<D> {
    /// Gives the model copies in f32 of all parts in `scope`, to train; the rest stays shared.
    pub fn own(&mut self, device: &D, scope: &Scope) -> Result<()> {
        let values = Content::Values;
        if scope.embeddings {
            self.encoder.embeddings = Arc::new(self.encoder.embeddings.like(device, values)?);
        }
        for &group in &scope.groups {
            for layer in &mut self.encoder.groups[group] {
                *layer = Arc::new(layer.like(device, values)?);
            }
        }
        if let (Some(adapter), true) = (&self.encoder.adapter, scope.adapter) {
            self.encoder.adapter = Some(Arc::new(adapter.like(device, values)?));
        }
        if scope.pooler {
            self.heads.pooler = Ok(Arc::new(present(&self.heads.pooler)?.like(device, values)?));
        }
        for &part in &scope.heads {
            if part == HeadPart::MaskedLm {
                self.heads.masked_lm = Ok(Arc::new(present(&self.heads.masked_lm)?.like(device, values)?));
            } else if let Some(head) = self.heads.dense_mut(part) {
                *head = Ok(Arc::new(present(head)?.like(device, values)?));
            }
        }
        Ok(())
    }

    /// The tensors of the parts in `scope` under their canonical names, in a fixed order. The model owns them.
    pub fn tensors(&self, scope: &Scope) -> Result<Named<'_, D>> {
        let architecture = self.config.architecture;
        let mut list = Vec::new();
        if scope.embeddings {
            list.extend(self.encoder.embeddings.tensors()?);
        }
        for &group in &ordered(scope) {
            for (inner, layer) in self.encoder.groups[group].iter().enumerate() {
                list.extend(layer.tensors(architecture, group, inner)?);
            }
        }
        if let (Some(adapter), true) = (&self.encoder.adapter, scope.adapter) {
            list.extend(adapter.tensors(architecture));
        }
        if scope.pooler {
            list.extend(present(&self.heads.pooler)?.tensors(pooler_module(architecture))?);
        }
        for part in HeadPart::ALL.into_iter().filter(|part| scope.heads.contains(part)) {
            match part {
                HeadPart::MaskedLm => list.extend(present(&self.heads.masked_lm)?.tensors()?),
                HeadPart::NextSentence => {
                    list.extend(present(&self.heads.next_sentence)?.tensors("cls.seq_relationship")?);
                }
                HeadPart::Sequence => list.extend(present(&self.heads.sequence)?.tensors("classifier")?),
                HeadPart::Token => list.extend(present(&self.heads.token)?.tensors("classifier")?),
                HeadPart::Span => list.extend(present(&self.heads.span)?.tensors("qa_outputs")?),
            }
        }
        Ok(list)
    }

    /// The same tensors, to write. Fails where another model shares one: see [`Bert::own`].
    pub fn tensors_mut(&mut self, scope: &Scope) -> Result<Vec<&mut Tensor<D>>> {
        let mut list = Vec::new();
        if scope.embeddings {
            list.extend(exclusive(&mut self.encoder.embeddings)?.tensors_mut()?);
        }
        for (group, layers) in self.encoder.groups.iter_mut().enumerate() {
            if scope.groups.contains(&group) {
                for layer in layers {
                    list.extend(exclusive(layer)?.tensors_mut()?);
                }
            }
        }
        if let (Some(adapter), true) = (&mut self.encoder.adapter, scope.adapter) {
            list.extend(exclusive(adapter)?.tensors_mut());
        }
        let heads = &mut self.heads;
        if let (Ok(pooler), true) = (&mut heads.pooler, scope.pooler) {
            list.extend(exclusive(pooler)?.tensors_mut()?);
        }
        let has = |part| scope.heads.contains(&part);
        if let (Ok(head), true) = (&mut heads.masked_lm, has(HeadPart::MaskedLm)) {
            list.extend(exclusive(head)?.tensors_mut()?);
        }
        for (part, head) in [
            (HeadPart::NextSentence, &mut heads.next_sentence),
            (HeadPart::Sequence, &mut heads.sequence),
            (HeadPart::Token, &mut heads.token),
            (HeadPart::Span, &mut heads.span),
        ] {
            if let (Ok(dense), true) = (head, has(part)) {
                list.extend(exclusive(dense)?.tensors_mut()?);
            }
        }
        Ok(list)
    }

    /// Numbers in the parts of `scope`.
    pub fn numbers(&self, scope: &Scope) -> Result<u64> {
        let mut total = 0;
        if scope.embeddings {
            total += self.encoder.embeddings.numbers();
        }
        for &group in &ordered(scope) {
            total += self.encoder.groups[group].iter().map(|layer| layer.numbers()).sum::<usize>();
        }
        if let (Some(adapter), true) = (&self.encoder.adapter, scope.adapter) {
            let pairs = adapter.pairs(self.config.architecture);
            total += pairs.iter().map(|(_, pair)| pair.a.rows() * (pair.a.cols() + pair.b.rows())).sum::<usize>();
        }
        if scope.pooler {
            total += present(&self.heads.pooler)?.numbers();
        }
        for &part in &scope.heads {
            total += match part {
                HeadPart::MaskedLm => present(&self.heads.masked_lm)?.numbers(),
                part => self.heads.dense(part)?.numbers(),
            };
        }
        Ok(total as u64)
    }

    /// Gives the head of `part`, and if asked the pooler, back the place that `other` has them in.
    pub fn restore_head(&mut self, part: HeadPart, other: &Self, pooler: bool) {
        self.config = other.config.clone();
        match part {
            HeadPart::MaskedLm => self.heads.masked_lm = other.heads.masked_lm.clone(),
            HeadPart::NextSentence => self.heads.next_sentence = other.heads.next_sentence.clone(),
            HeadPart::Sequence => self.heads.sequence = other.heads.sequence.clone(),
            HeadPart::Token => self.heads.token = other.heads.token.clone(),
            HeadPart::Span => self.heads.span = other.heads.span.clone(),
        }
        if pooler {
            self.heads.pooler = other.heads.pooler.clone();
        }
    }

    /// Replaces the configuration by one that differs in labels and problem only.
    pub fn set_config(&mut self, config: Config) {
        self.config = config;
    }

    /// The weight of a module that can have a low-rank pair, by its canonical name.
    pub fn weight(&self, module: &str) -> Result<&Weight<D>> {
        if module == pooler_module(self.config.architecture) {
            return Ok(&present(&self.heads.pooler)?.weight);
        }
        match adapter::modules(&self.config).into_iter().find(|(name, ..)| name == module) {
            Some((_, group, inner, target)) => Ok(&self.encoder.groups[group][inner].dense(target).weight),
            None => Err(Error::internal(format!("{module:?} is no linear layer of the encoder"))),
        }
    }

    /// A model of the same parts, for a configuration that differs in labels only.
    pub fn share(&self) -> Self {
        Self { config: self.config.clone(), encoder: self.encoder.share(), heads: self.heads.share() }
    }

    /// Puts a head in its place, with the labels and the problem that go with it.
    pub fn set_head(&mut self, part: HeadPart, head: Arc<Dense<D>>, config: Config) {
        self.config = config;
        if let Some(place) = self.heads.dense_mut(part) {
            *place = Ok(head);
        }
    }

    /// Puts a pooler in its place.
    pub fn set_pooler(&mut self, pooler: Arc<Dense<D>>) {
        self.heads.pooler = Ok(pooler);
    }

    /// Adds low-rank pairs to the encoder, in place of those it had.
    pub fn set_adapter(&mut self, adapter: Option<Arc<Adapter<D>>>) {
        self.encoder.adapter = adapter;
    }
}

/// As [`Bert::tensors_mut`] goes through them.
fn ordered(scope: &Scope) -> Vec<usize> {
    let mut groups = scope.groups.clone();
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn present<T>(head: &Head<T>) -> Result<&T> {
    head.as_ref().map_err(Clone::clone)
}

fn exclusive<T>(part: &mut Arc<T>) -> Result<&mut T> {
    Arc::get_mut(part).ok_or_else(|| Error::internal("a part that trains is shared with another model"))
}
