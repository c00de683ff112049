//! The programs in `examples/` compile without a warning, and print what models answer.

#![allow(clippy::unwrap_used)] // a test may panic

mod built;
mod oracle;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use built::{Programs, path, present, run};
use cloze::engine::{Aggregation, Input, Model, OpenOptions, Run, TagOptions, Task, TextOptions};
use oracle::Expected;

const SENTENCES: [&str; 2] = ["the cat sees the bird", "Anna walks to the RIVER with John."];

fn example(programs: &Programs, name: &str) -> Command {
    Command::new(programs.build(name, &[&path(&format!("examples/{name}.c"))]))
}

#[test]
fn embed_prints_similarities() {
    let folder = path("tests/golden/sentence");
    let Some(programs) = Programs::new() else { return };
    let printed = run(example(&programs, "embed").arg(&folder).args(SENTENCES));
    let vectors = Expected::read(&folder).floats("embeddings").unwrap();
    let cosine: f32 = vectors[..12].iter().zip(&vectors[12..24]).map(|(a, b)| a * b).sum(); // of unit length
    let lines =
        [format!("{:6.3} {cosine:6.3}  {}", 1.0, SENTENCES[0]), format!("{cosine:6.3} {:6.3}  {}", 1.0, SENTENCES[1])];
    assert_eq!(printed.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn fill_prints_the_best_words() {
    let folder = path("tests/golden/pretraining");
    let Some(programs) = Programs::new() else { return };
    let printed = run(example(&programs, "fill").arg(&folder).arg("the cat [MASK] the bird."));
    let golden = Expected::read(&folder);
    let expected = &golden.json()["fill_mask"][0]["masks"][0];
    let lines = expected
        .as_array()
        .unwrap()
        .iter()
        .map(|word| format!("{:.3} {}", word["score"].as_f64().unwrap(), word["token_str"].as_str().unwrap()));
    assert_eq!(printed.lines().map(String::from).collect::<Vec<_>>(), lines.collect::<Vec<_>>());
}

#[test]
fn score_prints_the_likelier_sentence() {
    let folder = path("tests/golden/pretraining");
    let Some(programs) = Programs::new() else { return };
    let printed = run(example(&programs, "score").arg(&folder).args(SENTENCES));
    let golden = Expected::read(&folder);
    let expected = &golden.json()["pll"]["sentences"];
    let mean = |index: usize| {
        let scores = &expected[index]["pll"];
        scores["sum"].as_f64().unwrap() / scores["per_token"].as_array().unwrap().len() as f64
    };
    for (index, sentence) in SENTENCES.iter().enumerate() {
        let line = format!("{:8.3} a token: {sentence}", mean(index));
        assert!(printed.lines().any(|printed| printed == line), "no line {line:?} in\n{printed}");
    }
    let likelier = SENTENCES[usize::from(mean(1) > mean(0))];
    assert!(printed.ends_with(&format!("likelier: {likelier}\n")), "{printed}");
}

#[test]
fn generate_prints_the_likeliest_tokens_as_they_come() {
    let folder = path("tests/golden/causal");
    let golden = Expected::read(&folder);
    let case = &golden.json()["greedy"][5];
    let Some(programs) = Programs::new() else { return };
    let printed = run(example(&programs, "generate").arg(&folder).arg(case["text"].as_str().unwrap()));
    let model = Model::open(&folder, &OpenOptions::default()).unwrap();
    let new: Vec<u32> = case["new"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let tokens: Vec<&str> = new.iter().map(|&id| model.token(id).unwrap()).collect();
    let sum: f64 = case["per_token"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).sum();
    let last = format!("{} tokens, log-probability {sum:.3}", new.len());
    assert_eq!(printed.lines().collect::<Vec<_>>(), [tokens.join(" "), last]);
}

/// A line of input is a line of output, with the label of one model and the words that the other names.
#[test]
fn serve_answers_every_line() {
    let (classifier, tagger) = (path("tests/golden/sequence"), path("tests/golden/token"));
    let Some(programs) = Programs::new() else { return };
    let mut program = example(&programs, "serve");
    program.arg(&classifier).arg(&tagger).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = program.spawn().unwrap();
    let lines = ["the cat sees the bird", "", "the dog walks to the river"];
    child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    let open = |folder: &Path| Model::open(folder, &OpenOptions::default()).unwrap();
    let (classifier, tagger) = (open(&classifier), open(&tagger));
    let expected = lines.map(|line| {
        let text = TextOptions::default();
        let encoded = classifier.encode(&[Input::Text(line)], Task::Classify, &text).unwrap();
        let values = classifier.classify(&encoded, Run::default()).unwrap().remove(0);
        let best = (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap();
        let mut answer = format!("{} {:.2}", classifier.labels()[best], values[best]);
        let encoded = tagger.encode(&[Input::Text(line)], Task::Tag, &text).unwrap();
        let options = TagOptions { aggregation: Aggregation::First, ..TagOptions::default() };
        for entity in tagger.entities(&encoded, &[line], &options, Run::default()).unwrap().remove(0) {
            let label = &tagger.labels()[entity.label];
            let kind = label.split_once('-').map_or(label.as_str(), |(_, kind)| kind);
            answer += &format!("  {kind}:{}", &line[entity.span.start..entity.span.end]);
        }
        answer
    });
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

/// Of text in which every beast has food of its own, from random numbers.
#[test]
fn pretrain_learns_a_language() {
    let Some(programs) = Programs::new() else { return };
    let sentences = ["The cat drinks milk.", "The dog eats meat.", "The horse likes hay.", "The bird wants seeds."];
    let document = |number: usize| (0..8).map(|i| sentences[(i * (number + 1)) % 4]).collect::<Vec<_>>().join(" ");
    let text = programs.folder().join("text.txt");
    std::fs::write(&text, (0..12).map(document).collect::<Vec<_>>().join("\n\n")).unwrap();
    let out = programs.folder().join("out");
    let printed = run(example(&programs, "pretrain").arg(&text).arg(&out).arg("The horse likes [MASK]."));
    let words: Vec<&str> = printed.lines().filter_map(|line| line.split_once(' ')).map(|(_, word)| word).collect();
    assert_eq!((words.len(), words[0]), (5, "hay"), "{printed}");
    let info = Model::open(&out, &OpenOptions::default()).unwrap().info();
    assert!(info.missing.is_empty(), "{:?}", info.missing);
}

/// Sentences that it was taught come back with their intent, from a model that begins with random numbers.
#[test]
fn intents_learns_saves_and_answers() {
    let taught = [
        ("play some jazz", "music"),
        ("will it rain tomorrow", "weather"),
        ("wake me up at seven", "alarm"),
        ("book a flight to paris", "travel"),
        ("stop the music", "music"),
        ("is a storm coming", "weather"),
    ];
    let Some(programs) = Programs::new() else { return };
    let out = programs.folder().join("intents-model");
    let mut program = example(&programs, "intents");
    program.arg(path("tests/golden/bare")).arg(&out).args(taught.map(|(sentence, _)| sentence));
    let printed = run(&mut program);
    assert_eq!(printed.lines().count(), taught.len(), "{printed}");
    for (line, (sentence, intent)) in printed.lines().zip(taught) {
        assert!(line.starts_with(intent) && line.ends_with(sentence), "{line:?}, expected {intent}");
    }
    // What it saved is a model folder that answers the same.
    let model = Model::open(&out, &OpenOptions::default()).unwrap();
    assert_eq!(model.labels(), ["alarm", "music", "travel", "weather"]);
    let input = [Input::Text(taught[0].0)];
    let encoded = model.encode(&input, Task::Classify, &TextOptions::default()).unwrap();
    let music = model.classify(&encoded, Run::default()).unwrap()[0][1];
    assert!(printed.starts_with(&format!("music    {music:.2}  ")), "{music}: {printed}");
}

#[test]
fn errors_end_a_program_with_a_message() {
    let Some(programs) = Programs::new() else { return };
    for (name, arguments) in [
        ("embed", &["nowhere", "a"][..]),
        ("fill", &["nowhere", "a"]),
        ("score", &["nowhere", "a", "b"]),
        ("generate", &["nowhere", "a"]),
        ("intents", &["nowhere", "nowhere-else", "a"]),
        ("pretrain", &["nowhere", "nowhere-else", "a"]),
        ("serve", &["nowhere", "nowhere-else"]),
    ] {
        let output = example(&programs, name).args(arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.starts_with(&format!("{name}: nowhere: ")), "{message}");
    }
}

/// No error and no block that nothing points to any more.
#[test]
fn valgrind_finds_nothing() {
    if !present("valgrind") {
        return;
    }
    let Some(programs) = Programs::new() else { return };
    let checked = |program: &Path| {
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
        command.arg(program);
        command
    };
    let fill = programs.build("fill", &[&path("examples/fill.c")]);
    let printed = run(checked(&fill).arg(path("tests/golden/pretraining")).arg("the cat [MASK] the bird."));
    assert_eq!(printed.lines().count(), 5, "{printed}");
    // One epoch of training touches all that sixty do.
    let source = std::fs::read_to_string(path("examples/intents.c")).unwrap();
    let shorter = source.replace("options.epochs = 60;", "options.epochs = 1;");
    assert_ne!(shorter, source);
    let file = programs.folder().join("shorter.c");
    std::fs::write(&file, shorter).unwrap();
    let intents = programs.build("shorter", &[&file]);
    let out = programs.folder().join("taught");
    let printed = run(checked(&intents).arg(path("tests/golden/bare")).arg(out).arg("play some jazz"));
    assert_eq!(printed.lines().count(), 1, "{printed}");
}
