//! `quantization_config` of a model whose linear layers are stored in 8 bits: what compressed-tensors, the library that
//! transformers reads such folders with, calls `int-quantized`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::config::Config;
use super::parameters::LayerNames;
use crate::error::{Error, Result};

/// Where it stands in `config.json`.
pub const KEY: &str = "quantization_config";

/// Fails with `Unsupported`, naming the key, on any other way to store weights. How activations are to be rounded is not
/// read: who opens the model chooses that.
pub fn check(config: &Map<String, Value>) -> Result<()> {
    expect(config, "quant_method", &[json!("compressed-tensors")])?;
    expect(config, "format", &[json!("int-quantized")])?;
    expect(config, "quantization_status", &[json!("compressed"), Value::Null])?;
    for key in ["kv_cache_scheme", "transform_config", "sparsity_config"] {
        expect(config, key, &[Value::Null, json!({})])?;
    }
    let Some(groups) = config.get("config_groups").and_then(Value::as_object) else {
        return Err(wrong("config_groups", config.get("config_groups"), "an object"));
    };
    for (name, group) in groups {
        check_group(group).map_err(|error| error.within(format!("config_groups: {name}")))?;
    }
    Ok(())
}

fn check_group(group: &Value) -> Result<()> {
    let Some(group) = group.as_object() else {
        return Err(wrong("it", Some(group), "an object"));
    };
    expect(group, "format", &[json!("int-quantized"), Value::Null])?;
    let Some(weights) = group.get("weights").and_then(Value::as_object) else {
        return Err(wrong("weights", group.get("weights"), "an object"));
    };
    expect(weights, "num_bits", &[json!(8)])?;
    expect(weights, "type", &[json!("int")])?;
    expect(weights, "symmetric", &[json!(true), Value::Null])?;
    expect(weights, "dynamic", &[json!(false), Value::Null])?;
    expect(weights, "strategy", &[json!("channel"), json!("tensor"), Value::Null])
}

/// The value of `key` is one of `expected`; an absent one counts as `null`.
fn expect(object: &Map<String, Value>, key: &str, expected: &[Value]) -> Result<()> {
    match expected.contains(object.get(key).unwrap_or(&Value::Null)) {
        true => Ok(()),
        false => {
            let said: Vec<String> = expected.iter().map(Value::to_string).collect();
            Err(wrong(key, object.get(key), &said.join(" or ")))
        }
    }
}

fn wrong(key: &str, value: Option<&Value>, expected: &str) -> Error {
    let value = value.map_or("absent".to_owned(), Value::to_string);
    Error::unsupported(format!("{key}: {value} is not supported, expected {expected}"))
}

/// The value for a model whose `narrow` modules, by canonical name, are stored in 8 bits with a scale a row; `None` where
/// there is no such module.
pub fn written(config: &Config, narrow: &BTreeSet<String>) -> Option<Value> {
    (!narrow.is_empty()).then(|| {
        json!({
            "quant_method": "compressed-tensors",
            "format": "int-quantized",
            "quantization_status": "compressed",
            "config_groups": {"group_0": {
                "format": "int-quantized",
                "targets": targets(&narrow_modules(config), narrow),
                "weights": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel", "dynamic": false},
            }},
            "ignore": [],
        })
    })
}

/// Canonical names of the linear layers in the encoder's layers: what a model saved in 8 bits has so.
pub fn narrow_modules(config: &Config) -> BTreeSet<String> {
    let layers = (0..config.groups).flat_map(|group| (0..config.inner_group).map(move |inner| (group, inner)));
    let modules = layers.flat_map(|(group, inner)| {
        let names = LayerNames::of(config.architecture, group, inner);
        [names.query, names.key, names.value, names.attention_output, names.intermediate, names.output]
    });
    modules.collect()
}

/// Patterns of Python for the modules in `narrow`, whatever a class puts before their names: one for a module of all layers
/// where all of them are in it.
fn targets(all: &BTreeSet<String>, narrow: &BTreeSet<String>) -> BTreeSet<String> {
    let mut complete = BTreeMap::new();
    for name in all {
        *complete.entry(of_any_layer(name)).or_insert(true) &= narrow.contains(name);
    }
    let pattern = |name: &String| match complete.get_key_value(&of_any_layer(name)) {
        Some((pattern, true)) => pattern.clone(),
        _ => regex::escape(name),
    };
    narrow.iter().map(|name| format!(r"re:(.*\.)?{}$", pattern(name))).collect()
}

/// A pattern for modules of the same name but for numbers of layers.
fn of_any_layer(name: &str) -> String {
    let part = |part: &str| if part.parse::<usize>().is_ok() { r"\d+".to_owned() } else { regex::escape(part) };
    name.split('.').map(part).collect::<Vec<_>>().join(r"\.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    fn config(json: Value) -> Config {
        Config::parse(json.to_string().as_bytes()).unwrap()
    }

    fn bert() -> Config {
        config(json!({"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2}))
    }

    fn patterns(value: &Value) -> Vec<&str> {
        value["config_groups"]["group_0"]["targets"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
    }

    #[test]
    fn what_is_written_reads_back_and_names_the_modules() {
        let config = bert();
        let all = narrow_modules(&config);
        assert_eq!(all.len(), 12);
        let value = written(&config, &all).unwrap();
        check(value.as_object().unwrap()).unwrap();
        let patterns = patterns(&value);
        assert_eq!(patterns.len(), 6);
        let modules: Vec<_> = patterns.iter().map(|p| regex::Regex::new(&format!("^{}", &p[3..])).unwrap()).collect();
        for name in all {
            for name in [name.clone(), format!("bert.{name}")] {
                assert_eq!(modules.iter().filter(|module| module.is_match(&name)).count(), 1, "{name}");
            }
        }
        for name in
            ["pooler.dense", "bert.pooler.dense", "encoder.layer.0.output.LayerNorm", "cls.predictions.transform.dense"]
        {
            assert!(!modules.iter().any(|module| module.is_match(name)), "{name}");
        }
    }

    #[test]
    fn modules_of_some_layers_are_named_one_by_one() {
        let narrow =
            ["encoder.layer.1.output.dense", "encoder.layer.0.output.dense", "encoder.layer.0.intermediate.dense"];
        let value = written(&bert(), &narrow.map(str::to_owned).into()).unwrap();
        assert_eq!(
            patterns(&value),
            [r"re:(.*\.)?encoder\.layer\.0\.intermediate\.dense$", r"re:(.*\.)?encoder\.layer\.\d+\.output\.dense$"]
        );
        assert!(written(&bert(), &BTreeSet::new()).is_none());
    }

    #[test]
    fn albert_has_its_shared_layers() {
        let json = json!({"model_type": "albert", "hidden_size": 8, "num_attention_heads": 2, "embedding_size": 4});
        let names = narrow_modules(&config(json));
        assert_eq!(names.len(), 6);
        assert!(names.contains("encoder.albert_layer_groups.0.albert_layers.0.ffn_output"), "{names:?}");
    }

    #[test]
    fn other_ways_are_refused_by_name() {
        let config = bert();
        let good = written(&config, &narrow_modules(&config)).unwrap();
        for (path, value, words) in [
            ("/quant_method", json!("bitsandbytes"), ["quant_method", "\"bitsandbytes\"", "\"compressed-tensors\""]),
            ("/format", json!("pack-quantized"), ["format", "\"pack-quantized\"", "\"int-quantized\""]),
            ("/config_groups", json!([]), ["config_groups", "[]", "an object"]),
            ("/config_groups/group_0", json!(1), ["config_groups: group_0", "1", "an object"]),
            (
                "/config_groups/group_0/format",
                json!("pack-quantized"),
                ["group_0: format", "\"pack-quantized\"", "int"],
            ),
            ("/config_groups/group_0/weights/num_bits", json!(4), ["group_0: num_bits", "4", "8"]),
            ("/config_groups/group_0/weights/type", json!("float"), ["type", "\"float\"", "\"int\""]),
            ("/config_groups/group_0/weights/symmetric", json!(false), ["symmetric", "false", "true"]),
            ("/config_groups/group_0/weights/strategy", json!("group"), ["strategy", "\"group\"", "\"channel\""]),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(path).unwrap() = value;
            let error = check(bad.as_object().unwrap()).unwrap_err();
            assert_eq!(error.status(), Status::Unsupported);
            assert!(words.iter().all(|word| error.message().contains(word)), "{error} does not say {words:?}");
        }
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().remove("format");
        assert!(check(bad.as_object().unwrap()).unwrap_err().message().contains("format: absent"));
    }
}
