//! What training will need, before it begins: bytes beside the mapped weights, and how passes are cut so that they fit.
//!
//! Counted are parameters that train (copy, gradient, two moments), the activations of one pass, and the working memory of
//! frozen layers. Not counted are the tokenizer, the examples themselves and the cache, which has a limit of its own.

use crate::bert::{Config, HeadPart, Keep, chunk_rows};
use crate::device::Portions;
use crate::error::{Error, Result, Status};

use super::learner::Passes;
use super::objective::Objective;

/// Bytes of an f32.
const NUMBER: u64 = 4;

/// What decides how much memory training takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Numbers that train.
    pub parameters: u64,
    /// First of the L steps that trains.
    pub lowest: usize,
    /// What is learned.
    pub objective: Objective,
    /// Tokens of the longest example.
    pub longest: usize,
    /// Tokens of the largest batch.
    pub batch: usize,
}

/// The bytes of one way to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Copies, gradients and moments of what trains.
    pub parameters: u64,
    /// Activations and working memory of one pass.
    pub pass: u64,
    /// How the passes are cut.
    pub passes: Passes,
}

impl Need {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.parameters + self.pass
    }
}

/// The fastest way to train on a device that takes such `portions`, within `budget` bytes (0: no limit): the largest passes
/// that fit, and activations kept if they fit, else computed again.
///
/// Fails with `OutOfMemory`, naming the bytes it takes at least, when nothing fits.
pub fn plan(config: &Config, load: &Load, portions: &Portions, budget: u64) -> Result<Need> {
    let need = |config, load, passes| need(config, load, portions, passes);
    let one = need(config, load, Passes { tokens: 1, keep: Keep::Everything }).pass.max(1);
    let (fewest, most) = portions.pass_tokens;
    let usual = usize::try_from(portions.pass_bytes / one).unwrap_or(most).clamp(fewest, most);
    let largest = load.batch.clamp(load.longest, usual.max(load.longest));
    let fits = |need: &Need| budget == 0 || need.total() <= budget;
    for keep in [Keep::Everything, Keep::Inputs] {
        let mut tokens = largest;
        loop {
            let need = need(config, load, Passes { tokens, keep });
            if fits(&need) {
                return Ok(need);
            }
            if tokens == load.longest {
                break;
            }
            tokens = (tokens / 2).max(load.longest);
        }
    }
    let least = need(config, load, Passes { tokens: load.longest, keep: Keep::Inputs });
    Err(Error::new(
        Status::OutOfMemory,
        format!(
            "training needs at least {} bytes beside the mapped weights ({} for what trains, {} for a pass of {} tokens), \
             the budget is {budget}",
            least.total(),
            least.parameters,
            least.pass,
            load.longest
        ),
    ))
}

/// Share of the tokens that are masked, with room for a batch that has more than its share.
const MASKED: f64 = 0.2;

/// Bytes of one way to train.
pub fn need(config: &Config, load: &Load, portions: &Portions, passes: Passes) -> Need {
    let (h, f) = (config.hidden as u64, config.intermediate as u64);
    let (tokens, layers) = (passes.tokens as u64, config.layers as u64 * config.inner_group as u64);
    // a layer keeps x, query, key, value, context, n and two normalised rows, and twice the wide row
    let whole_layer = 8 * h + 2 * f;
    let trained = layers.saturating_sub(load.lowest as u64 * config.inner_group as u64);
    let kept = match (passes.keep, trained) {
        (_, 0) => 0,
        // the last layer computes few rows: it keeps x, key and value of all
        (Keep::Everything, n) if load.objective.is_pooled() && !load.objective.has_words() => {
            (n - 1) * whole_layer + 3 * h
        }
        (Keep::Everything, n) => n * whole_layer,
        (Keep::Inputs, n) => n * h + whole_layer,
    };
    // gradients on their way down: of the wide row, of query, key and value, and four rows; of frozen layers alone, less
    let working = if trained > 0 { 7 * h + f } else { 6 * h + f };
    // a chunk of logits with their gradients; of every row with a target what the head keeps on its way there and back
    let rows = match load.objective {
        Objective::CausalLm => tokens,
        objective if objective.has_words() => (MASKED * passes.tokens as f64) as u64,
        _ => 0,
    };
    let chunk = rows.min(chunk_rows(config.vocabulary, portions.pass_logits) as u64);
    let logits = 2 * chunk * config.vocabulary as u64 + 5 * rows * config.embedding as u64;
    let per_head = match load.objective.heads().contains(&HeadPart::Token) {
        true => 2 * tokens * config.labels.len() as u64,
        false => 0,
    };
    Need {
        parameters: 4 * NUMBER * load.parameters,
        pass: NUMBER * (tokens * (kept + working) + logits + per_head),
        passes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Cpu;

    fn base() -> Config {
        Config::parse(br#"{"model_type":"bert"}"#).unwrap()
    }

    /// The top two layers of BERT-base and the pooler.
    fn load() -> Load {
        Load { parameters: 14_768_130, lowest: 10, objective: Objective::Classify, longest: 128, batch: 2048 }
    }

    #[test]
    fn a_smaller_budget_cuts_passes_then_keeps_less_then_is_refused() {
        let config = base();
        let free = plan(&config, &load(), &Cpu::PORTIONS, 0).unwrap();
        assert_eq!(free.passes, Passes { tokens: 1092, keep: Keep::Everything });
        let half = plan(&config, &load(), &Cpu::PORTIONS, free.total() - 1).unwrap();
        assert_eq!(half.passes, Passes { tokens: 546, keep: Keep::Everything });
        let least = need(&config, &load(), &Cpu::PORTIONS, Passes { tokens: 128, keep: Keep::Inputs });
        assert_eq!(plan(&config, &load(), &Cpu::PORTIONS, least.total()).unwrap(), least);
        let refused = plan(&config, &load(), &Cpu::PORTIONS, least.total() - 1).unwrap_err();
        assert_eq!(refused.status(), Status::OutOfMemory);
        assert!(refused.message().contains(&least.total().to_string()), "{refused}");
    }

    #[test]
    fn the_top_two_layers_of_bert_base_fit_300_mb() {
        let need = plan(&base(), &load(), &Cpu::PORTIONS, 300 << 20).unwrap();
        assert!(need.passes.tokens >= 512, "{need:?}");
    }
}
