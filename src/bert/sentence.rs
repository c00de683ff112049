//! sentence-transformers folders: what happens to token vectors between the encoder and the embedding.
//!
//! `modules.json` lists a Transformer, a Pooling, then any number of Dense and Normalize modules, each with a folder
//! of its own.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path};

use serde_json::{Map, Value};

use super::keys::{self, Keys, wrong};
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::ops::pooling;
use crate::weights::Weights;

mod written;

/// A sentence-transformers pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentence {
    /// Folder of the encoder within the model folder: empty, or `0_Transformer` in old folders.
    pub transformer: String,
    /// `max_seq_length`: tokens, with special ones, to which a text is cut. Newer folders leave it to the tokenizer's
    /// `model_max_length`.
    pub max_seq_length: Option<usize>,
    /// Whether texts are lower-cased before the tokenizer sees them, whatever the tokenizer itself does.
    pub do_lower_case: bool,
    /// From token vectors `[T, H]` to one vector per sequence.
    pub pooling: Pooling,
    /// What happens to the pooled vectors, in order.
    pub stages: Vec<Stage>,
    /// `truncate_dim`: leading elements of the result that are kept, after all stages and without normalizing again.
    pub truncate: Option<usize>,
    /// Prompt names and the texts they put before the input.
    pub prompts: Vec<(String, String)>,
    /// The prompt used where the caller names none; one of `prompts`.
    pub default_prompt: Option<String>,
    /// `similarity_fn_name`: `cosine`, `dot` …, by which the model's author compares embeddings.
    pub similarity: Option<String>,
}

/// How token vectors become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooling {
    /// Never empty. The vectors of several modes are laid end to end, in this order.
    pub modes: Vec<pooling::Pooling>,
    /// Width of the token vectors, where the folder states it; to be H.
    pub width: Option<usize>,
    /// Whether a prompt's tokens take part in pooling.
    pub include_prompt: bool,
}

/// What happens to pooled vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// activation(x Wᵀ + b).
    Dense(DenseConfig),
    /// Division by the Euclidean norm, or by 1e-12 where that is larger.
    Normalize,
}

/// A Dense module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenseConfig {
    /// Its folder within the model folder; `model.safetensors` there holds `linear.weight`
    /// `[out_features, in_features]` and `linear.bias` `[out_features]`.
    pub folder: String,
    /// Width of its input.
    pub in_features: usize,
    /// Width of its output.
    pub out_features: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// What follows the product.
    pub activation: Activation,
}

impl Sentence {
    /// Reads the pipeline of a model folder; `None` where it has no `modules.json`.
    ///
    /// Fails as [`Sentence::parse`] does, with `Io` when a file cannot be read, and as [`Weights::open`] does when a
    /// Dense module has no safetensors file.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let read = |name: &str| read_file(&folder.join(name));
        let Some(modules) = read("modules.json")? else { return Ok(None) };
        let sentence = Self::parse(&modules, read)?;
        for stage in &sentence.stages {
            if let Stage::Dense(dense) = stage {
                Weights::open(&folder.join(&dense.folder))?;
            }
        }
        Ok(Some(sentence))
    }

    /// Reads the pipeline from the bytes of `modules.json` and of the files it leads to. `read` gives the bytes of a
    /// file by its path within the model folder, with `/` between folders, and `None` where there is none.
    ///
    /// Fails with `Unsupported` on modules, modes and options that cloze does not compute, with `Missing` when a module
    /// lacks its configuration, and with `InvalidFile` on what is not JSON, has the wrong type, or lies outside the
    /// model folder.
    pub fn parse(modules: &[u8], read: impl Fn(&str) -> Result<Option<Vec<u8>>>) -> Result<Self> {
        let modules = parse_modules(modules).map_err(|e| e.within("modules.json"))?;
        let files = Files { read: &read };
        let [transformer, pooling, rest @ ..] = modules.as_slice() else { return Err(order(&modules)) };
        if (transformer.kind, pooling.kind) != (Kind::Transformer, Kind::Pooling) {
            return Err(order(&modules));
        }
        let mut stages = Vec::with_capacity(rest.len());
        for module in rest {
            stages.push(match module.kind {
                Kind::Dense => Stage::Dense(files.required(module, |keys| read_dense(&module.folder, keys))?),
                Kind::Normalize => files.optional(module, read_normalize)?,
                Kind::Transformer | Kind::Pooling => return Err(order(&modules)),
            });
        }
        let encoder = files.encoder(&transformer.folder)?;
        let model = files.model()?;
        Ok(Self {
            transformer: transformer.folder.clone(),
            max_seq_length: encoder.max_seq_length,
            do_lower_case: encoder.do_lower_case,
            pooling: files.required(pooling, read_pooling)?,
            stages,
            truncate: model.truncate,
            prompts: model.prompts,
            default_prompt: model.default_prompt,
            similarity: model.similarity,
        })
    }

    /// Width of the embedding of an encoder with H = `hidden`.
    ///
    /// Fails with `InvalidFile` when Pooling or a Dense module expects another width than it is given.
    pub fn width(&self, hidden: usize) -> Result<usize> {
        if let Some(stated) = self.pooling.width.filter(|stated| *stated != hidden) {
            return Err(Error::file(format!("pooling: embedding_dimension {stated}, expected hidden_size {hidden}")));
        }
        let mut width = hidden.saturating_mul(self.pooling.modes.len());
        for stage in &self.stages {
            if let Stage::Dense(dense) = stage {
                if dense.in_features != width {
                    let (folder, found) = (&dense.folder, dense.in_features);
                    return Err(Error::file(format!("{folder}: in_features {found}, expected {width}")));
                }
                width = dense.out_features;
            }
        }
        Ok(self.truncate.map_or(width, |kept| width.min(kept)))
    }
}

/// Paths within the model folder of every file that makes a sentence-transformers pipeline of it, except the encoder
/// itself and its tokenizer; not all of them need to be there. `modules` are the bytes of `modules.json`.
///
/// Fails as [`Sentence::parse`] does on `modules.json`.
pub fn files(modules: &[u8]) -> Result<Vec<String>> {
    let modules = parse_modules(modules).map_err(|e| e.within("modules.json"))?;
    let mut names = vec!["modules.json".to_owned(), "config_sentence_transformers.json".to_owned()];
    for Module { kind, folder } in &modules {
        match kind {
            Kind::Transformer => {
                names.extend(FAMILIES.map(|family| join(folder, &format!("sentence_{family}_config.json"))));
            }
            Kind::Dense => names.extend(["config.json", "model.safetensors"].map(|name| join(folder, name))),
            Kind::Pooling | Kind::Normalize => names.push(join(folder, "config.json")),
        }
    }
    Ok(names)
}

/// Families that a Transformer module's configuration has been named after.
const FAMILIES: [&str; 7] = ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"];

fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::io(path, &e)),
    }
}

/// An entry of `modules.json`.
#[derive(Debug)]
struct Module {
    kind: Kind,
    folder: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transformer,
    Pooling,
    Dense,
    Normalize,
}

/// `[{idx, name, path, type}]`, in the order of the list; sentence-transformers does not look at `idx` either.
fn parse_modules(bytes: &[u8]) -> Result<Vec<Module>> {
    let list: Vec<Value> = serde_json::from_slice(bytes).map_err(|e| Error::file(format!("not a JSON list: {e}")))?;
    list.iter().map(parse_module).collect()
}

fn parse_module(entry: &Value) -> Result<Module> {
    let keys = Keys(entry.as_object().ok_or_else(|| Error::file(format!("module {entry}, expected an object")))?);
    let class = keys.text("type")?.ok_or_else(|| Error::file(format!("module {entry} has no type")))?;
    let folder = keys.text("path")?.ok_or_else(|| Error::file(format!("module {entry} has no path")))?;
    Ok(Module { kind: kind(class)?, folder: inside(folder)? })
}

/// The kind of a class by the last component of its name, since the modules before it were moved several times. A
/// class from elsewhere is code that came with the model.
fn kind(class: &str) -> Result<Kind> {
    let last = match class.strip_prefix("sentence_transformers.") {
        Some(rest) => rest.rsplit('.').next().unwrap_or(rest),
        None => "",
    };
    match last {
        "Transformer" => Ok(Kind::Transformer),
        "Pooling" => Ok(Kind::Pooling),
        "Dense" => Ok(Kind::Dense),
        "Normalize" => Ok(Kind::Normalize),
        _ => Err(Error::unsupported(format!(
            "type: {class:?} is not supported, expected Transformer, Pooling, Dense or Normalize of \
             sentence_transformers"
        ))),
    }
}

/// A folder within the model folder, with `/` between its components and none at the end.
fn inside(path: &str) -> Result<String> {
    let components: Option<Vec<&str>> = Path::new(path)
        .components()
        .map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    match components {
        Some(names) if !path.contains(['\\', ':', '\0']) => Ok(names.join("/")),
        _ => Err(Error::file(format!("path: {path:?}, expected a folder within the model folder"))),
    }
}

fn order(modules: &[Module]) -> Error {
    let kinds: Vec<String> = modules.iter().map(|module| format!("{:?}", module.kind)).collect();
    Error::unsupported(format!(
        "modules.json: [{}] is not supported, expected Transformer, Pooling, then Dense and Normalize in any order",
        kinds.join(", ")
    ))
}

/// The files of a model folder, wherever they are.
struct Files<'a, R> {
    read: &'a R,
}

/// What the Transformer module adds to the encoder.
struct Encoder {
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

/// What `config_sentence_transformers.json` says.
struct Model {
    truncate: Option<usize>,
    prompts: Vec<(String, String)>,
    default_prompt: Option<String>,
    similarity: Option<String>,
}

impl<R: Fn(&str) -> Result<Option<Vec<u8>>>> Files<'_, R> {
    /// Reads the `config.json` of a module.
    fn required<T>(&self, module: &Module, parse: impl Fn(Keys) -> Result<T>) -> Result<T> {
        let name = join(&module.folder, "config.json");
        let absent = || Error::missing(format!("{name}: absent, but modules.json lists its {:?}", module.kind));
        self.parse(&name, parse)?.ok_or_else(absent)
    }

    /// Reads the `config.json` of a module that can do without one.
    fn optional<T>(&self, module: &Module, parse: impl Fn(Keys) -> Result<T>) -> Result<T> {
        match self.parse(&join(&module.folder, "config.json"), &parse)? {
            Some(parsed) => Ok(parsed),
            None => parse(Keys(&Map::new())),
        }
    }

    /// The first configuration file of a Transformer module, under any of the names it has had.
    fn encoder(&self, folder: &str) -> Result<Encoder> {
        for family in FAMILIES {
            let name = join(folder, &format!("sentence_{family}_config.json"));
            if let Some(encoder) = self.parse(&name, read_encoder)? {
                return Ok(encoder);
            }
        }
        Ok(Encoder { max_seq_length: None, do_lower_case: false })
    }

    fn model(&self) -> Result<Model> {
        let model = self.parse("config_sentence_transformers.json", read_model)?;
        Ok(model.unwrap_or(Model { truncate: None, prompts: Vec::new(), default_prompt: None, similarity: None }))
    }

    fn parse<T>(&self, name: &str, parse: impl Fn(Keys) -> Result<T>) -> Result<Option<T>> {
        let Some(bytes) = (self.read)(name)? else { return Ok(None) };
        keys::object(&bytes).and_then(|object| parse(Keys(&object))).map(Some).map_err(|e| e.within(name))
    }
}

pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Sizes in these files are widths and lengths; beyond this nothing can be allocated.
const LARGEST: usize = i32::MAX as usize;

fn read_encoder(keys: Keys) -> Result<Encoder> {
    only(keys, "transformer_task", "feature-extraction")?;
    only(keys, "module_output_name", "token_embeddings")?;
    if let Some(modalities) = keys.object("modality_config")? {
        let Some(text) = Keys(modalities).object("text")? else {
            return Err(Error::unsupported("modality_config: without \"text\" is not supported"));
        };
        only(Keys(text), "method", "forward")?;
        only(Keys(text), "method_output_name", "last_hidden_state")?;
    }
    Ok(Encoder {
        max_seq_length: nullable_size(keys, "max_seq_length")?,
        do_lower_case: keys.flag("do_lower_case")?.unwrap_or(false),
    })
}

fn read_model(keys: Keys) -> Result<Model> {
    only(keys, "model_type", "SentenceTransformer")?;
    let mut prompts = Vec::new();
    for (name, prompt) in keys.object("prompts")?.into_iter().flatten() {
        match prompt {
            Value::String(text) => prompts.push((name.clone(), text.clone())),
            Value::Null => prompts.push((name.clone(), String::new())),
            other => return Err(wrong(&format!("prompts.{name}"), other, "a string")),
        }
    }
    let default_prompt = keys.text("default_prompt_name")?.map(String::from);
    if let Some(name) = default_prompt.as_ref().filter(|name| !prompts.iter().any(|(known, _)| known == *name)) {
        return Err(Error::file(format!("default_prompt_name: {name:?}, expected a name in prompts")));
    }
    Ok(Model {
        truncate: nullable_size(keys, "truncate_dim")?,
        prompts,
        default_prompt,
        similarity: keys.text("similarity_fn_name")?.map(String::from),
    })
}

/// The keys of old files and the names of new ones, in the order in which old files' modes are laid end to end.
const MODES: [(&str, &str, pooling::Pooling); 6] = [
    ("pooling_mode_cls_token", "cls", pooling::Pooling::Cls),
    ("pooling_mode_max_tokens", "max", pooling::Pooling::Max),
    ("pooling_mode_mean_tokens", "mean", pooling::Pooling::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", pooling::Pooling::MeanSqrtLen),
    ("pooling_mode_weightedmean_tokens", "weightedmean", pooling::Pooling::WeightedMean),
    ("pooling_mode_lasttoken", "lasttoken", pooling::Pooling::LastToken),
];

/// The new key `pooling_mode` wins over the old flags, as in sentence-transformers.
fn read_pooling(keys: Keys) -> Result<Pooling> {
    let modes = match keys.given("pooling_mode") {
        Some(Value::String(name)) => vec![mode(name)?],
        Some(other) => {
            let names = keys.texts("pooling_mode")?.filter(|names| !names.is_empty());
            let names = names.ok_or_else(|| wrong("pooling_mode", other, "at least one mode"))?;
            names.into_iter().map(mode).collect::<Result<_>>()?
        }
        None => flagged_modes(keys)?,
    };
    let width = match nullable_size(keys, "embedding_dimension")? {
        Some(width) => Some(width),
        None => nullable_size(keys, "word_embedding_dimension")?,
    };
    Ok(Pooling { modes, width, include_prompt: keys.flag("include_prompt")?.unwrap_or(true) })
}

fn mode(name: &str) -> Result<pooling::Pooling> {
    MODES.iter().find(|(_, known, _)| *known == name).map(|(_, _, mode)| *mode).ok_or_else(|| {
        let known: Vec<&str> = MODES.iter().map(|(_, known, _)| *known).collect();
        Error::unsupported(format!("pooling_mode: {name:?} is not supported, expected one of {}", known.join(", ")))
    })
}

fn flagged_modes(keys: Keys) -> Result<Vec<pooling::Pooling>> {
    let unknown = |key: &&String| key.starts_with("pooling_mode_") && !MODES.iter().any(|(flag, ..)| flag == key);
    for key in keys.0.keys().filter(unknown) {
        if keys.flag(key)?.unwrap_or(false) {
            return Err(Error::unsupported(format!("{key}: true is not supported")));
        }
    }
    let mut modes = Vec::new();
    for (flag, _, mode) in MODES {
        if keys.flag(flag)?.unwrap_or(false) {
            modes.push(mode);
        }
    }
    Ok(if modes.is_empty() { vec![pooling::Pooling::Mean] } else { modes })
}

fn read_dense(folder: &str, keys: Keys) -> Result<DenseConfig> {
    on_sentence_embeddings(keys)?;
    if keys.flag("use_residual")?.unwrap_or(false) {
        return Err(Error::unsupported("use_residual: true is not supported"));
    }
    let width = |key: &str| {
        keys.size(key, 1..=LARGEST)?.ok_or_else(|| Error::file(format!("{key}: absent, expected a whole number")))
    };
    Ok(DenseConfig {
        folder: folder.to_owned(),
        in_features: width("in_features")?,
        out_features: width("out_features")?,
        bias: keys.flag("bias")?.unwrap_or(true),
        activation: keys.text("activation_function")?.map_or(Ok(Activation::Tanh), torch_activation)?,
    })
}

fn read_normalize(keys: Keys) -> Result<Stage> {
    on_sentence_embeddings(keys)?;
    Ok(Stage::Normalize)
}

/// Classes of `torch.nn`, the module that each is in, and what they compute with their default arguments.
const TORCH: [(&str, &str, Activation); 9] = [
    ("Identity", "linear", Activation::Identity),
    ("Tanh", "activation", Activation::Tanh),
    ("ReLU", "activation", Activation::Relu),
    ("ReLU6", "activation", Activation::Relu6),
    ("LeakyReLU", "activation", Activation::LeakyRelu),
    ("GELU", "activation", Activation::GeluErf),
    ("SiLU", "activation", Activation::Silu),
    ("Sigmoid", "activation", Activation::Sigmoid),
    ("Mish", "activation", Activation::Mish),
];

/// The activation that a torch class computes. A class from elsewhere is code that came with the model.
fn torch_activation(class: &str) -> Result<Activation> {
    let last = if class.starts_with("torch.nn.") { class.rsplit('.').next().unwrap_or_default() } else { "" };
    TORCH.iter().find(|(name, ..)| *name == last).map(|(.., activation)| *activation).ok_or_else(|| {
        Error::unsupported(format!(
            "activation_function: {class:?} is not supported, expected {} of torch.nn",
            TORCH.map(|(name, ..)| name).join(", ")
        ))
    })
}

fn on_sentence_embeddings(keys: Keys) -> Result<()> {
    only(keys, "module_input_name", "sentence_embedding")?;
    only(keys, "module_output_name", "sentence_embedding")
}

/// A key that, given, must have this value.
fn only(keys: Keys, key: &str, supported: &str) -> Result<()> {
    match keys.text(key)? {
        Some(other) if other != supported => {
            Err(Error::unsupported(format!("{key}: {other:?} is not supported, expected {supported:?}")))
        }
        _ => Ok(()),
    }
}

fn nullable_size(keys: Keys, key: &str) -> Result<Option<usize>> {
    if keys.given(key).is_some() { keys.size(key, 1..=LARGEST) } else { Ok(None) }
}

#[cfg(test)]
mod tests;
