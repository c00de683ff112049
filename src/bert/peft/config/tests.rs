use proptest::prelude::*;

use super::*;
use crate::error::Status;

fn parse(mut config: Value) -> Result<LoraConfig> {
    if let Value::Object(object) = &mut config {
        object.entry("peft_type").or_insert(json!("LORA"));
    }
    LoraConfig::parse(config.to_string().as_bytes())
}

#[track_caller]
fn refused(config: Value, status: Status, words: &[&str]) {
    let error = parse(config).expect_err("an error was expected");
    assert_eq!(error.status(), status, "{error}");
    for word in ["adapter_config.json: "].iter().chain(words) {
        assert!(error.message().contains(word), "{error:?} does not say {word:?}");
    }
}

const Q: &str = "bert.encoder.layer.0.attention.self.query";
const V: &str = "bert.encoder.layer.1.attention.self.value";
const AO: &str = "bert.encoder.layer.1.attention.output.dense";
const O: &str = "bert.encoder.layer.10.output.dense";
const FFN: &str = "albert.encoder.albert_layer_groups.0.albert_layers.1.ffn";
const P: &str = "bert.pooler.dense";
const C: &str = "classifier";
const K: &str = "encoder.layer.2.attention.self.key";

/// What PEFT 0.21 answers (`check_target_module_exists`).
#[test]
fn targets_are_those_of_peft() {
    let all = ["query", "value", "key", "ffn", "dense"];
    for (config, hits) in [
        (json!({}), &[Q, V][..]),
        (json!({"target_modules": ["query", "value"]}), &[Q, V]),
        (json!({"target_modules": ["dense"]}), &[AO, O, P]),
        (json!({"target_modules": ["output.dense", "y"]}), &[AO, O]),
        (json!({"target_modules": [Q, "layer.1.attention.self.value"]}), &[Q, V]),
        (json!({"target_modules": ["dense", "query"], "exclude_modules": ["pooler.dense", "query"]}), &[AO, O]),
        (json!({"target_modules": ["dense"], "exclude_modules": ".*output.*"}), &[P]),
        (json!({"target_modules": r".*\.layer\.\d\..*\.(query|dense)"}), &[Q, AO]),
        (json!({"target_modules": "query|encoder.*"}), &[K]),
        (json!({"target_modules": all, "layers_to_transform": [1, 10]}), &[V, AO, O]),
        (json!({"target_modules": all, "layers_to_transform": 1, "layers_pattern": "layer"}), &[V, AO]),
        (
            json!({"target_modules": all, "layers_to_transform": [1], "layers_pattern": ["albert_layers", "layers"]}),
            &[FFN],
        ),
        (json!({"target_modules": ["query", "value"], "layers_to_transform": []}), &[Q, V]),
        (json!({"target_modules": [V, Q], "layers_to_transform": [1]}), &[Q, V]),
        (json!({"target_modules": ["dense", "classifier"], "modules_to_save": ["classifier", "pooler"]}), &[AO, O]),
        (json!({"target_modules": "All-Linear"}), &[Q, V, AO, O, FFN, P, C, K]),
        (json!({"target_modules": "all-linear", "task_type": "SEQ_CLS"}), &[Q, V, AO, O, FFN, P, K]),
    ] {
        let parsed = parse(config.clone()).unwrap();
        let found: Vec<&str> = [Q, V, AO, O, FFN, P, C, K].into_iter().filter(|path| parsed.targets(path)).collect();
        assert_eq!(found, hits, "{config}");
        let again = LoraConfig::parse(parsed.to_json().to_string().as_bytes()).unwrap();
        assert_eq!(again, LoraConfig { raw: again.raw.clone(), ..parsed }, "{config}");
    }
    assert!(!parse(json!({"target_modules": "all-linear"})).unwrap().targets("cls.predictions.decoder"));
}

/// What PEFT 0.21 computes: the first pattern that matches the end of the path counts, and ends at a dot.
#[test]
fn ranks_and_scales_are_those_of_peft() {
    let mut config = json!({
        "r": 8, "lora_alpha": 16,
        "rank_pattern": {"layer.0.attention.self.query": 2, "query": 4, r"layer\.[12]\..*": 16, "bert.pooler.dense": 1},
        "alpha_pattern": {"attention": 1, "value": 0.5, "self.(query|key)": 3},
    });
    for (path, rank, scale, stabilized) in [
        (Q, 2, 1.5, 2.121_320_3),
        (V, 16, 0.03125, 0.125),
        (AO, 16, 1.0, 4.0),
        (O, 8, 2.0, 5.656_854),
        (P, 1, 16.0, 16.0),
        (K, 16, 0.1875, 0.75),
        ("encoder.layer.3.attention.self.query", 4, 0.75, 1.5),
        ("xquery", 8, 2.0, 5.656_854),
    ] {
        for (flag, scale) in [(false, scale), (true, stabilized)] {
            config["use_rslora"] = json!(flag);
            let parsed = parse(config.clone()).unwrap();
            assert_eq!((parsed.rank_of(path), parsed.scale(path)), (rank, scale), "{path} {flag}");
        }
    }
}

#[test]
fn what_peft_writes_reads_and_is_written_back() {
    // adapter_config.json of PEFT 0.21.2 for a BertForSequenceClassification
    let theirs = json!({
        "alora_invocation_tokens": null, "alpha_pattern": {"x": 5}, "arrow_config": null, "auto_mapping": null,
        "base_model_name_or_path": "base", "bias": "none", "corda_config": null, "ensure_weight_tying": false,
        "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true,
        "init_lora_weights": true, "kasa_config": null, "layer_replication": null, "layers_pattern": null,
        "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 16, "lora_bias": false, "lora_dropout": 0.1,
        "lora_ga_config": null, "megatron_config": null, "megatron_core": "megatron.core",
        "modules_to_save": ["classifier", "score"], "monteclora_config": null, "peft_type": "LORA",
        "peft_version": "0.21.2", "qalora_group_size": 16, "r": 4, "rank_pattern": {"x": 2}, "revision": null,
        "target_modules": ["query", "value"], "target_parameters": null, "task_type": "SEQ_CLS",
        "trainable_token_indices": null, "use_bdlora": null, "use_dora": false, "use_qalora": false,
        "use_rslora": false, "velora_config": null,
    });
    let config = parse(theirs.clone()).unwrap();
    assert_eq!((config.rank, config.alpha, config.dropout), (4, 16.0, 0.1));
    assert_eq!(config.task, Some(TaskType::SequenceClassification));
    assert_eq!(config.base_model.as_deref(), Some("base"));
    assert_eq!(config.to_json().to_string(), theirs.to_string());
}

#[test]
fn absent_keys_have_pefts_defaults() {
    let config = parse(json!({"house_style": 1, "bias": null, "target_modules": null})).unwrap();
    let raw = config.raw.clone();
    assert_eq!(config, LoraConfig { raw, ..LoraConfig::new() });
    assert_eq!(config.to_json()["house_style"], json!(1));
    assert_eq!(LoraConfig { alpha: 0.3, ..LoraConfig::new() }.to_json()["lora_alpha"].to_string(), "0.3");
}

#[test]
fn heads_are_saved_by_task_or_by_name() {
    let saved = |config: Value, path: &str| parse(config).unwrap().saves(path);
    assert!(saved(json!({"task_type": "TOKEN_CLS"}), "classifier.weight"));
    assert!(saved(json!({"task_type": "QUESTION_ANS"}), "qa_outputs.bias"));
    assert!(!saved(json!({}), "classifier.weight"));
    assert!(saved(json!({"modules_to_save": ["pooler", "cls.predictions"]}), "bert.pooler.dense.bias"));
    assert!(saved(json!({"modules_to_save": ["pooler", "cls.predictions"]}), "cls.predictions.bias"));
    assert!(!saved(json!({"modules_to_save": ["pool"]}), "bert.pooler.dense.bias"));
}

#[test]
fn other_computations_are_refused_by_name() {
    for (config, words) in [
        (json!({"peft_type": "IA3"}), ["peft_type: \"IA3\"", "\"LORA\""]),
        (json!({"use_dora": true}), ["use_dora: true", "plain LoRA"]),
        (json!({"lora_bias": true}), ["lora_bias", "plain LoRA"]),
        (json!({"megatron_config": {"x": 1}}), ["megatron_config", "plain LoRA"]),
        (json!({"layer_replication": [[0, 4]]}), ["layer_replication", "plain LoRA"]),
        (json!({"target_parameters": ["x"]}), ["target_parameters", "plain LoRA"]),
        (json!({"trainable_token_indices": [1]}), ["trainable_token_indices", "plain LoRA"]),
        (json!({"bias": "all"}), ["bias: \"all\"", "\"none\""]),
        (json!({"init_lora_weights": "loftq"}), ["init_lora_weights: \"loftq\"", "changed base model"]),
        (json!({"init_lora_weights": "pissa_niter_4"}), ["pissa_niter_4", "changed base model"]),
        (json!({"task_type": "CAUSAL_LM"}), ["task_type: \"CAUSAL_LM\"", "SEQ_CLS"]),
        (json!({"target_modules": "(?=x)"}), ["target_modules", "pattern \"(?=x)\""]),
        (json!({"rank_pattern": {"(": 1}}), ["rank_pattern", "pattern \"(\""]),
    ] {
        refused(config, Status::Unsupported, &words);
    }
}

#[test]
fn wrong_values_are_refused_with_both_sides() {
    for (config, words) in [
        (json!([]), ["not a JSON object", ""]),
        (json!({"peft_type": null}), ["peft_type: absent", "LORA"]),
        (json!({"r": 0}), ["r: 0", "from 1"]),
        (json!({"r": 1.5}), ["r: 1.5", "whole number"]),
        (json!({"lora_dropout": 2}), ["lora_dropout: 2", "from 0 to 1"]),
        (json!({"lora_alpha": "16"}), ["lora_alpha: \"16\"", "a number"]),
        (json!({"rank_pattern": {"x": 0}}), ["rank_pattern.x: 0", "at least 1"]),
        (json!({"alpha_pattern": {"x": null}}), ["alpha_pattern.x: null", "a number"]),
        (json!({"target_modules": [1]}), ["target_modules: [1]", "a list of strings"]),
        (json!({"layers_to_transform": [-1]}), ["layers_to_transform: [-1]", "a whole number"]),
    ] {
        refused(config, Status::InvalidFile, &words);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = LoraConfig::parse(&bytes);
    }

    #[test]
    fn any_pattern_is_read_or_refused(text in "[a-z.*+?()|\\[\\]\\\\^$0-9{},]{0,12}", path in "[a-z0-9.]{0,12}") {
        let config = json!({"target_modules": text, "rank_pattern": {&*text: 3}, "layers_to_transform": 0,
            "layers_pattern": text});
        if let Ok(config) = parse(config) {
            let _ = (config.targets(&path), config.scale(&path), layer(&path, &config.layers_pattern));
        }
    }
}
