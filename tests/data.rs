//! Real training files: every example is read, and words given apart become HuggingFace's tokens.
//!
//! The expected counts are those of Python's `csv` module and of `tokenizers` 0.23 with `is_pretokenized=True`.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod oracle;

use cloze::text::{Encode, Files, Kind as Architecture, Tokenizer};
use cloze::train::encode::{ItemTarget, Settings, items};
use cloze::train::examples::{Dataset, Source, Target};
use cloze::train::files::{Column, Columns, Format, Kind};
use cloze::train::labels::Labels;
use oracle::shared;
use std::fs;
use std::path::Path;

fn bytes(dataset: &Dataset) -> usize {
    let length = |source: &Source| match source {
        Source::Text(text) => text.len(),
        Source::Pair(a, b) => a.len() + b.len(),
        Source::Words(words) => words.iter().map(String::len).sum(),
        Source::Tokens(_) => 0,
    };
    dataset.examples().iter().map(|example| length(&example.input)).sum()
}

fn tokenizer(folder: &Path) -> Tokenizer {
    let json = fs::read(folder.join("tokenizer.json")).unwrap();
    Tokenizer::new(&Files { tokenizer_json: Some(&json), ..Files::default() }, Architecture::Bert).unwrap()
}

fn positive(dataset: &Dataset) -> usize {
    dataset.examples().iter().filter(|example| example.target == Target::Label("1".to_owned())).count()
}

#[test]
fn sentiments_of_sst2() {
    let Some(folder) = shared("data/sst2") else { return };
    for (file, examples, length, positives) in
        [("train.tsv", 6920, 699_500, 3610), ("dev.tsv", 872, 89_442, 444), ("test.tsv", 1821, 183_287, 909)]
    {
        let dataset = Dataset::read(&folder.join(file), None, Kind::Label).unwrap();
        assert_eq!((dataset.len(), bytes(&dataset), positive(&dataset)), (examples, length, positives), "{file}");
        assert_eq!(Labels::find(&dataset).unwrap().names(), ["0", "1"]);
        assert_eq!(dataset.place(examples - 1), format!("{file}:{examples}"));
    }
}

#[test]
fn judgements_of_cola() {
    let Some(folder) = shared("data/cola") else { return };
    let columns = Columns { text: Some(Column::Number(4)), label: Some(Column::Number(2)), ..Columns::default() };
    for (file, examples, length, positives) in [
        ("in_domain_train.tsv", 8551, 348_041, 6023),
        ("in_domain_dev.tsv", 527, 20_982, 365),
        ("out_of_domain_dev.tsv", 516, 22_644, 354),
    ] {
        let format = Some(Format::Tsv(columns.clone()));
        let dataset = Dataset::read(&folder.join(file), format, Kind::Label).unwrap();
        assert_eq!((dataset.len(), bytes(&dataset), positive(&dataset)), (examples, length, positives), "{file}");
    }
    // four columns mean nothing by themselves
    assert!(Dataset::read(&folder.join("in_domain_dev.tsv"), None, Kind::Label).is_err());
}

#[test]
fn similarities_of_stsb() {
    let Some(folder) = shared("data/stsb") else { return };
    for (file, examples, length, total) in [
        ("stsb-en-train.csv", 5749, 662_807, 15_528.043_396_825),
        ("stsb-en-dev.csv", 1500, 192_064, 3_545.861_333_333),
        ("stsb-en-test.csv", 1379, 147_910, 3_596.317),
    ] {
        let dataset = Dataset::read(&folder.join(file), None, Kind::Numbers).unwrap();
        assert_eq!((dataset.len(), bytes(&dataset)), (examples, length), "{file}");
        let number = |target: &Target| match target {
            Target::Number(number) => f64::from(*number),
            other => panic!("{other:?}"),
        };
        let found: f64 = dataset.examples().iter().map(|example| number(&example.target)).sum();
        // f32 holds 0 to 5 to 2.4e-7
        assert!((found - total).abs() < 2.4e-7 * examples as f64, "{file}: {found}");
    }
}

#[test]
fn intents_of_banking77() {
    let Some(folder) = shared("data/banking77") else { return };
    for (file, examples, length) in [("train.csv", 10_003, 594_992), ("test.csv", 3080, 167_050)] {
        let dataset = Dataset::read(&folder.join(file), None, Kind::Label).unwrap();
        assert_eq!((dataset.len(), bytes(&dataset)), (examples, length), "{file}");
        assert_eq!(Labels::find(&dataset).unwrap().len(), 77);
        let lines = fs::read_to_string(folder.join(file)).unwrap().lines().count();
        // the last example stands on one line
        assert_eq!(dataset.place(examples - 1), format!("{file}:{lines}"));
    }
}

#[test]
fn entities_of_wnut17_and_their_tokens() {
    let (Some(data), Some(tokenizers)) = (shared("data/wnut17"), shared("tokenizers")) else { return };
    let (cased, uncased) =
        (tokenizer(&tokenizers.join("bert-base-cased")), tokenizer(&tokenizers.join("bert-base-uncased")));
    let train = Dataset::read(&data.join("wnut17train.conll"), None, Kind::Tags).unwrap();
    let labels = Labels::find(&train).unwrap();
    assert_eq!((labels.len(), labels.names()[0].as_str(), labels.names()[1].as_str()), (13, "O", "B-corporation"));

    for (file, sentences, words, hashes) in [
        ("wnut17train.conll", 3394, 62_730, [0xc71b_e799_3f2d_7d77_u64, 0x4a72_d1f6_8386_9a97]),
        ("emerging.dev.conll", 1009, 15_733, [0x756f_c5e5_af49_217c, 0x3533_4f0c_6312_0f55]),
        ("emerging.test.annotated", 1287, 23_394, [0x9b44_e18e_ec53_e55c, 0xedf6_daa2_f4d9_8d09]),
    ] {
        let dataset = Dataset::read(&data.join(file), Some(Format::Conll), Kind::Tags).unwrap();
        assert_eq!(dataset.len(), sentences, "{file}");
        for (tokenizer, expected) in [&cased, &uncased].into_iter().zip(hashes) {
            let mut hash = 0xcbf2_9ce4_8422_2325_u64; // FNV-1a over (id, word + 1)
            for example in dataset.examples() {
                let Source::Words(list) = &example.input else { panic!("{file}") };
                let list: Vec<&str> = list.iter().map(String::as_str).collect();
                let encoding = tokenizer.encode_words(&list, &Encode::default()).unwrap();
                for (id, word) in encoding.ids.iter().zip(&encoding.words) {
                    let both = u64::from(*id) << 32 | word.map_or(0, |word| u64::from(word) + 1);
                    hash = (hash ^ both).wrapping_mul(0x100_0000_01b3);
                }
            }
            assert_eq!(hash, expected, "{file}: {hash:#x}");

            let settings = Settings { tokenizer: Some(tokenizer), labels: Some(&labels), max_tokens: 512 };
            let mut labelled = 0;
            let mut tagged = 0;
            for item in items(&dataset, &settings).unwrap() {
                let ItemTarget::Tags(tags) = &item.target else { panic!("{file}") };
                assert_eq!(tags.len(), item.tokens.ids.len());
                tagged += tags.iter().filter(|tag| **tag >= 0).count();
                labelled += item.first.iter().flatten().count();
                assert!(item.first.iter().flatten().all(|&token| tags[token] >= 0));
            }
            assert_eq!(tagged, labelled);
            assert!(tagged <= words && tagged + 100 > words, "{file}: {tagged} of {words} words");
        }
    }
}
