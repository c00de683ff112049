//! Heads beside the folder's own: trained, kept, saved and used on one encoder, under names.
//!
//! A head lies in `heads/NAME/` of the model's folder: `head.json` tells its task and labels, `model.safetensors` holds
//! `classifier.weight` and `classifier.bias` (of the span task `qa_outputs…`), and `pooler.dense…` where it has a pooler of
//! its own.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::device::{Place, on};
use super::files::Files;
use super::{Inner, Model};
use crate::bert::{Config, Dense, HeadPart, Loader, Problem, adapter};
use crate::device::Device;
use crate::error::{Error, Result};

/// A head with a name.
pub struct NamedHead<D: Device> {
    /// Letters, digits, `-`, `_` and `.`; not empty, and not beginning with a dot.
    pub name: String,
    /// What it is for.
    pub part: HeadPart,
    /// What it was trained for.
    pub problem: Option<Problem>,
    /// By their numbers.
    pub labels: Vec<String>,
    /// The head.
    pub dense: Arc<Dense<D>>,
    /// Its own pooler, where it was trained with one.
    pub pooler: Option<Arc<Dense<D>>>,
}

/// The folder of heads within a model.
pub const FOLDER: &str = "heads";
/// What a head's folder holds beside its tensors.
pub const DESCRIPTION: &str = "head.json";

const TASKS: [(&str, HeadPart, Option<Problem>); 5] = [
    ("single_label_classification", HeadPart::Sequence, Some(Problem::SingleLabel)),
    ("multi_label_classification", HeadPart::Sequence, Some(Problem::MultiLabel)),
    ("regression", HeadPart::Sequence, Some(Problem::Regression)),
    ("token_classification", HeadPart::Token, None),
    ("question_answering", HeadPart::Span, None),
];

impl<D: Device> NamedHead<D> {
    /// `head.json`
    pub fn description(&self) -> Value {
        let task = TASKS.iter().find(|(_, part, problem)| (*part, *problem) == (self.part, self.problem));
        json!({ "task": task.map_or("single_label_classification", |(name, ..)| name), "labels": self.labels })
    }

    /// Canonical name of the head's module.
    pub fn module(&self) -> &'static str {
        module(self.part)
    }

    /// The configuration of a model in which this head has the place of the folder's own.
    pub fn config(&self, config: &Config) -> Config {
        Config { labels: self.labels.clone(), problem: self.problem, ..config.clone() }
    }
}

fn module(part: HeadPart) -> &'static str {
    if part == HeadPart::Span { "qa_outputs" } else { "classifier" }
}

/// A name that can be a folder's.
pub fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.is_empty() && !name.starts_with('.') && name.chars().all(fits) {
        true => Ok(()),
        false => Err(Error::argument(format!("head {name:?}: expected letters, digits, '-', '_' and '.'"))),
    }
}

/// All named heads of a model.
pub fn load<D: Device>(device: &D, files: &Files<'_>, root: &str, config: &Config) -> Result<Vec<Arc<NamedHead<D>>>> {
    let folder = super::files::join(root, FOLDER);
    let mut heads = Vec::new();
    for name in files.list(&folder)? {
        let place = format!("{folder}/{name}");
        if let Some(description) = files.read(&format!("{place}/{DESCRIPTION}"))? {
            let head = one(device, files, &place, name, &description, config);
            heads.push(Arc::new(head.map_err(|error| error.within(&place))?));
        }
    }
    Ok(heads)
}

fn one<D: Device>(
    device: &D,
    files: &Files<'_>,
    place: &str,
    name: String,
    description: &[u8],
    config: &Config,
) -> Result<NamedHead<D>> {
    check_name(&name)?;
    let wrong = |what: &str| Error::file(format!("{DESCRIPTION}: {what}"));
    let json: Map<String, Value> =
        serde_json::from_slice(description).map_err(|e| wrong(&format!("not a JSON object: {e}")))?;
    let task = json.get("task").and_then(Value::as_str).ok_or_else(|| wrong("no \"task\""))?;
    let Some((_, part, problem)) = TASKS.iter().find(|(known, ..)| *known == task) else {
        return Err(wrong(&format!("task {task:?}, expected one of {}", TASKS.map(|(name, ..)| name).join(", "))));
    };
    let labels = json.get("labels").and_then(Value::as_array).ok_or_else(|| wrong("no list \"labels\""))?;
    let labels: Option<Vec<String>> = labels.iter().map(|label| label.as_str().map(str::to_owned)).collect();
    let labels = labels.ok_or_else(|| wrong("\"labels\" holds something else than strings"))?;
    let mut weights = files.weights(place)?;
    let mut loader = Loader { device, weights: &mut weights, fresh: None };
    let outputs = if *part == HeadPart::Span { 2 } else { labels.len() };
    let dense = Arc::new(loader.dense(module(*part), config.hidden, outputs)?);
    let pooler = adapter::pooler_module(config.architecture);
    let pooler = match loader.weights.contains(&format!("{pooler}.weight")) {
        true => Some(Arc::new(loader.dense(pooler, config.hidden, config.hidden)?)),
        false => None,
    };
    Ok(NamedHead { name, part: *part, problem: *problem, labels, dense, pooler })
}

impl Model {
    /// Names of the heads beside the folder's own.
    pub fn heads(&self) -> Vec<&str> {
        on!(&self.0, |inner| inner.heads.iter().map(|head| head.name.as_str()).collect())
    }

    /// The same model with a named head in the place of the folder's own. Everything is shared.
    ///
    /// Fails with `Missing` when there is no head of that name.
    pub fn with_head(&self, name: &str) -> Result<Model> {
        on!(&self.0, |inner| inner.with_head(name).map(Model::from))
    }
}

impl<D: Place> Inner<D> {
    fn with_head(&self, name: &str) -> Result<Self> {
        let Some(head) = self.heads.iter().find(|head| head.name == name) else {
            let names: Vec<&str> = self.heads.iter().map(|head| head.name.as_str()).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(Error::missing(format!("head {name:?}: the model has {there}")));
        };
        let mut bert = self.bert.share();
        bert.set_head(head.part, Arc::clone(&head.dense), head.config(bert.config()));
        if let Some(pooler) = &head.pooler {
            bert.set_pooler(Arc::clone(pooler));
        }
        let mut changed = self.changed.clone();
        changed.add(head.part);
        changed.pooler |= head.pooler.is_some();
        Ok(self.with(bert, changed))
    }
}
