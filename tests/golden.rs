//! The model against transformers: hidden states of every layer and every head's logits, for small random models of
//! every variant, on every instruction set. `tests/golden/README.md` tells how the values were made.

#![allow(clippy::unwrap_used)] // a test may panic

mod oracle;

use std::fs;
use std::path::PathBuf;

use cloze::batch::{Batch, Selection};
use cloze::bert::{Bert, Config};
use cloze::device::{Cpu, Tensor};
use cloze::simd::Isa;
use cloze::weights::Weights;
use oracle::Expected;

/// Hidden states are of order 1 to 5. transformers 4 and 5 differ by 2.2e-6 among themselves on these models.
const HIDDEN: f32 = 1e-5;
/// Logits are sums of H hidden states; transformers 4 and 5 differ by 7.3e-6.
const LOGITS: f32 = 2e-5;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn cpus() -> Vec<Cpu> {
    Isa::available().into_iter().map(|isa| Cpu::with_isa(2, isa).unwrap()).collect()
}

fn open(name: &str, cpu: &Cpu, change: impl Fn(&mut Config)) -> Bert<Cpu> {
    let mut config = Config::parse(&fs::read(folder(name).join("config.json")).unwrap()).unwrap();
    change(&mut config);
    Bert::load(cpu, config, &mut Weights::open(&folder(name)).unwrap()).unwrap()
}

/// All sequences of a folder as one ragged batch, and each alone.
fn batches(expected: &Expected) -> (Batch, Vec<Batch>) {
    let (mut all, mut alone) = (Batch::new(), Vec::new());
    for index in 0.. {
        let Some(ids) = expected.integers(&format!("ids.{index}")) else { break };
        let types = expected.integers(&format!("types.{index}")).unwrap();
        let mut single = Batch::new();
        single.push(&ids, &types).unwrap();
        all.push(&ids, &types).unwrap();
        alone.push(single);
    }
    assert!(!alone.is_empty());
    (all, alone)
}

#[track_caller]
fn close(what: &str, values: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(values.len(), expected.len(), "{what}");
    let worst = values.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: off by {worst:e}, at most {tolerance:e}");
    assert!(values.iter().all(|v| v.is_finite()), "{what}");
}

/// Hidden states of every layer, all sequences in one batch.
fn hidden_states(name: &str) {
    let expected = Expected::read(&folder(name));
    let (batch, alone) = batches(&expected);
    for cpu in cpus() {
        let bert = open(name, &cpu, |_| ());
        let mut seen = 0;
        let compare = &mut |layer: usize, hidden: &Tensor<Cpu>| {
            let values = hidden.to_host(&cpu)?;
            for sequence in 0..batch.sequences() {
                let what = format!("hidden.{sequence}.{layer}");
                let rows = batch.rows(sequence);
                let values = &values[rows.start * hidden.cols()..rows.end * hidden.cols()];
                close(&format!("{name} {what} {:?}", cpu.isa()), values, &expected.floats(&what).unwrap(), HIDDEN);
            }
            seen += 1;
            Ok(())
        };
        let encoder = bert.encoder();
        let together = encoder
            .run(&cpu, &batch, &Selection::all(&batch), encoder.layers(), compare)
            .unwrap()
            .to_host(&cpu)
            .unwrap();
        assert_eq!(seen, encoder.layers() + 1);

        // A sequence alone, and only some of its rows, give the same bits.
        let mut start = 0;
        for single in &alone {
            let hidden = encoder.forward(&cpu, single, &Selection::all(single)).unwrap();
            let values = hidden.to_host(&cpu).unwrap();
            assert_eq!(values, together[start..start + values.len()], "{name}");
            let last = single.tokens() - 1;
            let rows = Selection::positions(single, &[vec![last]]).unwrap();
            let row = encoder.forward(&cpu, single, &rows).unwrap().to_host(&cpu).unwrap();
            assert_eq!(row, values[last * hidden.cols()..], "{name}");
            start += values.len();
        }
    }
}

/// One head's output of every sequence, where the folder expects it.
fn head(
    name: &str,
    key: &str,
    tolerance: f32,
    run: impl Fn(&Bert<Cpu>, &Cpu, &Batch) -> cloze::error::Result<Tensor<Cpu>>,
) {
    let expected = Expected::read(&folder(name));
    let (_, alone) = batches(&expected);
    for cpu in cpus() {
        let bert = open(name, &cpu, |_| ());
        for (index, batch) in alone.iter().enumerate() {
            let what = format!("{key}.{index}");
            let values = run(&bert, &cpu, batch).unwrap().to_host(&cpu).unwrap();
            close(&format!("{name} {what} {:?}", cpu.isa()), &values, &expected.floats(&what).unwrap(), tolerance);
        }
    }
}

fn masked_lm(bert: &Bert<Cpu>, cpu: &Cpu, batch: &Batch) -> cloze::error::Result<Tensor<Cpu>> {
    let hidden = bert.encoder().forward(cpu, batch, &Selection::all(batch))?;
    let mut logits = Tensor::new(cpu, 0, 0)?;
    bert.masked_lm(cpu, &hidden, &mut logits)?;
    Ok(logits)
}

const ENCODERS: [&str; 16] = [
    "pretraining",
    "bare",
    "odd",
    "untied",
    "relative_key",
    "relative_key_query",
    "f16",
    "bf16",
    "sharded",
    "sequence",
    "multilabel",
    "regression",
    "token",
    "albert",
    "albert_groups",
    "causal",
];

#[test]
fn hidden_states_of_every_layer_equal_transformers() {
    ENCODERS.into_iter().chain(["albert_sequence"]).for_each(hidden_states);
}

#[test]
fn masked_lm_logits_equal_transformers() {
    for name in
        ["pretraining", "odd", "untied", "relative_key", "relative_key_query", "f16", "bf16", "sharded", "albert"]
    {
        head(name, "mlm", LOGITS, masked_lm);
    }
}

#[test]
fn causal_logits_equal_transformers() {
    head("causal", "logits", LOGITS, masked_lm);
}

#[test]
fn pooled_rows_equal_transformers() {
    for name in [
        "pretraining",
        "bare",
        "f16",
        "bf16",
        "sharded",
        "sequence",
        "multilabel",
        "regression",
        "albert_groups",
        "albert_sequence",
    ] {
        head(name, "pooled", HIDDEN, |bert, cpu, batch| bert.pooled(cpu, batch));
    }
}

#[test]
fn next_sentence_logits_equal_transformers() {
    for name in ["pretraining", "f16", "bf16", "sharded"] {
        head(name, "nsp", LOGITS, |bert, cpu, batch| bert.next_sentence(cpu, batch));
    }
}

#[test]
fn classifier_logits_equal_transformers() {
    for name in ["sequence", "multilabel", "regression", "albert_sequence"] {
        head(name, "logits", LOGITS, |bert, cpu, batch| bert.classify(cpu, batch));
    }
    head("token", "logits", LOGITS, |bert, cpu, batch| bert.tag(cpu, batch));
}

#[test]
fn every_activation_equals_transformers() {
    let expected = Expected::read(&folder("activations"));
    let (batch, _) = batches(&expected);
    let names: Vec<String> = expected.json()["activations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    assert!(names.len() >= 20);
    for name in names {
        for cpu in cpus() {
            let activation = cloze::bert::config::activation(&name).unwrap();
            let bert = open("activations", &cpu, |config| config.activation = activation);
            let hidden = bert.encoder().forward(&cpu, &batch, &Selection::all(&batch)).unwrap().to_host(&cpu).unwrap();
            close(&name, &hidden, &expected.floats(&format!("last_hidden.{name}")).unwrap(), HIDDEN);
            let logits = masked_lm(&bert, &cpu, &batch).unwrap().to_host(&cpu).unwrap();
            close(&name, &logits, &expected.floats(&format!("mlm.{name}")).unwrap(), LOGITS);
        }
    }
}
