//! Low-rank adapters in PEFT's form, beside the model they were trained on.

use std::path::Path;
use std::sync::Arc;

use super::device::{Place, on};
use super::save::stored_shape;
use super::trainer::LoraOptions;
use super::{Inner, Model};
use crate::bert::adapter::{self, Adapter, Pair};
use crate::bert::init;
use crate::bert::peft::{self, LoraConfig, Saved, StoredAdapter, StoredPair, TaskType};
use crate::bert::{Bert, Dense, HeadPart, Scope};
use crate::device::Tensor;
use crate::error::{Error, Result};
use crate::ops::Ops;
use crate::ops::linear::Weight;
use crate::weights::NewFolder;
use crate::weights::Stored;

impl Model {
    /// The same model with the adapter of a PEFT folder applied: its low-rank pairs, and the heads it saved. Everything
    /// else is shared, so that many adapters on one base cost little; which one answers is a matter of which model is asked.
    ///
    /// An adapter that this model has already is replaced. Labels stay the model's, where the head has as many outputs.
    ///
    /// Fails with `Unsupported` when the adapter is not plain LoRA, and `InvalidFile` or `Missing` when it does not fit.
    pub fn with_adapter(&self, folder: &Path) -> Result<Model> {
        let stored = StoredAdapter::open(folder)?;
        on!(&self.0, |inner| inner.adapted(&stored).map(Model::from)).map_err(|e| e.within(folder.display()))
    }
}

impl<D: Place> Inner<D> {
    fn adapted(&self, stored: &StoredAdapter) -> Result<Self> {
        let config = self.bert.config();
        let pairs = stored.pairs.iter().map(|(module, pair)| Ok((module.clone(), self.pair(pair)?)));
        let adapter = Adapter::assemble(config, pairs.collect::<Result<Vec<_>>>()?)?;
        let mut bert = self.bert.share();
        bert.set_adapter(Some(Arc::new(adapter)));
        let mut changed = self.changed.clone();
        let mut names: Vec<&str> = stored.saved.keys().filter_map(|name| name.strip_suffix(".weight")).collect();
        if let Some(name) = stored.saved.keys().find(|n| !n.ends_with(".weight") && !n.ends_with(".bias")) {
            return Err(Error::unsupported(format!("saved tensor {name:?}, expected the weights of a head")));
        }
        names.sort_unstable();
        for module in names {
            self.put_saved(&mut bert, &mut changed, stored, module)?;
        }
        Ok(self.with(bert, changed))
    }

    fn put_saved(&self, bert: &mut Bert<D>, changed: &mut Scope, stored: &StoredAdapter, module: &str) -> Result<()> {
        let weight = &stored.saved[&format!("{module}.weight")];
        let bias = stored.saved.get(&format!("{module}.bias"));
        let dense = Arc::new(self.dense(weight, bias)?);
        let (outputs, inputs) = dense.weight.shape();
        let hidden = bert.config().hidden;
        if inputs != hidden {
            return Err(Error::file(format!("saved module {module:?}: [{outputs}, {inputs}], expected [_, {hidden}]")));
        }
        if module == adapter::pooler_module(bert.config().architecture) {
            bert.set_pooler(dense);
            changed.pooler = true;
            return Ok(());
        }
        let part = match (module, stored.config.task) {
            ("classifier", Some(TaskType::TokenClassification)) => HeadPart::Token,
            ("classifier", _) if bert.heads().token.is_ok() => HeadPart::Token,
            ("classifier", _) => HeadPart::Sequence,
            ("qa_outputs", _) => HeadPart::Span,
            _ => return Err(Error::unsupported(format!("saved module {module:?}, expected a classifier or pooler"))),
        };
        let mut config = bert.config().clone();
        if part != HeadPart::Span && config.labels.len() != outputs {
            config.labels = (0..outputs).map(|id| format!("LABEL_{id}")).collect();
        }
        bert.set_head(part, dense, config);
        changed.add(part);
        Ok(())
    }

    fn pair(&self, stored: &StoredPair) -> Result<Pair<D>> {
        Ok(Pair { a: self.matrix(&stored.a)?, b: self.matrix(&stored.b)?, scale: stored.scale })
    }

    fn dense(&self, weight: &Stored, bias: Option<&Stored>) -> Result<Dense<D>> {
        let bias = bias.map(|bias| Tensor::from_host(&self.device, &bias.to_f32(), 1, bias.shape[0])).transpose()?;
        Ok(Dense::new(Weight::F32(self.matrix(weight)?), bias))
    }

    fn matrix(&self, stored: &Stored) -> Result<Tensor<D>> {
        match stored.shape[..] {
            [rows, cols] => Tensor::from_host(&self.device, &stored.to_f32(), rows, cols),
            _ => Err(Error::file(format!("shape {:?}, expected a matrix", stored.shape))),
        }
    }

    /// Makes a PEFT folder of low-rank pairs and what trained whole beside them.
    pub(super) fn save_adapter(&self, folder: &Path, config: &LoraConfig, scope: &Scope) -> Result<()> {
        let new = NewFolder::begin(folder)?;
        self.write_adapter(new.path(), config, scope)?;
        new.commit()
    }

    /// Writes its files into an empty folder.
    pub(super) fn write_adapter(&self, folder: &Path, config: &LoraConfig, scope: &Scope) -> Result<()> {
        let Some(pairs) = self.bert.encoder().adapter() else {
            return Err(Error::argument("no low-rank pairs to save: they come with trainable lora"));
        };
        let pairs = pairs.pairs(self.bert.config().architecture);
        let numbers = pairs.iter().map(|(_, pair)| Ok((pair.a.host(&self.device)?, pair.b.host(&self.device)?)));
        let numbers = numbers.collect::<Result<Vec<_>>>()?;
        let pairs: Vec<peft::Pair<'_>> = pairs
            .iter()
            .zip(&numbers)
            .map(|((module, pair), (a, b))| peft::Pair { module, a, b, rank: pair.a.rows() })
            .collect();
        let whole = self.bert.tensors(&scope.without_adapter())?;
        let numbers = whole.iter().map(|(_, tensor)| tensor.host(&self.device)).collect::<Result<Vec<_>>>()?;
        let saved: Vec<Saved<'_>> = whole
            .iter()
            .zip(&numbers)
            .map(|((name, tensor), values)| Saved { name, shape: stored_shape(name, tensor), values })
            .collect();
        peft::write_adapter(folder, config, self.prefix(), &pairs, &saved)
    }
}

/// `adapter_config.json` of a new adapter.
pub fn lora_config(options: &LoraOptions, base: Option<String>, heads: &[HeadPart], pooler: bool) -> LoraConfig {
    let (task, module) = match heads {
        [HeadPart::Sequence] => (Some(TaskType::SequenceClassification), "classifier"),
        [HeadPart::Token] => (Some(TaskType::TokenClassification), "classifier"),
        [HeadPart::Span] => (Some(TaskType::QuestionAnswering), "qa_outputs"),
        _ => (None, "cls"),
    };
    let mut config = LoraConfig::new();
    let mut modules = vec![module.to_owned()];
    if pooler {
        modules.push("pooler".to_owned());
    }
    (config.rank, config.alpha, config.dropout) = (options.rank, options.alpha, options.dropout);
    (config.rank_stabilized, config.task, config.base_model) = (options.rank_stabilized, task, base);
    config.modules_to_save = modules;
    config.targets = match options.targets.as_slice() {
        [] => config.targets,
        [all] if all == "all-linear" => peft::Targets::AllLinear,
        names => peft::Targets::Modules(peft::Modules::Names(names.to_vec())),
    };
    config
}

/// New pairs on the modules that `config` means: A uniform in ±1/√K as PEFT makes it (Kaiming with a = √5), B zero.
pub fn fresh<D: Ops>(device: &D, bert: &Bert<D>, config: &LoraConfig, prefix: &str, seed: u64) -> Result<Adapter<D>> {
    let model = bert.config();
    let mut modules: Vec<String> = adapter::modules(model).into_iter().map(|(name, ..)| name).collect();
    if bert.heads().pooler.is_ok() {
        modules.push(adapter::pooler_module(model.architecture).to_owned());
    }
    let mut pairs = Vec::new();
    for (index, module) in modules.into_iter().enumerate() {
        let path = crate::weights::qualified(prefix, &module);
        if !config.targets(&path) {
            continue;
        }
        let (inputs, outputs) = adapter::shape(model, &module);
        let rank = config.rank;
        let values = init::uniform(rank * inputs, 1.0 / (inputs as f32).sqrt(), seed, 1000 + index as u32);
        let a = Tensor::from_host(device, &values, rank, inputs)?;
        let b = Tensor::zeros(device, outputs, rank)?;
        pairs.push((module, Pair { a, b, scale: config.scale(&path) }));
    }
    if pairs.is_empty() {
        return Err(Error::argument(format!("lora.targets: {:?} name no linear layer of this model", config.targets)));
    }
    Adapter::assemble(model, pairs)
}
