//! Calls on a model that is open, and calls that open one.

use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};

use cloze::capi::*;
use serde_json::{Value, json};

use super::Vectors;
use super::c::{Answer, Cancel, Corpus, Dataset, Model, c_path, call, inputs, sized, text};
use super::options::{self, kept, options, string};
use crate::built::path;

/// An object of fields of a C struct.
macro_rules! object {
    ($value:expr, $($field:ident)*) => {
        Value::Object(serde_json::Map::from_iter([$((stringify!($field).trim_start_matches("r#").to_owned(), Value::from($value.$field))),*]))
    };
}
pub(super) use object;

/// An array of such objects.
macro_rules! objects {
    ($values:expr, $($field:ident)*) => { $values.iter().map(|value| object!(value, $($field)*)).collect::<Value>() };
}

pub fn ask(vectors: &Vectors, model: &Model, case: &Value) -> Answer<Value> {
    let with = Asked { vectors, model, case, options: &case["options"], inputs: case_inputs(case) };
    match case["call"].as_str().unwrap() {
        "info" => Ok(with.info()),
        "open" => Model::open(&path(case["folder"].as_str().unwrap()), 1).map(|_| Value::Null),
        "open_memory" => with.open_memory(),
        "label" => with.label(),
        "tokenize" => with.tokenize(),
        "token_text" => with.token_text(),
        "token_id" => with.token_id(),
        "decode" => with.decode(),
        "fill" => with.fill(),
        "score" => with.score(),
        "next_sentence" => with.next_sentence(),
        "embed" => with.embed(),
        "hidden_states" => with.hidden_states(),
        "classify" => with.classify(),
        "tag" => with.tag(),
        "tag_tokens" => with.tag_tokens(),
        "generate" => with.generate(),
        "evaluate" => with.evaluate(),
        "whiten" => with.whiten(),
        "head" => with.head(),
        "use_head" => with.use_head(),
        "adapt" => with.adapt(),
        "save" => with.save(),
        "dataset" => Dataset::of(&vectors.examples(&case["examples"])).map(|_| Value::Null),
        "dataset_read" => with.dataset_read(),
        "create" => with.create(),
        "vocabulary" => with.vocabulary(),
        "corpus" => with.corpus(),
        other => panic!("{other}: no call"),
    }
}

fn case_inputs(case: &Value) -> Vec<cloze_input> {
    if case["inputs"].is_array() { inputs(&case["inputs"]) } else { Vec::new() }
}

/// Metrics by their names; null where one is not defined.
pub fn metrics(metrics: &[cloze_metric]) -> Value {
    let name = |metric: &cloze_metric| -> String {
        metric.name.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte.to_ne_bytes()[0])).collect()
    };
    metrics.iter().map(|metric| (name(metric), Value::from(metric.value))).collect()
}

fn numbers(values: &[f32]) -> Value {
    values.iter().map(|&value| f64::from(value)).collect()
}

unsafe extern "C" fn stop(_: *mut c_void, _: u64, _: u64) -> c_int {
    1
}

struct Asked<'a> {
    vectors: &'a Vectors,
    model: &'a Model,
    case: &'a Value,
    options: &'a Value,
    inputs: Vec<cloze_input>,
}

/// Options of a call with the case's cancel flag and progress callback in them; the flag lives as long as the first.
macro_rules! watched {
    ($self:expr, $type:ident { $($field:ident)* }) => { watched!($self, $type { $($field)* } |_, _, _| false) };
    ($self:expr, $type:ident { $($field:ident)* } $other:expr) => {{
        // SAFETY: live locals.
        let cancel = Cancel::make(|cancel, error| unsafe { cloze_cancel_new(cancel, error) })?;
        let mut options = options!($self.vectors.constants, $self.options, $type { $($field)* } $other);
        options.cancel = cancel.0;
        match $self.case["cancel"].as_str() {
            // SAFETY: a live flag.
            Some("before") => unsafe { cloze_cancel_set(cancel.0) },
            Some("progress") => options.progress = Some(stop),
            _ => {}
        }
        (cancel, options)
    }};
}

/// An `int32_t` option that is given by a pointer, and ids.
fn ids(value: &Value) -> (*const i32, usize) {
    let ids: Vec<i32> = value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as i32).collect();
    let count = ids.len();
    (kept(ids), count)
}

// SAFETY of every call below: a live model, live locals, and memory that is kept.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Asked<'_> {
    fn name(&self, field: &str) -> &str {
        self.case[field].as_str().unwrap()
    }

    fn info(&self) -> Value {
        let info = self.model.info();
        object!(info, layers hidden heads intermediate vocabulary words token_types max_tokens max_positions embedding
            labels problem tasks has_tokenizer threads parameters)
    }

    fn open_memory(&self) -> Answer<Value> {
        let file = |name: &Value| {
            let folder = path(self.name("folder"));
            let data = std::fs::read(folder.join(name.as_str().unwrap())).unwrap();
            let size = data.len();
            cloze_file { name: string(name), data: kept(data).cast(), size }
        };
        let files: Vec<cloze_file> = self.case["files"].as_array().unwrap().iter().map(file).collect();
        let open = |model, error| unsafe { cloze_model_open_memory(files.as_ptr(), files.len(), null(), model, error) };
        let model = Model::make(open)?;
        self.case.get("then").map_or(Ok(Value::Null), |then| ask(self.vectors, &model, then))
    }

    fn label(&self) -> Answer<Value> {
        let label = self.case["label"].as_u64().unwrap() as u32;
        text(|name, capacity, size, error| unsafe {
            cloze_model_label(self.model.0, label, name, capacity, size, error)
        })
        .map(Value::from)
    }

    fn tokenize(&self) -> Answer<Value> {
        let options =
            options!(self.vectors.constants, self.options, cloze_tokenize_options { text max_tokens offsets });
        let (inputs, count) = (self.inputs.as_ptr(), self.inputs.len());
        let tokens: Vec<cloze_token> = sized(|tokens, capacity, size, error| unsafe {
            cloze_tokenize(self.model.0, inputs, count, &options, tokens, capacity, size, error)
        })?;
        Ok(objects!(tokens, input id r#type word text position start end))
    }

    fn token_text(&self) -> Answer<Value> {
        let id = self.case["id"].as_i64().unwrap() as i32;
        text(|text, capacity, size, error| unsafe { cloze_token_text(self.model.0, id, text, capacity, size, error) })
            .map(Value::from)
    }

    fn token_id(&self) -> Answer<Value> {
        let (token, mut id) = (self.name("token"), -1);
        call(|error| unsafe { cloze_token_id(self.model.0, token.as_ptr().cast(), token.len(), &mut id, error) })?;
        Ok(id.into())
    }

    fn decode(&self) -> Answer<Value> {
        let (ids, count) = ids(&self.case["ids"]);
        text(|text, capacity, size, error| unsafe {
            cloze_decode(self.model.0, ids, count, text, capacity, size, error)
        })
        .map(Value::from)
    }

    fn fill(&self) -> Answer<Value> {
        let (_cancel, options) = watched!(self, cloze_fill_options { text max_tokens top_k } |options, name, value| {
            let targets = name == "targets";
            if targets {
                (options.targets, options.target_count) = ids(value);
            }
            targets
        });
        let (inputs, count) = (self.inputs.as_ptr(), self.inputs.len());
        let words: Vec<cloze_candidate> = sized(|words, capacity, size, error| unsafe {
            cloze_fill(self.model.0, inputs, count, &options, words, capacity, size, error)
        })?;
        Ok(objects!(words, input position id probability))
    }

    fn score(&self) -> Answer<Value> {
        let (_cancel, options) = watched!(self, cloze_score_options { text max_tokens method });
        let (inputs, count) = (self.inputs.as_ptr(), self.inputs.len());
        let mut scores = vec![cloze_text_score { log_likelihood: 0.0, tokens: 0 }; count];
        call(|error| unsafe { cloze_score(self.model.0, inputs, count, &options, scores.as_mut_ptr(), count, error) })?;
        let tokens: Vec<cloze_token_score> = sized(|tokens, capacity, size, error| unsafe {
            cloze_score_tokens(self.model.0, inputs, count, &options, tokens, capacity, size, error)
        })?;
        Ok(json!({
            "scores": objects!(scores, log_likelihood tokens),
            "tokens": objects!(tokens, input position id log_probability),
            "perplexity": unsafe { cloze_perplexity(scores.as_ptr(), count) },
        }))
    }

    fn next_sentence(&self) -> Answer<Value> {
        let (_cancel, options) = watched!(self, cloze_call_options { text max_tokens });
        let count = self.inputs.len();
        let mut follows = vec![0.0; count];
        call(|error| unsafe {
            let (inputs, out) = (self.inputs.as_ptr(), follows.as_mut_ptr());
            cloze_next_sentence(self.model.0, inputs, count, &options, out, count, error)
        })?;
        Ok(json!({ "is_next": numbers(&follows) }))
    }

    fn embed(&self) -> Answer<Value> {
        let (_cancel, options) = watched!(self, cloze_embed_options { text max_tokens pooling normalize } |options, name, value| {
            let prompt = name == "prompt";
            if prompt {
                options.prompt = string(value);
            }
            prompt
        });
        let (inputs, count) = (self.inputs.as_ptr(), self.inputs.len());
        let values = sized(|values, capacity, size, error| unsafe {
            cloze_embed(self.model.0, inputs, count, &options, values, capacity, size, error)
        })?;
        Ok(json!({ "embeddings": values.chunks((values.len() / count.max(1)).max(1)).map(numbers).collect::<Value>() }))
    }

    fn hidden_states(&self) -> Answer<Value> {
        let layers: Vec<u32> =
            self.case["layers"].as_array().unwrap().iter().map(|layer| layer.as_u64().unwrap() as u32).collect();
        let (_cancel, options) = watched!(self, cloze_call_options { text max_tokens });
        let (inputs, count) = (self.inputs.as_ptr(), self.inputs.len());
        let states = sized(|states, capacity, size, error| unsafe {
            let (layers, layer_count) = (layers.as_ptr(), layers.len());
            cloze_hidden_states(
                self.model.0,
                inputs,
                count,
                layers,
                layer_count,
                &options,
                states,
                capacity,
                size,
                error,
            )
        })?;
        // The first numbers of each row, T rows a layer.
        let width = self.model.info().hidden as usize;
        let rows = states.chunks(width).map(|row| numbers(&row[..8])).collect::<Value>();
        Ok(json!({ "count": states.len(), "states": rows }))
    }

    fn classify(&self) -> Answer<Value> {
        let (_cancel, options) = watched!(self, cloze_call_options { text max_tokens });
        let (inputs, count) = (self.inputs.as_ptr(), self.inputs.len());
        let values = sized(|values, capacity, size, error| unsafe {
            cloze_classify(self.model.0, inputs, count, &options, values, capacity, size, error)
        })?;
        Ok(json!({ "values": values.chunks((values.len() / count.max(1)).max(1)).map(numbers).collect::<Value>() }))
    }

    fn tag(&self) -> Answer<Value> {
        let (_cancel, options) = watched!(self, cloze_tag_options { text max_tokens aggregation offsets keep_outside });
        let (inputs, count) = (self.inputs.as_ptr(), self.inputs.len());
        let entities: Vec<cloze_entity> = sized(|entities, capacity, size, error| unsafe {
            cloze_tag(self.model.0, inputs, count, &options, entities, capacity, size, error)
        })?;
        Ok(objects!(entities, input label start end probability))
    }

    fn tag_tokens(&self) -> Answer<Value> {
        let (_cancel, options) = watched!(self, cloze_call_options { text max_tokens });
        let (inputs, count) = (self.inputs.as_ptr(), self.inputs.len());
        let values: Vec<f32> = sized(|values, capacity, size, error| unsafe {
            cloze_tag_tokens(self.model.0, inputs, count, &options, values, capacity, size, error)
        })?;
        Ok(json!({ "probabilities": values.chunks(self.model.info().labels as usize).map(numbers).collect::<Value>() }))
    }

    fn generate(&self) -> Answer<Value> {
        let (_cancel, options) = watched!(self, cloze_generate_options {
            text prompt_tokens max_tokens count temperature top_k top_p seed
        });
        let (inputs, count) = (self.inputs.as_ptr(), self.inputs.len());
        let tokens: Vec<cloze_new_token> = sized(|tokens, capacity, size, error| unsafe {
            cloze_generate(self.model.0, inputs, count, &options, tokens, capacity, size, error)
        })?;
        Ok(objects!(tokens, input continuation id log_probability))
    }

    fn evaluate(&self) -> Answer<Value> {
        let data = Dataset::of(&self.vectors.examples(&self.case["examples"]))?;
        let objective = self.vectors.constants.number(&self.case["objective"]) as u32;
        let found: Vec<cloze_metric> = sized(|metrics, capacity, size, error| unsafe {
            cloze_model_evaluate(self.model.0, objective, data.0, null(), metrics, capacity, size, error)
        })?;
        Ok(metrics(&found))
    }

    fn whiten(&self) -> Answer<Value> {
        let width = self.case["width"].as_u64().unwrap() as u32;
        let (inputs, count) = (self.inputs.as_ptr(), self.inputs.len());
        let whitened = Model::make(|whitened, error| unsafe {
            cloze_model_whiten(self.model.0, inputs, count, width, null(), whitened, error)
        })?;
        ask(self.vectors, &whitened, &self.case["then"])
    }

    fn head(&self) -> Answer<Value> {
        let head = self.case["head"].as_u64().unwrap() as u32;
        text(|name, capacity, size, error| unsafe { cloze_model_head(self.model.0, head, name, capacity, size, error) })
            .map(Value::from)
    }

    fn use_head(&self) -> Answer<Value> {
        let name = string(&self.case["head"]);
        let model = Model::make(|other, error| unsafe { cloze_model_use_head(self.model.0, name, other, error) });
        model.map(|_| Value::Null)
    }

    fn adapt(&self) -> Answer<Value> {
        let folder = c_path(&path(self.name("folder")));
        let model = |other: *mut _, error| unsafe { cloze_model_adapt(self.model.0, folder.as_ptr(), other, error) };
        Model::make(model).map(|_| Value::Null)
    }

    fn save(&self) -> Answer<Value> {
        let folder = c_path(&path(self.name("folder")));
        let dtype = self.vectors.constants.number(&self.case["dtype"]) as u32;
        call(|error| unsafe { cloze_model_save_as(self.model.0, folder.as_ptr(), dtype, error) })?;
        Ok(Value::Null)
    }

    fn dataset_read(&self) -> Answer<Value> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(self.name("file"));
        if let Some(content) = self.case["content"].as_str() {
            std::fs::write(&file, content).unwrap();
        }
        let options = options!(self.vectors.constants, self.options, cloze_read_options { format header } |o, name, value| {
            match name {
                "text" => o.text = string(value),
                "pair" => o.pair = string(value),
                "target" => o.target = string(value),
                _ => return false,
            }
            true
        });
        let (file, kind) = (c_path(&file), self.vectors.constants.number(&self.case["kind"]) as u32);
        let read = |dataset, error| unsafe { cloze_dataset_read(file.as_ptr(), kind, &options, dataset, error) };
        Dataset::make(read).map(|dataset| json!({ "count": unsafe { cloze_dataset_count(dataset.0) } }))
    }

    fn create(&self) -> Answer<Value> {
        let (config, tokenizer) = (self.case["config"].to_string(), c_path(&path(self.name("tokenizer"))));
        let (data, size) = (config.as_ptr().cast(), config.len());
        let create = |model, error| unsafe { cloze_model_create(data, size, tokenizer.as_ptr(), null(), model, error) };
        Model::make(create).map(|_| Value::Null)
    }

    fn vocabulary(&self) -> Answer<Value> {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (c_path(&path(self.name("path"))), c_path(folder.path()));
        call(|error| unsafe { cloze_vocabulary_learn(from.as_ptr(), null(), to.as_ptr(), error) })?;
        Ok(Value::Null)
    }

    fn corpus(&self) -> Answer<Value> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("text.txt");
        if let Some(content) = self.case["content"].as_str() {
            std::fs::write(&file, content).unwrap();
        }
        let file = c_path(&file);
        let mut handle = null_mut();
        call(|error| unsafe { cloze_corpus_open(self.model.0, file.as_ptr(), null(), &mut handle, error) })?;
        let corpus = Corpus(handle);
        let mut state: cloze_corpus_state = options::none();
        call(|error| unsafe { cloze_corpus_info(corpus.0, &mut state, error) })?;
        Ok(object!(state, notices documents sentences tokens))
    }
}
