//! Text that is no text, too long, too little, and models that cannot learn from it.

use std::fs;
use std::path::Path;

use cloze::engine::{Corpus, Every, FitRun, Lines, Model, Objective, OpenOptions, TrainOptions, Trainable, Trainer};
use cloze::error::{Error, Result, Status};
use cloze::train::corpus::{Cutter, Lesson, Recipe, Segments, Shuffling, Stream};
use cloze::train::encode::ItemTarget;
use tempfile::{TempDir, tempdir};

use crate::fresh::{SMALL, fresh, text, vocabulary};
use crate::oracle::shared;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let place = tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(place.path().join(name), bytes).unwrap();
    }
    place
}

fn model(objective: Objective) -> Model {
    let place = folder(&[("text.txt", text(6, 1).as_bytes())]);
    fresh(&vocabulary(place.path(), 90), SMALL, objective, 1)
}

fn read(model: &Model, path: &Path) -> Result<Corpus> {
    model.corpus(path, Lines::Paragraphs, 0)
}

/// One step.
fn learn(model: &Model, corpus: &Corpus, objective: Objective) -> Result<f64> {
    let options =
        TrainOptions { objective, max_steps: 1, batch_size: 2, evaluate: Every::Never, ..TrainOptions::default() };
    let mut trainer = Trainer::new(model, &options, None)?;
    trainer.pretrain(corpus, None, FitRun::default())?;
    match &trainer.position().history[..] {
        [cloze::engine::Record::Step(step)] => Ok(step.loss),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused<T>(result: Result<T>, status: Status, parts: &[&str]) {
    let error: Error = result.err().expect("not refused");
    assert_eq!(error.status(), status, "{error}");
    assert!(parts.iter().all(|part| error.message().contains(part)), "{error}");
}

#[test]
fn an_empty_file_is_told_of_and_passed_over() {
    let model = model(Objective::Pretraining);
    let good = text(3, 1);
    let place = folder(&[("a.txt", good.as_bytes()), ("b.txt", b""), ("c.txt", b" \n\t\n")]);
    let corpus = read(&model, place.path()).unwrap();
    let notices: Vec<String> = corpus.notices().iter().map(ToString::to_string).collect();
    let at = |name: &str| format!("{}: no text", place.path().join(name).display());
    assert_eq!(notices, [at("b.txt"), at("c.txt")]);
    assert_eq!(corpus.documents(), 3);
    let alone = read(&model, &place.path().join("a.txt")).unwrap();
    assert_eq!(corpus.fingerprint(), alone.fingerprint());
    refused(read(&model, &place.path().join("b.txt")), Status::InvalidInput, &["b.txt", "no text"]);
}

#[test]
fn what_is_no_text_is_named_with_its_line_and_byte() {
    let model = model(Objective::Pretraining);
    for (bytes, parts) in [
        (&b"a line\nand \xFE\xFF"[..], ["b.txt:2", "0xfe", "place 4"]),
        (b"\x7FELF\x02\x01\x01\0\0", ["b.txt:1", "0x00", "place 7"]),
    ] {
        let place = folder(&[("a.txt", text(3, 1).as_bytes()), ("b.txt", bytes)]);
        refused(read(&model, place.path()), Status::InvalidFile, &parts);
    }
}

/// Everything the text has, without masks, in the order of the examples.
fn unmasked(corpus: &Corpus) -> Vec<u32> {
    let cutter = Cutter::new(corpus, Recipe::default(), Segments::One, SMALL.positions, 42).unwrap();
    let items = Stream::new(cutter, Lesson::Words, Shuffling::Off, 1).take(0, usize::MAX).unwrap();
    let special = corpus.vocabulary();
    let mut all = Vec::new();
    for item in items {
        assert!(item.tokens.ids.len() <= SMALL.positions);
        let ItemTarget::Tags(words) = &item.target else { panic!("{:?}", item.target) };
        let told = item.tokens.ids.iter().zip(words);
        let ids = told.map(|(&id, &word)| if word < 0 { id } else { word as u32 });
        all.extend(ids.filter(|id| ![special.cls, special.sep].contains(id)));
    }
    all
}

#[test]
fn a_sentence_without_end_is_cut_and_no_token_lost() {
    let model = model(Objective::MaskedLm);
    let endless = "Anna sees seven apples and ".repeat(60);
    let place = folder(&[("a.txt", format!("{}{endless}\n\nthe cat.\n", text(2, 1)).as_bytes())]);
    let corpus = read(&model, place.path()).unwrap();
    let [notice] = corpus.notices() else { panic!("{:?}", corpus.notices()) };
    let tokenizer = model.tokenizer().unwrap();
    let encode = cloze::text::Encode { special_tokens: false, ..cloze::text::Encode::default() };
    let ids = |text: &str| tokenizer.encode(text, None, &encode).unwrap().ids;
    // positions less [CLS], [SEP] and the second [SEP] of a pair
    let (count, longest) = (ids(endless.trim()).len(), SMALL.positions - 3);
    let cut = format!("a sentence of {count} tokens, cut into parts of at most {longest}; 1 in all");
    assert!(count > 60 * 5 && notice.message == cut, "{count}: {notice}");
    assert!(notice.place.ends_with("a.txt:5"), "{notice}");
    let whole: Vec<u32> = fs::read_to_string(place.path().join("a.txt")).unwrap().lines().flat_map(ids).collect();
    assert_eq!(corpus.tokens(), whole.len() as u64);
    assert!(unmasked(&corpus) == whole, "other tokens than the text's");
    assert!(learn(&model, &corpus, Objective::MaskedLm).unwrap().is_finite());
}

#[test]
fn a_single_document_has_no_pairs_but_words() {
    let place = folder(&[("a.txt", text(1, 1).as_bytes())]);
    let pairs = model(Objective::Pretraining);
    let corpus = read(&pairs, place.path()).unwrap();
    assert_eq!(corpus.documents(), 1);
    let says = ["1 document", "at least 2", "separate documents by a blank line, or learn masked words alone"];
    refused(learn(&pairs, &corpus, Objective::Pretraining), Status::InvalidArgument, &says);
    let loss = learn(&pairs, &corpus, Objective::MaskedLm).unwrap();
    assert!((loss - (pairs.info().vocabulary as f64).ln()).abs() < 0.5, "{loss}");
}

/// Sentence embeddings have lost the head that they were pretrained with.
#[test]
fn a_model_without_a_head_asks_for_a_new_one() {
    let Some(minilm) = shared("models/minilm") else { return };
    let model = Model::open(&minilm, &OpenOptions { threads: 2, ..OpenOptions::default() }).unwrap();
    let place = folder(&[("a.txt", text(4, 1).as_bytes())]);
    let corpus = model.corpus(place.path(), Lines::Paragraphs, 16).unwrap();
    let options = |objective, fresh_head| TrainOptions {
        objective,
        fresh_head,
        trainable: Trainable::Top(1),
        max_steps: 2,
        max_tokens: 16,
        batch_size: 2,
        evaluate: Every::Never,
        ..TrainOptions::default()
    };
    for objective in [Objective::MaskedLm, Objective::Pretraining] {
        refused(Trainer::new(&model, &options(objective, false), None), Status::Missing, &["head"]);
        let mut trainer = Trainer::new(&model, &options(objective, true), None).unwrap();
        assert!(trainer.fresh().iter().any(|name| name.starts_with("cls.predictions.")), "{:?}", trainer.fresh());
        trainer.pretrain(&corpus, None, FitRun::default()).unwrap();
        let out = place.path().join(format!("{objective:?}"));
        trainer.save(&out).unwrap();
        let learned = Model::open(&out, &OpenOptions { threads: 2, ..OpenOptions::default() }).unwrap();
        // what was saved has a head: it may go on without a new one
        Trainer::new(&learned, &options(objective, false), None).unwrap();
    }
}

#[cfg(feature = "cli")]
mod program {
    use std::process::Output;

    use super::*;
    use crate::command::cloze;

    /// `cloze pretrain` of a tiny model on `corpus`: what it said, and whether it left anything.
    fn pretrain(corpus: &Path, more: &[&str]) -> (Output, String, Vec<String>) {
        let place = tempdir().unwrap();
        let at = |name: &str| -> std::path::PathBuf { place.path().join(name) };
        let output = cloze(&["pretrain", "--steps", "2", "--batch", "2", "--max-tokens", "32", "--threads", "1"])
            .args(more)
            .arg("--corpus")
            .arg(corpus)
            .args(["--checkpoints".as_ref(), at("checkpoints").as_os_str(), "--out".as_ref(), at("out").as_os_str()])
            .output()
            .unwrap();
        let said =
            String::from_utf8(output.stderr.clone()).unwrap() + &String::from_utf8(output.stdout.clone()).unwrap();
        let mut left: Vec<String> = fs::read_dir(place.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        (output, said, left)
    }

    /// Names and bytes.
    type Files<'a> = &'a [(&'a str, &'a [u8])];

    const TINY: [&str; 10] =
        ["--vocab-size", "90", "--layers", "1", "--hidden", "16", "--heads", "2", "--intermediate", "16"];

    #[test]
    fn it_says_what_is_wrong_with_the_text_and_leaves_nothing() {
        let good = text(3, 1);
        let one = text(1, 1);
        let endless = "Anna sees seven apples and ".repeat(60);
        let cases: [(Files, bool, &[&str]); 5] = [
            (&[("a.txt", good.as_bytes()), ("b.txt", b"")], true, &["b.txt: no text"]),
            (&[("b.txt", b"")], false, &["no text in 1 files, expected .txt files"]),
            (&[("a.txt", good.as_bytes()), ("b.txt", b"x\ny\xFF")], false, &["b.txt:2: byte 0xff at place 1 "]),
            (
                &[("a.txt", good.as_bytes()), ("b.txt", endless.as_bytes())],
                true,
                &["b.txt:1: a sentence of ", "cut into"],
            ),
            (&[("a.txt", one.as_bytes())], false, &["1 document, expected at least 2", "masked words alone"]),
        ];
        for (files, works, parts) in cases {
            let place = folder(files);
            let (output, said, left) = pretrain(place.path(), &TINY);
            assert_eq!(output.status.success(), works, "{said}");
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
            assert_eq!(left, if works { &["checkpoints", "out"][..] } else { &[] }, "{said}");
        }
        let place = folder(&[("a.txt", one.as_bytes())]);
        let (output, said, _) = pretrain(place.path(), &[&TINY[..], &["--task", "mlm"]].concat());
        assert!(output.status.success(), "{said}");
    }

    #[test]
    fn it_asks_for_a_new_head() {
        let Some(minilm) = shared("models/minilm") else { return };
        let place = folder(&[("a.txt", text(4, 1).as_bytes())]);
        let going_on = ["--model", minilm.to_str().unwrap(), "--task", "mlm", "--trainable", "head"];
        let (output, said, left) = pretrain(place.path(), &going_on);
        assert!(!output.status.success() && said.contains("head"), "{said}");
        eprintln!("{said}");
        assert_eq!(left, [""; 0], "{said}");
        let (output, said, left) = pretrain(place.path(), &[&going_on[..], &["--fresh-head"]].concat());
        assert!(output.status.success() && said.contains("new, at random: "), "{said}");
        assert_eq!(left, ["checkpoints", "out"], "{said}");
    }
}
