//! Calls that train.

use std::ffi::{c_int, c_void};
use std::fs;
use std::path::Path;
use std::ptr::null;

use cloze::capi::*;
use serde_json::{Value, json};

use super::asking::{ask, metrics, object};
use super::c::{Answer, Corpus, Dataset, Model, Trainer, c_path, call, sized, text};
use super::options::{self, options, string};
use super::{Vectors, near, text as numbers};

/// What a fit tells: a row for each step, metrics for each evaluation.
#[derive(Default)]
struct Told {
    steps: Vec<Value>,
    evaluations: Vec<Value>,
    /// The step after which the callback asks to stop.
    stop_at: Option<u64>,
}

unsafe extern "C" fn observe(user: *mut c_void, event: *const cloze_train_event) -> c_int {
    // SAFETY: `run` hands over what is told; the library hands over an event and its metrics.
    let (told, event) = unsafe { (&mut *user.cast::<Told>(), &*event) };
    if event.kind == CLOZE_EVENT_STEP {
        let mut row = object!(event, step total epoch loss learning_rate gradient_norm examples tokens);
        if event.mlm_loss > 0.0 || event.nsp_loss > 0.0 {
            for (name, value) in [("mlm_loss", event.mlm_loss), ("nsp_loss", event.nsp_loss)] {
                row[name] = value.into();
            }
        }
        told.steps.push(row);
    } else if event.kind == CLOZE_EVENT_EVALUATION {
        // SAFETY: as above.
        let found = unsafe { std::slice::from_raw_parts(event.metrics, event.metric_count) };
        told.evaluations.push(json!({ "step": event.step, "best": event.best == 1, "metrics": metrics(found) }));
    }
    c_int::from(told.stop_at == Some(event.step))
}

/// Runs a fit and watches it.
fn run(
    stop_at: Option<u64>,
    fit: impl FnOnce(*const cloze_fit_options, *mut cloze_fit_result, *mut cloze_error) -> cloze_status,
) -> Answer<Value> {
    let mut told = Told { stop_at, ..Told::default() };
    let mut watched: cloze_fit_options = options::none();
    watched.observe = Some(observe);
    watched.user = (&raw mut told).cast();
    let mut result: cloze_fit_result = options::none();
    call(|error| fit(&watched, &mut result, error))?;
    let result = object!(result, stopped_early steps epochs best_step best_value);
    Ok(json!({ "steps": told.steps, "evaluations": told.evaluations, "result": result }))
}

fn trainer(vectors: &Vectors, model: &Model, case: &Value, labels_from: Option<&Dataset>) -> Answer<Trainer> {
    let options = options::train(&vectors.constants, &case["options"]);
    let from = labels_from.map_or(null(), |data| data.0.cast_const());
    // SAFETY: live handles, and memory that is kept.
    Trainer::make(|trainer, error| unsafe { cloze_trainer_new(model.0, &options, from, trainer, error) })
}

impl Trainer {
    fn labels(&self) -> Answer<Value> {
        let mut state: cloze_trainer_state = options::none();
        // SAFETY: a live trainer and live locals.
        call(|error| unsafe { cloze_trainer_info(self.0, &mut state, error) })?;
        let label = |label| {
            // SAFETY: as above.
            text(|name, capacity, size, error| unsafe {
                cloze_trainer_label(self.0, label, name, capacity, size, error)
            })
        };
        (0..state.labels).map(|index| label(index).map(Value::from)).collect()
    }

    fn evaluate(&self, data: &Dataset) -> Answer<Value> {
        // SAFETY: live handles and live locals.
        let found: Vec<cloze_metric> = sized(|metrics, capacity, count, error| unsafe {
            cloze_trainer_evaluate(self.0, data.0, null(), metrics, capacity, count, error)
        })?;
        Ok(metrics(&found))
    }

    fn snapshot(&self) -> Answer<Model> {
        // SAFETY: a live trainer.
        Model::make(|model, error| unsafe { cloze_trainer_snapshot(self.0, model, error) })
    }

    /// The model as it comes back from each of the case's ways to keep it.
    // SAFETY of every call below: live handles and live locals.
    #[allow(clippy::undocumented_unsafe_blocks)]
    fn kept(&self, base: &Model, case: &Value, folder: &Path) -> Answer<Vec<(String, Model)>> {
        let mut models = Vec::new();
        for way in case["keep"].as_array().into_iter().flatten() {
            let way = way.as_str().unwrap();
            let place = c_path(&folder.join(way));
            let model = match way {
                "snapshot" => self.snapshot()?,
                "save" => {
                    call(|error| unsafe { cloze_trainer_save(self.0, place.as_ptr(), error) })?;
                    Model::open(&folder.join(way), 1)?
                }
                "adapter" => {
                    call(|error| unsafe { cloze_trainer_save_adapter(self.0, place.as_ptr(), error) })?;
                    Model::make(|model, error| unsafe { cloze_model_adapt(base.0, place.as_ptr(), model, error) })?
                }
                "head" => {
                    call(|error| unsafe { cloze_trainer_save(self.0, place.as_ptr(), error) })?;
                    let (model, name) = (Model::open(&folder.join(way), 1)?, string(&case["options"]["head"]));
                    Model::make(|with_head, error| unsafe { cloze_model_use_head(model.0, name, with_head, error) })?
                }
                other => panic!("{other}: no way to keep a model"),
            };
            models.push((way.to_owned(), model));
        }
        Ok(models)
    }
}

/// Asks each model all questions of the case; they have to answer the same.
fn asked(vectors: &Vectors, case: &Value, models: &[(String, Model)]) -> Answer<Vec<Value>> {
    let mut answers: Option<Vec<Value>> = None;
    for (way, model) in models {
        let own = case["then"].as_array().into_iter().flatten().map(|then| ask(vectors, model, then));
        let own: Vec<Value> = own.collect::<Answer<_>>()?;
        if let Some(first) = &answers {
            let exact = super::Tolerances(&Value::Null, &json!({ "default": 1e-6 }));
            near(&exact, way, &Value::from(own), &Value::from(first.clone())).unwrap();
        } else {
            answers = Some(own);
        }
    }
    Ok(answers.unwrap_or_default())
}

pub fn train(vectors: &Vectors, case: &Value) -> Answer<Value> {
    let model = vectors.model(case);
    let data = Dataset::of(&vectors.examples(&case["examples"]))?;
    let dev = case.get("dev").map(|dev| Dataset::of(&vectors.examples(dev))).transpose()?;
    let trainer = trainer(vectors, model, case, Some(&data))?;
    let dev_handle = dev.as_ref().map_or(null(), |dev| dev.0.cast_const());
    let stop_at = case["stop_at"].as_u64();
    // SAFETY: live handles and live locals.
    let mut answer = run(stop_at, |options, result, error| unsafe {
        cloze_trainer_fit(trainer.0, data.0, dev_handle, options, result, error)
    })?;
    answer["labels"] = trainer.labels()?;
    answer["metrics"] = trainer.evaluate(&data)?;
    let folder = tempfile::tempdir().unwrap();
    let models = trainer.kept(model, case, folder.path())?;
    answer["then"] = asked(vectors, case, &models)?.into();
    Ok(answer)
}

/// Number, sum and length of a flat buffer.
fn summary(values: &[f32]) -> Value {
    let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
    let squares: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
    json!({ "count": values.len(), "sum": sum, "norm": squares.sqrt() })
}

// SAFETY of every call below: live handles and live locals.
#[allow(clippy::undocumented_unsafe_blocks)]
pub fn steps(vectors: &Vectors, case: &Value) -> Answer<Value> {
    let (model, examples) = (vectors.model(case), vectors.examples(&case["examples"]));
    let data = Dataset::of(&examples)?;
    let trainer = trainer(vectors, model, case, Some(&data))?;
    let parameters = || {
        sized(|out, capacity, count, error| unsafe { cloze_trainer_parameters(trainer.0, out, capacity, count, error) })
    };
    let start: Vec<f32> = parameters()?;
    let mut answers = Vec::new();
    for step in case["do"].as_array().unwrap() {
        let (name, argument) = step.as_object().unwrap().iter().next().unwrap();
        let answer = match name.as_str() {
            "accumulate" => {
                let numbers: Vec<usize> =
                    argument.as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect();
                let batch = Dataset::make(|batch, error| unsafe {
                    cloze_dataset_select(data.0, numbers.as_ptr(), numbers.len(), batch, error)
                })?;
                let mut loss = 0.0;
                call(|error| unsafe { cloze_trainer_accumulate(trainer.0, batch.0, null(), &mut loss, error) })?;
                json!({ "loss": loss })
            }
            "apply" => {
                let (rate, mut norm) = (argument.as_f64().unwrap() as f32, 0.0);
                call(|error| unsafe { cloze_trainer_apply(trainer.0, rate, &mut norm, error) })?;
                json!({ "gradient_norm": norm })
            }
            "exchange_gradients" => {
                let gradients: Vec<f32> = sized(|out, capacity, count, error| unsafe {
                    cloze_trainer_gradients(trainer.0, out, capacity, count, error)
                })?;
                let (own, count) = (gradients.as_ptr(), gradients.len());
                call(|error| unsafe { cloze_trainer_set_gradients(trainer.0, own, count, error) })?;
                summary(&gradients)
            }
            "read_buffers" => {
                let buffers: Vec<cloze_buffer> = sized(|out, capacity, count, error| unsafe {
                    cloze_trainer_gradient_buffers(trainer.0, out, capacity, count, error)
                })?;
                let values = buffers.iter().map(|b| unsafe { std::slice::from_raw_parts(b.data, b.count) });
                summary(&values.collect::<Vec<_>>().concat())
            }
            "checkpoint_and_resume" => {
                let folder = tempfile::tempdir().unwrap();
                let folder = c_path(&folder.path().join("checkpoint"));
                call(|error| unsafe { cloze_trainer_checkpoint(trainer.0, folder.as_ptr(), error) })?;
                call(|error| unsafe { cloze_trainer_resume(trainer.0, folder.as_ptr(), error) })?;
                summary(&parameters()?)
            }
            "average_with_start" => {
                let mean: Vec<f32> = parameters()?.iter().zip(&start).map(|(a, b)| (a + b) / 2.0).collect();
                let count = mean.len();
                call(|error| unsafe { cloze_trainer_set_parameters(trainer.0, mean.as_ptr(), count, error) })?;
                summary(&mean)
            }
            "set_parameters" => {
                let zeros = vec![0.0; argument.as_u64().unwrap() as usize];
                call(|error| unsafe { cloze_trainer_set_parameters(trainer.0, zeros.as_ptr(), zeros.len(), error) })?;
                Value::Null
            }
            "save_adapter" => {
                let folder = tempfile::tempdir().unwrap();
                let folder = c_path(&folder.path().join("adapter"));
                call(|error| unsafe { cloze_trainer_save_adapter(trainer.0, folder.as_ptr(), error) })?;
                Value::Null
            }
            other => panic!("{other}: no step"),
        };
        answers.push(answer);
    }
    let models = [("snapshot".to_owned(), trainer.snapshot()?)];
    Ok(json!({ "labels": trainer.labels()?, "do": answers, "then": asked(vectors, case, &models)? }))
}

pub fn solve(vectors: &Vectors, case: &Value) -> Answer<Value> {
    let data = Dataset::of(&vectors.examples(&case["examples"]))?;
    let trainer = trainer(vectors, vectors.model(case), case, Some(&data))?;
    let options = options!(vectors.constants, case["solve"], cloze_solve_options { method strength });
    let mut strength = 0.0;
    // SAFETY: live handles and live locals.
    call(|error| unsafe { cloze_trainer_solve(trainer.0, data.0, &options, &mut strength, error) })?;
    let models = [("snapshot".to_owned(), trainer.snapshot()?)];
    Ok(json!({ "strength": strength, "metrics": trainer.evaluate(&data)?, "then": asked(vectors, case, &models)? }))
}

// SAFETY of every call below: live handles and live locals.
#[allow(clippy::undocumented_unsafe_blocks)]
pub fn pretrain(vectors: &Vectors, case: &Value) -> Answer<Value> {
    let folder = tempfile::tempdir().unwrap();
    let (file, vocabulary) = (folder.path().join("text.txt"), folder.path().join("vocabulary"));
    fs::write(
        &file,
        case["text"].as_array().unwrap().iter().map(|d| d.as_str().unwrap()).collect::<Vec<_>>().join("\n\n"),
    )
    .unwrap();
    let (text_path, vocabulary_path) = (c_path(&file), c_path(&vocabulary));
    let learn = options!(vectors.constants, case["vocabulary"], cloze_vocabulary_options {
        tokens casing lines min_frequency max_tokens
    });
    call(|error| unsafe { cloze_vocabulary_learn(text_path.as_ptr(), &learn, vocabulary_path.as_ptr(), error) })?;
    let config = case["config"].to_string();
    let create = options!(vectors.constants, case["create"], cloze_create_options { threads objective seed });
    let model = Model::make(|model, error| unsafe {
        let (config, size) = (config.as_ptr().cast(), config.len());
        cloze_model_create(config, size, vocabulary_path.as_ptr(), &create, model, error)
    })?;
    let read = options!(vectors.constants, case["corpus"], cloze_corpus_options { lines max_tokens });
    let corpus =
        Corpus::make(|corpus, error| unsafe { cloze_corpus_open(model.0, text_path.as_ptr(), &read, corpus, error) })?;
    let mut state: cloze_corpus_state = options::none();
    call(|error| unsafe { cloze_corpus_info(corpus.0, &mut state, error) })?;
    let trainer = trainer(vectors, &model, case, None)?;
    let mut answer = run(None, |options, result, error| unsafe {
        cloze_trainer_pretrain(trainer.0, corpus.0, null(), options, result, error)
    })?;
    let words = fs::read_to_string(vocabulary.join("vocab.txt")).unwrap();
    answer["vocabulary"] = words.lines().collect();
    answer["corpus"] = object!(state, notices documents sentences tokens);
    let recipe = options::train(&vectors.constants, &case["options"]);
    let taught = trainer.snapshot()?;
    let found: Vec<cloze_metric> = sized(|metrics, capacity, count, error| unsafe {
        cloze_evaluate_corpus(taught.0, corpus.0, &recipe, null(), metrics, capacity, count, error)
    })?;
    answer["metrics"] = metrics(&found);
    answer["then"] = asked(vectors, case, &[("snapshot".to_owned(), taught)])?.into();
    Ok(answer)
}

/// Blessing twice gives one file: rounding is stable.
#[test]
fn rounding_is_stable() {
    let value = json!({ "a": [0.1f32 as f64, 1.0 / 3.0, 1e-30, -12345.678901234], "b": 7 });
    let once = numbers::rounded(&value);
    assert_eq!(numbers::rounded(&once), once);
    assert_eq!(once["b"], json!(7));
}
