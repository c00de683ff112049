//! `bindings/vectors.json`: calls and what they answer, asked here of the C ABI. `bindings/README.md` tells its form.
//!
//! The calls in the file are written by hand, the answers by blessing.

mod asking;
mod c;
mod options;
mod teaching;
mod text;

pub use text::pretty;

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Map, Value, json};

use crate::{bless, built::path};
use c::{Answer, Model};
use options::Constants;

/// The file, and what its cases refer to.
struct Vectors {
    file: Value,
    constants: Constants,
    models: BTreeMap<String, Model>,
}

/// What an answer is compared with: `solve` and `whiten` depend on how the library was built.
fn built_without_linalg(answer: &Answer<Value>) -> bool {
    !cfg!(feature = "linalg")
        && matches!(answer, Err((status, message)) if *status == cloze::capi::CLOZE_UNSUPPORTED && message.contains("linalg"))
}

impl Vectors {
    fn read() -> Self {
        let file: Value = serde_json::from_str(&fs::read_to_string(path("bindings/vectors.json")).unwrap()).unwrap();
        let models = file["models"].as_object().unwrap();
        let open = |(name, folder): (&String, &Value)| {
            (name.clone(), Model::open(&path(folder.as_str().unwrap()), 1).unwrap())
        };
        let models = models.iter().map(open).collect();
        Self { file, constants: Constants::of_the_header(), models }
    }

    fn cases(&self) -> Vec<Value> {
        self.file["cases"].as_array().unwrap().clone()
    }

    /// The model that a case asks.
    fn model(&self, case: &Value) -> &Model {
        &self.models[case["model"].as_str().unwrap_or("base")]
    }

    /// The examples that a case names or holds.
    fn examples(&self, examples: &Value) -> Vec<Value> {
        let examples = examples.as_str().map_or(examples, |name| &self.file["datasets"][name]);
        examples.as_array().unwrap_or_else(|| panic!("{examples}: no examples")).clone()
    }

    fn answer(&self, case: &Value) -> Answer<Value> {
        let call = case["call"].as_str().unwrap();
        match call {
            "train" => teaching::train(self, case),
            "steps" => teaching::steps(self, case),
            "pretrain" => teaching::pretrain(self, case),
            "solve" => teaching::solve(self, case),
            _ => asking::ask(self, self.model(case), case),
        }
    }
}

/// Compares what a case answers with what it has to, or reports both.
fn compare(tolerances: &Value, case: &Value, answer: &Answer<Value>) -> Result<(), String> {
    match (answer, case.get("error")) {
        (Err((status, message)), Some(error)) => {
            let expected = (error["status"].as_str().unwrap(), error["message"].as_str().unwrap());
            let name = c::status_name(*status);
            let same = name == expected.0 && message.contains(expected.1);
            same.then_some(()).ok_or_else(|| format!("{name}: {message:?}, expected {expected:?}"))
        }
        (Err((status, message)), None) => Err(format!("{}: {message}", c::status_name(*status))),
        (Ok(answer), Some(error)) => Err(format!("answers {answer}, expected {error}")),
        (Ok(answer), None) => near(&Tolerances(tolerances, &case["tolerance"]), "", answer, &case["expected"]),
    }
}

/// Tolerances of fields by their names; those of the case come first.
struct Tolerances<'a>(&'a Value, &'a Value);

impl Tolerances<'_> {
    fn of(&self, field: &str) -> f64 {
        let known = [&self.1[field], &self.1["default"], &self.0[field], &self.0["default"]];
        known.iter().find_map(|value| value.as_f64()).unwrap()
    }
}

/// Whether two values agree: numbers with a point within the tolerance of their field, all else exactly.
fn near(tolerances: &Tolerances<'_>, field: &str, found: &Value, expected: &Value) -> Result<(), String> {
    let inside = |name: &str, result: Result<(), String>| result.map_err(|message| format!("{name}: {message}"));
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            let mut pairs = found.iter().zip(expected).enumerate();
            pairs.try_for_each(|(i, (a, b))| inside(&i.to_string(), near(tolerances, field, a, b)))
        }
        (Value::Object(found), Value::Object(expected)) if found.keys().eq(expected.keys()) => {
            found.iter().try_for_each(|(name, value)| inside(name, near(tolerances, name, value, &expected[name])))
        }
        (Value::Number(found), Value::Number(expected)) if found.is_f64() || expected.is_f64() => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            let allowed = tolerances.of(field) * expected.abs().max(1.0);
            let same = (found - expected).abs() <= allowed;
            same.then_some(()).ok_or_else(|| format!("{found}, expected {expected} within {allowed}"))
        }
        _ => (found == expected).then_some(()).ok_or_else(|| format!("{found}, expected {expected}")),
    }
}

#[test]
fn every_case_answers_what_the_file_says() {
    let vectors = Vectors::read();
    let (mut wrong, mut written) = (Vec::new(), vectors.file.clone());
    for (index, case) in vectors.cases().iter().enumerate() {
        let answer = vectors.answer(case);
        let result = if bless() {
            blessed(written["cases"][index].as_object_mut().unwrap(), answer)
        } else if built_without_linalg(&answer) {
            Ok(())
        } else {
            compare(&vectors.file["tolerance"], case, &answer)
        };
        wrong.extend(result.err().map(|message| format!("{}: {message}", case["name"].as_str().unwrap())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if bless() {
        written["constants"] = vectors.constants.used();
        fs::write(path("bindings/vectors.json"), text::pretty(&written)).unwrap();
    } else {
        assert_eq!(vectors.file["constants"], vectors.constants.used(), "constants");
    }
}

/// Takes the answer as the expected one. Errors are written by hand: a message that changed is looked at.
fn blessed(case: &mut Map<String, Value>, answer: Answer<Value>) -> Result<(), String> {
    if built_without_linalg(&answer) {
        return Err("bless with --features linalg".into());
    }
    match answer {
        Ok(answer) if !case.contains_key("error") => {
            case.insert("expected".into(), text::rounded(&answer));
            Ok(())
        }
        answer => compare(&json!({}), &Value::from(case.clone()), &answer),
    }
}

/// A test of the test: what differs is found, what is within the tolerance is not.
#[test]
fn differences_are_found() {
    let (tolerances, own) = (json!({ "default": 1e-3, "loss": 0.1 }), json!(null));
    let check = |found: Value, expected: Value| near(&Tolerances(&tolerances, &own), "", &found, &expected);
    assert_eq!(check(json!([{ "a": 1.0, "loss": 2.0 }]), json!([{ "a": 1.0009, "loss": 2.19 }])), Ok(()));
    for (found, expected) in [
        (json!({ "a": 1.0 }), json!({ "a": 1.0011 })),
        (json!({ "loss": 2.0 }), json!({ "loss": 2.3 })),
        (json!([1, 2]), json!([1, 2, 3])),
        (json!({ "a": 1 }), json!({ "b": 1 })),
        (json!(4), json!(5)),
        (json!("a"), json!("b")),
    ] {
        assert!(check(found.clone(), expected.clone()).is_err(), "{found} {expected}");
    }
}
