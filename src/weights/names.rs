//! One name per tensor, whichever class of HuggingFace wrote the file.

/// The canonical name of a stored key.
///
/// Three things are taken away, in this order, as HuggingFace does on loading: the `module.` of `DataParallel`, the
/// base model's `bert.` or `albert.` that task models put before the encoder's keys, and the TensorFlow names
/// `LayerNorm.gamma` and `LayerNorm.beta`. A `gamma` elsewhere keeps its name, and so do the keys of heads.
pub fn canonical(key: &str) -> String {
    let key = key.strip_prefix("module.").unwrap_or(key);
    let key = PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix)).unwrap_or(key);
    key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
}

/// The key that a task model gives the canonical `name`: the base model's `prefix` (`bert.`, `albert.`, or nothing in
/// a bare encoder) stands before what belongs to the base model, and before no head.
pub fn qualified(prefix: &str, name: &str) -> String {
    let root = name.split('.').next();
    let of_base = matches!(root, Some("embeddings" | "encoder" | "pooler"));
    if of_base { format!("{prefix}{name}") } else { name.to_owned() }
}

/// What a task model may put before the encoder's keys.
pub(super) const PREFIXES: [&str; 2] = ["bert.", "albert."];

/// Whether `name` is a constant that older releases stored among the weights: `0, 1, 2, …` or all zeros.
pub(super) fn is_buffer(name: &str) -> bool {
    matches!(name, "embeddings.position_ids" | "embeddings.token_type_ids")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_key_has_one_name() {
        for (key, name) in [
            ("bert.embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight"),
            ("embeddings.LayerNorm.beta", "embeddings.LayerNorm.bias"),
            ("module.bert.pooler.dense.weight", "pooler.dense.weight"),
            ("albert.encoder.embedding_hidden_mapping_in.bias", "encoder.embedding_hidden_mapping_in.bias"),
            ("cls.predictions.transform.LayerNorm.gamma", "cls.predictions.transform.LayerNorm.weight"),
            ("cls.predictions.bias", "cls.predictions.bias"),
            ("module.classifier.weight", "classifier.weight"),
            ("layer_scale.gamma", "layer_scale.gamma"),
            ("roberta.pooler.dense.weight", "roberta.pooler.dense.weight"),
            ("bertembeddings", "bertembeddings"),
            ("", ""),
        ] {
            assert_eq!(canonical(key), name, "{key}");
        }
    }

    #[test]
    fn a_task_model_qualifies_its_base_and_no_head() {
        for (prefix, name, key) in [
            ("bert.", "encoder.layer.0.output.dense.weight", "bert.encoder.layer.0.output.dense.weight"),
            ("bert.", "embeddings.word_embeddings.weight", "bert.embeddings.word_embeddings.weight"),
            ("albert.", "pooler.weight", "albert.pooler.weight"),
            ("albert.", "predictions.bias", "predictions.bias"),
            ("bert.", "cls.predictions.bias", "cls.predictions.bias"),
            ("bert.", "classifier.weight", "classifier.weight"),
            ("", "pooler.dense.weight", "pooler.dense.weight"),
        ] {
            assert_eq!(qualified(prefix, name), key);
            assert_eq!(canonical(key), name);
        }
    }
}
