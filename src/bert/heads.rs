//! What stands on the encoder: pooler, masked LM, next sentence, classifiers.

use std::sync::Arc;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::ops::Ops;

use super::adapter::pooler_module;
use super::config::{Architecture, Config};
use super::masked_lm::MaskedLm;
use super::parameters::{Dense, Loader};
use super::scope::HeadPart;

/// A head, or why the checkpoint does not hold it: the first tensor that is missing.
pub type Head<T> = std::result::Result<T, Error>;

/// A head that is one dense layer, shared between models.
pub type DenseHead<D> = Head<Arc<Dense<D>>>;

/// The heads of a checkpoint. Parts are shared between models.
pub struct Heads<D: Device> {
    /// tanh(dense) of the `[CLS]` row.
    pub pooler: Head<Arc<Dense<D>>>,
    /// Words for masked places.
    pub masked_lm: Head<Arc<MaskedLm<D>>>,
    /// Whether the second text follows the first; on the pooler.
    pub next_sentence: Head<Arc<Dense<D>>>,
    /// Labels of a text; on the pooler.
    pub sequence: Head<Arc<Dense<D>>>,
    /// Labels of each token.
    pub token: Head<Arc<Dense<D>>>,
    /// First and last token of an answer.
    pub span: Head<Arc<Dense<D>>>,
}

impl<D: Ops> Heads<D> {
    /// Takes the heads that are there. A head that lacks a tensor is no error until it is asked for; a head with a
    /// tensor of the wrong shape is one now.
    pub fn load(loader: &mut Loader<'_, D>, config: &Config) -> Result<Self> {
        let hidden = config.hidden;
        let classifier = optional(loader.dense("classifier", hidden, config.labels.len()))?;
        let pooler = optional(loader.dense(pooler_module(config.architecture), hidden, hidden))?;
        let (sequence, token) = assign_classifier(classifier, config, pooler.is_ok());
        Ok(Self {
            pooler,
            masked_lm: optional(MaskedLm::load(loader, config))?,
            next_sentence: match config.architecture {
                Architecture::Bert => optional(loader.dense("cls.seq_relationship", hidden, 2))?,
                Architecture::Albert => {
                    Err(Error::missing("ALBERT has no next-sentence head: it learns the order of two segments instead"))
                }
            },
            sequence,
            token,
            span: optional(loader.dense("qa_outputs", hidden, 2))?,
        })
    }

    /// A head that is one dense layer.
    pub fn dense(&self, part: HeadPart) -> Result<&Dense<D>> {
        let head = match part {
            HeadPart::NextSentence => &self.next_sentence,
            HeadPart::Sequence => &self.sequence,
            HeadPart::Token => &self.token,
            HeadPart::Span => &self.span,
            HeadPart::MaskedLm => return Err(Error::internal("the masked-LM head is not one layer")),
        };
        head.as_deref().map_err(Clone::clone)
    }

    /// Its place, to write; none for the masked-LM head.
    pub(super) fn dense_mut(&mut self, part: HeadPart) -> Option<&mut Head<Arc<Dense<D>>>> {
        match part {
            HeadPart::NextSentence => Some(&mut self.next_sentence),
            HeadPart::Sequence => Some(&mut self.sequence),
            HeadPart::Token => Some(&mut self.token),
            HeadPart::Span => Some(&mut self.span),
            HeadPart::MaskedLm => None,
        }
    }

    /// Heads of the same parts.
    pub fn share(&self) -> Self {
        Self {
            pooler: self.pooler.clone(),
            masked_lm: self.masked_lm.clone(),
            next_sentence: self.next_sentence.clone(),
            sequence: self.sequence.clone(),
            token: self.token.clone(),
            span: self.span.clone(),
        }
    }
}

/// Sequence and token classifiers have the same tensor names: `architectures` tells which it is, and where it is
/// silent, a pooler tells of sequences.
fn assign_classifier<D: Device>(
    classifier: DenseHead<D>,
    config: &Config,
    pooler: bool,
) -> (DenseHead<D>, DenseHead<D>) {
    let named = |part: &str| config.architectures.iter().any(|name| name.contains(part));
    let of_tokens = named("TokenClassification") || (!named("SequenceClassification") && !pooler);
    let other = |what: &str, is: &str| Err(Error::missing(format!("no {what} classifier: \"classifier\" is for {is}")));
    match classifier {
        Err(missing) => (Err(missing.clone()), Err(missing)),
        Ok(dense) if of_tokens => (other("sequence", "tokens"), Ok(dense)),
        Ok(dense) => (Ok(dense), other("token", "sequences")),
    }
}

/// A missing tensor makes the head absent; everything else is an error of the file.
fn optional<T>(head: Result<T>) -> Result<Head<Arc<T>>> {
    match head {
        Err(error) if error.status() != crate::error::Status::Missing => Err(error),
        head => Ok(head.map(Arc::new)),
    }
}
