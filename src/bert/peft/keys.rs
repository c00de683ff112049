//! Names of an adapter's tensors: PEFT's keys, and the canonical names of this crate.

use crate::error::{Error, Result};
use crate::weights;

/// What a tensor of an adapter is, by canonical name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A of this module: `encoder.layer.0.attention.self.query`.
    A(String),
    /// B of this module.
    B(String),
    /// A tensor that was trained whole: `classifier.weight`.
    Saved(String),
}

/// A key taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub place: Place,
    /// The module's path in the task model, which the configuration's patterns see; of a saved tensor the tensor's.
    pub path: String,
}

const ROOT: &str = "base_model.model.";

impl Place {
    /// The key in an adapter of a task model, whose base model is called `prefix` (`bert.`, `albert.`), or of a bare
    /// encoder, where it is empty.
    pub fn key(&self, prefix: &str) -> String {
        match self {
            Self::A(module) => format!("{ROOT}{}.lora_A.weight", weights::qualified(prefix, module)),
            Self::B(module) => format!("{ROOT}{}.lora_B.weight", weights::qualified(prefix, module)),
            Self::Saved(tensor) => format!("{ROOT}{}", weights::qualified(prefix, tensor)),
        }
    }

    /// What lies under a key; `None` for the copy of an original module that some releases stored beside the trained
    /// one. The name `default`, which only lives in memory, is taken away where a release left it.
    ///
    /// Fails with `InvalidFile` on a key that is no adapter's, and with `Unsupported` on parts of other methods.
    pub fn parse(key: &str) -> Result<Option<Self>> {
        Ok(parse(key)?.map(|parsed| parsed.place))
    }
}

pub(super) fn parse(key: &str) -> Result<Option<Parsed>> {
    let Some(path) = key.strip_prefix(ROOT) else {
        return Err(Error::file(format!("tensor {key:?}: expected a key that begins with {ROOT:?}")));
    };
    if let Some(at) = path.find(".lora_") {
        let (module, part) = path.split_at(at);
        let name = weights::canonical(module);
        let place = match part {
            ".lora_A.weight" | ".lora_A.default.weight" => Place::A(name),
            ".lora_B.weight" | ".lora_B.default.weight" => Place::B(name),
            _ => {
                let part = &part[1..];
                return Err(Error::unsupported(format!(
                    "tensor {key:?}: {part} is not supported, expected lora_A.weight or lora_B.weight"
                )));
            }
        };
        return Ok(Some(Parsed { place, path: module.to_owned() }));
    }
    for part in [".base_layer.", ".token_adapter."] {
        if path.contains(part) {
            return Err(Error::unsupported(format!("tensor {key:?}: a part {part:?} is not supported in an adapter")));
        }
    }
    if path.contains(".original_module.") {
        return Ok(None);
    }
    let path = path.replacen(".modules_to_save.default.", ".", 1).replacen(".modules_to_save.", ".", 1);
    Ok(Some(Parsed { place: Place::Saved(weights::canonical(&path)), path }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    #[test]
    fn every_spelling_of_a_key_is_understood() {
        let query = "encoder.layer.0.attention.self.query";
        let albert = "encoder.albert_layer_groups.0.albert_layers.0.attention.query";
        for (key, place) in [
            (format!("bert.{query}.lora_A.weight"), Place::A(query.into())),
            (format!("{query}.lora_B.weight"), Place::B(query.into())),
            (format!("bert.{query}.lora_B.default.weight"), Place::B(query.into())),
            (format!("albert.{albert}.lora_A.weight"), Place::A(albert.into())),
            ("bert.pooler.dense.lora_A.weight".into(), Place::A("pooler.dense".into())),
            ("classifier.weight".into(), Place::Saved("classifier.weight".into())),
            ("classifier.modules_to_save.weight".into(), Place::Saved("classifier.weight".into())),
            ("classifier.modules_to_save.default.bias".into(), Place::Saved("classifier.bias".into())),
            ("bert.pooler.modules_to_save.default.dense.bias".into(), Place::Saved("pooler.dense.bias".into())),
            ("qa_outputs.bias".into(), Place::Saved("qa_outputs.bias".into())),
            (
                "cls.predictions.transform.dense.lora_A.weight".into(),
                Place::A("cls.predictions.transform.dense".into()),
            ),
        ] {
            assert_eq!(Place::parse(&format!("base_model.model.{key}")), Ok(Some(place)), "{key}");
        }
        assert_eq!(Place::parse("base_model.model.classifier.original_module.weight"), Ok(None));
    }

    #[test]
    fn keys_are_written_as_peft_reads_them() {
        for (prefix, place, key) in [
            ("bert.", Place::A("pooler.dense".into()), "base_model.model.bert.pooler.dense.lora_A.weight"),
            ("", Place::B("encoder.x".into()), "base_model.model.encoder.x.lora_B.weight"),
            ("albert.", Place::Saved("classifier.bias".into()), "base_model.model.classifier.bias"),
            ("albert.", Place::Saved("pooler.weight".into()), "base_model.model.albert.pooler.weight"),
        ] {
            assert_eq!(place.key(prefix), key);
            assert_eq!(Place::parse(key), Ok(Some(place)));
        }
    }

    #[test]
    fn other_keys_are_refused_by_name() {
        for (key, status) in [
            ("classifier.weight", Status::InvalidFile),
            ("bert.encoder.layer.0.output.dense.lora_A.weight", Status::InvalidFile),
            ("base_model.model.x.lora_magnitude_vector", Status::Unsupported),
            ("base_model.model.x.lora_B.bias", Status::Unsupported),
            ("base_model.model.x.lora_A.other.weight", Status::Unsupported),
            ("base_model.model.embeddings.word_embeddings.lora_embedding_A", Status::Unsupported),
            ("base_model.model.embeddings.word_embeddings.base_layer.weight", Status::Unsupported),
        ] {
            let error = Place::parse(key).unwrap_err();
            assert_eq!(error.status(), status, "{key}");
            assert!(error.message().contains(key), "{error}");
        }
    }
}
