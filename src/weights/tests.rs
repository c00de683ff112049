use std::fs;

use proptest::prelude::*;
use tempfile::tempdir;

use super::testing::{Builder, around, bytes};
use super::*;
use crate::error::Status;

fn read(buffer: impl Into<Vec<u8>>) -> Result<Weights> {
    Weights::from_bytes("buffer", bytes(buffer))
}

#[track_caller]
fn refused<T: fmt::Debug>(result: Result<T>, status: Status, words: &[&str]) {
    let error = result.expect_err("an error was expected");
    assert_eq!(error.status(), status, "{error}");
    for word in words {
        assert!(error.message().contains(word), "{error:?} does not say {word:?}");
    }
}

#[test]
fn a_tensor_comes_back_as_it_was_stored() {
    let buffer = Builder::default().f32("pooler.dense.bias", &[2], &[1.5, -2.0]).build();
    let mut weights = read(buffer).unwrap();
    assert!(weights.contains("pooler.dense.bias"));
    assert_eq!(weights.shape("pooler.dense.bias"), Some(&[2][..]));
    let stored = weights.take("pooler.dense.bias", &[2]).unwrap();
    assert_eq!((stored.dtype, stored.shape.as_slice()), (DType::F32, &[2][..]));
    assert_eq!(stored.to_f32(), [1.5, -2.0]);
}

#[test]
fn every_dtype_reads_at_every_alignment() {
    let values = [1.0f32, -0.5, 65504.0];
    let f16: Vec<u8> = values.iter().flat_map(|v| crate::dtype::f16::from_f32(*v).to_le_bytes()).collect();
    let bf16: Vec<u8> = values.iter().flat_map(|v| crate::dtype::bf16::from_f32(*v).to_le_bytes()).collect();
    for padding in 0..8 {
        let builder = Builder::default().raw("odd", "U8", &[1], &[7]).f32("a", &[3], &values);
        let builder = builder.raw("b", "F16", &[3], &f16).raw("c", "BF16", &[3, 1], &bf16).padded(padding);
        let mut weights = read(builder.build()).unwrap();
        assert_eq!(weights.take("a", &[3]).unwrap().to_f32(), values);
        assert_eq!(weights.take("b", &[3]).unwrap().to_f32(), values);
        assert_eq!(weights.take("c", &[3, 1]).unwrap().to_f32(), [1.0, -0.5, 65536.0]);
    }
}

#[test]
fn data_need_not_lie_in_the_order_of_the_header() {
    let data: Vec<u8> = [1f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let builder = Builder::default()
        .entry(r#""__metadata__":{"format":"pt"}"#)
        .entry(r#""second":{"dtype":"F32","shape":[],"data_offsets":[4,8]}"#)
        .entry(r#""first":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#)
        .data(&data);
    let mut weights = read(builder.build()).unwrap();
    assert_eq!(weights.take("first", &[1]).unwrap().to_f32(), [1.0]);
    assert_eq!(weights.take("second", &[]).unwrap().to_f32(), [2.0]);
}

#[test]
fn taking_names_what_is_wrong() {
    let builder = Builder::default().f32("bert.a", &[1, 2], &[1.0, 2.0]).raw("b", "I64", &[1], &[0; 8]);
    let mut weights = read(builder.raw("c", "F32", &[0, 3], &[]).build()).unwrap();
    refused(weights.take("a", &[2, 1]), Status::InvalidFile, &["tensor \"a\": shape [1, 2], expected [2, 1]"]);
    refused(weights.take("x", &[1]), Status::Missing, &["tensor \"x\" is not in buffer", "\"bert.\"", "\"albert.\""]);
    refused(weights.take("b", &[1]), Status::Unsupported, &["tensor \"b\"", "I64", "F32, F16 or BF16"]);
    refused(weights.take("c", &[0, 3]), Status::InvalidFile, &["tensor \"c\"", "no element"]);
    assert_eq!(weights.report().used, [""; 0]);
}

/// A matrix of two rows in 8 bits, with scales of the given shape.
fn integers(shape: &[usize], scales: &[f32]) -> Builder {
    Builder::default().raw("bert.x.weight", "I8", &[2, 2], &[1, 0x80, 0x7f, 0xff]).f32(
        "bert.x.weight_scale",
        shape,
        scales,
    )
}

fn matrix(builder: &Builder) -> Result<Vec<f32>> {
    match read(builder.build())?.take_matrix("x.weight", 2, 2)? {
        Contents::Int8(stored) => Ok(stored.quantised()?.to_f32()),
        Contents::Float(stored) => Ok(stored.to_f32()),
    }
}

#[test]
fn integers_come_with_their_scales() {
    for shape in [&[2, 1][..], &[2]] {
        assert_eq!(matrix(&integers(shape, &[0.5, 2.0])).unwrap(), [0.5, -64.0, 254.0, -2.0]);
    }
    for shape in [&[1][..], &[], &[1, 1]] {
        assert_eq!(matrix(&integers(shape, &[0.5])).unwrap(), [0.5, -64.0, 63.5, -0.5]);
    }
    assert_eq!(
        matrix(&Builder::default().f32("x.weight", &[2, 2], &[1.0, 2.0, 3.0, 4.0])).unwrap(),
        [1.0, 2.0, 3.0, 4.0]
    );
    let symmetric = integers(&[1], &[0.5]).raw("bert.x.weight_zero_point", "I8", &[2, 1], &[0, 0]);
    assert_eq!(matrix(&symmetric).unwrap()[0], 0.5);
    let mut weights = read(symmetric.build()).unwrap();
    weights.take_matrix("x.weight", 2, 2).unwrap();
    let report = weights.report();
    assert_eq!(report.used, ["bert.x.weight", "bert.x.weight_scale"]);
    assert_eq!((report.unused, report.stored, report.parameters), (vec![], vec![Storage::Int8], 4));
}

#[test]
fn integers_that_mean_nothing_are_named() {
    let zero = integers(&[1], &[0.5]).raw("bert.x.weight_zero_point", "I8", &[2, 1], &[0, 3]);
    refused(matrix(&zero), Status::Unsupported, &["\"x.weight_zero_point\"", "symmetric"]);
    for shape in [&[3][..], &[1, 2], &[2, 2]] {
        let other = integers(shape, &vec![0.5; shape.iter().product()]);
        let said = format!("{shape:?}");
        refused(matrix(&other), Status::InvalidFile, &["\"x.weight_scale\"", &said, "2 rows", "\"x.weight\""]);
    }
    let alone = Builder::default().raw("x.weight", "I8", &[2, 2], &[0; 4]);
    refused(matrix(&alone), Status::Unsupported, &["\"x.weight\"", "I8", "\"x.weight_scale\""]);
    let mut weights = read(integers(&[1], &[f32::NAN]).build()).unwrap();
    refused(weights.take("x.weight", &[2, 2]), Status::Unsupported, &["\"x.weight\"", "I8", "F32, F16 or BF16"]);
    refused(weights.take_matrix("x.weight", 4, 1).map(drop), Status::InvalidFile, &["[2, 2]", "[4, 1]"]);
    assert_eq!(weights.first_non_finite(), None);
    weights.take_matrix("x.weight", 2, 2).unwrap();
    assert_eq!(weights.first_non_finite().unwrap().tensor, "x.weight_scale");
}

#[test]
fn listing_tensors_uses_none() {
    let builder = Builder::default()
        .f32("bert.encoder.LayerNorm.gamma", &[1, 2], &[1.0, 2.0])
        .raw("bert.embeddings.position_ids", "I64", &[1, 1], &[0; 8])
        .raw("classifier.weight", "U8", &[1], &[0])
        .raw("empty", "F32", &[0, 3], &[]);
    let weights = read(builder.build()).unwrap();
    let mut tensors = weights.tensors();
    let (name, _, whole) = tensors.next().unwrap();
    assert_eq!(name, "classifier.weight");
    refused(whole, Status::Unsupported, &["\"classifier.weight\"", "U8"]);
    refused(tensors.next().unwrap().2, Status::InvalidFile, &["\"empty\": shape [0, 3]"]);
    let (name, key, norm) = tensors.next().unwrap();
    assert_eq!((name, key), ("encoder.LayerNorm.weight", "bert.encoder.LayerNorm.gamma"));
    let norm = norm.unwrap().float().unwrap();
    assert_eq!((norm.shape.as_slice(), norm.to_f32()), (&[1, 2][..], vec![1.0, 2.0]));
    assert!(tensors.next().is_none());
    assert_eq!(weights.report().used, [""; 0]);
}

#[test]
fn two_keys_of_one_name_are_refused() {
    for (one, two) in [("bert.a", "a"), ("bert.a", "albert.a"), ("LayerNorm.gamma", "LayerNorm.weight")] {
        let buffer = Builder::default().f32(one, &[1], &[1.0]).f32(two, &[1], &[1.0]).build();
        refused(read(buffer), Status::InvalidFile, &["buffer: ", one, two]);
    }
}

#[test]
fn the_report_sorts_every_tensor_into_one_list() {
    let builder = Builder::default()
        .f32("bert.embeddings.LayerNorm.gamma", &[2], &[1.0, 1.0])
        .raw("bert.embeddings.position_ids", "I64", &[1, 1], &[0; 8])
        .raw("bert.b", "F16", &[3], &[0; 6])
        .f32("cls.seq_relationship.bias", &[2], &[0.0, 0.0])
        .f32("classifier.bias", &[2], &[0.0, 0.0]);
    let buffer = builder.build();
    let length = buffer.len() as u64;
    let mut weights = read(buffer).unwrap();
    for _ in 0..2 {
        weights.take("embeddings.LayerNorm.weight", &[2]).unwrap();
    }
    weights.take("b", &[3]).unwrap();
    let report = weights.report();
    assert_eq!(report.used, ["bert.b", "bert.embeddings.LayerNorm.gamma"]);
    assert_eq!(report.unused, ["classifier.bias", "cls.seq_relationship.bias"]);
    assert_eq!(report.ignored, ["bert.embeddings.position_ids"]);
    assert_eq!(report.stored, [DType::F32, DType::F16].map(Storage::Float));
    assert_eq!(report.parameters, 5);
    assert_eq!(report.files, [StoredFile { name: "buffer".into(), bytes: length }]);
    assert_eq!(report.bytes(), length);
}

#[test]
fn the_first_element_that_is_not_finite_is_named() {
    let builder = Builder::default().f32("a", &[2], &[1.0, f32::NAN]).f32(
        "bert.b",
        &[2, 3],
        &[0.0, 1.0, 2.0, 3.0, f32::NEG_INFINITY, f32::NAN],
    );
    let mut weights = read(builder.build()).unwrap();
    weights.take("b", &[2, 3]).unwrap();
    let found = weights.first_non_finite().unwrap();
    assert_eq!((found.index.as_slice(), found.value), (&[1, 1][..], f32::NEG_INFINITY));
    assert_eq!(found.to_string(), "tensor \"b\": element [1, 1] is -inf, expected a finite number");
    weights.take("a", &[2]).unwrap();
    assert_eq!(weights.first_non_finite().unwrap().tensor, "a");
}

#[test]
fn finite_tensors_hold_nothing_to_name() {
    let mut weights = read(Builder::default().f32("a", &[1], &[f32::MAX]).build()).unwrap();
    weights.take("a", &[1]).unwrap();
    assert_eq!(weights.first_non_finite(), None);
}

#[test]
fn malformed_buffers_are_refused_with_both_sides() {
    let entry = |text: &str| Builder::default().entry(text).data(&[0; 8]).build();
    let valid = Builder::default().f32("a", &[2], &[1.0, 2.0]).build();
    let cut = valid[..valid.len() - 1].to_vec();
    let longer = [valid.as_slice(), &[0]].concat();
    let half = 1usize << 61;
    let last = usize::MAX;
    let cases: Vec<(Vec<u8>, &[&str])> = vec![
        (vec![], &["0 bytes", "8"]),
        (vec![0; 7], &["7 bytes"]),
        (vec![0; 8], &["not a JSON object"]),
        (vec![0xff; 16], &["header of 18446744073709551615 bytes", "at most 100000000"]),
        (100_000_001u64.to_le_bytes().to_vec(), &["header of 100000001 bytes"]),
        ([&99u64.to_le_bytes()[..], b"{}"].concat(), &["header of 99 bytes", "only 2 follow"]),
        (around(b"{\"a\xff\":1}", &[]), &["not UTF-8"]),
        (around(b"{]", &[]), &["not a JSON object"]),
        (around(b"[]", &[]), &["not a JSON object"]),
        (around("[".repeat(100_000).as_bytes(), &[]), &["not a JSON object"]),
        (around(b"{}", &[0]), &["1 bytes of tensor data", "claims 0"]),
        (cut, &["7 bytes of tensor data", "claims 8"]),
        (longer, &["9 bytes of tensor data", "claims 8"]),
        (entry(r#""a":3"#), &["tensor \"a\": header entry"]),
        (entry(r#""a":{"dtype":"F32","shape":[2]}"#), &["tensor \"a\"", "data_offsets"]),
        (entry(r#""a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}"#), &["tensor \"a\"", "F99"]),
        (entry(r#""a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}"#), &["tensor \"a\"", "-2"]),
        (entry(r#""a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}"#), &["tensor \"a\"", "2.5"]),
        (entry(r#""a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#), &["shape [3] of F32", "96 bits", "8 bytes"]),
        (entry(r#""a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}"#), &["shape [3] of F4", "12 bits", "2 bytes"]),
        (entry(r#""a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#), &["[8, 0]", "end before they start"]),
        (entry(r#""a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#), &["`a`", "hole or overlap"]),
        (entry(r#""a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}"#), &["8 bytes of tensor data", "claims 16"]),
        (
            entry(
                r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#,
            ),
            &["`b`", "hole or overlap"],
        ),
        (
            entry(
                r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#,
            ),
            &["\"a\" occurs twice"],
        ),
        (
            entry(&format!(r#""a":{{"dtype":"F32","shape":[{half},8,8],"data_offsets":[0,8]}}"#)),
            &["tensor \"a\"", "too large"],
        ),
        (
            entry(&format!(r#""a":{{"dtype":"U8","shape":[0,{half},{half}],"data_offsets":[0,8]}}"#)),
            &["tensor \"a\"", "data_offsets give 8"],
        ),
        (entry(r#""a":{"dtype":"U8","shape":[99999999999999999999999],"data_offsets":[0,8]}"#), &["tensor \"a\""]),
        (
            entry(&format!(r#""a":{{"dtype":"U8","shape":[8],"data_offsets":[{},{last}]}}"#, last - 8)),
            &["`a`", "hole or overlap"],
        ),
    ];
    for (buffer, words) in cases {
        let words: Vec<&str> = ["buffer: "].iter().chain(words).copied().collect();
        refused(read(buffer), Status::InvalidFile, &words);
    }
}

#[test]
fn tensors_that_together_reach_the_end_of_the_address_space_are_refused() {
    let size = (1usize << 61) - 1;
    let entries = (0..8).map(|i| {
        format!(r#""{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{},{}]}}"#, i * size, (i + 1) * size)
    });
    let buffer = entries.fold(Builder::default(), |builder, entry| builder.entry(&entry)).build();
    refused(read(buffer), Status::InvalidFile, &["0 bytes of tensor data, the header claims"]);
}

#[test]
fn a_folder_with_one_file_opens() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("model.safetensors"), Builder::default().f32("a", &[1], &[3.0]).build()).unwrap();
    fs::write(folder.path().join("model.safetensors.index.json"), "not read").unwrap();
    let mut weights = Weights::open(folder.path()).unwrap();
    let stored = weights.take("a", &[1]).unwrap();
    assert_eq!(weights.report().files[0].name, "model.safetensors");
    drop(weights);
    assert_eq!(stored.to_f32(), [3.0], "the map outlives the index");
}

#[test]
fn folders_without_safetensors_say_what_they_hold() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    refused(Weights::open(&path.join("absent")), Status::Io, &["absent"]);
    refused(Weights::open_file(&path.join("absent")), Status::Io, &["absent"]);
    refused(Weights::open_file(path), Status::Io, &["is a folder"]);
    refused(Weights::open(path), Status::Missing, &["model.safetensors", "model.safetensors.index.json"]);
    for name in ["tf_model.h5", "pytorch_model.bin"] {
        fs::write(path.join(name), "").unwrap();
        refused(Weights::open(path), Status::Unsupported, &[name, "convert", "safetensors"]);
    }
    refused(Weights::open(&path.join("tf_model.h5")), Status::Io, &["is a file, expected a model folder"]);
    fs::write(path.join("model.safetensors"), "").unwrap();
    refused(Weights::open(path), Status::InvalidFile, &["model.safetensors: 0 bytes"]);
}

/// A folder of two shards, `one` with tensor `a` and `two` with `b` and `c`, and an index of this text.
fn sharded(index: &str) -> Result<Weights> {
    let folder = tempdir().unwrap();
    let two = Builder::default().f32("b", &[1], &[2.0]).f32("c", &[1], &[3.0]);
    for (name, contents) in [
        ("one.safetensors", Builder::default().f32("a", &[1], &[1.0]).build()),
        ("two.safetensors", two.clone().build()),
        ("both.safetensors", two.f32("a", &[1], &[9.0]).build()),
        ("model.safetensors.index.json", index.into()),
    ] {
        fs::write(folder.path().join(name), contents).unwrap();
    }
    Weights::open(folder.path())
}

#[test]
fn shards_open_as_one() {
    let index = r#"{"metadata":{"total_size":12},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}}"#;
    let mut weights = sharded(index).unwrap();
    for (name, value) in [("a", 1.0), ("b", 2.0), ("c", 3.0)] {
        assert_eq!(weights.take(name, &[1]).unwrap().to_f32(), [value]);
    }
    assert_eq!(weights.report().files.len(), 2);
    refused(weights.take("d", &[1]), Status::Missing, &["any of 2 shards"]);
}

#[test]
fn the_index_decides_between_shards_that_hold_one_key() {
    let index = r#"{"weight_map":{"a":"one.safetensors","b":"both.safetensors"}}"#;
    assert_eq!(sharded(index).unwrap().take("a", &[1]).unwrap().to_f32(), [1.0]);
}

#[test]
fn malformed_indices_are_refused() {
    for (index, status, words) in [
        ("", Status::InvalidFile, &["index.json: not a JSON object"][..]),
        ("[]", Status::InvalidFile, &["not a JSON object"]),
        ("{}", Status::InvalidFile, &["weight_map", "absent"]),
        (r#"{"weight_map":[]}"#, Status::InvalidFile, &["weight_map", "not an object"]),
        (r#"{"weight_map":{}}"#, Status::InvalidFile, &["no tensor"]),
        (r#"{"weight_map":{"a":1}}"#, Status::InvalidFile, &["\"a\": file 1"]),
        (r#"{"weight_map":{"a":null}}"#, Status::InvalidFile, &["\"a\": file null"]),
        (r#"{"weight_map":{"a":""}}"#, Status::InvalidFile, &["name in this folder"]),
        (r#"{"weight_map":{"a":".."}}"#, Status::InvalidFile, &["name in this folder"]),
        (r#"{"weight_map":{"a":"./one.safetensors"}}"#, Status::InvalidFile, &["name in this folder"]),
        (r#"{"weight_map":{"a":"../one.safetensors"}}"#, Status::InvalidFile, &["name in this folder"]),
        (r#"{"weight_map":{"a":"sub/one.safetensors"}}"#, Status::InvalidFile, &["name in this folder"]),
        (r#"{"weight_map":{"a":"/one.safetensors"}}"#, Status::InvalidFile, &["name in this folder"]),
        (r#"{"weight_map":{"a":"..\\one.safetensors"}}"#, Status::InvalidFile, &["name in this folder"]),
        (r#"{"weight_map":{"a":"one\u0000"}}"#, Status::InvalidFile, &["name in this folder"]),
        (r#"{"weight_map":{"a":"three.safetensors"}}"#, Status::Io, &["three.safetensors"]),
        (r#"{"weight_map":{"x":"one.safetensors"}}"#, Status::InvalidFile, &["index.json", "\"x\" is not in one"]),
        (
            r#"{"weight_map":{"a":"one.safetensors","a":"both.safetensors"}}"#,
            Status::InvalidFile,
            &["\"a\" occurs twice"],
        ),
        (
            r#"{"weight_map":{"b":"two.safetensors","c":"both.safetensors","a":"one.safetensors","d":"one.safetensors"}}"#,
            Status::InvalidFile,
            &["\"d\" is not in one.safetensors"],
        ),
    ] {
        refused(sharded(index), status, words);
    }
}

#[test]
fn an_index_that_is_not_utf_8_is_refused() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("model.safetensors.index.json"), b"{\"\xff\":1}").unwrap();
    refused(Weights::open(folder.path()), Status::InvalidFile, &["not UTF-8"]);
}

#[test]
fn weights_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Weights>();
    crosses::<Stored>();
}

fn valid() -> Vec<u8> {
    Builder::default()
        .entry(r#""__metadata__":{"format":"pt"}"#)
        .f32("bert.embeddings.LayerNorm.gamma", &[2, 2], &[1.0, 2.0, 3.0, 4.0])
        .raw("embeddings.position_ids", "I64", &[1, 1], &[0; 8])
        .raw("b", "BF16", &[3], &[0; 6])
        .build()
}

/// Uses whatever opened in every way there is.
fn exercise(buffer: Vec<u8>) {
    let Ok(mut weights) = read(buffer) else { return };
    let names: Vec<(String, Vec<usize>)> =
        weights.tensors.iter().map(|(name, entry)| (name.clone(), entry.tensor.shape.clone())).collect();
    for (name, shape) in names {
        if let Ok(stored) = weights.take(&name, &shape) {
            assert_eq!(stored.to_f32().len(), shape.iter().product::<usize>());
        }
    }
    weights.report();
    weights.first_non_finite();
}

proptest! {
    #[test]
    fn mutated_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        keep in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
    ) {
        let mut buffer = valid();
        for (at, byte) in changes {
            let at = at.index(buffer.len());
            buffer[at] = byte;
        }
        if truncate {
            buffer.truncate(keep.index(buffer.len() + 1));
        }
        exercise(buffer);
    }

    /// Digits, quotes and brackets exchanged for one another stay closer to JSON than random bytes do.
    #[test]
    fn mutated_headers_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[0-9\"{}:,\\[\\]\\\\ -]"), 1..4),
    ) {
        let mut buffer = valid();
        let header = 8..buffer.len() - 30;
        for (at, text) in changes {
            buffer[header.start + at.index(header.len())] = text.as_bytes()[0];
        }
        exercise(buffer);
    }

    #[test]
    fn truncation_is_always_an_error(keep in 0..valid().len()) {
        prop_assert!(read(&valid()[..keep]).is_err());
    }
}
