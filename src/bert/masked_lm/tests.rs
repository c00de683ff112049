use proptest::prelude::*;

use super::*;
use crate::bert::{HeadPart, Scope};
use crate::device::Cpu;
use crate::error::Status;
use crate::ops::cross_entropy::IGNORED;
use crate::ops::oracle::{self, numbers, wide};
use crate::weights::Weights;
use crate::weights::testing::{Builder, bytes};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decoder {
    Tied,
    Untied,
}

/// A model of one layer whose every tensor holds numbers of its own.
fn model(cpu: &Cpu, hidden: usize, vocabulary: usize, decoder: Decoder) -> Bert<Cpu> {
    let config = format!(
        r#"{{"model_type":"bert","vocab_size":{vocabulary},"hidden_size":{hidden},"num_hidden_layers":1,
            "num_attention_heads":1,"intermediate_size":3,"max_position_embeddings":2,"hidden_act":"silu",
            "tie_word_embeddings":{}}}"#,
        decoder == Decoder::Tied
    );
    let mut builder = Builder::default();
    let mut seed = 0;
    let mut add = |name: &str, shape: &[usize]| {
        seed += 1;
        builder = builder.clone().f32(name, shape, &numbers(shape.iter().product(), seed));
    };
    for (table, rows) in [("word", vocabulary), ("position", 2), ("token_type", 2)] {
        add(&format!("embeddings.{table}_embeddings.weight"), &[rows, hidden]);
    }
    let layer = "encoder.layer.0";
    let mut dense = |name: &str, rows: usize, cols: usize| {
        add(&format!("{name}.weight"), &[rows, cols]);
        add(&format!("{name}.bias"), &[rows]);
    };
    for part in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
        dense(&format!("{layer}.{part}"), hidden, hidden);
    }
    dense(&format!("{layer}.intermediate.dense"), 3, hidden);
    dense(&format!("{layer}.output.dense"), hidden, 3);
    dense("cls.predictions.transform.dense", hidden, hidden);
    for norm in [
        "embeddings.LayerNorm",
        "encoder.layer.0.attention.output.LayerNorm",
        "encoder.layer.0.output.LayerNorm",
        "cls.predictions.transform.LayerNorm",
    ] {
        add(&format!("{norm}.weight"), &[hidden]);
        add(&format!("{norm}.bias"), &[hidden]);
    }
    match decoder {
        Decoder::Tied => add("cls.predictions.bias", &[vocabulary]),
        Decoder::Untied => {
            add("cls.predictions.decoder.weight", &[vocabulary, hidden]);
            add("cls.predictions.decoder.bias", &[vocabulary]);
        }
    }
    let mut weights = Weights::from_bytes("tiny", bytes(builder.build())).unwrap();
    Bert::load(cpu, Config::parse(config.as_bytes()).unwrap(), &mut weights).unwrap()
}

/// The head, and what its decoder is tied to.
fn everything() -> Scope {
    Scope { embeddings: true, heads: vec![HeadPart::MaskedLm], ..Scope::default() }
}

/// Words of `rows` rows, the second of each three of which does not count.
fn words(rows: usize, vocabulary: usize) -> Vec<i32> {
    (0..rows).map(|row| if row % 3 == 1 { IGNORED } else { (row * 7 % vocabulary) as i32 }).collect()
}

fn host(cpu: &Cpu, tensor: &Tensor<Cpu>) -> Vec<f32> {
    tensor.to_host(cpu).unwrap()
}

/// What one call gave.
#[derive(Debug, PartialEq)]
struct Learned {
    outcome: Outcome,
    /// Of the rows.
    d: Vec<f32>,
    /// Of transform and norm.
    below: Vec<Vec<f32>>,
    /// Of the decoder's weight and bias.
    decoder: [Vec<f32>; 2],
}

/// `times` calls for `rows` rows in chunks of `most`, of a model whose parts in `scope` train.
fn learn(cpu: &Cpu, bert: &Bert<Cpu>, scope: &Scope, rows: usize, most: usize, times: usize) -> Learned {
    let config = bert.config();
    let hidden = || Tensor::from_host(cpu, &numbers(rows * config.hidden, 99), rows, config.hidden).unwrap();
    let words = words(rows, config.vocabulary);
    let mut gradients = Gradients::zeros(cpu, bert, scope).unwrap();
    let mut given = None;
    for _ in 0..times {
        let (outcome, d) = bert.masked_lm_loss_by(cpu, hidden(), &words, Some((0.5, &mut gradients)), most).unwrap();
        given = Some((outcome, d.unwrap()));
    }
    let (outcome, d) = given.unwrap();
    assert_eq!(d.shape(), (rows, config.hidden));
    let (answer, none) = bert.masked_lm_loss_by(cpu, hidden(), &words, None, most).unwrap();
    assert!(answer == outcome && none.is_none());
    let (mut below, mut own, mut bias) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(head) = &mut gradients.masked_lm {
        let untied = usize::from(head.decoder.is_some());
        let mut tensors: Vec<_> = head.tensors_mut().unwrap().into_iter().map(|tensor| host(cpu, tensor)).collect();
        bias = tensors.pop().unwrap();
        own = tensors.drain(4..4 + untied).flatten().collect();
        below = tensors;
    }
    if let (Some(embeddings), true) = (&mut gradients.encoder.embeddings, own.is_empty()) {
        own = host(cpu, of_weight(&mut embeddings.word).unwrap().0);
    }
    Learned { outcome, d: host(cpu, &d), below, decoder: [own, bias] }
}

/// Σ losses of the head in f64: of the rows, the transform's weight and bias, γ, β, the decoder's weight and bias.
fn reference(parts: &[&[f64]; 7], hidden: usize, epsilon: f64, words: &[i32]) -> f64 {
    let [x, weight, bias, gamma, beta, decoder, shift] = parts;
    let dense = |weight: &[f64], bias: &[f64], x: &[f64]| -> Vec<f64> {
        let dot = |w: &[f64]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
        weight.chunks(hidden).zip(bias).map(|(w, b)| dot(w) + b).collect()
    };
    let loss = |x: &[f64], word: usize| {
        let y: Vec<f64> = dense(weight, bias, x).iter().map(|y| y / (1.0 + (-y).exp())).collect();
        let mean = y.iter().sum::<f64>() / hidden as f64;
        let variance = y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / hidden as f64;
        let affine = |i: usize| (y[i] - mean) / (variance + epsilon).sqrt() * gamma[i] + beta[i];
        let z = dense(decoder, shift, &(0..hidden).map(affine).collect::<Vec<_>>());
        z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[word]
    };
    x.chunks(hidden).zip(words).filter(|(_, word)| **word >= 0).map(|(x, &word)| loss(x, word as usize)).sum()
}

#[test]
fn agrees_with_the_definition_and_its_derivative() {
    let (hidden, vocabulary, rows) = (5, 7, 5);
    let words = words(rows, vocabulary);
    for decoder in [Decoder::Tied, Decoder::Untied] {
        for cpu in oracle::cpus() {
            let bert = model(&cpu, hidden, vocabulary, decoder);
            let head = bert.heads.masked_lm.as_deref().unwrap();
            let plain = |weight: &Weight<Cpu>| match weight {
                Weight::F32(weight) => wide(&host(&cpu, weight)),
                _ => panic!("stored as f32"),
            };
            let parts = [
                wide(&numbers(rows * hidden, 99)),
                plain(&head.transform.weight),
                wide(&host(&cpu, head.transform.bias.as_ref().unwrap())),
                wide(&host(&cpu, &head.norm.gamma)),
                wide(&host(&cpu, &head.norm.beta)),
                plain(head.decoder.as_ref().unwrap_or(&bert.encoder.embeddings().word)),
                wide(&host(&cpu, &head.bias)),
            ];
            let epsilon = f64::from(head.norm.epsilon);
            let at = |index: usize, part: &[f64]| {
                let mut parts = parts.each_ref().map(Vec::as_slice);
                parts[index] = part;
                reference(&parts, hidden, epsilon, &words)
            };
            let slope = |index: usize, factor: f64| -> Vec<f64> {
                oracle::gradient(&parts[index], |part| at(index, part)).iter().map(|d| d * factor).collect()
            };
            for (most, times) in [(1, 1), (2, 1), (3, 2), (rows, 1)] {
                let learned = learn(&cpu, &bert, &everything(), rows, most, times);
                let expected = at(0, &parts[0]);
                // sums of a few dozen products of values below 4, each rounded to 2⁻²³ of itself, and as many slopes
                assert!((learned.outcome.loss - expected).abs() < 2e-5, "{} {expected}", learned.outcome.loss);
                oracle::close(&learned.d, &slope(0, 0.5), 1e-5);
                // gradients of parameters are added to what is there
                let factor = 0.5 * times as f64;
                let parameters = learned.below.iter().chain(&learned.decoder);
                for (index, gradient) in parameters.enumerate() {
                    oracle::close(gradient, &slope(index + 1, factor), 2e-5);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn chunks_change_nothing_but_the_last_places_of_the_decoders_gradient(
        rows in 0usize..24, most in 1usize..24, vocabulary in 1usize..40, hidden in 1usize..20, tied: bool,
    ) {
        let decoder = if tied { Decoder::Tied } else { Decoder::Untied };
        for cpu in oracle::cpus() {
            let bert = model(&cpu, hidden, vocabulary, decoder);
            let whole = learn(&cpu, &bert, &everything(), rows, usize::MAX, 1);
            let cut = learn(&cpu, &bert, &everything(), rows, most, 1);
            // rows do not meet before the gradients of parameters, and below the decoder all of them are there again
            prop_assert_eq!(&cut.d, &whole.d);
            prop_assert_eq!(&cut.below, &whole.below);
            prop_assert_eq!(cut.outcome.correct, whole.outcome.correct);
            // f64, grouped otherwise: rows² roundings of losses below 64
            prop_assert!((cut.outcome.loss - whole.outcome.loss).abs() <= 1e-11);
            // either sum: at most `rows` additions of partial sums below rows · 0.5 · (√H + 1), as |γ|, |β| ≤ 1
            let largest = rows as f64 * 0.5 * ((hidden as f64).sqrt() + 1.0);
            let tolerance = 2.0 * rows as f64 * largest * f64::from(f32::EPSILON) / 2.0;
            for (cut, whole) in cut.decoder.iter().zip(&whole.decoder) {
                oracle::close(cut, &wide(whole), tolerance);
            }
        }
    }

    #[test]
    fn chunks_are_neighbours_of_nearly_one_size(rows in 0usize..2000, most in 1usize..300) {
        let chunks: Vec<_> = chunks(rows, most).collect();
        prop_assert_eq!(chunks.iter().cloned().flatten().collect::<Vec<_>>(), (0..rows).collect::<Vec<_>>());
        prop_assert_eq!(chunks.len(), rows.div_ceil(most));
        let sizes = || chunks.iter().map(Range::len);
        prop_assert!(sizes().all(|size| size <= most));
        prop_assert!(sizes().max().unwrap_or(0) - sizes().min().unwrap_or(0) <= 1);
    }
}

#[test]
fn threads_change_nothing() {
    // columns and rows enough that every product is shared between threads
    let (hidden, vocabulary, rows) = (40, 700, 50);
    let mut before: Option<(crate::simd::Isa, Learned)> = None;
    for cpu in oracle::cpus() {
        let bert = model(&cpu, hidden, vocabulary, Decoder::Tied);
        let got = learn(&cpu, &bert, &everything(), rows, 20, 1);
        if let Some((isa, before)) = &before
            && *isa == cpu.isa()
        {
            assert_eq!(got, *before, "on one thread and on three");
        }
        before = Some((cpu.isa(), got));
    }
}

#[test]
fn what_is_frozen_keeps_no_gradient_and_changes_no_other() {
    let cpu = Cpu::new(1).unwrap();
    for decoder in [Decoder::Tied, Decoder::Untied] {
        let bert = model(&cpu, 6, 9, decoder);
        let of = |scope: &Scope| learn(&cpu, &bert, scope, 7, 3, 1);
        let all = of(&everything());
        let head = of(&Scope { embeddings: false, ..everything() });
        let embeddings = of(&Scope { heads: Vec::new(), ..everything() });
        let none = of(&Scope::default());
        for part in [&head, &embeddings, &none] {
            assert_eq!((&part.d, part.outcome), (&all.d, all.outcome));
        }
        assert_eq!((&head.below, &head.decoder[1]), (&all.below, &all.decoder[1]));
        let zeros = vec![0.0; 9 * 6];
        match decoder {
            Decoder::Tied => {
                assert!(head.decoder[0].is_empty());
                assert_eq!(embeddings.decoder[0], all.decoder[0]);
            }
            Decoder::Untied => {
                assert_eq!(head.decoder[0], all.decoder[0]);
                assert_eq!(embeddings.decoder[0], zeros, "the words have no part in it");
            }
        }
        assert_ne!(all.decoder[0], zeros);
    }
}

#[test]
fn logits_exist_of_a_chunk_at_a_time() {
    for vocabulary in [1, 2, 100, 8192, 30_522, 119_547, 250_002, usize::MAX] {
        let rows = chunk_rows(vocabulary, CHUNK);
        assert!(rows >= FEWEST);
        assert!(rows == FEWEST || rows * vocabulary * size_of::<f32>() <= CHUNK, "{rows} rows of {vocabulary}");
    }
    assert!(chunk_rows(0, CHUNK) >= FEWEST);
    let (vocabulary, rows) = (chunk_vocabulary(), 70);
    let cpu = Cpu::new(2).unwrap();
    let bert = model(&cpu, 4, vocabulary, Decoder::Tied);
    let head = bert.heads.masked_lm.as_deref().unwrap();
    let normal = Tensor::from_host(&cpu, &numbers(rows * 4, 1), rows, 4).unwrap();
    let walk = Walk {
        device: &cpu,
        decoder: head.decoder(&bert.encoder.embeddings().word),
        normal: &normal,
        words: &words(rows, vocabulary),
        most: chunk_rows(vocabulary, CHUNK),
    };
    let mut seen = Vec::new();
    walk.chunks(|rows, x, logits, targets| {
        assert_eq!(
            (x.rows(), logits.shape(), targets.labels.len()),
            (rows.len(), (rows.len(), vocabulary), rows.len())
        );
        assert!(Cpu::len(logits.buffer()) <= chunk_rows(vocabulary, CHUNK) * vocabulary);
        seen.push(rows.len());
        Ok(())
    })
    .unwrap();
    assert_eq!((seen.len(), seen.iter().sum::<usize>()), (3, rows));
}

/// What a CPU takes at a time.
const CHUNK: usize = Cpu::PORTIONS.pass_logits;

/// A vocabulary of which a chunk has [`FEWEST`] rows.
fn chunk_vocabulary() -> usize {
    CHUNK / size_of::<f32>() / FEWEST + 1
}

#[test]
fn what_does_not_fit_is_refused() {
    let cpu = Cpu::new(1).unwrap();
    let bert = model(&cpu, 3, 5, Decoder::Tied);
    let of = |words: &[i32]| {
        let hidden = Tensor::<Cpu>::zeros(&cpu, 2, 3).unwrap();
        bert.masked_lm_loss(&cpu, hidden, words, None).map(|(outcome, _)| outcome)
    };
    assert_eq!(of(&[IGNORED; 2]), Ok(Outcome::default()));
    assert_eq!(of(&[1]).unwrap_err().status(), Status::Internal);
    let error = of(&[0, 5]).unwrap_err();
    assert_eq!(error.status(), Status::InvalidInput);
    assert!(error.message().contains("label 5"), "{error}");
}
