//! Option structs from JSON: fields by their names, numbers by their value or by the name that cloze.h gives them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, c_char};
use std::fs;
use std::ptr::null;

use cloze::capi::*;
use serde_json::Value;

use super::c::defaults;
use crate::built::path;

/// Named numbers of the header, and which of them the file uses.
pub struct Constants {
    known: BTreeMap<String, i64>,
    used: RefCell<BTreeSet<String>>,
}

impl Constants {
    pub fn of_the_header() -> Self {
        let header = fs::read_to_string(path("include/cloze.h")).unwrap();
        let constant = |line: &str| {
            let mut words = line.strip_prefix("#define ")?.split_whitespace();
            let (name, value) = (words.next()?, words.next()?.trim_matches(['(', ')']).trim_end_matches('u'));
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self { known: header.lines().filter_map(constant).collect(), used: RefCell::default() }
    }

    /// A number, the name of one, or a list of them that are joined as bits.
    pub fn number(&self, value: &Value) -> f64 {
        match value {
            Value::Number(number) => number.as_f64().unwrap(),
            Value::String(name) => {
                self.used.borrow_mut().insert(name.clone());
                *self.known.get(name).unwrap_or_else(|| panic!("{name} is not in cloze.h")) as f64
            }
            Value::Array(bits) => bits.iter().map(|bit| self.number(bit) as u64).fold(0, |a, b| a | b) as f64,
            Value::Bool(set) => f64::from(u8::from(*set)),
            other => panic!("{other}: no number"),
        }
    }

    /// Values of the names that were asked for.
    pub fn used(&self) -> Value {
        self.used.borrow().iter().map(|name| (name.clone(), Value::from(self.known[name]))).collect()
    }
}

/// A field of an option struct.
pub trait Field {
    fn of(number: f64) -> Self;
}

macro_rules! field {
    ($($type:ty)*) => { $(impl Field for $type { fn of(number: f64) -> Self { number as $type } })* };
}

field! { u32 u64 f32 f64 }

/// `$json` as the struct `$type`; fields that are no numbers are taken by `$other`.
macro_rules! options {
    ($constants:expr, $json:expr, $type:ident { $($field:ident)* } $other:expr) => {{
        let mut options: $type = $crate::vectors::c::defaults();
        for (name, value) in $json.as_object().into_iter().flatten() {
            match name.as_str() {
                $(stringify!($field) => {
                    options.$field = $crate::vectors::options::Field::of($constants.number(value));
                })*
                other => {
                    let take: fn(&mut $type, &str, &Value) -> bool = $other;
                    assert!(take(&mut options, other, value), "{other}: no field of {}", stringify!($type));
                }
            }
        }
        options
    }};
    ($constants:expr, $json:expr, $type:ident { $($field:ident)* }) => {
        options!($constants, $json, $type { $($field)* } |_, _, _| false)
    };
}
pub(super) use options;

/// Memory for the whole test, as the pointers in options need.
pub fn kept<T>(items: Vec<T>) -> *const T {
    Vec::leak(items).as_ptr()
}

/// A string that ends with NUL.
pub fn string(value: &Value) -> *const c_char {
    value.as_str().map_or(null(), |text| CString::new(text).unwrap().into_raw().cast_const())
}

/// Strings that end with NUL, and how many.
pub fn strings(value: &Value) -> (*const *const c_char, usize) {
    let all: Vec<_> = value.as_array().unwrap().iter().map(string).collect();
    let count = all.len();
    (kept(all), count)
}

/// How to train.
pub fn train(constants: &Constants, json: &Value) -> cloze_train_options {
    fn other(options: &mut cloze_train_options, name: &str, value: &Value) -> bool {
        match name {
            "head" => options.head = string(value),
            "metric" => options.metric = string(value),
            "labels" => (options.labels, options.label_count) = strings(value),
            "lora_targets" => (options.lora_targets, options.lora_target_count) = strings(value),
            "class_weights" => {
                let weights: Vec<f32> = value.as_array().unwrap().iter().map(|w| w.as_f64().unwrap() as f32).collect();
                (options.class_weight_count, options.class_weights) = (weights.len(), kept(weights));
            }
            _ => return false,
        }
        true
    }
    options!(constants, json, cloze_train_options {
        objective trainable layers switches max_tokens epochs order batch_size batch_tokens accumulation schedule
        schedule_cycles schedule_power patience lora_rank lora_alpha lora_dropout learning_rate layer_decay
        weight_decay beta1 beta2 epsilon max_gradient_norm dropout label_smoothing schedule_end warmup threshold
        max_steps seed evaluate_every masked short_examples random_next dev_examples
    } other)
}

/// Options with every field at its default.
pub fn none<T: Copy>() -> T {
    defaults()
}
