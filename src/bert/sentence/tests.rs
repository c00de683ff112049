use std::fs;

use serde_json::json;
use tempfile::tempdir;

use super::*;
use crate::error::Status;
use crate::weights::testing::Builder;

/// Modules of these classes, in the folders `0_…`, `1_…`; the Transformer in the model folder itself.
fn modules(classes: &[&str]) -> Value {
    let modules = classes.iter().enumerate().map(|(idx, class)| {
        let last = class.rsplit('.').next().unwrap();
        let path = if idx == 0 { String::new() } else { format!("{idx}_{last}") };
        json!({"idx": idx, "name": idx.to_string(), "path": path, "type": format!("sentence_transformers.{class}")})
    });
    modules.collect()
}

fn parse(modules: &Value, files: &[(&str, Value)]) -> Result<Sentence> {
    let read = |name: &str| {
        Ok(files.iter().find(|(known, _)| *known == name).map(|(_, contents)| contents.to_string().into_bytes()))
    };
    Sentence::parse(modules.to_string().as_bytes(), read)
}

fn pooling(config: Value) -> Result<Pooling> {
    parse(&modules(&["models.Transformer", "models.Pooling"]), &[("1_Pooling/config.json", config)])
        .map(|sentence| sentence.pooling)
}

fn dense(config: Value) -> Result<Sentence> {
    let list = modules(&["models.Transformer", "models.Pooling", "models.Dense"]);
    parse(&list, &[("1_Pooling/config.json", json!({})), ("2_Dense/config.json", config)])
}

/// A pipeline of Transformer and mean Pooling with one more file.
fn with(name: &str, config: Value) -> Result<Sentence> {
    let list = modules(&["models.Transformer", "models.Pooling"]);
    parse(&list, &[("1_Pooling/config.json", json!({})), (name, config)])
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, status: Status, words: &[&str]) {
    let error = result.expect_err("an error was expected");
    assert_eq!(error.status(), status, "{error}");
    for word in words {
        assert!(error.message().contains(word), "{error:?} does not say {word:?}");
    }
}

/// The files of all-MiniLM-L6-v2, whose Normalize folder git dropped.
#[test]
fn an_old_folder_reads() {
    let list = modules(&["models.Transformer", "models.Pooling", "models.Normalize"]);
    let pooling = json!({
        "word_embedding_dimension": 384, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true,
        "pooling_mode_max_tokens": false, "pooling_mode_mean_sqrt_len_tokens": false,
    });
    let encoder = json!({"max_seq_length": 256, "do_lower_case": false});
    let model = json!({"__version__": {"sentence_transformers": "2.0.0"}});
    let files = [
        ("1_Pooling/config.json", pooling),
        ("sentence_bert_config.json", encoder),
        ("config_sentence_transformers.json", model),
    ];
    let sentence = parse(&list, &files).unwrap();
    assert_eq!(sentence.transformer, "");
    assert_eq!((sentence.max_seq_length, sentence.do_lower_case), (Some(256), false));
    let mean = Pooling { modes: vec![pooling::Pooling::Mean], width: Some(384), include_prompt: true };
    assert_eq!(sentence.pooling, mean);
    assert_eq!(sentence.stages, [Stage::Normalize]);
    assert_eq!((sentence.truncate, sentence.prompts.len(), &sentence.default_prompt), (None, 0, &None));
    assert_eq!(sentence.width(384), Ok(384));
    refused(sentence.width(768), Status::InvalidFile, &["embedding_dimension 384", "hidden_size 768"]);
}

#[test]
fn a_new_folder_reads() {
    let list = modules(&[
        "base.modules.transformer.Transformer",
        "sentence_transformer.modules.pooling.Pooling",
        "base.modules.normalize.Normalize",
        "base.modules.dense.Dense",
    ]);
    let encoder = json!({
        "transformer_task": "feature-extraction", "module_output_name": "token_embeddings",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    });
    let model = json!({
        "model_type": "SentenceTransformer", "prompts": {"query": "query: ", "document": null},
        "default_prompt_name": "query", "similarity_fn_name": "cosine", "truncate_dim": 64,
    });
    let projection = json!({
        "in_features": 768, "out_features": 128, "bias": false, "module_input_name": "sentence_embedding",
        "module_output_name": null, "activation_function": "torch.nn.modules.linear.Identity",
    });
    let files = [
        (
            "1_Pooling/config.json",
            json!({"embedding_dimension": 384, "pooling_mode": ["max", "cls"], "include_prompt": false}),
        ),
        ("sentence_bert_config.json", encoder),
        ("config_sentence_transformers.json", model),
        ("2_Normalize/config.json", json!({"module_input_name": "sentence_embedding"})),
        ("3_Dense/config.json", projection),
    ];
    let sentence = parse(&list, &files).unwrap();
    assert_eq!((sentence.max_seq_length, sentence.truncate), (None, Some(64)));
    let modes = vec![pooling::Pooling::Max, pooling::Pooling::Cls];
    assert_eq!(sentence.pooling, Pooling { modes, width: Some(384), include_prompt: false });
    let folder = "3_Dense".to_owned();
    let activation = Activation::Identity;
    let dense = DenseConfig { folder, in_features: 768, out_features: 128, bias: false, activation };
    assert_eq!(sentence.stages, [Stage::Normalize, Stage::Dense(dense)]);
    assert_eq!(sentence.prompts, [("query".into(), "query: ".into()), ("document".into(), String::new())]);
    assert_eq!((sentence.default_prompt.as_deref(), sentence.similarity.as_deref()), (Some("query"), Some("cosine")));
    assert_eq!(sentence.width(384), Ok(64));
    refused(sentence.width(192), Status::InvalidFile, &["384", "192"]);
}

#[test]
fn a_transformer_folder_holds_its_own_configuration() {
    let list = json!([
        {"path": "0_Transformer/", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]);
    let files = [
        ("1_Pooling/config.json", json!({})),
        ("sentence_bert_config.json", json!({"max_seq_length": 1})),
        ("0_Transformer/sentence_xlm-roberta_config.json", json!({"max_seq_length": 128, "do_lower_case": true})),
    ];
    let sentence = parse(&list, &files).unwrap();
    assert_eq!(sentence.transformer, "0_Transformer");
    assert_eq!((sentence.max_seq_length, sentence.do_lower_case), (Some(128), true));
}

#[test]
fn every_spelling_of_pooling_reads() {
    use pooling::Pooling::*;
    let all = json!({
        "pooling_mode_lasttoken": true, "pooling_mode_weightedmean_tokens": true, "pooling_mode_cls_token": true,
        "pooling_mode_mean_sqrt_len_tokens": true, "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true,
    });
    for (config, modes) in [
        (json!({}), vec![Mean]),
        (json!({"pooling_mode_mean_tokens": false}), vec![Mean]),
        (json!({"pooling_mode_cls_token": true}), vec![Cls]),
        (all, vec![Cls, Max, Mean, MeanSqrtLen, WeightedMean, LastToken]),
        (json!({"pooling_mode": "lasttoken"}), vec![LastToken]),
        (json!({"pooling_mode": ["weightedmean", "mean_sqrt_len_tokens"]}), vec![WeightedMean, MeanSqrtLen]),
        (json!({"pooling_mode": "max", "pooling_mode_cls_token": true}), vec![Max]),
    ] {
        assert_eq!(pooling(config.clone()).unwrap().modes, modes, "{config}");
    }
}

#[test]
fn wrong_pooling_is_refused() {
    for (config, status, words) in [
        (json!({"pooling_mode": "attention"}), Status::Unsupported, &["\"attention\"", "lasttoken"][..]),
        (json!({"pooling_mode": []}), Status::InvalidFile, &["pooling_mode: []"]),
        (json!({"pooling_mode": 3}), Status::InvalidFile, &["pooling_mode: 3"]),
        (json!({"pooling_mode_mean_tokens": 1}), Status::InvalidFile, &["pooling_mode_mean_tokens: 1"]),
        (json!({"pooling_mode_attention": true}), Status::Unsupported, &["pooling_mode_attention"]),
        (json!({"word_embedding_dimension": 0}), Status::InvalidFile, &["word_embedding_dimension: 0"]),
        (json!([]), Status::InvalidFile, &["not a JSON object"]),
    ] {
        refused(pooling(config), status, &[&["1_Pooling/config.json: "], words].concat());
    }
}

#[test]
fn dense_activations_are_torch_classes() {
    for (class, activation) in [
        ("torch.nn.modules.activation.Tanh", Activation::Tanh),
        ("torch.nn.modules.linear.Identity", Activation::Identity),
        ("torch.nn.modules.activation.GELU", Activation::GeluErf),
        ("torch.nn.ReLU", Activation::Relu),
    ] {
        let sentence = dense(json!({"in_features": 3, "out_features": 2, "activation_function": class})).unwrap();
        let [Stage::Dense(dense)] = sentence.stages.as_slice() else { panic!("{sentence:?}") };
        assert_eq!((dense.activation, dense.bias), (activation, true));
    }
}

#[test]
fn wrong_dense_modules_are_refused() {
    for (key, value, status, words) in [
        ("activation_function", json!("torch.nn.PReLU"), Status::Unsupported, &["torch.nn.PReLU", "Identity"][..]),
        ("activation_function", json!("custom.Tanh"), Status::Unsupported, &["custom.Tanh"]),
        ("activation_function", json!(3), Status::InvalidFile, &["activation_function: 3"]),
        ("use_residual", json!(true), Status::Unsupported, &["use_residual"]),
        ("module_input_name", json!("token_embeddings"), Status::Unsupported, &["token_embeddings"]),
        ("module_output_name", json!("other"), Status::Unsupported, &["other"]),
        ("in_features", json!(0), Status::InvalidFile, &["in_features: 0"]),
        ("out_features", json!("2"), Status::InvalidFile, &["out_features: \"2\""]),
    ] {
        let mut config = json!({"in_features": 3, "out_features": 2});
        config[key] = value;
        refused(dense(config), status, &[&["2_Dense/config.json: "], words].concat());
    }
    refused(dense(json!({"in_features": 3})), Status::InvalidFile, &["out_features: absent"]);
}

#[test]
fn wrong_module_lists_are_refused() {
    let module = |class: &str, path: &str| json!([{"path": path, "type": class}]);
    let transformer = "sentence_transformers.models.Transformer";
    for (list, status, words) in [
        (json!({}), Status::InvalidFile, &["modules.json: not a JSON list"][..]),
        (json!([1]), Status::InvalidFile, &["module 1"]),
        (json!([{"path": ""}]), Status::InvalidFile, &["no type"]),
        (json!([{"type": transformer}]), Status::InvalidFile, &["no path"]),
        (module("sentence_transformers.models.CNN", ""), Status::Unsupported, &["models.CNN"]),
        (module("custom_st.Transformer", ""), Status::Unsupported, &["custom_st.Transformer"]),
        (module(transformer, "../other"), Status::InvalidFile, &["path: \"../other\"", "within"]),
        (module(transformer, "a/../../b"), Status::InvalidFile, &["within"]),
        (module(transformer, "/etc"), Status::InvalidFile, &["within"]),
        (module(transformer, "..\\other"), Status::InvalidFile, &["within"]),
        (module(transformer, "C:other"), Status::InvalidFile, &["within"]),
        (json!([]), Status::Unsupported, &["modules.json: []"]),
        (modules(&["models.Transformer"]), Status::Unsupported, &["[Transformer]"]),
        (modules(&["models.Pooling", "models.Transformer"]), Status::Unsupported, &["[Pooling, Transformer]"]),
        (
            modules(&["models.Transformer", "models.Pooling", "models.Pooling"]),
            Status::Unsupported,
            &["[Transformer, Pooling, Pooling]"],
        ),
        (modules(&["models.Transformer", "models.Pooling"]), Status::Missing, &["1_Pooling/config.json: absent"]),
    ] {
        refused(parse(&list, &[]), status, words);
    }
}

#[test]
fn wrong_model_files_are_refused() {
    let encoder = "sentence_bert_config.json";
    let model = "config_sentence_transformers.json";
    for (file, config, status, words) in [
        (encoder, json!({"transformer_task": "fill-mask"}), Status::Unsupported, &["\"fill-mask\""][..]),
        (encoder, json!({"modality_config": {"image": {}}}), Status::Unsupported, &["modality_config"]),
        (
            encoder,
            json!({"modality_config": {"text": {"method_output_name": "pooler_output"}}}),
            Status::Unsupported,
            &["pooler_output"],
        ),
        (encoder, json!({"max_seq_length": 0}), Status::InvalidFile, &["max_seq_length: 0"]),
        (encoder, json!({"do_lower_case": "yes"}), Status::InvalidFile, &["do_lower_case: \"yes\""]),
        (model, json!({"model_type": "SparseEncoder"}), Status::Unsupported, &["SparseEncoder"]),
        (model, json!({"prompts": {"a": 1}}), Status::InvalidFile, &["prompts.a: 1"]),
        (model, json!({"default_prompt_name": "a"}), Status::InvalidFile, &["default_prompt_name: \"a\""]),
        (model, json!({"truncate_dim": -1}), Status::InvalidFile, &["truncate_dim: -1"]),
    ] {
        refused(with(file, config), status, &[&[file], words].concat());
    }
    let list = modules(&["models.Transformer", "models.Pooling", "models.Normalize"]);
    let tokens = json!({"module_input_name": "token_embeddings"});
    let files = [("1_Pooling/config.json", json!({})), ("2_Normalize/config.json", tokens)];
    refused(parse(&list, &files), Status::Unsupported, &["2_Normalize/config.json", "token_embeddings"]);
}

#[test]
fn a_folder_opens_with_the_weights_of_its_dense_modules() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    assert_eq!(Sentence::open(path), Ok(None));
    let list = modules(&["models.Transformer", "models.Pooling", "models.Dense"]);
    fs::write(path.join("modules.json"), list.to_string()).unwrap();
    refused(Sentence::open(path), Status::Missing, &["2_Dense/config.json"]);
    for (name, config) in [("1_Pooling", json!({})), ("2_Dense", json!({"in_features": 1, "out_features": 1}))] {
        fs::create_dir(path.join(name)).unwrap();
        fs::write(path.join(name).join("config.json"), config.to_string()).unwrap();
    }
    refused(Sentence::open(path), Status::Missing, &["2_Dense", "model.safetensors"]);
    fs::write(path.join("2_Dense/pytorch_model.bin"), "").unwrap();
    refused(Sentence::open(path), Status::Unsupported, &["2_Dense", "pytorch_model.bin"]);
    let weights = Builder::default().f32("linear.weight", &[1, 1], &[1.0]).build();
    fs::write(path.join("2_Dense/model.safetensors"), weights).unwrap();
    assert_eq!(Sentence::open(path).unwrap().unwrap().stages.len(), 1);
}
