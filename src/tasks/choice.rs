//! The next token of a text that is generated: the likeliest, or one drawn.

use std::cmp::Ordering;

use crate::error::{Error, Result};
use crate::ops::dropout::philox;

/// How tokens are drawn, in HuggingFace's order: logits are divided by the temperature, then all but the `top_k` largest
/// are left out, then of what is left the least likely whose probabilities sum to no more than 1 − `top_p`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Above 0. Below 1 likely tokens are drawn more often than their probability, above 1 less often.
    pub temperature: f32,
    /// Tokens that are left to draw from, and those as likely as the last of them; 0 for all.
    pub top_k: usize,
    /// Above 0 and at most 1, which leaves all.
    pub top_p: f32,
    /// One seed gives one text on any number of threads, whatever is generated beside it.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Fails with `InvalidArgument` when a number is outside its range.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(Error::argument(format!("temperature {}, expected a number above 0", self.temperature)));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::argument(format!("top_p {}, expected above 0 and at most 1", self.top_p)));
        }
        Ok(())
    }

    /// One of `allowed`, for the token numbered `index` of the continuation numbered `continuation`.
    pub(super) fn draw(&self, logits: &[f32], allowed: &[u32], continuation: u32, index: u32) -> Option<u32> {
        let chances = self.chances(logits, allowed);
        let total: f64 = chances.iter().map(|(_, chance)| chance).sum();
        let [low, high, ..] = philox([index, continuation, 0, 0], [self.seed as u32, (self.seed >> 32) as u32]);
        let bits = (u64::from(high) << 32 | u64::from(low)) >> 11;
        let mark = total * (bits as f64 / (1u64 << 53) as f64);
        let mut sum = 0.0;
        let reached = chances.iter().find(|(_, chance)| {
            sum += chance;
            sum > mark
        });
        reached.or(chances.last()).map(|(id, _)| *id)
    }

    /// What may be drawn, the likeliest first, each with its share of the whole.
    fn chances(&self, logits: &[f32], allowed: &[u32]) -> Vec<(u32, f64)> {
        let mut ids = allowed.to_vec();
        let order = |a: &u32, b: &u32| descending(logits, *a, *b);
        if self.top_k > 0 && self.top_k < ids.len() {
            let (_, last, _) = ids.select_nth_unstable_by(self.top_k - 1, order);
            let least = logits[*last as usize];
            ids.retain(|&id| logits[id as usize] >= least);
        }
        ids.sort_unstable_by(order);
        let Some(&first) = ids.first() else { return Vec::new() };
        let most = logits[first as usize];
        let scaled = |id: u32| (f64::from(logits[id as usize] - most) / f64::from(self.temperature)).exp();
        let mut chances: Vec<(u32, f64)> = ids.into_iter().map(|id| (id, scaled(id))).collect();
        if self.top_p < 1.0 {
            let total: f64 = chances.iter().map(|(_, chance)| chance).sum();
            let left_out = (1.0 - f64::from(self.top_p)) * total;
            let mut tail = 0.0;
            let dropped = chances.iter().rev().take_while(|(_, chance)| {
                tail += chance;
                tail <= left_out
            });
            let kept = (chances.len() - dropped.count()).max(1);
            chances.truncate(kept);
        }
        chances
    }
}

/// The likeliest of `allowed`; of equals the lower id.
pub(super) fn likeliest(logits: &[f32], allowed: &[u32]) -> Option<u32> {
    allowed.iter().copied().min_by(|&a, &b| descending(logits, a, b))
}

fn descending(logits: &[f32], a: u32, b: u32) -> Ordering {
    logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities 0.4, 0.3, 0.2 and 0.1 of the ids 3, 1, 0 and 2: their logarithms and 1.
    const LOGITS: [f32; 4] = [-0.609_438, -0.203_973, -1.302_585, 0.083_709];

    fn left(sampling: Sampling) -> Vec<u32> {
        sampling.chances(&LOGITS, &[0, 1, 2, 3]).iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn top_k_and_top_p_leave_out_the_unlikely() {
        let all = Sampling::default();
        assert_eq!(left(all), [3, 1, 0, 2]);
        assert_eq!(left(Sampling { top_k: 2, ..all }), [3, 1]);
        assert_eq!(left(Sampling { top_k: 9, ..all }), [3, 1, 0, 2]);
        assert_eq!(left(Sampling { top_p: 0.69, ..all }), [3, 1]);
        assert_eq!(left(Sampling { top_p: 0.71, ..all }), [3, 1, 0]);
        assert_eq!(left(Sampling { top_p: 1e-6, ..all }), [3]);
        // Of the two that top_k leaves, the first has 4/7 of the probability.
        assert_eq!(left(Sampling { top_k: 2, top_p: 0.56, ..all }), [3]);
        assert_eq!(left(Sampling { top_k: 2, top_p: 0.58, ..all }), [3, 1]);
        // A high temperature evens probabilities out before top_p looks at them.
        assert_eq!(left(Sampling { temperature: 1e3, top_p: 0.7, ..all }), [3, 1, 0]);
        assert_eq!(left(Sampling { temperature: 1e-3, top_p: 0.99, ..all }), [3]);
        // As likely as the last that top_k leaves.
        let equal = |k| Sampling { top_k: k, ..all }.chances(&[1.0, 2.0, 1.0], &[0, 1, 2]).len();
        assert_eq!((equal(1), equal(2)), (1, 3));
    }

    #[test]
    fn draws_have_the_probabilities_and_depend_on_seed_continuation_and_place() {
        let sampling = Sampling { seed: 7, ..Sampling::default() };
        let mut counts = [0i32; 4];
        let draws: Vec<u32> =
            (0..10_000).filter_map(|i| sampling.draw(&LOGITS, &[0, 1, 2, 3], i / 100, i % 100)).collect();
        draws.iter().for_each(|&id| counts[id as usize] += 1);
        // Counts of 10⁴ draws deviate by up to 49; five of those.
        for (count, expected) in counts.into_iter().zip([2000, 3000, 1000, 4000]) {
            assert!((count - expected).abs() < 245, "{counts:?}");
        }
        let drawn = |sampling: Sampling, continuation| -> Vec<u32> {
            (0..64).filter_map(|i| sampling.draw(&LOGITS, &[0, 1, 2, 3], continuation, i)).collect()
        };
        assert_eq!(drawn(sampling, 0), draws[..64]);
        assert_ne!(drawn(sampling, 1), draws[..64]);
        assert_ne!(drawn(Sampling { seed: 8, ..sampling }, 0), draws[..64]);
        assert_ne!(drawn(Sampling { seed: 7 | 1 << 32, ..sampling }, 0), draws[..64]);
    }

    #[test]
    fn only_what_is_allowed_is_chosen() {
        assert_eq!(likeliest(&LOGITS, &[0, 1, 2]), Some(1));
        assert_eq!(likeliest(&[1.0, 1.0], &[0, 1]), Some(0));
        assert_eq!(likeliest(&LOGITS, &[]), None);
        let sampling = Sampling::default();
        assert!((0..200).all(|i| sampling.draw(&LOGITS, &[0, 2], 0, i) != Some(3)));
        assert_eq!(sampling.draw(&LOGITS, &[], 0, 0), None);
    }

    #[test]
    fn numbers_outside_their_range_are_refused() {
        let good = Sampling::default();
        assert!(good.check().is_ok());
        for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(Sampling { temperature, ..good }.check().is_err());
        }
        for top_p in [0.0, -0.5, 1.5, f32::NAN] {
            assert!(Sampling { top_p, ..good }.check().is_err());
        }
    }
}
