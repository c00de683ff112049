//! The command line over the golden models: every verb in both forms, its JSON keys, its exit codes and its complaints.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // a test may panic

mod command;
mod oracle;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use command::{ask, ask_about, cloze, folder, has_keys, objects, printed, refused};
use oracle::Expected;
use serde_json::Value;

const VERBS: [&str; 13] = [
    "info", "tokenize", "fill", "score", "generate", "nsp", "embed", "classify", "tag", "train", "eval", "convert",
    "bench",
];

#[track_caller]
fn close(value: &Value, expected: &Value) {
    let (value, expected) = (value.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!((value - expected).abs() <= 2e-4 * expected.abs().max(0.05), "{value}, expected {expected}");
}

fn golden(model: &str) -> Value {
    Expected::read(&folder(model)).json().clone()
}

#[test]
fn every_verb_explains_itself_with_an_example() {
    let overview = printed(cloze(&["--help"]).output().unwrap());
    for verb in VERBS {
        assert!(overview.contains(&format!("\n  {verb} ")), "{verb}");
        let help = printed(cloze(&[verb, "--help"]).output().unwrap());
        assert!(help.contains(&format!("\n  cloze {verb} --model")) && help.contains("CLOZE_MODEL"), "{help}");
    }
    let version = printed(cloze(&["--version"]).output().unwrap());
    assert_eq!(version, format!("cloze {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn info_tells_what_the_folder_can_do() {
    let info = objects(ask("info", "pretraining", &["--json", "--threads", "1"])).remove(0);
    has_keys(
        &info,
        "architecture layers hidden heads vocab parameters dtype heads_present unused missing intermediate words \
         token_types max_tokens max_positions embedding labels tasks text_unavailable threads isa files used ignored \
         direction device device_name device_note precision",
    );
    assert_eq!((&info["architecture"], &info["layers"], &info["vocab"]), (&"bert".into(), &3.into(), &120.into()));
    assert_eq!(info["heads_present"], serde_json::json!(["masked_lm", "next_sentence", "pooler"]));
    assert_eq!((&info["threads"], &info["dtype"]), (&1.into(), &"f32".into()));
    let card = printed(ask("info", "token", &[]));
    assert!(card.contains("tag           yes: O, B-PER") && card.contains("fill          no: "), "{card}");
    let card = printed(ask("info", "albert", &[]));
    assert!(card.contains("tokenize      no: token ids only"), "{card}");
    let card = printed(ask("info", "causal", &[]));
    assert!(card.contains("architecture  bert, causal") && card.contains("generate      yes"), "{card}");
    assert!(card.contains("score         yes") && card.contains("fill          no: filling masks"), "{card}");
}

#[test]
fn info_lists_tensors_that_are_not_used() {
    let card = printed(ask("info", "bare", &["--verbose"]));
    assert!(card.contains("position_ids"), "{card}");
    let info = objects(ask("info", "bare", &["--json"])).remove(0);
    assert_eq!(info["ignored"].as_array().unwrap().len(), 1);
}

#[test]
fn the_model_may_come_from_the_environment() {
    let output = cloze(&["info", "--json"]).env("CLOZE_MODEL", folder("token")).output().unwrap();
    assert_eq!(objects(output)[0]["hidden"], 24);
}

/// What is there decides: a source tree may be without its model.
#[test]
fn without_a_name_the_model_is_that_of_the_source_tree() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
    let without = |value: Option<&str>| {
        let mut command = cloze(&["info", "--json"]);
        value.map(|value| command.env("CLOZE_MODEL", value));
        command.output().unwrap()
    };
    for value in [None, Some("")] {
        if shipped.join("config.json").is_file() {
            let own = objects(cloze(&["info", "--json", "--model"]).arg(&shipped).output().unwrap());
            assert_eq!(objects(without(value)), own);
        } else {
            let complaint = refused(without(value), 2);
            for way in ["--model DIR", "CLOZE_MODEL", shipped.to_str().unwrap()] {
                assert!(complaint.contains(way), "{complaint}");
            }
        }
    }
    let help = printed(cloze(&["fill", "--help"]).output().unwrap());
    assert!(help.contains("model in the source tree"), "{help}");
}

#[test]
fn tokenize_shows_ids_tokens_offsets_and_types() {
    let arguments = ["é cat", "--pair", "Anna walks", "--json", "--offsets"];
    let tokens = |unit| objects(ask("tokenize", "pretraining", &[&arguments[..], &[unit]].concat())).remove(0);
    let points = tokens("codepoints");
    has_keys(&points, "ids tokens offsets types");
    assert_eq!(points["tokens"], serde_json::json!(["[CLS]", "e", "cat", "[SEP]", "anna", "walk", "##s", "[SEP]"]));
    assert_eq!(points["types"], serde_json::json!([0, 0, 0, 0, 1, 1, 1, 1]));
    assert_eq!(points["offsets"][2], serde_json::json!([2, 5]));
    assert_eq!(points["offsets"][5], serde_json::json!([5, 9]));
    assert_eq!(tokens("bytes")["offsets"][2], serde_json::json!([3, 6]));
    let table = printed(ask("tokenize", "pretraining", &["the [MASK]"]));
    assert!(table.contains("[MASK]"), "{table}");
    let plain = printed(ask("tokenize", "pretraining", &["the [MASK]", "--plain"]));
    assert!(!plain.contains("[MASK]"), "{plain}");
    let ids = objects(ask("tokenize", "albert", &["--ids", "1 2,3", "--json"])).remove(0);
    assert_eq!((&ids["ids"], &ids["offsets"]), (&serde_json::json!([1, 2, 3]), &Value::Null));
}

#[test]
fn fill_answers_as_huggingface() {
    let golden = golden("pretraining");
    let case = &golden["fill_mask"][0];
    let answer = objects(ask("fill", "pretraining", &[case["text"].as_str().unwrap(), "--json"])).remove(0);
    has_keys(&answer, "text masks");
    has_keys(&answer["masks"][0], "position candidates");
    for (candidate, expected) in
        answer["masks"][0]["candidates"].as_array().unwrap().iter().zip(case["masks"][0].as_array().unwrap())
    {
        has_keys(candidate, "id token probability text");
        assert_eq!((&candidate["id"], &candidate["text"]), (&expected["token"], &expected["sequence"]));
        close(&candidate["probability"], &expected["score"]);
    }
    let table = printed(ask("fill", "pretraining", &["Anna [MASK] to [MASK]", "--top-k", "2"]));
    assert!(table.starts_with("blank 1\n  0.") && table.lines().count() == 6, "{table}");
}

#[test]
fn fill_takes_ids_and_a_mask_of_its_own() {
    let text = objects(ask("fill", "pretraining", &["the cat [MASK] the bird.", "--json"])).remove(0);
    let ids = objects(ask("fill", "pretraining", &["--ids", "2 40 58 4 40 60 31 3", "--json"])).remove(0);
    assert_eq!(ids["masks"][0]["candidates"][0]["text"], "the cat was the bird.");
    assert_eq!(text["masks"][0]["candidates"][0]["probability"], ids["masks"][0]["candidates"][0]["probability"]);
    let bare = objects(ask("fill", "albert", &["--ids", "2 40 4 3", "--mask-id", "4", "--json"])).remove(0);
    assert_eq!(bare["masks"][0]["position"], 2);
    assert!(refused(ask("fill", "albert", &["--ids", "2 40 4 3"]), 1).contains("tokenizer"));
    assert!(refused(ask("fill", "albert", &["a [MASK]"]), 1).contains("no tokenizer"));
}

#[test]
fn targets_are_single_tokens() {
    let fill = |targets: &str| ask("fill", "pretraining", &["the [MASK] runs", "--targets", targets, "--json"]);
    let answer = objects(fill("cat,Paris,##s")).remove(0);
    assert_eq!(answer["masks"][0]["candidates"].as_array().unwrap().len(), 3);
    assert!(refused(fill("cat,walks"), 1).contains("\"walks\": 2 tokens (walk ##s), expected one"));
    assert!(refused(fill("€"), 1).contains("\"€\": not in the vocabulary"));
}

#[test]
fn score_answers_as_the_reference() {
    let golden = golden("pretraining");
    let case = &golden["pll"]["sentences"][0];
    for method in ["pll", "pll-word-l2r"] {
        let arguments = [case["text"].as_str().unwrap(), "--method", method, "--json", "--corpus"];
        let lines = objects(ask("score", "pretraining", &arguments));
        has_keys(&lines[0], "text score tokens perplexity");
        has_keys(&lines[0]["tokens"][0], "token log_probability");
        close(&lines[0]["score"], &case[method]["sum"]);
        close(&lines[0]["tokens"][2]["log_probability"], &case[method]["per_token"][2]);
        has_keys(&lines[1]["corpus"], "texts tokens score perplexity");
        assert_eq!(lines[0]["perplexity"], lines[1]["corpus"]["perplexity"]);
    }
    let table = printed(ask("score", "pretraining", &["the cat", "he runs", "--per-token"]));
    assert!(table.contains("all 2 texts") && table.contains("##s"), "{table}");
}

#[test]
fn a_causal_model_scores_by_the_chain_rule() {
    let golden = golden("causal");
    let case = &golden["causal"]["sentences"][0];
    let text = case["text"].as_str().unwrap();
    for method in [&[][..], &["--method", "causal"]] {
        let answer = objects(ask("score", "causal", &[&[text, "--json"], method].concat())).remove(0);
        close(&answer["score"], &case["sum"]);
        assert_eq!(answer["tokens"].as_array().unwrap().last().unwrap()["token"], "[SEP]");
    }
    assert!(refused(ask("score", "causal", &[text, "--method", "pll"]), 1).contains("this model is causal"));
    let complaint = refused(ask("score", "pretraining", &[text, "--method", "causal"]), 1);
    assert!(complaint.contains("this model is bidirectional"), "{complaint}");
}

#[test]
fn generate_goes_on_as_huggingface() {
    let golden = golden("causal");
    for case in golden["greedy"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let most = case["max_tokens"].to_string();
        let limit = if case["max_tokens"].is_null() { &[][..] } else { &["--max-tokens", &most] };
        let answer = objects(ask("generate", "causal", &[&[text, "--json"], limit].concat())).remove(0);
        has_keys(&answer, "text continuations");
        let continuation = &answer["continuations"][0];
        has_keys(continuation, "text tokens finished");
        has_keys(&continuation["tokens"][0], "token log_probability");
        assert_eq!((&answer["text"], &continuation["finished"]), (&case["text"], &case["finished"]));
        let tokens = continuation["tokens"].as_array().unwrap();
        assert_eq!(tokens.len(), case["new"].as_array().unwrap().len());
        for (token, expected) in tokens.iter().zip(case["per_token"].as_array().unwrap()) {
            close(&token["log_probability"], expected);
        }
        let plain = printed(ask("generate", "causal", &[&[text], limit].concat()));
        assert_eq!(plain, format!("{text}{}\n", continuation["text"].as_str().unwrap().trim_end()));
    }
}

#[test]
fn generate_draws_by_a_seed() {
    let drawn = |more: &[&str]| objects(ask("generate", "causal", &[&["he was", "--json"], more].concat())).remove(0);
    let three = drawn(&["--count", "3", "--temperature", "1.5", "--top-k", "40", "--top-p", "0.95", "--seed", "7"]);
    let continuations = three["continuations"].as_array().unwrap();
    assert_eq!(continuations.len(), 3);
    assert_ne!(continuations[0], continuations[1]);
    let first = drawn(&["--temperature", "1.5", "--top-k", "40", "--top-p", "0.95", "--seed", "7", "--threads", "1"]);
    assert_eq!(first["continuations"][0], continuations[0]);
    assert_ne!(drawn(&["--temperature", "1.5", "--seed", "8"])["continuations"][0], continuations[0]);
    let ids = objects(ask("generate", "causal", &["--ids", "2 40 58", "--json", "--max-tokens", "2"])).remove(0);
    assert!(ids["text"].is_null() && ids["continuations"][0]["tokens"].as_array().unwrap().len() <= 2);
    assert!(refused(ask("generate", "causal", &["the", "--temperature", "0"]), 1).contains("temperature 0"));
    assert!(refused(ask("generate", "pretraining", &["the"]), 1).contains("this model is bidirectional"));
}

#[test]
fn nsp_answers_as_huggingface() {
    let golden = golden("pretraining");
    let case = &golden["nsp"][0];
    let (a, b) = (case["text"].as_str().unwrap(), case["pair"].as_str().unwrap());
    let answer = objects(ask("nsp", "pretraining", &[a, b, "--json"])).remove(0);
    has_keys(&answer, "a b is_next");
    close(&answer["is_next"], &case["is_next"]);
    let line = format!("{a}\t{b}\r\n");
    let from_file = objects(ask_about(line.as_bytes(), "nsp", "pretraining", &["--file", "-", "--json"])).remove(0);
    assert_eq!(from_file, answer);
    assert!(printed(ask("nsp", "pretraining", &[a, b])).contains("0.802"));
    assert!(refused(ask("nsp", "pretraining", &[a]), 2).contains("TAB"));
    assert!(refused(ask_about(b"x\n", "nsp", "pretraining", &["--file", "-"]), 1).contains("standard input: line 1"));
}

#[test]
fn embed_prints_vectors_and_similarity() {
    let expected = Expected::read(&folder("sentence")).floats("embeddings").unwrap();
    let lines = objects(ask("embed", "sentence", &["the cat sees the bird", "", "--json"]));
    has_keys(&lines[0], "text embedding");
    for (value, expected) in lines[0]["embedding"].as_array().unwrap().iter().zip(&expected[..12]) {
        assert!((value.as_f64().unwrap() - f64::from(*expected)).abs() < 1e-5);
    }
    assert_eq!(lines[1]["embedding"].as_array().unwrap().len(), 12);
    assert!(printed(ask("embed", "sentence", &["the cat", "the cat"])).contains("cosine similarity  1.0000"));
    let cls = objects(ask("embed", "sentence", &["the cat", "--pooling", "cls", "--normalize", "--json"]));
    let length: f64 = cls[0]["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap().powi(2)).sum();
    assert!((length - 1.0).abs() < 1e-5);
    assert!(refused(ask("embed", "sentence", &["a", "--prompt", "nobody"]), 1).contains("document, query"));
}

#[test]
fn npy_is_a_matrix_of_float32() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("vectors.npy");
    let path = file.to_str().unwrap();
    let summary = printed(ask("embed", "sentence", &["a", "the cat", "dog", "--npy", path]));
    assert_eq!(summary, format!("{path}: 3 x 12 float32\n"));
    let bytes = fs::read(&file).unwrap();
    assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
    let header = std::str::from_utf8(&bytes[10..128]).unwrap();
    assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 12), }"), "{header}");
    assert!(header.ends_with(" \n"));
    assert_eq!(bytes.len(), 128 + 3 * 12 * 4);
    let single = objects(ask("embed", "sentence", &["a", "--json"])).remove(0);
    let first = f32::from_le_bytes(bytes[128..132].try_into().unwrap());
    assert!((single["embedding"][0].as_f64().unwrap() - f64::from(first)).abs() < 1e-6);

    // A run that fails leaves the file as it was, and nothing beside it.
    refused(ask("embed", "sentence", &["a", "--prompt", "nobody", "--npy", path]), 1);
    assert_eq!(fs::read(&file).unwrap(), bytes);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    assert!(refused(ask("embed", "sentence", &["a", "--npy", "/no/such/x.npy"]), 1).contains("/no/such/x.npy"));
}

#[test]
fn classify_sorts_its_labels() {
    let golden = golden("sequence");
    let case = &golden["text_classification"][0];
    let answer = objects(ask("classify", "sequence", &[case["text"].as_str().unwrap(), "--json"])).remove(0);
    has_keys(&answer, "text labels");
    for (label, expected) in answer["labels"].as_array().unwrap().iter().zip(case["result"].as_array().unwrap()) {
        has_keys(label, "label probability");
        assert_eq!(label["label"], expected["label"]);
        close(&label["probability"], &expected["score"]);
    }
    let pair = objects(ask("classify", "sequence", &["a", "--pair", "b", "--top-k", "1", "--json"])).remove(0);
    let tab = objects(ask("classify", "sequence", &["a\tb", "--top-k", "1", "--json"])).remove(0);
    assert_eq!(pair, tab);
    assert_eq!((&pair["text"], pair["labels"].as_array().unwrap().len()), (&"a\tb".into(), 1));
    assert_eq!(printed(ask("classify", "sequence", &["the cat"])).lines().count(), 3);
}

#[test]
fn tag_finds_entities_with_spans() {
    let golden = golden("token");
    let case = &golden["token_classification"][1];
    let text = case["text"].as_str().unwrap();
    for strategy in ["none", "simple", "first", "average", "max"] {
        let answer = objects(ask("tag", "token", &[text, "--aggregation", strategy, "--json"])).remove(0);
        has_keys(&answer, "text entities");
        let expected = case["result"][strategy].as_array().unwrap();
        let entities = answer["entities"].as_array().unwrap();
        assert_eq!(entities.len(), expected.len(), "{strategy}");
        for (entity, expected) in entities.iter().zip(expected) {
            has_keys(entity, "label start end text probability");
            let label = if strategy == "none" { &expected["entity"] } else { &expected["entity_group"] };
            assert_eq!(&entity["label"], label);
            assert_eq!((&entity["start"], &entity["end"]), (&expected["start"], &expected["end"]));
            close(&entity["probability"], &expected["score"]);
        }
    }
    assert!(printed(ask("tag", "token", &[text])).contains("18..23  RIVER"));
    let ids = objects(ask("tag", "token", &["--ids", "2 65 72 3", "--all", "--json"])).remove(0);
    assert_eq!(ids["entities"].as_array().unwrap().len(), 4);
    assert_eq!(ids["entities"][1]["text"], "anna");
}

#[test]
fn tag_counts_as_asked() {
    let ends = |unit| {
        let arguments = ["é 中 the", "--all", "--aggregation", "none", "--json", "--offsets", unit];
        objects(ask("tag", "token", &arguments))[0]["entities"][2]["end"].as_u64().unwrap()
    };
    assert_eq!([ends("bytes"), ends("codepoints"), ends("utf16")], [10, 7, 7]);
}

#[test]
fn bench_prints_what_the_peers_print() {
    let bench = |arguments: &[&str]| {
        objects(ask("bench", "pretraining", &[&["--seconds", "0", "--threads", "1"], arguments].concat())).remove(0)
    };
    let encode = bench(&["--batch", "2", "--seq", "8"]);
    has_keys(&encode, "workload precision threads median_ms runs batch seq tokens gflops");
    assert_eq!((&encode["workload"], &encode["tokens"]), (&"encode-b2-s8".into(), &16.into()));
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("texts.tsv");
    fs::write(&file, "the cat\t1\nhe runs\t0\n").unwrap();
    let file = ["--file", file.to_str().unwrap(), "--workload"];
    let ragged = bench(&[&file[..], &["ragged"]].concat());
    has_keys(&ragged, "workload precision threads median_ms runs batch texts tokens gflops sentences_per_s");
    let pll = bench(&[&file[..], &["pll"]].concat());
    has_keys(&pll, "workload precision threads median_ms runs texts tokens");
    assert_eq!((&pll["workload"], &pll["tokens"]), (&"pll-2-sentences".into(), &5.into()));
    assert_eq!(bench(&["--seq", "8", "--precision", "int8"])["precision"], "int8");
    assert!(refused(ask("bench", "pretraining", &["--precision", "f16"]), 1).contains("f16"));
    assert!(refused(ask("bench", "pretraining", &["--workload", "pll"]), 2).contains("--file"));
}

#[test]
fn files_have_a_text_a_line() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("texts.txt");
    let path = file.to_str().unwrap();
    let texts = || {
        let lines = objects(ask("score", "pretraining", &["--json", "--file", path]));
        lines.iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    fs::write(&file, "\u{feff}the cat\r\n\r\na\tdog\nhe").unwrap();
    assert_eq!(texts(), ["the cat", "", "a\tdog", "he"]);
    fs::write(&file, "").unwrap();
    assert!(texts().is_empty());
    for verb in VERBS.iter().filter(|verb| !["info", "train", "eval", "convert", "bench"].contains(verb)) {
        let model = match *verb {
            "classify" => "sequence",
            "tag" => "token",
            _ => "pretraining",
        };
        assert_eq!(printed(ask(verb, model, &["--file", path])), "", "{verb}");
    }
    fs::write(&file, b"the cat\nab\xff\n").unwrap();
    assert!(refused(ask("embed", "pretraining", &["--file", path]), 1).contains("texts.txt: line 2: byte 2"));
}

#[test]
fn answers_follow_the_lines_of_a_long_file() {
    let text: String = (0..700).map(|i| if i % 2 == 0 { "the cat\n" } else { "he\n" }).collect();
    let lines = objects(ask_about(text.as_bytes(), "embed", "pretraining", &["--file", "-", "--json"]));
    assert_eq!(lines.len(), 700);
    assert_eq!((&lines[698], &lines[699]["text"]), (&lines[0], &"he".into()));
    let bad = text + "the cat runs\n";
    let output = ask_about(
        bad.as_bytes(),
        "embed",
        "pretraining",
        &["--file", "-", "--max-tokens", "4", "--no-truncate", "--json"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("standard input: line 701: text of 6 tokens"));
}

#[test]
fn long_texts_are_cut_where_that_is_asked() {
    let long = "the cat ".repeat(30);
    assert!(refused(ask("tag", "token", &[&long]), 1).contains("62 tokens, at most 40"));
    let cut = objects(ask("tokenize", "token", &[&long, "--truncate", "--max-tokens", "7", "--json"])).remove(0);
    assert_eq!(cut["ids"].as_array().unwrap().len(), 7);
    printed(ask("classify", "sequence", &[&long]));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut command = cloze(&["tokenize", "--json", "--file", "-", "--model"]);
    let mut child = command
        .arg(folder("pretraining"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let _ = child.stdin.take().unwrap().write_all("the cat sees the bird\n".repeat(5000).as_bytes());
    assert_eq!(printed(child.wait_with_output().unwrap()), "");
}

#[test]
fn convert_writes_all_weights_in_one_type() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("half");
    let convert = |out: &Path, more: &[&str]| {
        ask("convert", "pretraining", &[&["--dtype", "f16", "--out", out.to_str().unwrap()], more].concat())
    };
    let said = objects(convert(&out, &["--json"])).remove(0);
    has_keys(&said, "out dtype parameters bytes");
    assert_eq!((&said["dtype"], said["out"].as_str()), (&"f16".into(), out.to_str()));
    assert_eq!(said["bytes"], fs::metadata(out.join("model.safetensors")).unwrap().len());
    let about = |folder: &Path| objects(cloze(&["info", "--json", "--model"]).arg(folder).output().unwrap()).remove(0);
    let (old, new) = (about(&folder("pretraining")), about(&out));
    assert_eq!((&old["dtype"], &new["dtype"]), (&"f32".into(), &"f16".into()));
    assert_eq!(old["heads_present"], new["heads_present"]);
    let again = printed(convert(&out, &[]));
    assert!(again.starts_with(&format!("model in {}: ", out.display())) && again.contains(" in f16, "), "{again}");
    let narrow = place.path().join("narrow");
    let said = printed(ask("convert", "pretraining", &["--dtype", "int8", "--out", narrow.to_str().unwrap()]));
    assert!(said.contains(" in int8, "), "{said}");
    assert_eq!(about(&narrow)["dtype"], "f32+int8");

    fs::write(place.path().join("mine"), "").unwrap();
    assert!(refused(convert(place.path(), &[]), 1).contains("no model"));
    let output = ask("convert", "pretraining", &["--dtype", "int4", "--out", "x"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn wrong_usage_is_status_2() {
    assert!(refused(ask("fill", "pretraining", &[]), 2).contains("no text"));
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["train"],
        &["fill", "--model", "x", "a", "--ids", "1 2"],
        &["fill", "--model", "x", "--ids", "1 two"],
        &["fill", "--model", "x", "a", "--top-k", "0"],
        &["tag", "--model", "x", "a", "--aggregation", "best"],
    ] {
        let output = cloze(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn failures_are_status_1_and_name_the_thing() {
    assert!(refused(cloze(&["info", "--model", "/no/such"]).output().unwrap(), 1).contains("/no/such"));
    assert!(refused(ask("embed", "token", &["--file", "/no/such.txt"]), 1).contains("/no/such.txt"));
    assert!(refused(ask("tag", "sequence", &["a"]), 1).contains("classifier"));
    assert!(refused(ask("fill", "pretraining", &["the cat"]), 1).contains("no mask, expected \"[MASK]\""));
    assert!(refused(ask("fill", "pretraining", &["a [MASK]", "the cat"]), 1).contains("text 2: no mask"));
    assert!(refused(ask("embed", "token", &["--ids", "2 120 3"]), 1).contains("120"));

    let broken = tempfile::tempdir().unwrap();
    for name in ["config.json", "vocab.txt", "tokenizer_config.json"] {
        fs::copy(folder("pretraining").join(name), broken.path().join(name)).unwrap();
    }
    let weights = fs::read(folder("pretraining").join("model.safetensors")).unwrap();
    fs::write(broken.path().join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let output = cloze(&["info", "--model"]).arg(broken.path()).output().unwrap();
    assert!(refused(output, 1).contains("model.safetensors"));
}
