//! Arguments that are more than a word or a number: `top:2`, `300MB`, `epoch`, `spam=2,ham=0.5`.

use std::fmt;

use cloze::engine::{Every, TrainOptions, Trainable};

/// What learns, as `--trainable` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trains {
    Head,
    /// So many layers.
    Top(usize),
    All,
    Layers,
    /// Of this rank.
    Lora(usize),
}

impl Trains {
    /// The same as options of the engine have it.
    pub fn set(self, options: &mut TrainOptions) {
        options.trainable = match self {
            Trains::Head => Trainable::Head,
            Trains::Top(layers) => Trainable::Top(layers),
            Trains::All => Trainable::All,
            Trains::Layers => Trainable::Layers,
            Trains::Lora(_) => Trainable::Lora,
        };
        if let Trains::Lora(rank) = self {
            options.lora.rank = rank;
        }
    }
}

impl fmt::Display for Trains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trains::Head => f.write_str("head"),
            Trains::Top(layers) => write!(f, "top:{layers}"),
            Trains::All => f.write_str("all"),
            Trains::Layers => f.write_str("layers"),
            Trains::Lora(rank) => write!(f, "lora:{rank}"),
        }
    }
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// `epoch` or a number of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EveryArg(pub Every);

pub fn parse_trains(text: &str) -> Result<Trains, String> {
    let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
    let found = match text.split_once(':') {
        None => match text {
            "head" => Some(Trains::Head),
            "all" => Some(Trains::All),
            "layers" => Some(Trains::Layers),
            _ => None,
        },
        Some(("top", layers)) => number(layers).map(Trains::Top),
        Some(("lora", rank)) => number(rank).map(Trains::Lora),
        Some(_) => None,
    };
    found.ok_or_else(|| "expected head, top:N, all, layers or lora:R with numbers from 1 on".to_owned())
}

pub fn parse_size(text: &str) -> Result<Size, String> {
    let expected = || "expected a size such as 300MB, 1.5GiB or 100000000".to_owned();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: f64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(expected()),
    };
    let bytes = number.trim().parse::<f64>().map_err(|_| expected())? * factor;
    match (0.0..1e18).contains(&bytes) {
        true => Ok(Size(bytes as u64)),
        false => Err(expected()),
    }
}

pub fn parse_every(text: &str) -> Result<EveryArg, String> {
    match text.parse() {
        Ok(steps) if steps > 0 => Ok(EveryArg(Every::Steps(steps))),
        _ if text == "epoch" => Ok(EveryArg(Every::Epoch)),
        _ => Err("expected epoch or a number of steps from 1 on".to_owned()),
    }
}

pub fn parse_weights(list: &str) -> Result<Vec<(String, f32)>, String> {
    let weight = |part: &str| {
        // a label may hold a '=' itself
        let (label, weight) = part.rsplit_once('=').ok_or_else(|| format!("\"{part}\", expected LABEL=WEIGHT"))?;
        let number = weight.parse::<f32>().ok().filter(|weight| weight.is_finite() && *weight >= 0.0);
        let number = number.ok_or_else(|| format!("weight \"{weight}\", expected a number of at least 0"))?;
        Ok((label.to_owned(), number))
    };
    list.split(',').map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_learns_has_a_number_where_it_needs_one() {
        assert_eq!(parse_trains("head"), Ok(Trains::Head));
        assert_eq!(parse_trains("top:2"), Ok(Trains::Top(2)));
        assert_eq!(parse_trains("lora:16"), Ok(Trains::Lora(16)));
        for wrong in ["", "top", "top:0", "top:x", "head:1", "lora:-1", "everything"] {
            assert!(parse_trains(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        for (text, bytes) in [("300MB", 300_000_000), ("1.5GiB", 1_610_612_736), ("64 kib", 65_536), ("12", 12)] {
            assert_eq!(parse_size(text), Ok(Size(bytes)), "{text}");
        }
        for wrong in ["", "MB", "-1MB", "3TB", "nan", "1e30", "inf"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn evaluations_come_by_epoch_or_by_steps() {
        assert_eq!(parse_every("epoch"), Ok(EveryArg(Every::Epoch)));
        assert_eq!(parse_every("50"), Ok(EveryArg(Every::Steps(50))));
        assert!(parse_every("0").is_err() && parse_every("daily").is_err());
    }

    #[test]
    fn weights_are_by_label() {
        assert_eq!(parse_weights("a=2,x=y=0.5"), Ok(vec![("a".to_owned(), 2.0), ("x=y".to_owned(), 0.5)]));
        assert!(parse_weights("a").is_err() && parse_weights("a=-1").is_err() && parse_weights("a=NaN").is_err());
    }
}
