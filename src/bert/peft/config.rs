//! `adapter_config.json` of a LoRA adapter: h = W x + scale · B A x.
//!
//! scale = alpha / r, or alpha / √r where ranks are stabilized (Kalajdzievski 2023).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::CONFIG;
use super::modules::{Modules, Pattern, Targets, layer, lies_in};
use crate::bert::keys::{self, Keys, wrong};
use crate::error::{Error, Result};

/// What `adapter_config.json` says. Modules are called by their paths in the task model, as PEFT sees them:
/// `bert.encoder.layer.0.attention.self.query`, and without `bert.` in a bare encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// `r`, at least 1, where no pattern gives another.
    pub rank: usize,
    /// `lora_alpha`, where no pattern gives another.
    pub alpha: f32,
    /// `lora_dropout`: of the adapter's input.
    pub dropout: f32,
    /// `use_rslora`.
    pub rank_stabilized: bool,
    /// `target_modules`.
    pub targets: Targets,
    /// `rank_pattern`: ranks of modules whose path ends in a match; the first counts.
    pub rank_pattern: Vec<(Pattern, usize)>,
    /// `alpha_pattern`, likewise.
    pub alpha_pattern: Vec<(Pattern, f32)>,
    /// `layers_to_transform`: targets by name outside these layers are left alone. An empty list means all layers.
    pub layers_to_transform: Option<Vec<usize>>,
    /// `layers_pattern`: what the layers are called.
    pub layers_pattern: Vec<Pattern>,
    /// `exclude_modules`: no targets, whatever else says so.
    pub exclude: Option<Modules>,
    /// `modules_to_save`: modules that were trained whole.
    pub modules_to_save: Vec<String>,
    /// `task_type`. PEFT has none for masked LM.
    pub task: Option<TaskType>,
    /// `base_model_name_or_path`.
    pub base_model: Option<String>,
    /// The whole file, so that keys which mean nothing here are written back.
    pub raw: Map<String, Value>,
}

/// What the adapted model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskType {
    /// Labels of a text.
    SequenceClassification,
    /// Labels of each token.
    TokenClassification,
    /// An answer's place in a text.
    QuestionAnswering,
    /// Hidden states.
    FeatureExtraction,
}

const TASKS: [(&str, TaskType); 4] = [
    ("SEQ_CLS", TaskType::SequenceClassification),
    ("TOKEN_CLS", TaskType::TokenClassification),
    ("QUESTION_ANS", TaskType::QuestionAnswering),
    ("FEATURE_EXTRACTION", TaskType::FeatureExtraction),
];

impl TaskType {
    /// Modules that PEFT saves whole for this task, whether or not `modules_to_save` lists them.
    fn saves(self) -> &'static [&'static str] {
        match self {
            Self::SequenceClassification | Self::TokenClassification => &["classifier", "score"],
            Self::QuestionAnswering => &["qa_outputs"],
            Self::FeatureExtraction => &[],
        }
    }
}

/// Keys that, when they hold anything but nothing, ask for another computation than this one.
const OTHER_COMPUTATIONS: [&str; 13] = [
    "use_dora",
    "lora_bias",
    "megatron_config",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "use_qalora",
    "alora_invocation_tokens",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
];

/// Ways of filling A that leave the base model as it is. The others expect a base model that was changed with them.
const INITS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

const LARGEST: usize = i32::MAX as usize;

impl LoraConfig {
    /// PEFT's defaults: rank 8, alpha 8, query and value, nothing saved whole.
    pub fn new() -> Self {
        Self {
            rank: 8,
            alpha: 8.0,
            dropout: 0.0,
            rank_stabilized: false,
            targets: Targets::Modules(Modules::Names(vec!["query".into(), "value".into()])),
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            layers_to_transform: None,
            layers_pattern: Vec::new(),
            exclude: None,
            modules_to_save: Vec::new(),
            task: None,
            base_model: None,
            raw: Map::new(),
        }
    }

    /// Reads the bytes of an `adapter_config.json`, with PEFT's defaults for absent keys. Unknown keys are kept.
    ///
    /// `fan_in_fan_out` is ignored: PEFT ignores it in linear layers, and BERT has no others.
    ///
    /// Fails with `Unsupported` on what asks for something else than LoRA (DoRA, trained biases, a changed base model,
    /// another `peft_type` …), and with `InvalidFile` on what is not JSON or has the wrong type.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        keys::object(bytes).and_then(|raw| read(&raw)).map_err(|e| e.within(CONFIG))
    }

    /// The file's contents: what was read and not understood, and above it what the fields say. Keys are sorted.
    pub fn to_json(&self) -> Value {
        let patterns = |entries: Vec<(&Pattern, Value)>| -> Value {
            let map: Map<String, Value> = entries.into_iter().map(|(key, value)| (key.text().into(), value)).collect();
            map.into()
        };
        let ranks = self.rank_pattern.iter().map(|(key, rank)| (key, json!(rank))).collect();
        let alphas = self.alpha_pattern.iter().map(|(key, alpha)| (key, number(*alpha))).collect();
        let task = TASKS.iter().find(|(_, task)| Some(*task) == self.task).map(|(name, _)| *name);
        let layers: Vec<&str> = self.layers_pattern.iter().map(Pattern::text).collect();
        let mut keys: BTreeMap<String, Value> = self.raw.clone().into_iter().collect();
        keys.entry("init_lora_weights".into()).or_insert(true.into());
        let known = [
            ("peft_type", json!("LORA")),
            ("r", json!(self.rank)),
            ("lora_alpha", number(self.alpha)),
            ("lora_dropout", number(self.dropout)),
            ("use_rslora", json!(self.rank_stabilized)),
            (
                "target_modules",
                match &self.targets {
                    Targets::Modules(modules) => modules_json(modules),
                    Targets::AllLinear => json!(ALL_LINEAR),
                },
            ),
            ("rank_pattern", patterns(ranks)),
            ("alpha_pattern", patterns(alphas)),
            ("layers_to_transform", json!(self.layers_to_transform)),
            ("layers_pattern", if layers.is_empty() { Value::Null } else { json!(layers) }),
            ("exclude_modules", self.exclude.as_ref().map_or(Value::Null, modules_json)),
            ("modules_to_save", some(&self.modules_to_save)),
            ("task_type", json!(task)),
            ("base_model_name_or_path", json!(self.base_model)),
            ("bias", json!("none")),
            ("fan_in_fan_out", json!(false)),
            ("inference_mode", json!(true)),
        ];
        keys.extend(known.map(|(key, value)| (key.to_owned(), value)));
        Value::Object(keys.into_iter().collect())
    }

    /// r of the module at this path.
    pub fn rank_of(&self, path: &str) -> usize {
        first(&self.rank_pattern, path).unwrap_or(self.rank)
    }

    /// What B A x is multiplied with in the module at this path.
    pub fn scale(&self, path: &str) -> f32 {
        let alpha = f64::from(first(&self.alpha_pattern, path).unwrap_or(self.alpha));
        let rank = self.rank_of(path) as f64;
        (alpha / if self.rank_stabilized { rank.sqrt() } else { rank }) as f32
    }

    /// Whether the linear layer at this path is adapted.
    pub fn targets(&self, path: &str) -> bool {
        let excluded = self.exclude.as_ref().is_some_and(|modules| modules.contains(path));
        if excluded || self.saves(path) {
            return false;
        }
        match &self.targets {
            Targets::AllLinear => !matches!(path, "cls.predictions.decoder" | "predictions.decoder"),
            Targets::Modules(Modules::Names(names)) if names.iter().any(|name| name == path) => true,
            Targets::Modules(modules @ Modules::Names(_)) => modules.contains(path) && self.in_layers(path),
            Targets::Modules(modules) => modules.contains(path),
        }
    }

    /// Whether the module at this path is stored whole.
    pub fn saves(&self, path: &str) -> bool {
        let implied = self.task.map_or(&[][..], TaskType::saves);
        implied.iter().copied().chain(self.modules_to_save.iter().map(String::as_str)).any(|name| lies_in(path, name))
    }

    fn in_layers(&self, path: &str) -> bool {
        match &self.layers_to_transform {
            Some(layers) if !layers.is_empty() => {
                layer(path, &self.layers_pattern).is_some_and(|layer| layers.contains(&layer))
            }
            _ => true,
        }
    }
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self::new()
    }
}

const ALL_LINEAR: &str = "all-linear";

fn read(raw: &Map<String, Value>) -> Result<LoraConfig> {
    let keys = Keys(raw);
    refuse_other_computations(keys)?;
    let default = LoraConfig::new();
    let probability = |p: f32| (0.0..=1.0).contains(&p);
    Ok(LoraConfig {
        rank: keys.size("r", 1..=LARGEST)?.unwrap_or(default.rank),
        alpha: keys.number("lora_alpha", "a number", |_| true)?.unwrap_or(default.alpha),
        dropout: keys.number("lora_dropout", "a probability from 0 to 1", probability)?.unwrap_or(0.0),
        rank_stabilized: keys.flag("use_rslora")?.unwrap_or(false),
        targets: match modules(keys, "target_modules")? {
            Some(Modules::Pattern(pattern)) if pattern.text().eq_ignore_ascii_case(ALL_LINEAR) => Targets::AllLinear,
            Some(modules) => Targets::Modules(modules),
            None => default.targets,
        },
        rank_pattern: patterns(keys, "rank_pattern", "a whole number of at least 1", |value| {
            usize::try_from(value.as_u64()?).ok().filter(|rank| (1..=LARGEST).contains(rank))
        })?,
        alpha_pattern: patterns(keys, "alpha_pattern", "a number", |value| {
            value.as_f64().map(|alpha| alpha as f32).filter(|alpha| alpha.is_finite())
        })?,
        layers_to_transform: layers_to_transform(keys)?,
        layers_pattern: names(keys, "layers_pattern")?
            .unwrap_or_default()
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(|text| Pattern::layers(text).map_err(|e| e.within("layers_pattern")))
            .collect::<Result<_>>()?,
        exclude: modules(keys, "exclude_modules")?.filter(|modules| *modules != Modules::Names(Vec::new())),
        modules_to_save: owned(keys.texts("modules_to_save")?.unwrap_or_default()),
        task: task(keys)?,
        base_model: keys.text("base_model_name_or_path")?.map(String::from),
        raw: raw.clone(),
    })
}

fn refuse_other_computations(keys: Keys) -> Result<()> {
    match keys.text("peft_type")? {
        Some("LORA") => {}
        Some(other) => {
            return Err(Error::unsupported(format!("peft_type: {other:?} is not supported, expected \"LORA\"")));
        }
        None => return Err(Error::file("peft_type: absent, expected \"LORA\"")),
    }
    for key in OTHER_COMPUTATIONS {
        let active = match keys.given(key) {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Object(object)) => !object.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            Some(_) => true,
        };
        if active {
            return Err(Error::unsupported(format!("{key}: {} is not supported, expected plain LoRA", keys.0[key])));
        }
    }
    if let Some(bias) = keys.text("bias")?.filter(|bias| *bias != "none") {
        return Err(Error::unsupported(format!("bias: {bias:?} is not supported, expected \"none\"")));
    }
    match keys.given("init_lora_weights") {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(Value::String(init)) if INITS.contains(&init.as_str()) => Ok(()),
        Some(other) => Err(Error::unsupported(format!(
            "init_lora_weights: {other} is not supported, as it belongs to a changed base model; expected true, false \
             or one of {}",
            INITS.join(", ")
        ))),
    }
}

/// A pattern, or a list of names.
fn modules(keys: Keys, key: &str) -> Result<Option<Modules>> {
    match keys.given(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(Modules::Pattern(Pattern::whole(text).map_err(|e| e.within(key))?))),
        Some(_) => Ok(keys.texts(key)?.map(|names| Modules::Names(owned(names)))),
    }
}

/// One name or a list of them.
fn names<'a>(keys: Keys<'a>, key: &str) -> Result<Option<Vec<&'a str>>> {
    match keys.given(key) {
        Some(Value::String(text)) => Ok(Some(vec![text])),
        _ => keys.texts(key),
    }
}

fn patterns<T>(keys: Keys, key: &str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<(Pattern, T)>> {
    let Some(object) = keys.object(key)? else { return Ok(Vec::new()) };
    let entry = |(text, value): (&String, &Value)| {
        let number = read(value).ok_or_else(|| wrong(&format!("{key}.{text}"), value, expected))?;
        Ok((Pattern::ending(text).map_err(|e| e.within(key))?, number))
    };
    object.iter().map(entry).collect()
}

fn layers_to_transform(keys: Keys) -> Result<Option<Vec<usize>>> {
    let key = "layers_to_transform";
    let index = |value: &Value| usize::try_from(value.as_u64()?).ok();
    let read = |value: &Value| match value {
        Value::Array(list) => list.iter().map(index).collect(),
        one => Some(vec![index(one)?]),
    };
    let expected = "a whole number or a list of them";
    keys.given(key).map(|value| read(value).ok_or_else(|| wrong(key, value, expected))).transpose()
}

fn task(keys: Keys) -> Result<Option<TaskType>> {
    let Some(name) = keys.text("task_type")? else { return Ok(None) };
    match TASKS.iter().find(|(known, _)| *known == name) {
        Some((_, task)) => Ok(Some(*task)),
        None => {
            let known = TASKS.map(|(known, _)| known).join(", ");
            Err(Error::unsupported(format!("task_type: {name:?} is not supported, expected one of {known} or null")))
        }
    }
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(String::from).collect()
}

fn first<T: Copy>(patterns: &[(Pattern, T)], path: &str) -> Option<T> {
    patterns.iter().find(|(pattern, _)| pattern.matches(path)).map(|(_, value)| *value)
}

fn modules_json(modules: &Modules) -> Value {
    match modules {
        Modules::Names(names) => json!(names),
        Modules::Pattern(pattern) => json!(pattern.text()),
    }
}

/// PEFT writes an empty list as null.
fn some(names: &[String]) -> Value {
    if names.is_empty() { Value::Null } else { json!(names) }
}

/// Whole numbers without a point, as PEFT's `int` fields expect, and others as short as they are in f32.
fn number(value: f32) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        return json!(value as i64);
    }
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests;
