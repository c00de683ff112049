//! `trainer_state.json`: where a training run stands, in the form of HuggingFace's Trainer.
//!
//! Trainer reads no key that it does not know, except among `stateful_callbacks`; so what cloze needs to go on lies
//! there, as the attributes of a callback `Cloze`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// Where a run stands.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerState {
    /// Passes over the examples, with the part of the current one.
    pub epoch: f64,
    /// Optimizer steps so far.
    pub global_step: u64,
    /// Optimizer steps of the whole run.
    pub max_steps: u64,
    /// Steps between lines of the log.
    pub logging_steps: u64,
    /// Steps between evaluations.
    pub eval_steps: u64,
    /// Steps between checkpoints.
    pub save_steps: u64,
    /// Examples in a batch.
    pub train_batch_size: Option<u64>,
    /// Passes of the whole run.
    pub num_train_epochs: u64,
    /// Lines of the log: `epoch`, `step`, and what was measured.
    pub log_history: Vec<Map<String, Value>>,
    /// The best value so far of the metric that models are compared by.
    pub best_metric: Option<f64>,
    /// The step it was measured at.
    pub best_global_step: Option<u64>,
    /// Folder of the checkpoint it was measured on.
    pub best_model_checkpoint: Option<String>,
    /// Early stopping, where asked for.
    pub early_stopping: Option<EarlyStopping>,
    /// What cloze needs to go on: seed, position in the epoch, options.
    pub cloze: Map<String, Value>,
    /// Every other key of the file, and other callbacks under `stateful_callbacks`.
    pub rest: Map<String, Value>,
}

/// Training ends after this many evaluations without a better metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyStopping {
    /// Evaluations that it waits.
    pub patience: u64,
    /// By how much a metric must be better.
    pub threshold: f64,
    /// Evaluations waited so far.
    pub counter: u64,
}

/// Keys of Trainer that mean nothing to cloze, with the values of a plain run.
const CONSTANTS: [(&str, Constant); 7] = [
    ("is_hyper_param_search", Constant::Flag(false)),
    ("is_local_process_zero", Constant::Flag(true)),
    ("is_world_process_zero", Constant::Flag(true)),
    ("num_input_tokens_seen", Constant::Zero),
    ("total_flos", Constant::Zero),
    ("trial_name", Constant::Null),
    ("trial_params", Constant::Null),
];

#[derive(Clone, Copy)]
enum Constant {
    Flag(bool),
    Zero,
    Null,
}

const CALLBACKS: &str = "stateful_callbacks";

const STOPPING: &str = "EarlyStoppingCallback";

const CONTROL: &str = "TrainerControl";

const CLOZE: &str = "Cloze";

impl TrainerState {
    /// A run that has not begun, with Trainer's default intervals.
    pub fn new() -> Self {
        Self {
            epoch: 0.0,
            global_step: 0,
            max_steps: 0,
            logging_steps: 500,
            eval_steps: 500,
            save_steps: 500,
            train_batch_size: None,
            num_train_epochs: 0,
            log_history: Vec::new(),
            best_metric: None,
            best_global_step: None,
            best_model_checkpoint: None,
            early_stopping: None,
            cloze: Map::new(),
            rest: Map::new(),
        }
    }

    /// Reads the bytes of a `trainer_state.json`, with Trainer's defaults for absent keys.
    ///
    /// Fails with `InvalidFile` on what is not JSON (Python's `NaN` is not) or has the wrong type.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let object = serde_json::from_slice(bytes).map_err(|e| Error::file(format!("not a JSON object: {e}")));
        object.and_then(|object| Self::read(Taken(object))).map_err(|e| e.within("trainer_state.json"))
    }

    fn read(mut keys: Taken) -> Result<Self> {
        let default = Self::new();
        let mut callbacks = Taken(keys.object(CALLBACKS)?.unwrap_or_default());
        let stopping = callbacks.object(STOPPING)?;
        callbacks.object(CONTROL)?; // of the moment it was written; `to_json` makes it anew
        let cloze = callbacks.object(CLOZE)?.and_then(|mut callback| callback.remove("attributes"));
        let state = Self {
            epoch: keys.number("epoch")?.unwrap_or(default.epoch),
            global_step: keys.count("global_step")?.unwrap_or(default.global_step),
            max_steps: keys.count("max_steps")?.unwrap_or(default.max_steps),
            logging_steps: keys.count("logging_steps")?.unwrap_or(default.logging_steps),
            eval_steps: keys.count("eval_steps")?.unwrap_or(default.eval_steps),
            save_steps: keys.count("save_steps")?.unwrap_or(default.save_steps),
            train_batch_size: keys.count("train_batch_size")?,
            num_train_epochs: keys.count("num_train_epochs")?.unwrap_or(default.num_train_epochs),
            log_history: keys.list("log_history")?.unwrap_or_default(),
            best_metric: keys.number("best_metric")?,
            best_global_step: keys.count("best_global_step")?,
            best_model_checkpoint: keys.text("best_model_checkpoint")?,
            early_stopping: stopping.map(|object| EarlyStopping::read(&object)).transpose()?,
            cloze: match cloze {
                None => Map::new(),
                Some(Value::Object(attributes)) => attributes,
                Some(other) => return Err(wrong("Cloze.attributes", &other, "an object")),
            },
            rest: Map::new(),
        };
        let mut rest = keys.0;
        if !callbacks.0.is_empty() {
            rest.insert(CALLBACKS.into(), callbacks.0.into());
        }
        Ok(Self { rest, ..state })
    }

    /// The text of a `trainer_state.json`, keys sorted as Trainer writes them. A metric that is not finite is `null`.
    pub fn to_json(&self) -> String {
        let mut keys: BTreeMap<String, Value> = self.rest.clone().into_iter().collect();
        for (key, constant) in CONSTANTS {
            keys.entry(key.to_owned()).or_insert(match constant {
                Constant::Flag(flag) => flag.into(),
                Constant::Zero => 0.into(),
                Constant::Null => Value::Null,
            });
        }
        let known = [
            ("epoch", json!(self.epoch)),
            ("global_step", json!(self.global_step)),
            ("max_steps", json!(self.max_steps)),
            ("logging_steps", json!(self.logging_steps)),
            ("eval_steps", json!(self.eval_steps)),
            ("save_steps", json!(self.save_steps)),
            ("train_batch_size", json!(self.train_batch_size)),
            ("num_train_epochs", json!(self.num_train_epochs)),
            ("log_history", json!(self.log_history)),
            ("best_metric", json!(self.best_metric)),
            ("best_global_step", json!(self.best_global_step)),
            ("best_model_checkpoint", json!(self.best_model_checkpoint)),
            (CALLBACKS, self.callbacks()),
        ];
        keys.extend(known.map(|(key, value)| (key.to_owned(), value)));
        format!("{:#}\n", Value::Object(keys.into_iter().collect()))
    }

    fn callbacks(&self) -> Value {
        let others = self.rest.get(CALLBACKS).and_then(Value::as_object).cloned().unwrap_or_default();
        let mut callbacks: BTreeMap<String, Value> = others.into_iter().collect();
        let control = json!({"args": {
            "should_epoch_stop": false, "should_evaluate": false, "should_log": false, "should_save": true,
            "should_training_stop": self.global_step >= self.max_steps,
        }, "attributes": {}});
        callbacks.insert(CONTROL.into(), control);
        if let Some(EarlyStopping { patience, threshold, counter }) = self.early_stopping {
            let callback = json!({
                "args": {"early_stopping_patience": patience, "early_stopping_threshold": threshold},
                "attributes": {"early_stopping_patience_counter": counter},
            });
            callbacks.insert(STOPPING.into(), callback);
        }
        if !self.cloze.is_empty() {
            callbacks.insert(CLOZE.into(), json!({"args": {}, "attributes": self.cloze}));
        }
        Value::Object(callbacks.into_iter().collect())
    }
}

impl Default for TrainerState {
    fn default() -> Self {
        Self::new()
    }
}

impl EarlyStopping {
    fn read(callback: &Map<String, Value>) -> Result<Self> {
        let part = |key: &str| Taken(callback.get(key).and_then(Value::as_object).cloned().unwrap_or_default());
        let (mut arguments, mut attributes) = (part("args"), part("attributes"));
        Ok(Self {
            patience: arguments.count("early_stopping_patience")?.unwrap_or(1),
            threshold: arguments.number("early_stopping_threshold")?.unwrap_or(0.0),
            counter: attributes.count("early_stopping_patience_counter")?.unwrap_or(0),
        })
    }
}

/// An object whose keys are taken out by type; what stays was not understood. `null` is absent.
struct Taken(Map<String, Value>);

impl Taken {
    fn take<T>(&mut self, key: &str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        let value = self.0.shift_remove(key).filter(|value| !value.is_null());
        value.map(|value| read(&value).ok_or_else(|| wrong(key, &value, expected))).transpose()
    }

    /// Python writes some counts as `500.0`.
    fn count(&mut self, key: &str) -> Result<Option<u64>> {
        self.take(key, "a whole number", |value| {
            let whole = |x: &f64| x.fract() == 0.0 && (0.0..9e15).contains(x);
            value.as_u64().or_else(|| value.as_f64().filter(whole).map(|x| x as u64))
        })
    }

    fn number(&mut self, key: &str) -> Result<Option<f64>> {
        self.take(key, "a number", Value::as_f64)
    }

    fn text(&mut self, key: &str) -> Result<Option<String>> {
        self.take(key, "a string", |value| value.as_str().map(String::from))
    }

    fn object(&mut self, key: &str) -> Result<Option<Map<String, Value>>> {
        self.take(key, "an object", |value| value.as_object().cloned())
    }

    fn list(&mut self, key: &str) -> Result<Option<Vec<Map<String, Value>>>> {
        self.take(key, "a list of objects", |value| value.as_array()?.iter().map(|x| x.as_object().cloned()).collect())
    }
}

fn wrong(key: &str, value: &Value, expected: &str) -> Error {
    Error::file(format!("{key}: {value}, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    fn parse(state: Value) -> Result<TrainerState> {
        TrainerState::parse(state.to_string().as_bytes())
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_state_reads_back() {
        let state = TrainerState {
            epoch: 1.5,
            global_step: 30,
            max_steps: 60,
            logging_steps: 10,
            eval_steps: 20,
            save_steps: 30,
            train_batch_size: Some(8),
            num_train_epochs: 3,
            log_history: vec![object(json!({"epoch": 0.5, "loss": 0.25, "learning_rate": 5e-5, "step": 10}))],
            best_metric: Some(0.1 + 0.2),
            best_global_step: Some(20),
            best_model_checkpoint: Some("out/checkpoint-20".into()),
            early_stopping: Some(EarlyStopping { patience: 3, threshold: 0.01, counter: 2 }),
            cloze: object(json!({"seed": u64::MAX, "position": 240})),
            rest: Map::new(),
        };
        let text = state.to_json();
        let again = TrainerState::parse(text.as_bytes()).unwrap();
        assert_eq!(TrainerState { rest: Map::new(), ..again.clone() }, state);
        assert_eq!(again.to_json(), text);
        assert_eq!(TrainerState::new(), TrainerState { rest: Map::new(), ..parse(json!({})).unwrap() });
    }

    /// Trainer passes every key of the file to a constructor: one that it does not know is an exception.
    #[test]
    fn the_keys_are_trainers() {
        let state = TrainerState { cloze: object(json!({"seed": 1})), ..TrainerState::new() };
        let written: Value = serde_json::from_str(&state.to_json()).unwrap();
        let keys: Vec<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
        let theirs = [
            "best_global_step",
            "best_metric",
            "best_model_checkpoint",
            "epoch",
            "eval_steps",
            "global_step",
            "is_hyper_param_search",
            "is_local_process_zero",
            "is_world_process_zero",
            "log_history",
            "logging_steps",
            "max_steps",
            "num_input_tokens_seen",
            "num_train_epochs",
            "save_steps",
            "stateful_callbacks",
            "total_flos",
            "train_batch_size",
            "trial_name",
            "trial_params",
        ];
        assert_eq!(keys, theirs);
        assert_eq!(written["stateful_callbacks"]["Cloze"]["attributes"], json!({"seed": 1}));
    }

    #[test]
    fn trainers_own_file_is_read_and_kept() {
        let control = json!({"args": {"should_save": true, "should_training_stop": true}, "attributes": {}});
        let theirs = json!({
            "best_metric": null, "epoch": 2.0, "eval_steps": 500.0, "global_step": 4, "log_history": [{"loss": 1}],
            "max_steps": 6, "total_flos": 5.5e10, "trial_name": "x", "train_batch_size": 2, "from_tomorrow": [1],
            "stateful_callbacks": {"TrainerControl": control, "Other": [1], "EarlyStoppingCallback": {
                "args": {"early_stopping_patience": 2, "early_stopping_threshold": 0.5},
                "attributes": {"early_stopping_patience_counter": 1}}},
        });
        let state = parse(theirs).unwrap();
        assert_eq!((state.epoch, state.global_step, state.eval_steps, state.logging_steps), (2.0, 4, 500, 500));
        assert_eq!(state.early_stopping, Some(EarlyStopping { patience: 2, threshold: 0.5, counter: 1 }));
        assert_eq!((state.best_metric, state.cloze.len()), (None, 0));
        let written: Value = serde_json::from_str(&state.to_json()).unwrap();
        assert_eq!(written["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"], json!(false));
        assert_eq!(written["stateful_callbacks"]["Other"], json!([1]));
        assert_eq!((&written["total_flos"], &written["from_tomorrow"]), (&json!(5.5e10), &json!([1])));
    }

    #[test]
    fn wrong_types_are_named() {
        for (state, words) in [
            (json!({"global_step": -1}), ["global_step: -1", "a whole number"]),
            (json!({"max_steps": 1.5}), ["max_steps: 1.5", "a whole number"]),
            (json!({"epoch": "one"}), ["epoch: \"one\"", "a number"]),
            (json!({"log_history": [1]}), ["log_history: [1]", "a list of objects"]),
            (json!({"best_model_checkpoint": 1}), ["best_model_checkpoint: 1", "a string"]),
            (json!({"stateful_callbacks": []}), ["stateful_callbacks: []", "an object"]),
            (json!({"stateful_callbacks": {"Cloze": {"attributes": 1}}}), ["Cloze.attributes: 1", "an object"]),
            (json!([]), ["trainer_state.json", "not a JSON object"]),
        ] {
            let error = parse(state).unwrap_err();
            assert_eq!(error.status(), Status::InvalidFile);
            assert!(words.iter().all(|word| error.message().contains(word)), "{error}");
        }
        assert!(TrainerState::parse(b"{\"best_metric\": NaN}").is_err());
    }
}
