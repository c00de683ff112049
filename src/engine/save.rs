//! A model as a HuggingFace folder.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fs;
use std::path::Path;

use super::device::{Place, on};
use super::heads::{DESCRIPTION, FOLDER, NamedHead};
use super::{Inner, Model};
use crate::bert::carried::{self, Carry};
use crate::bert::config_out::Labels;
use crate::bert::{Architecture, Content, Direction, HeadPart, Named, Scope, Sentence, adapter, quantisation};
use crate::device::{Device, Tensor};
use crate::dtype::{DType, Storage};
use crate::error::{Error, Result};
use crate::ops::lora;
use crate::tasks::Stage;
use crate::weights::save::{self, Output, f32_bytes};
use crate::weights::{Contents, NewFolder, canonical, qualified};

impl Model {
    /// Writes the model as a HuggingFace folder: `config.json`, `model.safetensors`, the tokenizer's files, named heads,
    /// and where the model has it a sentence-transformers pipeline.
    /// Tensors that never trained keep the type and the bytes of the folder they came from; low-rank pairs are merged.
    ///
    /// `folder` appears in one step, or is replaced in one step; a model that has the old one mapped keeps it. Fails with
    /// `InvalidArgument` when something lies there that is no model, and `Io` when it cannot be written: what was there is
    /// then still there.
    pub fn save(&self, folder: &Path) -> Result<()> {
        on!(&self.0, |inner| inner.save(folder, None))
    }

    /// The same with every weight in one type, rounded to the nearest; `config.json` tells it. With [`Storage::Int8`] the
    /// linear layers of the encoder are in 8 bits, with a scale for every output, and all else is as [`save`](Self::save)
    /// writes it.
    ///
    /// Fails as [`save`](Self::save) does, and with `InvalidArgument`, naming the tensor, on a number that `storage` cannot
    /// hold.
    pub fn save_as(&self, folder: &Path, storage: impl Into<Storage>) -> Result<()> {
        let storage = Some(storage.into());
        on!(&self.0, |inner| inner.save(folder, storage))
    }
}

impl<D: Place> Inner<D> {
    fn save(&self, folder: &Path, storage: Option<Storage>) -> Result<()> {
        let new = NewFolder::begin(folder)?;
        self.write(new.path(), storage)?;
        new.commit()
    }

    /// Writes the model's files into an empty folder: weights in `storage`, or each in its own type.
    pub(super) fn write(&self, folder: &Path, storage: Option<Storage>) -> Result<()> {
        let changed = self.changed_values()?;
        let kept = self.kept(&changed)?;
        let outputs = self.outputs(&changed, &kept, storage)?;
        let dtype = storage.and_then(float);
        let class = self.class();
        // transformers gives a span head as many outputs as the folder has labels
        let ends = ["LABEL_0", "LABEL_1"].map(str::to_owned);
        let labels = match class {
            "ForSequenceClassification" | "ForTokenClassification" => {
                Some(Labels { names: &self.bert.config().labels, problem: self.bert.config().problem })
            }
            SPAN => Some(Labels { names: &ends, problem: None }),
            _ => None,
        };
        let told = dtype.unwrap_or(DType::F32);
        let narrow = narrow_modules(&outputs);
        let config = self.bert.config().to_json_for(&format!("{}{class}", self.family()), labels, told, &narrow)?;
        write(&folder.join("config.json"), config.as_bytes())?;
        carried::copy(|name| self.shared.source.read(name), "", Carry::Tokenizer, folder)?;
        write_tensors(&folder.join("model.safetensors"), &outputs)?;
        if let Some(sentence) = &*self.sentence {
            self.write_pipeline(folder, sentence, dtype)?;
        }
        for head in &self.heads {
            self.write_head(&folder.join(FOLDER).join(&head.name), head, dtype)?;
        }
        Ok(())
    }

    /// The modules of sentence-transformers, with the encoder in the folder itself wherever it came from.
    fn write_pipeline(&self, folder: &Path, sentence: &Sentence, dtype: Option<DType>) -> Result<()> {
        for (name, json) in sentence.files(self.bert.config().hidden)? {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(|e| Error::io(parent, &e))?;
            }
            write(&path, format!("{json:#}\n").as_bytes())?;
        }
        for (number, (stage, loaded)) in sentence.stages.iter().zip(&self.pipeline.stages).enumerate() {
            if let Stage::Dense(dense, _) = loaded {
                let dense = dense.like(&self.device, Content::Values)?;
                let path = folder.join(stage.place(number)).join("model.safetensors");
                write_outputs(&path, f32_outputs(&self.device, dense.tensors("linear")?)?, dtype)?;
            }
        }
        Ok(())
    }

    /// What the class name in `architectures` ends in: what was trained last, else what the folder said.
    pub(super) fn class(&self) -> &'static str {
        let has = |part| self.changed.heads.contains(&part);
        let said = |end: &str| self.bert.config().architectures.iter().any(|name| name.ends_with(end));
        match self.changed.heads.last() {
            Some(HeadPart::MaskedLm) if has(HeadPart::NextSentence) => "ForPreTraining",
            Some(HeadPart::NextSentence) if has(HeadPart::MaskedLm) => "ForPreTraining",
            Some(HeadPart::MaskedLm) if self.bert.config().direction == Direction::Causal => CAUSAL,
            Some(HeadPart::MaskedLm) => "ForMaskedLM",
            Some(HeadPart::NextSentence) => "ForNextSentencePrediction",
            Some(HeadPart::Sequence) => "ForSequenceClassification",
            Some(HeadPart::Token) => "ForTokenClassification",
            Some(HeadPart::Span) => SPAN,
            None => ENDS.into_iter().find(|end| said(end)).unwrap_or("Model"),
        }
    }

    fn family(&self) -> &'static str {
        match self.bert.config().architecture {
            Architecture::Bert => "Bert",
            Architecture::Albert => "Albert",
        }
    }

    /// What a task model puts before the encoder's keys.
    pub(super) fn prefix(&self) -> &'static str {
        match (self.class(), self.bert.config().architecture) {
            ("Model", _) => "",
            (_, Architecture::Bert) => "bert.",
            (_, Architecture::Albert) => "albert.",
        }
    }

    fn write_head(&self, folder: &Path, head: &NamedHead<D>, dtype: Option<DType>) -> Result<()> {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, &e))?;
        write(&folder.join(DESCRIPTION), format!("{:#}\n", head.description()).as_bytes())?;
        let mut tensors = head.dense.tensors(head.module())?;
        if let Some(pooler) = &head.pooler {
            tensors.extend(pooler.tensors(adapter::pooler_module(self.bert.config().architecture))?);
        }
        write_outputs(&folder.join("model.safetensors"), f32_outputs(&self.device, tensors)?, dtype)
    }

    /// What training changed, by canonical name.
    fn changed_values(&self) -> Result<BTreeMap<String, Cow<'_, [f32]>>> {
        let mut changed = self.merged()?;
        for (name, tensor) in self.bert.tensors(&self.written())? {
            if let Entry::Vacant(place) = changed.entry(name) {
                place.insert(tensor.host(&self.device)?);
            }
        }
        Ok(changed)
    }

    /// What is written as it was read, by canonical name.
    fn kept(&self, changed: &BTreeMap<String, Cow<'_, [f32]>>) -> Result<Vec<(String, Contents)>> {
        let stored = self.shared.weights.tensors();
        let kept = stored.filter(|(name, ..)| !changed.contains_key(*name) && !self.is_stale(name));
        kept.map(|(name, _, contents)| Ok((name.to_owned(), contents?))).collect()
    }

    /// The tensors of `model.safetensors`.
    fn outputs<'a>(
        &self,
        changed: &'a BTreeMap<String, Cow<'_, [f32]>>,
        kept: &'a [(String, Contents)],
        storage: Option<Storage>,
    ) -> Result<Vec<Output<'a>>> {
        let (mut shapes, prefix) = (self.shapes()?, self.prefix());
        let encoder = quantisation::narrow_modules(self.bert.config());
        let of_encoder = |name: &str| name.strip_suffix(".weight").is_some_and(|module| encoder.contains(module));
        let typed = |name: &str, output: Output<'a>| match storage {
            Some(Storage::Float(dtype)) => Ok::<_, Error>(vec![output.in_type(dtype)?]),
            Some(Storage::Int8) if of_encoder(name) => Ok(output.quantised()?.into()),
            Some(Storage::Int8) | None => Ok(vec![output]),
        };
        let mut outputs = Vec::new();
        for (name, values) in changed {
            let (key, shape) = (qualified(prefix, name), shapes.remove(name).unwrap_or_default());
            let output = Output { key, storage: DType::F32.into(), shape, bytes: f32_bytes(values) };
            outputs.extend(typed(name, output)?);
        }
        for (name, contents) in kept {
            let key = qualified(prefix, name);
            match (contents, storage) {
                (Contents::Float(stored), _) => outputs.extend(typed(name, stored.output(key))?),
                (Contents::Int8(stored), Some(Storage::Float(_))) => outputs.extend(typed(name, stored.to_f32(&key)?)?),
                (Contents::Int8(stored), Some(Storage::Int8) | None) => outputs.extend(stored.outputs(&key)),
            }
        }
        Ok(outputs)
    }

    /// Parts that are written as they are now. A folder has labels for one head: of span head and classifier, the last.
    fn written(&self) -> Scope {
        let mut scope = self.changed.without_adapter();
        if scope.heads.last() == Some(&HeadPart::Span) {
            scope.heads.retain(|head| !matches!(head, HeadPart::Sequence | HeadPart::Token));
        }
        scope
    }

    /// Stored tensors that would contradict what is written: constants, second names of tied ones, and a classifier when
    /// another head gives the folder its labels.
    fn is_stale(&self, name: &str) -> bool {
        let tied = self.bert.config().tie_word_embeddings;
        let second = matches!(
            name,
            "cls.predictions.decoder.weight"
                | "cls.predictions.decoder.bias"
                | "predictions.decoder.weight"
                | "predictions.decoder.bias"
        );
        let replaced = |head: &HeadPart| matches!(head, HeadPart::Sequence | HeadPart::Token | HeadPart::Span);
        let classifier = name.starts_with("classifier.") && self.changed.heads.iter().any(replaced);
        (tied && second) || classifier || name.ends_with(".position_ids") || name.ends_with(".token_type_ids")
    }

    /// W + s·B A of every module with a low-rank pair.
    fn merged(&self) -> Result<BTreeMap<String, Cow<'_, [f32]>>> {
        let mut merged = BTreeMap::new();
        let config = self.bert.config();
        let Some(adapter) = self.bert.encoder().adapter() else { return Ok(merged) };
        for (module, pair) in adapter.pairs(config.architecture) {
            let weight = self.bert.weight(&module)?;
            let sum = lora::merged(&self.device, weight, &pair.lora())?;
            merged.insert(format!("{module}.weight"), Cow::Owned(sum.to_host(&self.device)?));
        }
        Ok(merged)
    }

    /// Shapes of everything that may have changed, as HuggingFace stores them.
    fn shapes(&self) -> Result<BTreeMap<String, Vec<usize>>> {
        let mut shapes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (name, tensor) in self.bert.tensors(&self.written())? {
            let shape = stored_shape(&name, tensor);
            shapes.insert(name, shape);
        }
        if let Some(adapter) = self.bert.encoder().adapter() {
            for (module, _) in adapter.pairs(self.bert.config().architecture) {
                let (inputs, outputs) = adapter::shape(self.bert.config(), &module);
                shapes.insert(format!("{module}.weight"), vec![outputs, inputs]);
            }
        }
        Ok(shapes)
    }
}

/// Ends of class names in HuggingFace.
const ENDS: [&str; 8] = [
    "ForPreTraining",
    "ForMaskedLM",
    CAUSAL,
    "ForNextSentencePrediction",
    "ForSequenceClassification",
    "ForTokenClassification",
    SPAN,
    "Model",
];

const CAUSAL: &str = "LMHeadModel";

const SPAN: &str = "ForQuestionAnswering";

/// The shape in which HuggingFace stores a tensor that is a matrix here.
pub(super) fn stored_shape<D: Device>(name: &str, tensor: &Tensor<D>) -> Vec<usize> {
    let is_vector =
        name.ends_with(".bias") || name.ends_with("LayerNorm.weight") || name.ends_with("layer_norm.weight");
    if is_vector { vec![tensor.cols()] } else { vec![tensor.rows(), tensor.cols()] }
}

fn f32_outputs<'a, D: Device>(device: &D, tensors: Named<'a, D>) -> Result<Vec<Output<'a>>> {
    tensors.into_iter().map(|(name, tensor)| f32_output(device, name, tensor)).collect()
}

/// A tensor to write under `key`.
pub(super) fn f32_output<'a, D: Device>(device: &D, key: String, tensor: &'a Tensor<D>) -> Result<Output<'a>> {
    let bytes = match tensor.host(device)? {
        Cow::Borrowed(values) => f32_bytes(values),
        Cow::Owned(values) => Cow::Owned(f32_bytes(&values).into_owned()),
    };
    Ok(Output { shape: stored_shape(&key, tensor), key, storage: DType::F32.into(), bytes })
}

/// A file of tensors in `dtype`, or each in its own type.
fn write_outputs(path: &Path, outputs: Vec<Output<'_>>, dtype: Option<DType>) -> Result<()> {
    let outputs = match dtype {
        Some(dtype) => outputs.into_iter().map(|output| output.in_type(dtype)).collect::<Result<Vec<_>>>()?,
        None => outputs,
    };
    write_tensors(path, &outputs)
}

fn write_tensors(path: &Path, outputs: &[Output<'_>]) -> Result<()> {
    save::write(path, outputs, &[("format", "pt")])
}

/// The type of what is not in 8 bits, where it is not its own.
fn float(storage: Storage) -> Option<DType> {
    match storage {
        Storage::Float(dtype) => Some(dtype),
        Storage::Int8 => None,
    }
}

/// Canonical names of the modules whose weights are in 8 bits.
fn narrow_modules(outputs: &[Output<'_>]) -> BTreeSet<String> {
    let narrow = outputs.iter().filter(|output| output.storage == Storage::Int8);
    narrow.filter_map(|output| canonical(&output.key).strip_suffix(".weight").map(str::to_owned)).collect()
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|e| Error::io(path, &e))
}
