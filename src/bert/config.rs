//! `config.json`: the shape of the model, and what HuggingFace would assume where the file is silent.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::keys::{self, Keys, wrong};
use super::quantisation;
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::ops::attention::Direction;

/// What `config.json` says, checked: every size is at least 1, A divides H, and no matrix has more than 2⁴⁰ elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `model_type`; where absent, decided by `architectures`, else BERT.
    pub architecture: Architecture,
    /// V, `vocab_size`: rows of the word embeddings, possibly more than the tokenizer has words.
    pub vocabulary: usize,
    /// H, `hidden_size`.
    pub hidden: usize,
    /// E, `embedding_size`: width of the embeddings. H for BERT.
    pub embedding: usize,
    /// L, `num_hidden_layers`: applications of a group of layers.
    pub layers: usize,
    /// `num_hidden_groups`: groups with parameters of their own. L for BERT.
    pub groups: usize,
    /// `inner_group_num`: layers in each group. 1 for BERT.
    pub inner_group: usize,
    /// A, `num_attention_heads`.
    pub heads: usize,
    /// F, `intermediate_size`.
    pub intermediate: usize,
    /// `max_position_embeddings`.
    pub max_positions: usize,
    /// `type_vocab_size`.
    pub token_types: usize,
    /// `hidden_act`. The pooler's activation is always tanh.
    pub activation: Activation,
    /// `layer_norm_eps`, positive.
    pub norm_eps: f32,
    /// `position_embedding_type`.
    pub position: Position,
    /// `is_decoder`: whether tokens see those before them only. BERT's alone.
    pub direction: Direction,
    /// `pad_token_id`: the row of the word embeddings that training leaves alone; less than V.
    pub pad_token: Option<u32>,
    /// `tie_word_embeddings`: whether the masked-LM decoder is the word embeddings.
    pub tie_word_embeddings: bool,
    /// `initializer_range`: standard deviation of new weights.
    pub initializer_range: f32,
    /// `hidden_dropout_prob`.
    pub hidden_dropout: f32,
    /// `attention_probs_dropout_prob`.
    pub attention_dropout: f32,
    /// `classifier_dropout`, of ALBERT `classifier_dropout_prob`; `null` is `hidden_dropout_prob`.
    pub classifier_dropout: f32,
    /// `id2label` by ascending id; where absent `LABEL_0` … for `num_labels`, which is 2 where absent too. `id2label`
    /// wins over a `num_labels` that disagrees.
    pub labels: Vec<String>,
    /// `problem_type`.
    pub problem: Option<Problem>,
    /// `architectures`: the classes that wrote the weights. May be empty or wrong; the tensors decide.
    pub architectures: Vec<String>,
    /// `dtype`, in older files `torch_dtype`, without `torch.`. The stored tensors decide.
    pub dtype: Option<String>,
    /// The whole file, so that keys which mean nothing here are written back.
    pub raw: Map<String, Value>,
}

/// The families of models that share this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Every layer has its own parameters; embeddings are as wide as the layers.
    Bert,
    /// Layers share parameters in groups; embeddings are narrower and projected.
    Albert,
}

/// How attention knows positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// Position embeddings are added to the input.
    Absolute,
    /// Distance embeddings enter the scores through the query.
    RelativeKey,
    /// Distance embeddings enter the scores through the query and the key.
    RelativeKeyQuery,
}

/// What a sequence classifier was trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Numbers: mean squared error, outputs as they are.
    Regression,
    /// One label of several: cross-entropy, softmax.
    SingleLabel,
    /// Any number of labels: binary cross-entropy, sigmoid.
    MultiLabel,
}

impl Config {
    /// Reads the bytes of a `config.json`, with HuggingFace's defaults for absent keys.
    ///
    /// Fails with `Unsupported` on what asks for another computation than BERT's or ALBERT's encoder (another
    /// `model_type`, cross-attention, pruned heads, an unknown activation or position type …), and with `InvalidFile` on
    /// what is not JSON, has the wrong type, or sizes that no model can have.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        keys::object(bytes).and_then(|raw| read(&raw)).map_err(|e| e.within("config.json"))
    }

    /// D = H / A, the width of one attention head.
    pub fn head_size(&self) -> usize {
        self.hidden / self.heads
    }

    /// The group whose parameters layer `layer` (of `layers`) uses. In f64 as HuggingFace computes it, so that
    /// numbers of groups that do not divide L round alike.
    pub fn group_of(&self, layer: usize) -> usize {
        let group = layer as f64 / (self.layers as f64 / self.groups as f64);
        (group as usize).min(self.groups - 1)
    }
}

/// The activation function that HuggingFace calls `name`. Names that differ only in how transformers computes the
/// same function share a variant. Fails with `Unsupported` on every other name.
pub fn activation(name: &str) -> Result<Activation> {
    choice("hidden_act", name, &ACTIVATIONS)
}

const ACTIVATIONS: [(&str, Activation); 22] = [
    ("gelu", Activation::GeluErf),
    ("gelu_python", Activation::GeluErf),
    ("gelu_10", Activation::GeluErfClipped10),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("relu2", Activation::Relu2),
    ("relu6", Activation::Relu6),
    ("leaky_relu", Activation::LeakyRelu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("sigmoid", Activation::Sigmoid),
    ("tanh", Activation::Tanh),
    ("mish", Activation::Mish),
    ("laplace", Activation::Laplace),
    ("linear", Activation::Identity),
    ("hardswish", Activation::HardSwish),
    ("sqrtsoftplus", Activation::SqrtSoftplus),
];

const ARCHITECTURES: [(&str, Architecture); 2] = [("bert", Architecture::Bert), ("albert", Architecture::Albert)];

const POSITIONS: [(&str, Position); 3] = [
    ("absolute", Position::Absolute),
    ("relative_key", Position::RelativeKey),
    ("relative_key_query", Position::RelativeKeyQuery),
];

/// Where the two families' configuration classes disagree.
struct Defaults {
    vocabulary: usize,
    hidden: usize,
    heads: usize,
    intermediate: usize,
    activation: &'static str,
    dropout: f32,
}

const BERT: Defaults =
    Defaults { vocabulary: 30522, hidden: 768, heads: 12, intermediate: 3072, activation: "gelu", dropout: 0.1 };

const ALBERT: Defaults =
    Defaults { vocabulary: 30000, hidden: 4096, heads: 64, intermediate: 16384, activation: "gelu_new", dropout: 0.0 };

/// Token ids and rows are 32-bit signed in every file format around BERT.
const LARGEST: usize = i32::MAX as usize;

const MOST_LAYERS: usize = 10_000;

const MOST_LABELS: usize = 1 << 24;

const MOST_ELEMENTS: u128 = 1 << 40;

fn read(raw: &Map<String, Value>) -> Result<Config> {
    let keys = Keys(raw);
    let architectures: Vec<String> =
        keys.texts("architectures")?.unwrap_or_default().into_iter().map(String::from).collect();
    let architecture = architecture(keys, &architectures)?;
    refuse_other_computations(keys)?;

    let defaults = if architecture == Architecture::Albert { ALBERT } else { BERT };
    let size = |key, default| Ok::<_, Error>(keys.size(key, 1..=LARGEST)?.unwrap_or(default));
    let count = |key, default| Ok::<_, Error>(keys.size(key, 1..=MOST_LAYERS)?.unwrap_or(default));
    let probability = |key, default| {
        let value = keys.number(key, "a probability from 0 to 1", |p| (0.0..=1.0).contains(&p))?;
        Ok::<_, Error>(value.unwrap_or(default))
    };

    let vocabulary = size("vocab_size", defaults.vocabulary)?;
    let hidden = size("hidden_size", defaults.hidden)?;
    let layers = count("num_hidden_layers", 12)?;
    let (groups, inner_group) = match architecture {
        Architecture::Bert => (layers, 1),
        Architecture::Albert => (count("num_hidden_groups", 1)?, count("inner_group_num", 1)?),
    };
    let hidden_dropout = probability("hidden_dropout_prob", defaults.dropout)?;
    let classifier_dropout = match architecture {
        Architecture::Bert => "classifier_dropout",
        Architecture::Albert => "classifier_dropout_prob",
    };
    let config = Config {
        architecture,
        vocabulary,
        hidden,
        embedding: embedding(keys, architecture, hidden)?,
        layers,
        groups,
        inner_group,
        heads: size("num_attention_heads", defaults.heads)?,
        intermediate: size("intermediate_size", defaults.intermediate)?,
        max_positions: size("max_position_embeddings", 512)?,
        token_types: size("type_vocab_size", 2)?,
        activation: activation(keys.text("hidden_act")?.unwrap_or(defaults.activation))?,
        norm_eps: keys.number("layer_norm_eps", "a positive number", |eps| eps > 0.0)?.unwrap_or(1e-12),
        position: match keys.text("position_embedding_type")? {
            Some(name) => choice("position_embedding_type", name, &POSITIONS)?,
            None => Position::Absolute,
        },
        direction: direction(keys, architecture)?,
        pad_token: pad_token(keys, vocabulary)?,
        tie_word_embeddings: keys.flag("tie_word_embeddings")?.unwrap_or(true),
        initializer_range: keys.number("initializer_range", "a number of at least 0", |x| x >= 0.0)?.unwrap_or(0.02),
        hidden_dropout,
        attention_dropout: probability("attention_probs_dropout_prob", defaults.dropout)?,
        classifier_dropout: match (raw.get(classifier_dropout), architecture) {
            (Some(Value::Null), _) | (None, Architecture::Bert) => hidden_dropout,
            _ => probability(classifier_dropout, 0.1)?,
        },
        labels: labels(keys)?,
        problem: problem(keys)?,
        architectures,
        dtype: dtype(keys)?,
        raw: raw.clone(),
    };
    check_sizes(&config)?;
    Ok(config)
}

/// `model_type`, else the first class whose name begins as the family's classes do, else BERT.
fn architecture(keys: Keys, classes: &[String]) -> Result<Architecture> {
    if let Some(name) = keys.text("model_type")? {
        return choice("model_type", name, &ARCHITECTURES);
    }
    let family = |class: &String| match class {
        _ if class.starts_with("Bert") => Some(Architecture::Bert),
        _ if class.starts_with("Albert") => Some(Architecture::Albert),
        _ => None,
    };
    match (classes.iter().find_map(family), classes.first()) {
        (Some(architecture), _) => Ok(architecture),
        (None, None) => Ok(Architecture::Bert),
        (None, Some(class)) => Err(Error::unsupported(format!(
            "architectures: {class:?} without model_type is not supported, expected a Bert… or Albert… class"
        ))),
    }
}

/// Keys that, set, change what the model computes.
fn refuse_other_computations(keys: Keys) -> Result<()> {
    for key in ["add_cross_attention", "is_encoder_decoder"] {
        if keys.flag(key)?.unwrap_or(false) {
            return Err(Error::unsupported(format!(
                "{key}: true is not supported, expected one stack of layers alone"
            )));
        }
    }
    for key in ["pruned_heads", "per_layer_config"] {
        let empty = match keys.given(key) {
            None => true,
            Some(Value::Object(object)) => object.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(other) => return Err(wrong(key, other, "an object")),
        };
        if !empty {
            return Err(Error::unsupported(format!("{key}: not supported, expected absent or empty")));
        }
    }
    match keys.object(quantisation::KEY)? {
        Some(config) if !config.is_empty() => {
            quantisation::check(config).map_err(|error| error.within(quantisation::KEY))
        }
        _ => Ok(()),
    }
}

/// A decoder is a BERT that reads from left to right; of ALBERT there is none.
fn direction(keys: Keys, architecture: Architecture) -> Result<Direction> {
    match (keys.flag("is_decoder")?.unwrap_or(false), architecture) {
        (false, _) => Ok(Direction::Bidirectional),
        (true, Architecture::Bert) => Ok(Direction::Causal),
        (true, Architecture::Albert) => {
            Err(Error::unsupported("is_decoder: true is not supported for ALBERT, expected an encoder"))
        }
    }
}

/// E. A BERT whose embeddings are narrower than its layers needs a projection that `BertModel` does not have.
fn embedding(keys: Keys, architecture: Architecture, hidden: usize) -> Result<usize> {
    match (architecture, keys.given("embedding_size")) {
        (Architecture::Bert, None) => Ok(hidden),
        (Architecture::Bert, Some(_)) => match keys.size("embedding_size", 1..=LARGEST)? {
            Some(other) if other != hidden => Err(Error::unsupported(format!(
                "embedding_size: {other} is not supported for BERT, expected hidden_size {hidden}"
            ))),
            _ => Ok(hidden),
        },
        (Architecture::Albert, _) => Ok(keys.size("embedding_size", 1..=LARGEST)?.unwrap_or(128)),
    }
}

fn pad_token(keys: Keys, vocabulary: usize) -> Result<Option<u32>> {
    if keys.0.get("pad_token_id").is_some_and(Value::is_null) {
        return Ok(None);
    }
    // LARGEST bounds the vocabulary, so the id fits u32
    Ok(Some(keys.size("pad_token_id", 0..=vocabulary - 1)?.unwrap_or(0) as u32))
}

fn labels(keys: Keys) -> Result<Vec<String>> {
    let Some(map) = keys.object("id2label")? else {
        let count = match keys.given("num_labels") {
            Some(_) => keys.size("num_labels", 0..=MOST_LABELS)?.unwrap_or(2),
            None => 2,
        };
        return Ok((0..count).map(|id| format!("LABEL_{id}")).collect());
    };
    let mut by_id = BTreeMap::new();
    for (key, label) in map {
        let id: usize =
            key.parse().map_err(|_| Error::file(format!("id2label: id {key:?}, expected a whole number")))?;
        let label = match label {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            other => return Err(wrong(&format!("id2label.{key}"), other, "a string")),
        };
        if by_id.insert(id, label).is_some() {
            return Err(Error::file(format!("id2label: id {id} occurs twice")));
        }
    }
    if let Some((expected, id)) = by_id.keys().enumerate().find(|(expected, id)| expected != *id) {
        return Err(Error::file(format!("id2label: id {id} where {expected} was expected, ids must be 0 to n - 1")));
    }
    Ok(by_id.into_values().collect())
}

fn problem(keys: Keys) -> Result<Option<Problem>> {
    match keys.text("problem_type")? {
        None => Ok(None),
        Some("regression") => Ok(Some(Problem::Regression)),
        Some("single_label_classification") => Ok(Some(Problem::SingleLabel)),
        Some("multi_label_classification") => Ok(Some(Problem::MultiLabel)),
        Some(other) => Err(Error::file(format!(
            "problem_type: {other:?}, expected \"regression\", \"single_label_classification\" or \
             \"multi_label_classification\""
        ))),
    }
}

fn dtype(keys: Keys) -> Result<Option<String>> {
    let name = match keys.text("dtype")? {
        Some(name) => Some(name),
        None => keys.text("torch_dtype")?,
    };
    Ok(name.map(|name| name.strip_prefix("torch.").unwrap_or(name).to_owned()))
}

fn check_sizes(config: &Config) -> Result<()> {
    let hidden = ("hidden_size", config.hidden);
    let (embedding, blocks) = match config.architecture {
        Architecture::Bert => (hidden, ("num_hidden_layers", config.layers)),
        Architecture::Albert => (("embedding_size", config.embedding), ("num_hidden_groups", config.groups)),
    };
    if !config.hidden.is_multiple_of(config.heads) {
        return Err(Error::file(format!(
            "hidden_size: {}, expected a multiple of num_attention_heads {}",
            config.hidden, config.heads
        )));
    }
    let inner = ("inner_group_num", config.inner_group);
    check_product(&[("vocab_size", config.vocabulary), embedding])?;
    check_product(&[("max_position_embeddings", config.max_positions), embedding])?;
    check_product(&[("type_vocab_size", config.token_types), embedding])?;
    check_product(&[embedding, hidden])?;
    check_product(&[blocks, inner, hidden, hidden])?;
    check_product(&[blocks, inner, hidden, ("intermediate_size", config.intermediate)])?;
    check_product(&[("num_labels", config.labels.len()), hidden])
}

fn check_product(factors: &[(&str, usize)]) -> Result<()> {
    let product = factors.iter().try_fold(1u128, |product, (_, size)| product.checked_mul(*size as u128));
    if product.is_some_and(|elements| elements <= MOST_ELEMENTS) {
        return Ok(());
    }
    let named: Vec<String> = factors.iter().map(|(key, size)| format!("{key} {size}")).collect();
    Err(Error::file(format!("{}: more than 2^40 elements, expected at most that", named.join(" times "))))
}

fn choice<T: Copy>(key: &str, name: &str, table: &[(&str, T)]) -> Result<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = table.iter().map(|(known, _)| *known).collect();
        Error::unsupported(format!("{key}: {name:?} is not supported, expected one of {}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests;
