//! One name per tensor, whichever class of HuggingFace wrote the file.

/// The canonical name of a stored key.
///
/// Three things are taken away, in this order, as HuggingFace does on loading: the `module.` of `DataParallel`, the
/// base model's `bert.` or `albert.` that task models put before the encoder's keys, and the TensorFlow names
/// `LayerNorm.gamma` and `LayerNorm.beta`. A `gamma` elsewhere keeps its name, and so do the keys of heads.
pub(super) fn canonical(key: &str) -> String {
    let key = key.strip_prefix("module.").unwrap_or(key);
    let key = PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix)).unwrap_or(key);
    key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
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
}
