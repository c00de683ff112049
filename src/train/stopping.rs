//! Early stopping: training ends when the evaluations no longer improve. HuggingFace's `EarlyStoppingCallback`.
//!
//! An evaluation is the best so far when it beats all earlier ones, by however little. It resets the patience only when
//! it beats the best by more than the threshold. The two differ: with a threshold, small steps upwards are kept as the
//! best and use up the patience nevertheless.

/// Metrics that improve downwards, beside every name that ends in "loss".
const LOWER: [&str; 4] = ["mean_squared_error", "mean_absolute_error", "root_mean_squared_error", "perplexity"];

/// Which values of a metric are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Accuracy, F1, correlations …
    Higher,
    /// Losses, errors, perplexity.
    Lower,
}

impl Better {
    /// What is better for the metric called `name`.
    pub fn of(name: &str) -> Self {
        match name.ends_with("loss") || LOWER.iter().any(|lower| name.ends_with(lower)) {
            true => Self::Lower,
            false => Self::Higher,
        }
    }

    /// Whether `value` is strictly better than `than`. Nothing is better than NaN, and NaN better than nothing.
    pub fn beats(self, value: f64, than: f64) -> bool {
        match self {
            Self::Higher => value > than,
            Self::Lower => value < than,
        }
    }
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stopping {
    /// Which values are better.
    pub better: Better,
    /// Evaluations without improvement after which training ends; `None` for never.
    pub patience: Option<u32>,
    /// What an improvement has to exceed to count.
    pub threshold: f64,
}

/// What has been seen; all there is to store for training to go on later.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// The best value so far.
    pub best: Option<f64>,
    /// Evaluations in a row that did not improve on the best by more than the threshold.
    pub without_improvement: u32,
}

/// What follows from an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is the best so far.
    pub best: bool,
    /// Whether training ends.
    pub stop: bool,
}

impl Stopping {
    /// Takes in the value of an evaluation. NaN is never an improvement, not even the first time.
    pub fn observe(&self, seen: &mut Seen, value: f64) -> Verdict {
        let (best, counts) = match seen.best {
            None => (!value.is_nan(), !value.is_nan()),
            Some(best) => {
                let beats = self.better.beats(value, best);
                (beats, beats && (value - best).abs() > self.threshold)
            }
        };
        seen.without_improvement = if counts { 0 } else { seen.without_improvement.saturating_add(1) };
        if best {
            seen.best = Some(value);
        }
        Verdict { best, stop: self.patience.is_some_and(|patience| seen.without_improvement >= patience) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (best, stop) after each value.
    fn verdicts(stopping: Stopping, values: &[f64]) -> Vec<(bool, bool)> {
        let mut seen = Seen::default();
        let verdict = |value: &f64| {
            let verdict = stopping.observe(&mut seen, *value);
            (verdict.best, verdict.stop)
        };
        values.iter().map(verdict).collect()
    }

    #[test]
    fn losses_and_errors_fall_other_metrics_rise() {
        for name in ["loss", "eval_loss", "mean_squared_error", "eval_perplexity"] {
            assert_eq!(Better::of(name), Better::Lower, "{name}");
        }
        for name in ["accuracy", "f1", "matthews_correlation", "loss_free"] {
            assert_eq!(Better::of(name), Better::Higher, "{name}");
        }
    }

    #[test]
    fn patience_counts_evaluations_in_a_row_and_equal_is_no_improvement() {
        let stopping = Stopping { better: Better::Higher, patience: Some(2), threshold: 0.0 };
        let expected = [(true, false), (false, false), (true, false), (false, false), (false, true)];
        assert_eq!(verdicts(stopping, &[0.5, 0.5, 0.6, 0.6, 0.1]), expected);
        let never = Stopping { patience: None, ..stopping };
        assert!(verdicts(never, &[0.5; 50]).iter().all(|(_, stop)| !stop));
    }

    #[test]
    fn losses_improve_downwards() {
        let stopping = Stopping { better: Better::Lower, patience: Some(1), threshold: 0.0 };
        assert_eq!(verdicts(stopping, &[1.0, 0.9, 0.95]), [(true, false), (true, false), (false, true)]);
    }

    #[test]
    fn steps_within_the_threshold_are_the_best_but_use_up_the_patience() {
        let stopping = Stopping { better: Better::Higher, patience: Some(2), threshold: 0.1 };
        assert_eq!(verdicts(stopping, &[0.5, 0.55, 0.6]), [(true, false), (true, false), (true, true)]);
    }

    #[test]
    fn nan_is_never_the_best() {
        let stopping = Stopping { better: Better::Lower, patience: Some(2), threshold: 0.0 };
        assert_eq!(verdicts(stopping, &[f64::NAN, 1.0, f64::NAN]), [(false, false), (true, false), (false, false)]);
        assert_eq!(verdicts(stopping, &[f64::NAN, f64::NAN]), [(false, false), (false, true)]);
    }

    #[test]
    fn training_that_goes_on_counts_from_what_was_stored() {
        let stopping = Stopping { better: Better::Higher, patience: Some(2), threshold: 0.0 };
        let mut seen = Seen { best: Some(0.7), without_improvement: 1 };
        assert_eq!(stopping.observe(&mut seen, 0.7), Verdict { best: false, stop: true });
        assert_eq!(seen, Seen { best: Some(0.7), without_improvement: 2 });
    }
}
