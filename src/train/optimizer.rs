//! What the optimizer does to a parameter because of its name: weight decay, and a learning rate that falls with depth.

/// Whether weight decay applies: HuggingFace's rule leaves out biases and normalisation layers.
///
/// The rule is about names, parts of which are what stands between dots: any that contains `bias`, `layernorm` or
/// `rmsnorm`, in any case, and any with a part that is `norm` or ends in `_norm`. Every layer normalisation of BERT,
/// ALBERT and sentence-transformers is called so.
pub fn decays(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let norm = |part: &str| part == "norm" || part.ends_with("_norm");
    !(["bias", "layernorm", "rmsnorm"].into_iter().any(|word| name.contains(word)) || name.split('.').any(norm))
}

/// Factor on the learning rate of the parameter `name` in a model of `layers` encoder layers: 1 for what stands above
/// the encoder, `decay` for the highest layer, one `decay` more for each layer below, and one more for embeddings.
///
/// ALBERT's groups of layers count as its layers.
pub fn layer_factor(name: &str, layers: usize, decay: f64) -> f64 {
    let depth = match place(name) {
        Place::Embeddings => layers + 1,
        Place::Layer(layer) => layers.saturating_sub(layer),
        Place::Head => 0,
    };
    decay.powf(depth as f64)
}

enum Place {
    Embeddings,
    Layer(usize),
    Head,
}

fn place(name: &str) -> Place {
    let mut parts = name.split('.').peekable();
    while let Some(part) = parts.next() {
        match part {
            "embeddings" | "embedding_hidden_mapping_in" => return Place::Embeddings,
            "layer" | "albert_layer_groups" => {
                if let Some(layer) = parts.peek().and_then(|number| number.parse().ok()) {
                    return Place::Layer(layer);
                }
            }
            _ => {}
        }
    }
    Place::Head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decay_leaves_out_what_huggingface_leaves_out() {
        for name in [
            "bert.embeddings.word_embeddings.weight",
            "bert.encoder.layer.11.attention.self.query.weight",
            "albert.encoder.embedding_hidden_mapping_in.weight",
            "bert.encoder.layer.0.attention.self.distance_embedding.weight",
            "classifier.weight",
            "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight",
            "normal.weight",
            "norms.weight",
            "prenorm.weight",
        ] {
            assert!(decays(name), "{name}");
        }
        for name in [
            "bert.encoder.layer.11.attention.self.query.bias",
            "cls.predictions.bias",
            "bert.embeddings.LayerNorm.weight",
            "bert.encoder.layer.0.output.LayerNorm.gamma",
            "cls.predictions.transform.LayerNorm.weight",
            "albert.encoder.albert_layer_groups.0.albert_layers.0.full_layer_layer_norm.weight",
            "transformer.layer.0.sa_layer_norm.weight",
            "norm.weight",
            "2.norm.weight",
            "final_norm",
            "encoder.RMSNorm.weight",
        ] {
            assert!(!decays(name), "{name}");
        }
    }

    #[test]
    fn learning_rate_falls_with_depth() {
        for (name, depth) in [
            ("classifier.weight", 0),
            ("cls.predictions.transform.dense.weight", 0),
            ("bert.pooler.dense.weight", 0),
            ("bert.encoder.layer.11.output.dense.weight", 1),
            ("encoder.layer.10.output.dense.weight", 2),
            ("bert.encoder.layer.0.attention.self.query.weight", 12),
            ("transformer.layer.0.ffn.lin1.weight", 12),
            ("bert.embeddings.word_embeddings.weight", 13),
            ("embeddings.LayerNorm.weight", 13),
        ] {
            assert_eq!(layer_factor(name, 12, 0.5), 0.5f64.powi(depth), "{name}");
            assert_eq!(layer_factor(name, 12, 1.0), 1.0);
        }
        let shared = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight";
        assert_eq!(layer_factor(shared, 1, 0.5), 0.5);
        assert_eq!(layer_factor("albert.encoder.embedding_hidden_mapping_in.weight", 1, 0.5), 0.25);
    }
}
