//! The heads that a training needs: the model's own where they fit, new ones where that is meant.

use std::sync::Arc;

use super::TrainOptions;
use crate::bert::{Bert, Config, HeadPart, Scope, init, pooler_module};
use crate::engine::Inner;
use crate::engine::device::Place;
use crate::error::{Error, Result, Status};
use crate::train::objective::Objective;

/// Puts the heads that train in their places, and a pooler under them. Returns the canonical names of what is new.
///
/// Classifiers, taggers and span heads are new wherever the folder's do not fit. Those of pretraining are new only where
/// `fresh_head` asks for it: else `Missing` names the tensor that is not there.
pub fn give<D: Place>(
    model: &Inner<D>,
    options: &TrainOptions,
    config: &Config,
    labels: &[String],
    bert: &mut Bert<D>,
    scope: &mut Scope,
) -> Result<Vec<String>> {
    let mut fresh = Vec::new();
    let heads = model.bert.heads();
    let language = options.objective.has_words() || options.objective == Objective::NextSentence;
    // of two heads, one that is there goes on learning where the other is missing
    let is_half = options.objective == Objective::Pretraining
        && heads.masked_lm.is_ok() != heads.dense(HeadPart::NextSentence).is_ok();
    let anew = options.fresh_head && !is_half;
    if options.objective.has_words() {
        give_words(model, options, anew, bert, &mut fresh)?;
    }
    if options.objective.is_pooled() && model.bert.heads().pooler.is_err() {
        if let (true, false, Err(missing)) = (language, options.fresh_head, &model.bert.heads().pooler) {
            return Err(ask(missing));
        }
        let (hidden, std, module) = (config.hidden, config.initializer_range, pooler_module(config.architecture));
        let pooler = init::dense(&model.device, hidden, hidden, std, options.seed, module)?;
        bert.set_pooler(Arc::new(pooler));
        scope.pooler = true;
        fresh.extend(of_dense(module));
    }
    give_dense(model, options, anew, config, labels, bert, &mut fresh)?;
    Ok(fresh)
}

/// The masked-LM head; its decoder stays the word embeddings where that is so.
fn give_words<D: Place>(
    model: &Inner<D>,
    options: &TrainOptions,
    anew: bool,
    bert: &mut Bert<D>,
    fresh: &mut Vec<String>,
) -> Result<()> {
    match &model.bert.heads().masked_lm {
        Ok(_) if !anew => Ok(()),
        Err(missing) if !options.fresh_head => Err(ask(missing)),
        _ => {
            fresh.extend(bert.make_masked_lm(&model.device, options.seed)?);
            Ok(())
        }
    }
}

/// A head that is one dense layer.
fn give_dense<D: Place>(
    model: &Inner<D>,
    options: &TrainOptions,
    anew: bool,
    config: &Config,
    labels: &[String],
    bert: &mut Bert<D>,
    fresh: &mut Vec<String>,
) -> Result<()> {
    let Some(part) = options.objective.dense_head() else { return Ok(()) };
    let outputs = match part {
        HeadPart::Span | HeadPart::NextSentence => 2,
        _ => labels.len(),
    };
    if !options.head.is_empty()
        && !anew
        && let Some(head) = model.heads.iter().find(|head| head.name == options.head)
        && head.part == part
        && head.labels == labels
    {
        bert.set_head(part, Arc::clone(&head.dense), config.clone());
        if let Some(pooler) = &head.pooler {
            bert.set_pooler(Arc::clone(pooler));
        }
        return Ok(());
    }
    let own = model.bert.heads().dense(part);
    if let (HeadPart::NextSentence, false, Err(missing)) = (part, options.fresh_head, &own) {
        return Err(ask(missing));
    }
    let fits = own.is_ok_and(|dense| dense.weight.shape().0 == outputs)
        && (matches!(part, HeadPart::Span | HeadPart::NextSentence) || model.bert.config().labels == labels);
    if fits && !anew && options.head.is_empty() {
        bert.set_config(config.clone());
        return Ok(());
    }
    let (hidden, std) = (config.hidden, config.initializer_range);
    let module = match part {
        HeadPart::NextSentence => "cls.seq_relationship",
        HeadPart::Span => "qa_outputs",
        _ => "classifier",
    };
    let dense = init::dense(&model.device, hidden, outputs, std, options.seed, module)?;
    bert.set_head(part, Arc::new(dense), config.clone());
    fresh.extend(of_dense(module));
    Ok(())
}

/// What is missing, and how to have it made.
fn ask(missing: &Error) -> Error {
    match missing.status() {
        Status::Missing => Error::missing(format!(
            "{}; a new one, of random numbers, is made only when asked: fresh_head",
            missing.message()
        )),
        _ => missing.clone(),
    }
}

fn of_dense(module: &str) -> [String; 2] {
    ["weight", "bias"].map(|end| format!("{module}.{end}"))
}
