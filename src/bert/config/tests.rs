use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::error::Status;

fn parse(config: Value) -> Result<Config> {
    Config::parse(config.to_string().as_bytes())
}

#[track_caller]
fn refused(config: Value, status: Status, words: &[&str]) {
    let error = parse(config).expect_err("an error was expected");
    assert_eq!(error.status(), status, "{error}");
    for word in ["config.json: "].iter().chain(words) {
        assert!(error.message().contains(word), "{error:?} does not say {word:?}");
    }
}

#[test]
fn an_empty_file_is_bert_base() {
    let config = parse(json!({})).unwrap();
    assert_eq!(config.architecture, Architecture::Bert);
    assert_eq!((config.vocabulary, config.hidden, config.embedding), (30522, 768, 768));
    assert_eq!((config.layers, config.groups, config.inner_group), (12, 12, 1));
    assert_eq!((config.heads, config.head_size(), config.intermediate), (12, 64, 3072));
    assert_eq!((config.max_positions, config.token_types, config.pad_token), (512, 2, Some(0)));
    assert_eq!((config.activation, config.position), (Activation::GeluErf, Position::Absolute));
    assert_eq!((config.norm_eps, config.initializer_range, config.tie_word_embeddings), (1e-12, 0.02, true));
    assert_eq!((config.hidden_dropout, config.attention_dropout, config.classifier_dropout), (0.1, 0.1, 0.1));
    assert_eq!(config.labels, ["LABEL_0", "LABEL_1"]);
    assert_eq!((config.problem, config.dtype, config.architectures.len()), (None, None, 0));
}

#[test]
fn albert_has_defaults_of_its_own() {
    let config = parse(json!({"model_type": "albert"})).unwrap();
    assert_eq!(config.architecture, Architecture::Albert);
    assert_eq!((config.vocabulary, config.hidden, config.embedding), (30000, 4096, 128));
    assert_eq!((config.layers, config.groups, config.inner_group), (12, 1, 1));
    assert_eq!((config.heads, config.intermediate), (64, 16384));
    assert_eq!(config.activation, Activation::GeluTanh);
    assert_eq!((config.hidden_dropout, config.attention_dropout, config.classifier_dropout), (0.0, 0.0, 0.1));
    let null = parse(json!({"model_type": "albert", "classifier_dropout_prob": null, "hidden_dropout_prob": 0.3}));
    assert_eq!(null.unwrap().classifier_dropout, 0.3);
}

#[test]
fn without_model_type_the_classes_decide() {
    let family = |classes: &[&str]| parse(json!({"architectures": classes})).map(|config| config.architecture);
    assert_eq!(family(&["AlbertForMaskedLM"]), Ok(Architecture::Albert));
    assert_eq!(family(&["BertModel"]), Ok(Architecture::Bert));
    assert_eq!(family(&[]), Ok(Architecture::Bert));
    assert_eq!(family(&["RobertaModel"]).unwrap_err().status(), Status::Unsupported);
}

#[test]
fn dropouts_labels_and_dtype_are_read() {
    let config = parse(json!({
        "hidden_dropout_prob": 0, "classifier_dropout": 0.25, "torch_dtype": "torch.float16", "num_labels": 5,
        "id2label": {"1": "b", "0": "a", "2": 7}, "problem_type": "multi_label_classification", "pad_token_id": null,
        "tie_word_embeddings": false, "house_style": [1, {"x": null}],
    }));
    let config = config.unwrap();
    assert_eq!((config.hidden_dropout, config.classifier_dropout), (0.0, 0.25));
    assert_eq!(config.labels, ["a", "b", "7"]);
    assert_eq!((config.problem, config.pad_token), (Some(Problem::MultiLabel), None));
    assert_eq!((config.dtype.as_deref(), config.tie_word_embeddings), (Some("float16"), false));
    assert_eq!(config.raw["house_style"], json!([1, {"x": null}]), "unknown keys are kept");
}

#[test]
fn null_means_absent_where_huggingface_writes_null() {
    let null = json!({
        "architectures": null, "problem_type": null, "id2label": null, "num_labels": null, "torch_dtype": null,
        "classifier_dropout": null, "pruned_heads": null, "is_decoder": null, "position_embedding_type": null,
        "embedding_size": null,
    });
    let absent = parse(json!({})).unwrap();
    assert_eq!(Config { raw: Map::new(), ..parse(null).unwrap() }, absent);
}

#[test]
fn num_labels_alone_makes_up_names() {
    assert_eq!(parse(json!({"num_labels": 3})).unwrap().labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
}

#[test]
fn every_activation_has_a_function() {
    assert_eq!(activation("gelu_pytorch_tanh"), Ok(Activation::GeluTanh));
    assert_eq!(activation("linear"), Ok(Activation::Identity));
    for name in ["prelu", "xielu", "Gelu", ""] {
        assert_eq!(activation(name).unwrap_err().status(), Status::Unsupported, "{name}");
    }
}

/// The floors of `layer / (L / G)` for L = 12, G = 5, as Python gives them.
#[test]
fn groups_share_layers_as_in_huggingface() {
    let config = parse(json!({"model_type": "albert", "num_hidden_groups": 5})).unwrap();
    let groups: Vec<usize> = (0..12).map(|layer| config.group_of(layer)).collect();
    assert_eq!(groups, [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]);
}

#[test]
fn other_computations_are_refused_by_name() {
    for (config, words) in [
        (json!({"model_type": "roberta"}), &["model_type", "\"roberta\"", "bert, albert"][..]),
        (json!({"is_decoder": true, "model_type": "albert"}), &["is_decoder: true", "ALBERT"]),
        (json!({"is_encoder_decoder": true}), &["is_encoder_decoder: true"]),
        (json!({"add_cross_attention": true}), &["add_cross_attention: true"]),
        (json!({"pruned_heads": {"0": [1]}}), &["pruned_heads"]),
        (json!({"quantization_config": {"bits": 4}}), &["quantization_config: quant_method: absent"]),
        (json!({"hidden_act": "prelu"}), &["hidden_act: \"prelu\"", "gelu_new"]),
        (json!({"position_embedding_type": "alibi"}), &["\"alibi\"", "relative_key_query"]),
        (json!({"embedding_size": 128}), &["embedding_size: 128", "hidden_size 768"]),
    ] {
        refused(config, Status::Unsupported, words);
    }
}

#[test]
fn impossible_values_are_refused_with_key_and_value() {
    for (config, words) in [
        (json!([]), &["not a JSON object"][..]),
        (json!({"model_type": 3}), &["model_type: 3", "a string"]),
        (json!({"architectures": "BertModel"}), &["architectures: \"BertModel\"", "list of strings"]),
        (json!({"architectures": [1]}), &["architectures: [1]"]),
        (json!({"is_decoder": "no"}), &["is_decoder: \"no\"", "true or false"]),
        (json!({"pruned_heads": 3}), &["pruned_heads: 3"]),
        (json!({"vocab_size": 0}), &["vocab_size: 0", "from 1 to"]),
        (json!({"vocab_size": null}), &["vocab_size: null"]),
        (json!({"hidden_size": -768}), &["hidden_size: -768"]),
        (json!({"hidden_size": 768.0}), &["hidden_size: 768.0", "whole number"]),
        (json!({"hidden_size": "768"}), &["hidden_size: \"768\""]),
        (json!({"hidden_size": 10}), &["hidden_size: 10", "multiple of num_attention_heads 12"]),
        (json!({"num_attention_heads": 0}), &["num_attention_heads: 0"]),
        (json!({"num_hidden_layers": 10_001}), &["num_hidden_layers: 10001", "10000"]),
        (json!({"num_hidden_layers": 0}), &["num_hidden_layers: 0"]),
        (json!({"type_vocab_size": 0}), &["type_vocab_size: 0"]),
        (json!({"max_position_embeddings": u64::MAX}), &["max_position_embeddings: 18446744073709551615"]),
        (json!({"intermediate_size": i32::MAX}), &["hidden_size 768 times intermediate_size 2147483647", "2^40"]),
        (json!({"model_type": "albert", "num_hidden_groups": 9999, "inner_group_num": 9999}), &["2^40"]),
        (json!({"model_type": "albert", "embedding_size": 0}), &["embedding_size: 0"]),
        (json!({"layer_norm_eps": 0}), &["layer_norm_eps: 0", "positive"]),
        (json!({"layer_norm_eps": 1e-60}), &["layer_norm_eps: 1", "positive"]),
        (json!({"layer_norm_eps": "1e-12"}), &["layer_norm_eps: \"1e-12\""]),
        (json!({"initializer_range": -0.02}), &["initializer_range: -0.02"]),
        (json!({"initializer_range": 1e300}), &["initializer_range: 1e+300"]),
        (json!({"hidden_dropout_prob": 1.5}), &["hidden_dropout_prob: 1.5", "from 0 to 1"]),
        (json!({"pad_token_id": 30522}), &["pad_token_id: 30522", "from 0 to 30521"]),
        (json!({"pad_token_id": -1}), &["pad_token_id: -1"]),
        (json!({"problem_type": "ranking"}), &["problem_type: \"ranking\"", "regression"]),
        (json!({"id2label": ["a"]}), &["id2label: [\"a\"]", "an object"]),
        (json!({"id2label": {"one": "a"}}), &["id2label: id \"one\""]),
        (json!({"id2label": {"1": "a"}}), &["id2label: id 1 where 0"]),
        (json!({"id2label": {"0": "a", "00": "b"}}), &["id 0 occurs twice"]),
        (json!({"id2label": {"0": null}}), &["id2label.0: null"]),
        (json!({"num_labels": -1}), &["num_labels: -1"]),
        (json!({"num_labels": 1u64 << 40}), &["num_labels: 1099511627776"]),
    ] {
        refused(config, Status::InvalidFile, words);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Config::parse(&bytes);
    }

    #[test]
    fn any_sizes_are_read_or_refused(
        sizes in prop::array::uniform7(prop_oneof![Just(0), 1..100u64, any::<u64>(), Just(i32::MAX as u64)]),
        family in prop_oneof![Just("bert"), Just("albert")],
    ) {
        let [vocabulary, hidden, layers, groups, heads, intermediate, positions] = sizes;
        let config = parse(json!({
            "model_type": family, "vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": layers,
            "num_hidden_groups": groups, "num_attention_heads": heads, "intermediate_size": intermediate,
            "max_position_embeddings": positions,
        }));
        if let Ok(config) = config {
            prop_assert_eq!(config.head_size() * config.heads, config.hidden);
            prop_assert!((0..config.layers).all(|layer| config.group_of(layer) < config.groups));
        }
    }
}

#[test]
fn a_decoder_reads_from_left_to_right() {
    for (value, direction) in [
        (json!(true), Direction::Causal),
        (json!(false), Direction::Bidirectional),
        (json!(null), Direction::Bidirectional),
    ] {
        assert_eq!(parse(json!({"is_decoder": value})).unwrap().direction, direction);
    }
    assert_eq!(parse(json!({})).unwrap().direction, Direction::Bidirectional);
}
