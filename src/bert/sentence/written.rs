//! The files of a saved pipeline, in the form that every release of sentence-transformers reads.

use serde_json::{Map, Value, json};

use super::{DenseConfig, MODES, Pooling, Sentence, Stage, TORCH};
use crate::error::{Error, Result};
use crate::ops::activation::Activation;

impl Sentence {
    /// The JSON files of a folder whose encoder, of H = `hidden`, lies in the folder itself, by their paths within it.
    /// Beside them belong the weights of each Dense module; see [`Stage::place`].
    ///
    /// Fails with `Unsupported` when a Dense module computes an activation that torch has no class for.
    pub fn files(&self, hidden: usize) -> Result<Vec<(String, Value)>> {
        let mut modules = vec![module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")];
        let mut files = vec![
            ("sentence_bert_config.json".to_owned(), self.encoder_file()),
            ("config_sentence_transformers.json".to_owned(), self.model_file()),
            ("1_Pooling/config.json".to_owned(), pooling_file(&self.pooling, hidden)),
        ];
        for (number, stage) in self.stages.iter().enumerate() {
            let place = stage.place(number);
            modules.push(module(number + 2, &place, stage.class()));
            let config = match stage {
                Stage::Dense(dense) => dense_file(dense)?,
                Stage::Normalize => json!({}),
            };
            files.push((format!("{place}/config.json"), config));
        }
        files.push(("modules.json".to_owned(), modules.into()));
        Ok(files)
    }

    fn encoder_file(&self) -> Value {
        json!({ "max_seq_length": self.max_seq_length, "do_lower_case": self.do_lower_case })
    }

    fn model_file(&self) -> Value {
        let prompts: Map<String, Value> = self.prompts.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
        let mut file = Map::new();
        file.insert("prompts".into(), prompts.into());
        file.insert("default_prompt_name".into(), json!(self.default_prompt));
        file.insert("similarity_fn_name".into(), json!(self.similarity));
        if let Some(kept) = self.truncate {
            file.insert("truncate_dim".into(), json!(kept));
        }
        file.into()
    }
}

impl Stage {
    /// The folder of the pipeline's stage `number`, counted from 0, within a saved model.
    pub fn place(&self, number: usize) -> String {
        format!("{}_{}", number + 2, self.class())
    }

    fn class(&self) -> &'static str {
        match self {
            Stage::Dense(_) => "Dense",
            Stage::Normalize => "Normalize",
        }
    }
}

fn module(index: usize, path: &str, class: &str) -> Value {
    json!({
        "idx": index, "name": index.to_string(), "path": path,
        "type": format!("sentence_transformers.models.{class}"),
    })
}

/// Flags, which old releases need. They say nothing of an order: modes in another than theirs are listed under the new
/// key, and old releases refuse that.
fn pooling_file(pooling: &Pooling, hidden: usize) -> Value {
    let mut file = Map::new();
    file.insert("word_embedding_dimension".into(), json!(hidden));
    for (flag, _, mode) in MODES {
        file.insert(flag.into(), json!(pooling.modes.contains(&mode)));
    }
    file.insert("include_prompt".into(), json!(pooling.include_prompt));
    let flagged: Vec<_> = MODES.iter().map(|(.., mode)| *mode).filter(|mode| pooling.modes.contains(mode)).collect();
    if flagged != pooling.modes {
        let name = |mode| MODES.iter().find(|(.., known)| known == mode).map(|(_, name, _)| *name);
        file.insert("embedding_dimension".into(), json!(hidden));
        file.insert("pooling_mode".into(), pooling.modes.iter().filter_map(name).collect());
    }
    file.into()
}

fn dense_file(dense: &DenseConfig) -> Result<Value> {
    Ok(json!({
        "in_features": dense.in_features, "out_features": dense.out_features, "bias": dense.bias,
        "activation_function": torch_class(dense.activation)?,
    }))
}

fn torch_class(activation: Activation) -> Result<String> {
    let found = TORCH.iter().find(|(.., known)| *known == activation);
    let (name, module, _) =
        found.ok_or_else(|| Error::unsupported(format!("{activation:?}: no class of torch.nn computes it")))?;
    Ok(format!("torch.nn.modules.{module}.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::pooling;

    fn sentence(modes: Vec<pooling::Pooling>) -> Sentence {
        let dense = |number: usize, bias, activation| {
            let folder = format!("{number}_Dense");
            Stage::Dense(DenseConfig { folder, in_features: 8 * modes.len(), out_features: 8, bias, activation })
        };
        Sentence {
            transformer: String::new(),
            max_seq_length: Some(128),
            do_lower_case: true,
            stages: vec![dense(2, true, Activation::Tanh), Stage::Normalize, dense(4, false, Activation::Identity)],
            pooling: Pooling { modes, width: Some(8), include_prompt: false },
            truncate: Some(4),
            prompts: vec![("query".into(), "query: ".into()), ("document".into(), String::new())],
            default_prompt: Some("query".into()),
            similarity: Some("dot".into()),
        }
    }

    fn read_back(written: &Sentence) -> Sentence {
        let files = written.files(8).unwrap();
        let read =
            |name: &str| Ok(files.iter().find(|(n, _)| n == name).map(|(_, json)| json.to_string().into_bytes()));
        Sentence::parse(&read("modules.json").unwrap().unwrap(), read).unwrap()
    }

    #[test]
    fn what_is_written_reads_as_the_same_pipeline() {
        use pooling::Pooling::{Cls, LastToken, Max, Mean, MeanSqrtLen, WeightedMean};
        for modes in [vec![Mean], vec![Cls, Max, Mean], vec![Mean, Cls], vec![MeanSqrtLen, WeightedMean, LastToken]] {
            let written = sentence(modes);
            assert_eq!(read_back(&written), written);
        }
        let mut plain = sentence(vec![pooling::Pooling::Mean]);
        (plain.max_seq_length, plain.truncate, plain.default_prompt, plain.similarity) = (None, None, None, None);
        (plain.stages, plain.prompts, plain.pooling.include_prompt) = (Vec::new(), Vec::new(), true);
        assert_eq!(read_back(&plain), plain);
    }

    #[test]
    fn an_order_of_modes_that_flags_cannot_tell_is_listed() {
        use pooling::Pooling::{Cls, Max, Mean};
        let listed = |modes| pooling_file(&sentence(modes).pooling, 8).get("pooling_mode").cloned();
        assert_eq!(listed(vec![Cls, Max, Mean]), None);
        assert_eq!(listed(vec![Mean, Cls]), Some(json!(["mean", "cls"])));
    }
}
