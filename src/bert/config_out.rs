//! The `config.json` of a saved model.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::config::{Architecture, Config, Problem};
use super::quantisation;
use crate::dtype::DType;
use crate::error::{Error, Result};

/// What a classifier's outputs mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labels<'a> {
    /// One name for each output, at least one.
    pub names: &'a [String],
    /// What the classifier was trained for; `None` where the class says it, as of tokens.
    pub problem: Option<Problem>,
}

impl Config {
    /// The text of a `config.json` for weights that were written by the class `class` (`BertForMaskedLM`), of which those of
    /// the `narrow` modules are in 8 bits and the others in `dtype`. What the model was opened with stays, key by key, unless
    /// it is said anew here; labels stay where `labels` is `None`.
    ///
    /// Fails with `InvalidArgument` when the class is none of this family, or there is no label.
    pub fn to_json_for(
        &self,
        class: &str,
        labels: Option<Labels<'_>>,
        dtype: DType,
        narrow: &BTreeSet<String>,
    ) -> Result<String> {
        let (family, model_type) = match self.architecture {
            Architecture::Bert => ("Bert", "bert"),
            Architecture::Albert => ("Albert", "albert"),
        };
        if !class.starts_with(family) {
            return Err(Error::argument(format!("class {class:?}, expected one that begins with {family:?}")));
        }
        let mut config = self.raw.clone();
        config.insert("architectures".into(), json!([class]));
        config.insert("model_type".into(), json!(model_type));
        if let Some(Labels { names, problem }) = labels {
            if names.is_empty() {
                return Err(Error::argument(format!("no label, expected at least one for {class}")));
            }
            let id2label: Map<String, Value> =
                names.iter().enumerate().map(|(id, name)| (id.to_string(), json!(name))).collect();
            let label2id: Map<String, Value> =
                names.iter().enumerate().map(|(id, name)| (name.clone(), json!(id))).collect();
            config.insert("id2label".into(), id2label.into());
            config.insert("label2id".into(), label2id.into());
            config.insert("problem_type".into(), problem.map_or(Value::Null, |problem| json!(problem.name())));
            config.shift_remove("num_labels");
        }
        // Older releases know `torch_dtype`, newer ones `dtype`.
        let old = config.contains_key("torch_dtype");
        if old {
            config.insert("torch_dtype".into(), json!(dtype.long_name()));
        }
        if !old || config.contains_key("dtype") {
            config.insert("dtype".into(), json!(dtype.long_name()));
        }
        match quantisation::written(self, narrow) {
            Some(value) => config.insert(quantisation::KEY.into(), value),
            None => config.shift_remove(quantisation::KEY),
        };
        Ok(format!("{:#}\n", Value::Object(config)))
    }
}

impl Problem {
    /// The value of `problem_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regression => "regression",
            Self::SingleLabel => "single_label_classification",
            Self::MultiLabel => "multi_label_classification",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    fn parse(config: Value) -> Config {
        Config::parse(config.to_string().as_bytes()).unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn what_is_not_said_anew_stays() {
        let config = parse(json!({
            "house_style": {"x": [1, null]}, "architectures": ["BertModel"], "id2label": {"0": "a"}, "label2id": {"a": 0},
            "num_labels": 1, "hidden_size": 32, "num_attention_heads": 2, "transformers_version": "4.1.0",
            "torch_dtype": "float16", "problem_type": null,
        }));
        let labels = names(&["x", "é\"", "z"]);
        let problem = Some(Problem::MultiLabel);
        let text = config
            .to_json_for(
                "BertForSequenceClassification",
                Some(Labels { names: &labels, problem }),
                DType::F32,
                &BTreeSet::new(),
            )
            .unwrap();
        assert!(text.starts_with("{\n  \"house_style\": {") && text.ends_with("\n}\n"), "{text}");
        let written: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "house_style": {"x": [1, null]}, "architectures": ["BertForSequenceClassification"],
            "id2label": {"0": "x", "1": "é\"", "2": "z"}, "label2id": {"x": 0, "é\"": 1, "z": 2}, "hidden_size": 32,
            "num_attention_heads": 2, "transformers_version": "4.1.0", "torch_dtype": "float32",
            "problem_type": "multi_label_classification", "model_type": "bert",
        });
        assert_eq!(written, expected);
        let again = Config::parse(text.as_bytes()).unwrap();
        assert_eq!((again.labels, again.problem), (labels, problem));
    }

    #[test]
    fn without_labels_the_old_ones_stay() {
        let config = parse(json!({"model_type": "albert", "num_labels": 5, "dtype": "bfloat16"}));
        let written: Value =
            serde_json::from_str(&config.to_json_for("AlbertModel", None, DType::F32, &BTreeSet::new()).unwrap())
                .unwrap();
        let expected =
            json!({"model_type": "albert", "num_labels": 5, "dtype": "float32", "architectures": ["AlbertModel"]});
        assert_eq!(written, expected);
    }

    #[test]
    fn every_problem_reads_back() {
        let labels = names(&["a"]);
        for problem in [None, Some(Problem::Regression), Some(Problem::SingleLabel), Some(Problem::MultiLabel)] {
            let labels = Labels { names: &labels, problem };
            let text = parse(json!({}))
                .to_json_for("BertForTokenClassification", Some(labels), DType::F32, &BTreeSet::new())
                .unwrap();
            let config = Config::parse(text.as_bytes()).unwrap();
            assert_eq!((config.problem, config.dtype.as_deref()), (problem, Some("float32")));
        }
    }

    /// Both spellings where both are there, the new one alone where there is none.
    #[test]
    fn the_type_of_the_weights_is_told() {
        let both = json!({"torch_dtype": "float32", "dtype": "float32"});
        for (given, keys) in [(both, &["dtype", "torch_dtype"][..]), (json!({"torch_dtype": "x"}), &["torch_dtype"])] {
            for (dtype, name) in [(DType::F32, "float32"), (DType::F16, "float16"), (DType::Bf16, "bfloat16")] {
                let text = parse(given.clone()).to_json_for("BertModel", None, dtype, &BTreeSet::new()).unwrap();
                let written: Value = serde_json::from_str(&text).unwrap();
                let found: Vec<_> = ["dtype", "torch_dtype"].into_iter().filter(|key| written[*key] == name).collect();
                assert_eq!(found, keys);
            }
        }
        let text = parse(json!({})).to_json_for("BertModel", None, DType::F16, &BTreeSet::new()).unwrap();
        let written: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&written["dtype"], written.get("torch_dtype")), (&json!("float16"), None));
    }

    #[test]
    fn another_family_and_no_labels_are_refused() {
        let config = parse(json!({}));
        let error = config.to_json_for("AlbertModel", None, DType::F32, &BTreeSet::new()).unwrap_err();
        assert_eq!((error.status(), error.message().contains("\"AlbertModel\"")), (Status::InvalidArgument, true));
        let error = config
            .to_json_for("BertModel", Some(Labels { names: &[], problem: None }), DType::F32, &BTreeSet::new())
            .unwrap_err();
        assert_eq!((error.status(), error.message().contains("no label")), (Status::InvalidArgument, true));
    }
}
