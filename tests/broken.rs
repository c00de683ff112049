//! Folders and inputs that are wrong: every one is an error that names the thing, and nothing panics.

#![allow(clippy::unwrap_used)] // a test may panic

mod oracle;

use std::fs;
use std::path::Path;

use cloze::engine::{
    EmbedOptions, Encoded, FillOptions, Input, Model, OpenOptions, Run, ScoreOptions, Task, TextOptions,
};
use cloze::error::{Error, Result, Status};
use oracle::golden;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

const CONFIG: &str = "config.json";
const TENSORS: &str = "model.safetensors";

/// A copy of a golden folder.
fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in oracle::files(&golden(name)) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn open(folder: &Path) -> Result<Model> {
    Model::open(folder, &OpenOptions { threads: 1, ..OpenOptions::default() })
}

fn pretraining() -> Model {
    open(&golden("pretraining")).unwrap()
}

#[track_caller]
fn expect(error: &Error, status: Status, parts: &[&str]) {
    assert_eq!(error.status(), status, "{error}");
    for part in parts {
        assert!(error.message().contains(part), "no {part:?} in: {error}");
    }
}

/// A copy of `pretraining` with one file replaced is refused; the message has all `parts`.
#[track_caller]
fn refused(name: &str, bytes: &[u8], status: Status, parts: &[&str]) {
    let folder = copy("pretraining");
    fs::write(folder.path().join(name), bytes).unwrap();
    expect(&open(folder.path()).err().unwrap(), status, parts);
}

fn config(change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut config: Value = serde_json::from_slice(&fs::read(golden("pretraining").join(CONFIG)).unwrap()).unwrap();
    change(&mut config);
    config.to_string().into_bytes()
}

/// The header and the data of `pretraining`'s tensors.
fn tensors() -> (Value, Vec<u8>) {
    let bytes = fs::read(golden("pretraining").join(TENSORS)).unwrap();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..end]).unwrap(), bytes[end..].to_vec())
}

/// A safetensors file. Blanks pad the header so that the data starts at `remainder` modulo 8.
fn safetensors(header: &Value, data: &[u8], remainder: usize) -> Vec<u8> {
    let mut text = header.to_string().into_bytes();
    while text.len() % 8 != remainder {
        text.push(b' ');
    }
    [&(text.len() as u64).to_le_bytes(), text.as_slice(), data].concat()
}

const WORDS: &str = "bert.embeddings.word_embeddings.weight";
const QUERY: &str = "bert.encoder.layer.1.attention.self.query.weight";

#[test]
fn what_is_not_a_model_folder_is_named() {
    let folder = copy("pretraining");
    let nowhere = folder.path().join("nowhere");
    expect(&open(&nowhere).err().unwrap(), Status::Io, &["nowhere"]);
    let file = folder.path().join(CONFIG);
    expect(&open(&file).err().unwrap(), Status::InvalidArgument, &["config.json", "a file, expected a model folder"]);
    fs::remove_file(&file).unwrap();
    expect(&open(folder.path()).err().unwrap(), Status::Missing, &["no config.json"]);
    fs::create_dir(&file).unwrap();
    expect(&open(folder.path()).err().unwrap(), Status::Io, &["config.json"]);

    let folder = copy("pretraining");
    fs::rename(folder.path().join(TENSORS), folder.path().join("pytorch_model.bin")).unwrap();
    expect(&open(folder.path()).err().unwrap(), Status::Unsupported, &["pytorch_model.bin", "safetensors"]);
    fs::remove_file(folder.path().join("pytorch_model.bin")).unwrap();
    expect(&open(folder.path()).err().unwrap(), Status::Missing, &["model.safetensors"]);
    let error =
        Model::open(&golden("bare"), &OpenOptions { threads: 100_000, ..OpenOptions::default() }).err().unwrap();
    expect(&error, Status::InvalidArgument, &["100000 threads"]);
}

#[test]
fn a_wrong_config_is_named() {
    for text in ["", "{", "[]", "null", "\u{feff}", "{\"hidden_size\": 32"] {
        refused(CONFIG, text.as_bytes(), Status::InvalidFile, &[CONFIG]);
    }
    refused(CONFIG, &[0xff, 0xfe, 0], Status::InvalidFile, &[CONFIG]);
    refused(CONFIG, "[".repeat(1 << 20).as_bytes(), Status::InvalidFile, &[CONFIG]);
    for (key, value) in [
        ("hidden_size", json!(0)),
        ("hidden_size", json!(-1)),
        ("hidden_size", json!(1e30)),
        ("hidden_size", json!("32")),
        ("hidden_size", json!(33)),
        ("hidden_size", json!(2_147_483_644)),
        ("vocab_size", json!(u64::MAX)),
        ("vocab_size", json!(2.5)),
        ("num_hidden_layers", json!(1_000_000_000)),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(5)),
        ("intermediate_size", json!(u32::MAX)),
        ("max_position_embeddings", json!(0)),
        ("type_vocab_size", json!(i64::MIN)),
        ("layer_norm_eps", json!(-1.0)),
        ("pad_token_id", json!(120)),
        ("problem_type", json!("guessing")),
        ("id2label", json!({"1": "one"})),
    ] {
        refused(CONFIG, &config(|c| c[key] = value.clone()), Status::InvalidFile, &[CONFIG, key]);
    }
    for (key, value) in [
        ("model_type", json!("gpt2")),
        ("hidden_act", json!("xielu")),
        ("position_embedding_type", json!("rotary")),
        ("add_cross_attention", json!(true)),
    ] {
        refused(CONFIG, &config(|c| c[key] = value.clone()), Status::Unsupported, &[CONFIG, key]);
    }
}

#[test]
fn shapes_that_disagree_are_named_both() {
    // The weights are [120, 32] words, 40 places, 2 segments, 64 wide in between.
    for (key, value, parts) in [
        ("hidden_size", 64, ["word_embeddings.weight", "[120, 32]", "[120, 64]"]),
        ("vocab_size", 121, ["word_embeddings.weight", "[120, 32]", "[121, 32]"]),
        ("max_position_embeddings", 512, ["position_embeddings.weight", "[40, 32]", "[512, 32]"]),
        ("type_vocab_size", 1, ["token_type_embeddings.weight", "[2, 32]", "[1, 32]"]),
        ("intermediate_size", 63, ["intermediate.dense.weight", "[64, 32]", "[63, 32]"]),
    ] {
        refused(CONFIG, &config(|c| c[key] = json!(value)), Status::InvalidFile, &parts);
    }
    let error = &["encoder.layer.3.attention.self.query.weight", "model.safetensors"];
    refused(CONFIG, &config(|c| c["num_hidden_layers"] = json!(4)), Status::Missing, error);
    // A size that no memory holds is refused by the shape, not by an allocation.
    let huge = config(|c| {
        c["hidden_size"] = json!(1 << 19);
        c["vocab_size"] = json!(1 << 20);
    });
    refused(CONFIG, &huge, Status::InvalidFile, &["word_embeddings.weight", "[120, 32]"]);
}

#[test]
fn damaged_tensor_files_are_refused() {
    let whole = fs::read(golden("pretraining").join(TENSORS)).unwrap();
    let end = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in [0, 1, 7, 8, 9, end - 1, end, end + 1, whole.len() / 2, whole.len() - 1] {
        refused(TENSORS, &whole[..length], Status::InvalidFile, &[TENSORS]);
    }
    refused(TENSORS, &[whole.as_slice(), &[0]].concat(), Status::InvalidFile, &[TENSORS]);
    for length in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, 100_000_001, whole.len() as u64, 0] {
        let mut bytes = whole.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        refused(TENSORS, &bytes, Status::InvalidFile, &[TENSORS]);
    }
}

#[test]
fn lying_headers_are_refused() {
    type Lie = fn(&mut Value);
    let lies: [(Lie, &[&str]); 12] = [
        (|h| h[QUERY]["data_offsets"] = h[WORDS]["data_offsets"].clone(), &["data_offsets"]),
        (|h| h[QUERY]["data_offsets"] = json!([0, 4096]), &["hole or overlap"]),
        (|h| h[QUERY]["data_offsets"] = json!([1u64 << 40, (1u64 << 40) + 4096]), &["hole or overlap"]),
        (|h| h[QUERY]["data_offsets"] = json!([4096, 0]), &[QUERY, "end before they start"]),
        (|h| h[QUERY]["data_offsets"] = json!([u64::MAX - 4095, u64::MAX]), &[QUERY]),
        (|h| h[QUERY]["data_offsets"] = json!([-1, 4095]), &[QUERY]),
        (|h| h[QUERY]["shape"] = json!([u64::MAX, u64::MAX]), &[QUERY, "too large"]),
        (|h| h[QUERY]["shape"] = json!([1u64 << 62, 4]), &[QUERY, "too large"]),
        (|h| h[QUERY]["shape"] = json!([32, 33]), &[QUERY, "[32, 33]"]),
        (|h| h[QUERY]["dtype"] = json!("F16"), &[QUERY, "F16"]),
        (|h| h[QUERY]["dtype"] = json!("F99"), &[QUERY]),
        (|h| h[QUERY] = json!(7), &[QUERY]),
    ];
    let (header, data) = tensors();
    for (lie, parts) in lies {
        let mut header = header.clone();
        lie(&mut header);
        refused(TENSORS, &safetensors(&header, &data, 0), Status::InvalidFile, &[&[TENSORS], parts].concat());
    }
}

#[test]
fn tensors_that_are_not_there_or_of_the_wrong_kind_are_named() {
    let (header, data) = tensors();
    let mut renamed = header.clone();
    let entry = renamed.as_object_mut().unwrap().remove(QUERY).unwrap();
    renamed["bert.encoder.layer.1.attention.self.quarry.weight"] = entry;
    let error = &["encoder.layer.1.attention.self.query.weight", "model.safetensors"];
    refused(TENSORS, &safetensors(&renamed, &data, 0), Status::Missing, error);

    let mut integers = header.clone();
    integers[QUERY]["dtype"] = json!("I32");
    let error = &["encoder.layer.1.attention.self.query.weight", "I32"];
    refused(TENSORS, &safetensors(&integers, &data, 0), Status::Unsupported, error);

    let mut flat = header.clone();
    flat[QUERY]["shape"] = json!([1024]);
    refused(TENSORS, &safetensors(&flat, &data, 0), Status::InvalidFile, &["query.weight", "[1024]", "[32, 32]"]);

    let mut twice = header.clone();
    let entry = twice.as_object_mut().unwrap().remove("cls.predictions.transform.LayerNorm.bias").unwrap();
    twice["cls.predictions.transform.LayerNorm.beta"] = entry;
    let folder = copy("pretraining");
    fs::write(folder.path().join(TENSORS), safetensors(&twice, &data, 0)).unwrap();
    assert!(open(folder.path()).is_ok(), "the old name of a layer norm's bias");
}

#[test]
fn wrong_tokenizer_files_are_named() {
    for text in ["", "{", "null", "{}", "[1]", "{\"model\": {\"type\": \"WordPiece\"}}"] {
        refused("tokenizer.json", text.as_bytes(), Status::InvalidFile, &["tokenizer.json"]);
    }
    refused("tokenizer.json", &[0xff; 9], Status::InvalidFile, &["tokenizer.json"]);
    refused("vocab.txt", b"", Status::InvalidFile, &["vocab.txt"]);
    refused("vocab.txt", &[0xc3, 0x28, b'\n'], Status::InvalidFile, &["vocab.txt"]);
    refused("tokenizer_config.json", b"{", Status::InvalidFile, &["tokenizer_config.json"]);
    refused("modules.json", b"{", Status::InvalidFile, &["modules.json"]);
    refused("modules.json", b"[]", Status::Unsupported, &["modules.json", "Transformer"]);
    // More words than the model has rows: text works, a word beyond them is refused.
    let folder = copy("pretraining");
    let mut vocabulary = fs::read_to_string(folder.path().join("vocab.txt")).unwrap();
    vocabulary.push_str("beyond\n");
    fs::write(folder.path().join("vocab.txt"), vocabulary).unwrap();
    let model = open(folder.path()).unwrap();
    let encode = |text| model.encode(&[Input::Text(text)], Task::Embed, &TextOptions::default());
    assert!(encode("the cat").is_ok());
    expect(&encode("beyond").unwrap_err(), Status::InvalidInput, &["input 0: ", "120"]);
    assert_eq!(model.info().words, 120);
}

fn all_tasks(model: &Model, inputs: &Encoded) -> [Result<()>; 5] {
    [
        model.fill(inputs, &FillOptions::default(), Run::default()).map(drop),
        model.score(inputs, &ScoreOptions::default(), Run::default()).map(drop),
        model.next_sentence(inputs, Run::default()).map(drop),
        model.embed(inputs, &EmbedOptions::default(), Run::default()).map(drop),
        model.hidden_states(inputs, &[3], Run::default()).map(drop),
    ]
}

#[test]
fn weights_that_are_no_numbers_are_named_by_every_task() {
    let (header, data) = tensors();
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut data = data.clone();
        let at = header[QUERY]["data_offsets"][0].as_u64().unwrap() as usize + 4 * (2 * 32 + 5);
        data[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let folder = copy("pretraining");
        fs::write(folder.path().join(TENSORS), safetensors(&header, &data, 0)).unwrap();
        let model = open(folder.path()).unwrap();
        let inputs = encode(&model, &[Input::Text("the [MASK] sleeps"), Input::Text("[MASK]")]);
        for answer in all_tasks(&model, &inputs.unwrap()) {
            let parts = &["encoder.layer.1.attention.self.query.weight", "[2, 5]", shown];
            expect(&answer.unwrap_err(), Status::NotFinite, parts);
        }
    }
}

#[test]
fn tensors_at_odd_addresses_give_the_same_answers() {
    let (header, data) = tensors();
    let texts = [Input::Text("the cat [MASK] the bird."), Input::Text("[MASK]")];
    let ask = |model: &Model| {
        let inputs = encode(model, &texts).unwrap();
        (
            model.embed(&inputs, &EmbedOptions::default(), Run::default()).unwrap(),
            model.fill(&inputs, &FillOptions::default(), Run::default()).unwrap(),
            model.next_sentence(&inputs, Run::default()).unwrap(),
        )
    };
    let expected = ask(&pretraining());
    for remainder in [1, 2, 3, 5, 7] {
        let folder = copy("pretraining");
        fs::write(folder.path().join(TENSORS), safetensors(&header, &data, remainder)).unwrap();
        assert_eq!(ask(&open(folder.path()).unwrap()), expected, "data at {remainder} modulo 8");
    }
}

fn encode(model: &Model, inputs: &[Input<'_>]) -> Result<Encoded> {
    model.encode(inputs, Task::HiddenStates, &TextOptions::default())
}

#[test]
fn ids_that_do_not_fit_are_named() {
    let model = pretraining();
    let good = Input::Tokens { ids: &[2, 3], types: &[0, 1] };
    let long = [7; 41];
    for (ids, types, parts) in [
        (&[2, 120, 3][..], &[][..], &["token id 120", "vocabulary has 120"][..]),
        (&[u32::MAX], &[], &["token id 4294967295"]),
        (&[2, 3], &[0, 2], &["token type 2", "the model has 2"]),
        (&[2, 3], &[0, u32::MAX], &["token type 4294967295"]),
        (&[], &[], &["no token ids"]),
        (&[], &[0], &["no token ids"]),
        (&[2, 3], &[0], &["1 token types for 2 token ids"]),
        (&[2], &[0, 0], &["2 token types for 1 token ids"]),
        (&long, &[], &["41 tokens, at most 40"]),
    ] {
        let error = encode(&model, &[good, Input::Tokens { ids, types }]).unwrap_err();
        expect(&error, Status::InvalidInput, &[&["input 1: "], parts].concat());
    }
    assert!(encode(&model, &[Input::Tokens { ids: &long[1..], types: &[] }]).is_ok());
}

#[test]
fn options_out_of_range_are_refused_or_clamped() {
    let model = pretraining();
    let inputs = encode(&model, &[Input::Text("the [MASK] sleeps")]).unwrap();
    let fill = |top_k, targets: &[u32], mask| {
        let masks = model.fill(&inputs, &FillOptions { top_k, targets, mask }, Run::default());
        masks.map(|masks| masks[0][0].candidates.iter().map(|c| c.id).collect::<Vec<_>>())
    };
    assert_eq!(fill(usize::MAX, &[], None).unwrap().len(), 120);
    assert_eq!(fill(usize::MAX, &[60, 59], None).unwrap().len(), 2);
    assert_eq!(fill(1, &[60, 59, 7], None).unwrap().len(), 1);
    expect(&fill(5, &[60, 120], None).unwrap_err(), Status::InvalidInput, &["token id 120", "120"]);
    expect(&fill(5, &[], Some(7)).unwrap_err(), Status::InvalidInput, &["input 0: no mask"]);
    expect(&fill(5, &[], Some(u32::MAX)).unwrap_err(), Status::InvalidInput, &["input 0: no mask"]);
    for mask in [120, u32::MAX] {
        let options = ScoreOptions { mask: Some(mask), ..Default::default() };
        let error = model.score(&inputs, &options, Run::default()).unwrap_err();
        expect(&error, Status::InvalidInput, &[&format!("token id {mask}"), "120"]);
    }
    for layer in [4, usize::MAX] {
        let error = model.hidden_states(&inputs, &[0, layer], Run::default()).unwrap_err();
        expect(&error, Status::InvalidArgument, &[&format!("layer {layer}"), "the last is 3"]);
    }
    assert_eq!(model.hidden_states(&inputs, &[], Run::default()).unwrap(), [Vec::<Vec<f32>>::new()]);

    let prompt = TextOptions { prompt: Some("query"), ..Default::default() };
    let error = model.encode(&[Input::Text("the")], Task::Embed, &prompt).unwrap_err();
    expect(&error, Status::Missing, &["prompt \"query\"", "no prompts"]);
    let prompt = TextOptions { prompt: Some("passage"), ..Default::default() };
    let error = open(&golden("sentence")).unwrap().encode(&[Input::Text("the")], Task::Embed, &prompt).unwrap_err();
    expect(&error, Status::InvalidArgument, &["prompt \"passage\"", "query"]);
}

#[test]
fn no_inputs_give_no_answers() {
    let model = pretraining();
    let none = encode(&model, &[]).unwrap();
    assert_eq!((none.items().len(), none.tokens()), (0, 0));
    assert!(model.fill(&none, &FillOptions::default(), Run::default()).unwrap().is_empty());
    assert!(model.score(&none, &ScoreOptions::default(), Run::default()).unwrap().is_empty());
    assert!(model.next_sentence(&none, Run::default()).unwrap().is_empty());
    assert!(model.embed(&none, &EmbedOptions::default(), Run::default()).unwrap().is_empty());
    assert!(model.hidden_states(&none, &[0, 3], Run::default()).unwrap().is_empty());
    assert!(all_tasks(&model, &none).iter().all(Result::is_ok));
}

#[test]
fn texts_of_any_kind_are_read() {
    let model = pretraining();
    let empty = encode(&model, &[Input::Text("")]).unwrap();
    assert_eq!(empty.items()[0].tokens.ids, [2, 3]);
    assert!(model.score(&empty, &ScoreOptions::default(), Run::default()).unwrap()[0].tokens.is_empty());

    let sentences = "the cat sees. ".repeat(1_000_000 / 14 + 1);
    let word = "x".repeat(1_000_000);
    let marks = "\u{301}".repeat(100_000);
    for text in
        ["", "\0", "a\0b", "\u{301}", "\u{301}\u{308}", &marks, "\u{200d}\u{fe0f}", "\u{feff}", &sentences, &word]
    {
        let inputs = model.encode(&[Input::Text(text)], Task::Embed, &TextOptions::default()).unwrap();
        assert!((2..=40).contains(&inputs.tokens()));
        let embedding = model.embed(&inputs, &EmbedOptions::default(), Run::default()).unwrap();
        assert!(embedding[0].iter().all(|v| v.is_finite()));
    }
    let tokens = 4 * (1_000_000 / 14 + 1) + 2 + 1_000_000 / 14 + 1;
    let error = model.encode(&[Input::Text(&sentences)], Task::Fill, &TextOptions::default()).unwrap_err();
    expect(&error, Status::InvalidInput, &[&format!("input 0: text of {tokens} tokens"), "at most 40 fit"]);
    // Longer than any word of the vocabulary can be: unknown.
    let inputs = encode(&model, &[Input::Text(&word)]).unwrap();
    assert_eq!(inputs.items()[0].tokens.ids, [2, 1, 3]);
}

/// Folders and the files in them that random bytes are written to.
const FILES: [(&str, &str); 11] = [
    ("pretraining", CONFIG),
    ("pretraining", TENSORS),
    ("pretraining", "vocab.txt"),
    ("pretraining", "tokenizer_config.json"),
    ("sharded", "model.safetensors.index.json"),
    ("sentence", "tokenizer.json"),
    ("sentence", "modules.json"),
    ("sentence", "1_Pooling/config.json"),
    ("sentence", "2_Dense/config.json"),
    ("sentence", "config_sentence_transformers.json"),
    ("sentence_old", "sentence_bert_config.json"),
];

/// What turns one valid JSON file into another more often than random bytes do.
const PIECES: [&str; 12] =
    ["0", "9", "99999999999999999999", "-1", "1e999", "null", "[", "{}", "\"\"", ",", "\\u0000", " "];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_files_never_panic(
        (golden, name) in prop::sample::select(FILES.to_vec()),
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            prop::sample::select(PIECES.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
        ],
        at in any::<prop::sample::Index>(),
        whole in prop::bool::weighted(0.2),
    ) {
        let folder = copy(golden);
        let path = folder.path().join(name);
        // Alone, or over a part of the file that was there.
        let mut file = if whole { Vec::new() } else { fs::read(&path).unwrap() };
        let start = if file.is_empty() { 0 } else { at.index(file.len()) };
        let end = file.len().min(start + bytes.len());
        file.splice(start..end, bytes);
        fs::write(&path, file).unwrap();
        if let Ok(model) = open(folder.path()) && let Ok(inputs) = encode(&model, &[Input::Text("the [MASK] sleeps")]) {
            all_tasks(&model, &inputs).into_iter().for_each(drop);
        }
    }

    #[test]
    fn a_sequence_alone_gives_the_bits_it_gives_in_a_batch(
        sequences in prop::collection::vec(prop::collection::vec((0u32..120, 0u32..2), 1..=40), 1..=12),
    ) {
        let model = pretraining();
        let split: Vec<(Vec<u32>, Vec<u32>)> = sequences.iter().map(|s| s.iter().copied().unzip()).collect();
        let inputs: Vec<_> = split.iter().map(|(ids, types)| Input::Tokens { ids, types }).collect();
        let ask = |inputs: &[Input<'_>]| {
            let inputs = encode(&model, inputs).unwrap();
            (
                model.hidden_states(&inputs, &[0, 3], Run::default()).unwrap(),
                model.embed(&inputs, &EmbedOptions::default(), Run::default()).unwrap(),
                model.next_sentence(&inputs, Run::default()).unwrap(),
                model.score(&inputs, &ScoreOptions::default(), Run::default()).unwrap(),
            )
        };
        let (states, embeddings, next, scores) = ask(&inputs);
        for (index, input) in inputs.iter().enumerate() {
            let alone = ask(&[*input]);
            prop_assert_eq!(&alone.0[0], &states[index]);
            prop_assert_eq!(&alone.1[0], &embeddings[index]);
            prop_assert_eq!(alone.2[0], next[index]);
            prop_assert_eq!(&alone.3[0], &scores[index]);
        }
    }
}
