//! How the learning rate changes over the steps, under HuggingFace's names and with its formulas.

use std::f64::consts::PI;

use crate::error::{Error, Result};

/// A factor on the learning rate for every step. All but [`Schedule::Constant`] rise linearly from 0 during warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// `linear`: falls to 0 at the last step.
    Linear,
    /// `cosine`: falls to 0 along half a wave.
    Cosine,
    /// `cosine_with_restarts`: that, as often as `cycles` says.
    CosineWithRestarts {
        /// Times that the rate starts from the top.
        cycles: u32,
    },
    /// `polynomial`: falls to `end` along (the part that remains)^`power`.
    Polynomial {
        /// 1 is a line.
        power: f64,
        /// Last learning rate (HuggingFace's `lr_end`) as a fraction of the learning rate.
        end: f64,
    },
    /// `constant`: no warm-up either.
    Constant,
    /// `constant_with_warmup`
    ConstantWithWarmup,
    /// `inverse_sqrt`: √(warm-up / step), or of 10,000 steps more where there is no warm-up.
    InverseSqrt,
}

/// Schedules of HuggingFace that are not here: they follow a metric, or need settings of their own.
const OTHERS: [&str; 5] =
    ["reduce_lr_on_plateau", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay", "greedy"];

impl Schedule {
    /// The schedule of that name with HuggingFace's defaults: one cycle; power 1 down to a learning rate of 1e-7.
    ///
    /// `learning_rate` is that of the optimizer, positive.
    pub fn named(name: &str, learning_rate: f64) -> Result<Self> {
        match name {
            "linear" => Ok(Self::Linear),
            "cosine" => Ok(Self::Cosine),
            "cosine_with_restarts" => Ok(Self::CosineWithRestarts { cycles: 1 }),
            "polynomial" => Self::polynomial(1.0, 1e-7, learning_rate),
            "constant" => Ok(Self::Constant),
            "constant_with_warmup" => Ok(Self::ConstantWithWarmup),
            "inverse_sqrt" => Ok(Self::InverseSqrt),
            _ => {
                let expected = "expected linear, cosine, cosine_with_restarts, polynomial, constant, \
                                constant_with_warmup or inverse_sqrt";
                let message = format!("schedule \"{name}\", {expected}");
                Err(if OTHERS.contains(&name) { Error::unsupported(message) } else { Error::argument(message) })
            }
        }
    }

    /// `polynomial` from `learning_rate` to the smaller `end_learning_rate`.
    pub fn polynomial(power: f64, end_learning_rate: f64, learning_rate: f64) -> Result<Self> {
        if !(0.0..learning_rate).contains(&end_learning_rate) {
            return Err(Error::argument(format!(
                "last learning rate {end_learning_rate}, expected less than the learning rate {learning_rate}"
            )));
        }
        if !(power > 0.0 && power.is_finite()) {
            return Err(Error::argument(format!("power {power} of a polynomial schedule, expected a positive number")));
        }
        Ok(Self::Polynomial { power, end: end_learning_rate / learning_rate })
    }

    /// HuggingFace's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Cosine => "cosine",
            Self::CosineWithRestarts { .. } => "cosine_with_restarts",
            Self::Polynomial { .. } => "polynomial",
            Self::Constant => "constant",
            Self::ConstantWithWarmup => "constant_with_warmup",
            Self::InverseSqrt => "inverse_sqrt",
        }
    }

    /// The factor after `step` steps have been taken, of `total`; the first `warmup` of them warm up.
    pub fn factor(&self, step: u64, warmup: u64, total: u64) -> f64 {
        if *self == Self::Constant {
            return 1.0;
        }
        let (now, rise, last) = (step as f64, warmup as f64, total as f64);
        if step < warmup {
            return now / rise;
        }
        let decay = (last - rise).max(1.0);
        let progress = (now - rise) / decay;
        let wave = |turns: f64| 0.5 * (1.0 + (PI * turns).cos());
        match *self {
            Self::Linear => ((last - now) / decay).max(0.0),
            Self::Cosine => wave(progress),
            Self::CosineWithRestarts { .. } if progress >= 1.0 => 0.0,
            Self::CosineWithRestarts { cycles } => wave(f64::from(cycles) * progress % 1.0),
            Self::Polynomial { end, .. } if step >= total => end,
            Self::Polynomial { power, end } => (1.0 - end) * (1.0 - progress).powf(power) + end,
            Self::Constant | Self::ConstantWithWarmup => 1.0,
            Self::InverseSqrt => {
                let scale = if warmup == 0 { 10_000.0 } else { rise };
                (scale / (now - rise + scale)).sqrt()
            }
        }
    }
}

/// Length of the warm-up: a number of steps from 1 on, a part of all steps below.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Warmup(f64);

impl Warmup {
    /// HuggingFace's `warmup_steps`, finite and not negative.
    pub fn new(value: f64) -> Result<Self> {
        if !(value.is_finite() && value >= 0.0) {
            return Err(Error::argument(format!("warm-up {value}, expected steps or a part of all, 0 or more")));
        }
        Ok(Self(value))
    }

    /// Steps, of `total`: whole ones are cut off, a part is rounded up.
    pub fn steps(self, total: u64) -> u64 {
        if self.0 >= 1.0 { self.0 as u64 } else { (total as f64 * self.0).ceil() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    #[test]
    fn factors_are_those_of_transformers() {
        // The `lr_lambda` of transformers 5.23's `get_*_schedule*` for 20 steps, a learning rate of 5e-5 and the
        // `lr_end` of 1e-7 and 1e-5, to eight decimals.
        const STEPS: [u64; 8] = [0, 3, 4, 5, 10, 13, 19, 25];
        let table = [
            (Schedule::Linear, 4, [0.0, 0.75, 1.0, 0.9375, 0.625, 0.4375, 0.0625, 0.0]),
            (Schedule::Cosine, 4, [0.0, 0.75, 1.0, 0.99039264, 0.69134172, 0.40245484, 0.00960736, 0.22221488]),
            (
                Schedule::CosineWithRestarts { cycles: 1 },
                4,
                [0.0, 0.75, 1.0, 0.99039264, 0.69134172, 0.40245484, 0.00960736, 0.0],
            ),
            (
                Schedule::CosineWithRestarts { cycles: 3 },
                4,
                [0.0, 0.75, 1.0, 0.91573481, 0.96193977, 0.22221488, 0.08426519, 0.0],
            ),
            (
                Schedule::Polynomial { power: 1.0, end: 0.002 },
                4,
                [0.0, 0.75, 1.0, 0.937625, 0.62575, 0.438625, 0.064375, 0.002],
            ),
            (
                Schedule::Polynomial { power: 2.5, end: 0.2 },
                4,
                [0.0, 0.75, 1.0, 0.88079785, 0.44705294, 0.30128267, 0.20078125, 0.2],
            ),
            (Schedule::ConstantWithWarmup, 4, [0.0, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
            (Schedule::InverseSqrt, 4, [0.0, 0.75, 1.0, 0.89442719, 0.63245553, 0.5547002, 0.45883147, 0.4]),
            (Schedule::Linear, 0, [1.0, 0.85, 0.8, 0.75, 0.5, 0.35, 0.05, 0.0]),
            (Schedule::Cosine, 0, [1.0, 0.94550326, 0.9045085, 0.85355339, 0.5, 0.27300475, 0.00615583, 0.14644661]),
            (
                Schedule::CosineWithRestarts { cycles: 1 },
                0,
                [1.0, 0.94550326, 0.9045085, 0.85355339, 0.5, 0.27300475, 0.00615583, 0.0],
            ),
            (
                Schedule::CosineWithRestarts { cycles: 3 },
                0,
                [1.0, 0.57821723, 0.3454915, 0.14644661, 0.5, 0.00615583, 0.05449674, 0.0],
            ),
            (
                Schedule::Polynomial { power: 1.0, end: 0.002 },
                0,
                [1.0, 0.8503, 0.8004, 0.7505, 0.501, 0.3513, 0.0519, 0.002],
            ),
            (
                Schedule::Polynomial { power: 2.5, end: 0.2 },
                0,
                [1.0, 0.73288967, 0.65794672, 0.58971143, 0.34142136, 0.25797758, 0.20044721, 0.2],
            ),
            (Schedule::ConstantWithWarmup, 0, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
            (
                Schedule::InverseSqrt,
                0,
                [1.0, 0.99985003, 0.99980006, 0.99975009, 0.99950037, 0.99935063, 0.99905135, 0.99875234],
            ),
        ];
        for (schedule, warmup, factors) in table {
            for (step, expected) in STEPS.into_iter().zip(factors) {
                let factor = schedule.factor(step, warmup, 20);
                assert!((factor - expected).abs() < 6e-9, "{schedule:?} at {step}: {factor}, expected {expected}");
            }
        }
        assert_eq!(STEPS.map(|step| Schedule::Constant.factor(step, 4, 20)), [1.0; 8]);
    }

    #[test]
    fn a_warmup_as_long_as_the_training_ends_in_numbers() {
        for name in ["linear", "cosine", "cosine_with_restarts", "polynomial", "constant_with_warmup", "inverse_sqrt"] {
            let schedule = Schedule::named(name, 1e-3).unwrap();
            for (warmup, total) in [(5, 5), (7, 5), (0, 0), (1, 0)] {
                for step in 0..9 {
                    let factor = schedule.factor(step, warmup, total);
                    assert!((0.0..=1.0).contains(&factor), "{schedule:?} at {step} of {total}: {factor}");
                }
            }
        }
    }

    #[test]
    fn names_are_those_of_transformers() {
        for name in [
            "linear",
            "cosine",
            "cosine_with_restarts",
            "polynomial",
            "constant",
            "constant_with_warmup",
            "inverse_sqrt",
        ] {
            assert_eq!(Schedule::named(name, 5e-5).unwrap().name(), name);
        }
        assert_eq!(Schedule::named("polynomial", 1e-4), Ok(Schedule::Polynomial { power: 1.0, end: 1e-7 / 1e-4 }));
        let status = |result: Result<Schedule>| result.unwrap_err().status();
        assert_eq!(status(Schedule::named("greedy", 5e-5)), Status::Unsupported);
        assert_eq!(status(Schedule::named("Linear", 5e-5)), Status::InvalidArgument);
        assert_eq!(status(Schedule::named("polynomial", 1e-7)), Status::InvalidArgument);
        assert_eq!(status(Schedule::polynomial(0.0, 1e-7, 1e-5)), Status::InvalidArgument);
        assert_eq!(status(Schedule::polynomial(f64::NAN, 1e-7, 1e-5)), Status::InvalidArgument);
    }

    #[test]
    fn warmup_counts_steps_or_a_part_of_them() {
        // `TrainingArguments(warmup_steps=…).get_warmup_steps(total)`; 100 · 0.07 and 100 · 0.55 are a little more than
        // 7 and 55 in f64.
        for (value, total, steps) in [
            (0.0, 100, 0),
            (0.1, 30, 3),
            (0.1, 31, 4),
            (0.06, 1000, 60),
            (0.07, 100, 8),
            (0.55, 100, 56),
            (1.0, 100, 1),
            (2.9, 100, 2),
            (500.0, 100, 500),
            (0.999, 10, 10),
        ] {
            assert_eq!(Warmup::new(value).unwrap().steps(total), steps, "{value} of {total}");
        }
        assert!([-1.0, f64::NAN, f64::INFINITY].into_iter().all(|value| Warmup::new(value).is_err()));
    }
}
