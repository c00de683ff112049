//! The scenario's training part: teach, watch, stop, go on, hand out, save, open again.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use cloze::engine::{
    DType, Every, Example, ExampleInput, Input, Kind, Objective, Schedule, Target, TrainOptions, Trainable,
};
use serde_json::Value;

use crate::built::path;
use crate::ways::training::{Learning, Metrics, News, Observer};
use crate::ways::{Library, Watch};
use crate::{close, fails};

/// What the examples of a classifier are: one label of three, told by one word.
const LESSONS: [(&str, &str); 12] = [
    ("the cat sees the bird", "negative"),
    ("a big dog", "neutral"),
    ("the bird sleeps", "positive"),
    ("she walks to the cat", "negative"),
    ("john and the dog", "neutral"),
    ("a small bird in the tree", "positive"),
    ("a cat was in the house", "negative"),
    ("the dog eats", "neutral"),
    ("they see the happy bird", "positive"),
    ("my cat is old", "negative"),
    ("this dog is red", "neutral"),
    ("the bird is in the river", "positive"),
];

pub fn training<L>(library: &L)
where
    L: Learning + Sync,
    L::Model: Sync,
{
    fits_stop_and_go_on(library);
    a_model_is_handed_out_saved_and_opened(library);
    steps_are_taken_one_by_one(library);
    adapters_and_named_heads_share_a_base(library);
    checkpoints_are_taken_up(library);
    every_objective_learns(library);
    what_cannot_be_learned(library);
}

fn lessons() -> Vec<Example> {
    let example = |&(text, label): &(&str, &str)| Example {
        input: ExampleInput::Text(text.to_owned()),
        target: Target::Label(label.to_owned()),
    };
    LESSONS.iter().map(example).collect()
}

/// Three steps an epoch, four epochs, large steps, so that little shows much.
fn options() -> TrainOptions {
    TrainOptions {
        trainable: Trainable::Top(1),
        epochs: 4,
        batch_size: 4,
        learning_rate: 5e-3,
        schedule: Schedule::Constant,
        seed: 7,
        ..TrainOptions::default()
    }
}

fn sequence<L: Library>(library: &L) -> L::Model {
    library.open(&path("tests/golden/sequence")).unwrap()
}

fn inputs() -> Vec<Input<'static>> {
    LESSONS.iter().map(|(text, _)| Input::Text(text)).collect()
}

fn metric(metrics: &Metrics, name: &str) -> f64 {
    metrics.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name} in {metrics:?}")).1
}

fn fits_stop_and_go_on<L: Learning>(library: &L) {
    let model = sequence(library);
    let (train, dev) = (library.data(&lessons()).unwrap(), library.data(&lessons()[..6]).unwrap());
    assert_eq!(library.count(&train), 12);
    let before = library.classify(&model, &inputs()).unwrap();

    let mut whole = library.trainer(&model, &options(), Some(&train)).unwrap();
    let standing = library.standing(&whole).unwrap();
    assert_eq!(standing.labels, ["negative", "neutral", "positive"]);
    let size: usize = standing.tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!((standing.parameters, standing.steps, standing.history), (size, 0, 0));
    assert!(standing.planned_memory > 4 * 4 * size as u64);
    assert!(standing.tensors.iter().any(|(name, shape)| name == "classifier.weight" && *shape == [3, 24]));
    assert!(standing.tensors.iter().all(|(name, _)| !name.contains("layer.0.") && !name.contains("embeddings")));
    let untaught = library.evaluate(&mut whole, &train).unwrap();

    let mut observer = Observer::default();
    let fit = library.fit(&mut whole, &train, Some(&dev), &mut observer).unwrap();
    assert_eq!((fit.steps, fit.stopped_early), (12, false));
    assert_eq!(observer.steps(), (1..=12).collect::<Vec<_>>());
    let mut evaluations = 0;
    let mut best = f64::NEG_INFINITY;
    for news in &observer.seen {
        match news {
            News::Step { step, total, epoch, loss, learning_rate, gradient_norm, examples } => {
                assert_eq!((*total, *examples), (12, 4));
                close(*epoch, *step as f64 / 3.0);
                close(*learning_rate, 5e-3);
                assert!(loss.is_finite() && *gradient_norm > 0.0);
            }
            News::Evaluation { metrics, best: is_best } => {
                evaluations += 1;
                let accuracy = metric(metrics, "accuracy");
                assert_eq!(*is_best, accuracy > best);
                best = best.max(accuracy);
            }
            News::Checkpoint { .. } => panic!("no checkpoint was asked for"),
        }
    }
    assert_eq!((evaluations, fit.best.map(|(_, value)| value)), (4, Some(best)));
    assert_eq!(library.standing(&whole).unwrap().history, 16);
    let taught = library.evaluate(&mut whole, &train).unwrap();
    assert!(metric(&taught, "loss") < 0.7 * metric(&untaught, "loss"), "{untaught:?} {taught:?}");
    assert!(metric(&taught, "accuracy") > metric(&untaught, "accuracy"));
    // Training touches copies: the model answers as before.
    assert_eq!(library.classify(&model, &inputs()), Ok(before));
    // What is at its end stays there.
    let parameters = library.parameters(&whole).unwrap();
    assert_eq!(library.fit(&mut whole, &train, Some(&dev), &mut Observer::default()).unwrap().steps, 12);
    assert_eq!(library.parameters(&whole).unwrap(), parameters);

    // Stopped by the callback in the middle and at the end of an epoch, and by the flag: the same bits in the end.
    let mut stopped = library.trainer(&model, &options(), Some(&train)).unwrap();
    for at in [2, 6] {
        let mut observer = Observer { stop_at: Some(at), ..Observer::default() };
        fails(library.fit(&mut stopped, &train, Some(&dev), &mut observer), 9, "callback");
        assert_eq!((observer.steps().last(), library.standing(&stopped).unwrap().steps), (Some(&at), at));
    }
    let mut observer = Observer { cancelled: true, ..Observer::default() };
    fails(library.fit(&mut stopped, &train, Some(&dev), &mut observer), 9, "cancelled");
    assert!(observer.steps().is_empty());
    let mut observer = Observer::default();
    assert_eq!(library.fit(&mut stopped, &train, Some(&dev), &mut observer).unwrap(), fit);
    assert_eq!(observer.steps(), (7..=12).collect::<Vec<_>>());
    assert_eq!(library.standing(&stopped).unwrap().history, 16);
    assert_eq!(library.parameters(&stopped).unwrap(), parameters);

    // From a file, the same examples.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lessons.tsv");
    fs::write(&file, LESSONS.map(|(text, label)| format!("{text}\t{label}\n")).concat()).unwrap();
    let read = library.read(&file, Kind::Label).unwrap();
    let mut trainer = library.trainer(&model, &options(), Some(&read)).unwrap();
    assert_eq!(library.fit(&mut trainer, &read, Some(&dev), &mut Observer::default()).unwrap(), fit);
    assert_eq!(library.parameters(&trainer).unwrap(), parameters);
    fs::write(&file, "the cat\tnegative\nthe dog\n").unwrap();
    fails(library.read(&file, Kind::Label).map(|data| library.count(&data)), 5, "lessons.tsv:2: ");
}

fn a_model_is_handed_out_saved_and_opened<L>(library: &L)
where
    L: Learning + Sync,
    L::Model: Sync,
{
    let model = sequence(library);
    let train = library.data(&lessons()).unwrap();
    let mut trainer = library.trainer(&model, &TrainOptions { max_steps: 3, ..options() }, Some(&train)).unwrap();
    let vectors = |model: &L::Model| library.embed(model, &inputs(), None, None, &mut Watch::default()).unwrap();
    let (embedded, untaught) = (vectors(&model), library.classify(&model, &inputs()).unwrap());

    // Another thread goes on asking the model, and what it answers does not change.
    let done = AtomicBool::new(false);
    let taught = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut calls = 0;
            while !done.load(Ordering::Relaxed) || calls == 0 {
                assert_eq!(vectors(&model), embedded);
                calls += 1;
            }
        });
        library.fit(&mut trainer, &train, None, &mut Observer::default()).unwrap();
        let taught = library.snapshot(&trainer).unwrap();
        done.store(true, Ordering::Relaxed);
        asking.join().unwrap();
        taught
    });
    let answers = library.classify(&taught, &inputs()).unwrap();
    assert_ne!(answers, untaught);
    assert_eq!(library.label(&taught, 2), Ok("positive".to_owned()));
    let metrics = library.evaluate(&mut trainer, &train).unwrap();
    assert_eq!(library.evaluate_model(&taught, None, &train).unwrap(), metrics);
    assert_eq!(library.evaluate_model(&taught, Some(Objective::Classify), &train).unwrap(), metrics);

    // Saved by the trainer and by the snapshot: one folder, one model, the same bits.
    let folder = tempfile::tempdir().unwrap();
    let (own, copy) = (folder.path().join("own"), folder.path().join("copy"));
    library.save(&trainer, &own).unwrap();
    library.save_model(&taught, &copy).unwrap();
    for name in ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"] {
        assert_eq!(fs::read(own.join(name)).unwrap(), fs::read(copy.join(name)).unwrap(), "{name}");
    }
    let config: Value = serde_json::from_slice(&fs::read(own.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["architectures"][0].as_str(), Some("BertForSequenceClassification"));
    let opened = library.open(&own).unwrap();
    assert_eq!(library.classify(&opened, &inputs()).unwrap(), answers);

    // In another type: half as many bytes for the weights, and nearly the same answers.
    for (dtype, name) in [(DType::F32, "float32"), (DType::F16, "float16"), (DType::Bf16, "bfloat16")] {
        let place = folder.path().join(name);
        library.save_model_as(&taught, &place, dtype).unwrap();
        let config: Value = serde_json::from_slice(&fs::read(place.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["dtype"].as_str().or(config["torch_dtype"].as_str()), Some(name));
        let found = library.classify(&library.open(&place).unwrap(), &inputs()).unwrap();
        assert_eq!(found == answers, dtype == DType::F32, "{name}");
    }
    let size = |place: &str| fs::metadata(folder.path().join(place).join("model.safetensors")).unwrap().len() as f64;
    assert!(size("float16") < 0.6 * size("float32") && size("bfloat16") < 0.6 * size("float32"));

    // A snapshot outlives its trainer and its model, and does not see what they do later.
    let zeros = vec![0.0; library.standing(&trainer).unwrap().parameters];
    library.set_parameters(&mut trainer, &zeros).unwrap();
    // What the type cannot hold is refused, and nothing is written.
    library.set_parameters(&mut trainer, &vec![1e6; zeros.len()]).unwrap();
    let place = folder.path().join("too large");
    let large = library.snapshot(&trainer).unwrap();
    fails(library.save_model_as(&large, &place, DType::F16), 1, "tensor \"classifier.bias\": element [0] is 1e6");
    assert!(!place.exists());
    library.save_model_as(&large, &place, DType::Bf16).unwrap();
    drop((trainer, model));
    assert_eq!(library.classify(&taught, &inputs()).unwrap(), answers);
    // Over its own folder, which is mapped: renamed, not overwritten. Windows moves no such folder.
    if cfg!(not(windows)) {
        library.save_model(&opened, &own).unwrap();
    }
    assert_eq!(library.classify(&opened, &inputs()).unwrap(), answers);
    assert_eq!(library.classify(&library.open(&own).unwrap(), &inputs()).unwrap(), answers);
}

fn steps_are_taken_one_by_one<L: Learning>(library: &L) {
    let model = sequence(library);
    let still = TrainOptions { dropout: Some(0.0), ..options() };
    let all = library.data(&lessons()).unwrap();
    let (first, second) = (library.select(&all, &[0, 1, 2, 3]).unwrap(), library.select(&all, &[4, 5, 6, 7]).unwrap());
    assert_eq!(library.count(&second), 4);
    fails(library.select(&all, &[3, 12]).map(|_| ()), 1, "number 1 is 12");
    let mut trainer = library.trainer(&model, &still, Some(&first)).unwrap();
    let start = library.parameters(&trainer).unwrap();
    let count = start.len();
    fails(library.apply(&mut trainer, None), 1, "no gradients");

    // Gradients add up until they are applied.
    let loss = library.accumulate(&mut trainer, &first).unwrap();
    close(loss, metric(&library.evaluate(&mut trainer, &first).unwrap(), "loss"));
    let once = library.gradients(&mut trainer).unwrap();
    assert!(once.len() == count && once.iter().any(|&number| number != 0.0));
    library.accumulate(&mut trainer, &second).unwrap();
    let both = library.gradients(&mut trainer).unwrap();
    let mut other = library.trainer(&model, &still, Some(&first)).unwrap();
    library.accumulate(&mut other, &second).unwrap();
    for ((sum, one), two) in both.iter().zip(&once).zip(library.gradients(&mut other).unwrap()) {
        // The order of the sums differs: float32 noise of gradients of this size.
        assert!((sum - one - two).abs() <= 1e-5 * (1.0 + sum.abs()), "{sum}, expected {one} + {two}");
    }
    fails(library.fit(&mut trainer, &first, None, &mut Observer::default()), 1, "accumulated");
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    fails(library.checkpoint(&mut trainer, &checkpoint), 1, "accumulated");

    // Where they lie: the same numbers.
    let buffers = library.gradient_buffers(&mut trainer).unwrap();
    // SAFETY: as cloze.h promises, up to the next call on the trainer.
    let lying = buffers.into_iter().flat_map(|(data, count)| unsafe { std::slice::from_raw_parts(data, count) });
    assert_eq!(lying.copied().collect::<Vec<_>>(), both);

    // Two machines: each has one half, both apply the mean of both, and stay alike.
    let mean: Vec<f32> = both.iter().map(|sum| sum / 2.0).collect();
    let norm = mean.iter().map(|&number| f64::from(number).powi(2)).sum::<f64>().sqrt();
    for trainer in [&mut trainer, &mut other] {
        library.set_gradients(trainer, &mean).unwrap();
        let found = library.apply(trainer, Some(1e-3)).unwrap();
        assert!((found - norm).abs() <= 1e-6 * norm, "{found}, expected {norm}");
        assert_eq!(library.standing(trainer).unwrap().steps, 1);
        assert!(library.gradients(trainer).unwrap().iter().all(|&number| number == 0.0));
    }
    let moved = library.parameters(&trainer).unwrap();
    assert_eq!(library.parameters(&other).unwrap(), moved);
    assert_ne!(moved, start);
    library.checkpoint(&mut trainer, &checkpoint).unwrap();
    let mut third = library.trainer(&model, &still, Some(&first)).unwrap();
    library.resume(&mut third, &checkpoint).unwrap();
    assert_eq!((library.parameters(&third).unwrap(), library.standing(&third).unwrap().steps), (moved.clone(), 1));
    // A learning rate of 0 moves nothing; the options' own does.
    library.accumulate(&mut other, &first).unwrap();
    library.apply(&mut other, Some(0.0)).unwrap();
    assert_eq!(library.parameters(&other).unwrap(), moved);
    library.accumulate(&mut other, &first).unwrap();
    library.apply(&mut other, None).unwrap();
    assert_ne!(library.parameters(&other).unwrap(), moved);
    fails(library.apply(&mut other, Some(f32::NAN)), 1, "");

    // Parameters go in as they came out.
    library.set_parameters(&mut other, &start).unwrap();
    assert_eq!(library.parameters(&other).unwrap(), start);
    let answers = library.classify(&library.snapshot(&other).unwrap(), &inputs());
    assert_eq!(answers, library.classify(&model, &inputs()));
    fails(library.set_parameters(&mut other, &start[1..]), 1, &format!("expected {count}"));
    fails(library.set_gradients(&mut other, &[]), 1, &format!("expected {count}"));
    let mut infinite = start.clone();
    infinite[3] = f32::INFINITY;
    fails(library.set_parameters(&mut other, &infinite), 12, "number 3 is inf");
    assert_eq!(library.parameters(&other).unwrap(), start);
}

fn adapters_and_named_heads_share_a_base<L: Learning>(library: &L) {
    let model = sequence(library);
    let plain = library.classify(&model, &inputs()).unwrap();
    let train = library.data(&lessons()).unwrap();
    let folder = tempfile::tempdir().unwrap();

    let lora = TrainOptions { trainable: Trainable::Lora, learning_rate: 2e-2, ..options() };
    let mut trainer = library.trainer(&model, &lora, Some(&train)).unwrap();
    assert!(library.standing(&trainer).unwrap().tensors.iter().any(|(name, _)| name.ends_with("lora_A.weight")));
    library.fit(&mut trainer, &train, None, &mut Observer::default()).unwrap();
    let taught = library.classify(&library.snapshot(&trainer).unwrap(), &inputs()).unwrap();
    assert_ne!(taught, plain);
    let (adapter, merged) = (folder.path().join("adapter"), folder.path().join("merged"));
    library.save_adapter(&trainer, &adapter).unwrap();
    library.save(&trainer, &merged).unwrap();
    let adapted = library.adapt(&model, &adapter).unwrap();
    assert_eq!(library.classify(&adapted, &inputs()).unwrap(), taught);
    assert_eq!(library.classify(&model, &inputs()).unwrap(), plain);
    let alike = library.classify(&library.open(&merged).unwrap(), &inputs()).unwrap();
    alike.iter().zip(&taught).for_each(|(&value, &expected)| close(value, f64::from(expected)));
    fails(library.adapt(&model, &merged).map(|_| ()), 7, "adapter_config.json");

    // A head with a name stands beside the folder's own.
    let named = TrainOptions { trainable: Trainable::Head, head: "animals".to_owned(), labels: labels(), ..options() };
    let animals: Vec<Example> = lessons().into_iter().map(animal).collect();
    let animals = library.data(&animals).unwrap();
    let mut trainer = library.trainer(&model, &named, None).unwrap();
    assert_eq!(library.standing(&trainer).unwrap().labels, labels());
    library.fit(&mut trainer, &animals, None, &mut Observer::default()).unwrap();
    let both = folder.path().join("both");
    library.save(&trainer, &both).unwrap();
    for model in [library.snapshot(&trainer).unwrap(), library.open(&both).unwrap()] {
        assert_eq!(library.heads(&model), ["animals"]);
        assert_eq!(library.classify(&model, &inputs()).unwrap(), plain);
        assert_eq!(library.label(&model, 0), Ok("negative".to_owned()));
        let animal = library.use_head(&model, "animals").unwrap();
        assert_eq!(library.label(&animal, 0), Ok("bird".to_owned()));
        let metrics = library.evaluate_model(&animal, None, &animals).unwrap();
        assert_eq!(metrics, library.evaluate(&mut trainer, &animals).unwrap());
    }
    assert!(library.heads(&model).is_empty());
    fails(library.use_head(&model, "animals").map(|_| ()), 7, "\"animals\"");
}

fn labels() -> Vec<String> {
    ["bird", "cat", "dog"].map(str::to_owned).to_vec()
}

fn animal(example: Example) -> Example {
    let ExampleInput::Text(text) = &example.input else { unreachable!() };
    let animal = labels().into_iter().find(|animal| text.contains(animal)).unwrap();
    Example { target: Target::Label(animal), ..example }
}

fn checkpoints_are_taken_up<L: Learning>(library: &L) {
    let model = sequence(library);
    let (train, dev) = (library.data(&lessons()).unwrap(), library.data(&lessons()[..6]).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str| TrainOptions {
        checkpoints: Some(folder.path().join(name)),
        checkpoint: Every::Steps(2),
        keep_checkpoints: 2,
        ..options()
    };
    let mut whole = library.trainer(&model, &with("whole"), Some(&train)).unwrap();
    let mut observer = Observer::default();
    let fit = library.fit(&mut whole, &train, Some(&dev), &mut observer).unwrap();
    let written = observer.seen.iter().filter_map(|news| match news {
        News::Checkpoint { folder } => Some(Path::new(folder).file_name().unwrap().to_str().unwrap().to_owned()),
        _ => None,
    });
    let expected = [2, 4, 6, 8, 10, 12].map(|step| format!("checkpoint-{step}"));
    assert_eq!(written.collect::<Vec<_>>(), expected);

    let mut lost = library.trainer(&model, &with("lost"), Some(&train)).unwrap();
    let mut observer = Observer { stop_at: Some(7), ..Observer::default() };
    fails(library.fit(&mut lost, &train, Some(&dev), &mut observer), 9, "callback");
    drop(lost);
    let mut found = library.trainer(&model, &with("lost"), Some(&train)).unwrap();
    library.resume(&mut found, &folder.path().join("lost")).unwrap();
    assert_eq!(library.standing(&found).unwrap().steps, 6);
    let mut observer = Observer::default();
    assert_eq!(library.fit(&mut found, &train, Some(&dev), &mut observer).unwrap(), fit);
    assert_eq!(observer.steps(), (7..=12).collect::<Vec<_>>());
    assert_eq!(library.parameters(&found).unwrap(), library.parameters(&whole).unwrap());

    let other = TrainOptions { seed: 8, ..with("lost") };
    let mut other = library.trainer(&model, &other, Some(&train)).unwrap();
    fails(library.resume(&mut other, &folder.path().join("lost")), 1, "seed");
    fails(library.resume(&mut other, &folder.path().join("nowhere")), 7, "nowhere");
    fails(library.resume(&mut other, &path("tests/golden")), 7, "checkpoint");
    assert_eq!(library.standing(&other).unwrap().steps, 0);
}

/// Each way to give a target, by a loss that falls.
fn every_objective_learns<L: Learning>(library: &L) {
    let text = |text: &str| ExampleInput::Text(text.to_owned());
    let strings = |list: &[&str]| list.iter().map(|&string| string.to_owned()).collect::<Vec<String>>();
    let words = |list: &[&str], tags: &[&str]| Example {
        input: ExampleInput::Words(strings(list)),
        target: Target::Tags(strings(tags)),
    };
    let context = "the cat sees the bird";
    let answer = |question: &str, answer: &str| Example {
        input: ExampleInput::Pair(question.to_owned(), context.to_owned()),
        target: Target::Span { answer: answer.to_owned(), start: context.find(answer).unwrap() },
    };
    let labels = |list: &[&str]| Target::Labels(strings(list));
    let tokens = |ids: &[u32], labels: &[i32]| Example {
        input: ExampleInput::Tokens(cloze::engine::Tokens { ids: ids.to_vec(), types: vec![0; ids.len()] }),
        target: Target::Ids(labels.to_vec()),
    };
    let follows = |text: &str, pair: &str, label: &str| Example {
        input: ExampleInput::Pair(text.to_owned(), pair.to_owned()),
        target: Target::Label(label.to_owned()),
    };
    let cases: [(&str, Objective, &str, Vec<Example>); 9] = [
        (
            "pretraining",
            Objective::NextSentence,
            "accuracy",
            vec![follows("anna sleeps.", "she is happy.", "0"), follows("a river", "of dogs", "1")],
        ),
        (
            "bare",
            Objective::MultiLabel,
            "macro_f1",
            vec![
                Example { input: text("the cat"), target: labels(&["cat"]) },
                Example { input: text("the cat and the dog"), target: labels(&["cat", "dog"]) },
                Example { input: text("the river"), target: labels(&[]) },
            ],
        ),
        (
            "bare",
            Objective::Regress,
            "spearman",
            vec![
                Example { input: text("small"), target: Target::Number(-1.0) },
                Example { input: text("big"), target: Target::Number(1.0) },
            ],
        ),
        (
            "bare",
            Objective::Regress,
            "mean_squared_error",
            vec![
                Example { input: text("small"), target: Target::Numbers(vec![-1.0, 0.5]) },
                Example { input: text("big"), target: Target::Numbers(vec![1.0, 0.0]) },
            ],
        ),
        (
            "bare",
            Objective::Tag,
            "f1",
            vec![
                words(&["anna", "walks", "to", "paris"], &["B-PER", "O", "O", "B-LOC"]),
                words(&["john", "sleeps"], &["B-PER", "O"]),
            ],
        ),
        ("bare", Objective::Span, "exact_match", vec![answer("she", "cat"), answer("he", "bird")]),
        (
            "token",
            Objective::Tag,
            "accuracy",
            vec![tokens(&[2, 68, 3], &[-100, 1, -100]), tokens(&[2, 70, 40, 3], &[-100, 3, 0, -100])],
        ),
        (
            "pretraining",
            Objective::MaskedLm,
            "loss",
            vec![tokens(&[2, 40, 4, 3], &[-100, -100, 58, -100]), tokens(&[2, 4, 59, 3], &[-100, 40, -100, -100])],
        ),
        (
            "causal",
            Objective::CausalLm,
            "perplexity",
            vec![
                Example { input: text("the cat sees the bird"), target: Target::None },
                Example { input: text("anna walks"), target: Target::None },
                tokens(&[2, 40, 58, 3], &[-100, -100, 58, 3]),
            ],
        ),
    ];
    for (name, objective, measured, examples) in cases {
        let model = library.open(&path("tests/golden").join(name)).unwrap();
        let data = library.data(&examples).unwrap();
        // Small steps without noise: the loss of a few examples can only fall.
        let (trainable, dropout) = (Trainable::All, Some(0.0));
        let own = TrainOptions { objective, trainable, dropout, epochs: 8, learning_rate: 5e-4, ..options() };
        let labels_from = if name == "token" { None } else { Some(&data) };
        let mut trainer = library.trainer(&model, &own, labels_from).unwrap();
        let before = library.evaluate(&mut trainer, &data).unwrap();
        library.fit(&mut trainer, &data, None, &mut Observer::default()).unwrap();
        let after = library.evaluate(&mut trainer, &data).unwrap();
        assert!(metric(&after, "loss") < metric(&before, "loss"), "{objective:?}: {before:?} {after:?}");
        assert!(metric(&after, measured).is_finite(), "{objective:?}: {after:?}");
    }
}

fn what_cannot_be_learned<L: Learning>(library: &L) {
    let model = sequence(library);
    let train = library.data(&lessons()).unwrap();
    let stranger = Example { target: Target::Label("angry".to_owned()), ..lessons()[0].clone() };
    let stranger = library.data(&[lessons()[1].clone(), stranger]).unwrap();
    let none = library.data(&[]).unwrap();
    let mut trainer = library.trainer(&model, &options(), Some(&train)).unwrap();
    let mut observer = Observer::default();
    fails(library.fit(&mut trainer, &train, Some(&stranger), &mut observer), 3, "example 1: label \"angry\"");
    fails(library.fit(&mut trainer, &stranger, None, &mut observer), 3, "example 1: label \"angry\"");
    fails(library.fit(&mut trainer, &none, None, &mut observer), 1, "no examples");
    fails(library.fit(&mut trainer, &train, Some(&none), &mut observer), 1, "no examples");
    fails(library.evaluate(&mut trainer, &none), 1, "no examples");
    fails(library.evaluate_model(&model, None, &none), 1, "no examples");
    fails(library.accumulate(&mut trainer, &stranger), 3, "angry");
    let unlabelled = Example { target: Target::None, ..lessons()[0].clone() };
    let unlabelled = library.data(&[lessons()[1].clone(), unlabelled]).unwrap();
    fails(library.fit(&mut trainer, &unlabelled, None, &mut observer), 3, "example 1: no target, expected one label");
    fails(library.evaluate_model(&model, None, &unlabelled), 3, "example 1: no target, expected one label");
    assert!(observer.seen.is_empty());
    assert_eq!(library.standing(&trainer).unwrap().steps, 0);

    // Words that the vocabulary lacks; and none at all, which is no loss and moves nothing.
    let words = library.open(&path("tests/golden/pretraining")).unwrap();
    let masked = |label: i32| {
        let input = ExampleInput::Tokens(cloze::engine::Tokens { ids: vec![2, 4, 3], types: vec![0; 3] });
        library.data(&[Example { input, target: Target::Ids(vec![-100, label, -100]) }]).unwrap()
    };
    let masked_lm = TrainOptions { objective: Objective::MaskedLm, ..options() };
    let mut trainer_of_words = library.trainer(&words, &masked_lm, None).unwrap();
    let start = library.parameters(&trainer_of_words).unwrap();
    let mut fit = |label: i32| library.fit(&mut trainer_of_words, &masked(label), None, &mut Observer::default());
    fails(fit(120), 3, "example 0: word 120 of a vocabulary of 120");
    assert_eq!(fit(-100).unwrap().steps, 4);
    assert_eq!(library.parameters(&trainer_of_words).unwrap(), start);
    let metric = TrainOptions { metric: "beauty".to_owned(), ..options() };
    let mut metric = library.trainer(&model, &metric, Some(&train)).unwrap();
    fails(library.fit(&mut metric, &train, Some(&train), &mut observer), 1, "\"beauty\"");

    let new = |model: &L::Model, options: TrainOptions| library.trainer(model, &options, None).map(|_| ());
    let bare = library.open(&path("tests/golden/bare")).unwrap();
    fails(new(&bare, options()), 1, "labels");
    fails(new(&bare, TrainOptions { objective: Objective::MaskedLm, ..options() }), 7, "cls.predictions");
    let causal = library.open(&path("tests/golden/causal")).unwrap();
    for (model, objective, message) in [
        (&causal, Objective::MaskedLm, "learning masked words: this model is causal"),
        (&words, Objective::CausalLm, "learning next words: this model is bidirectional"),
    ] {
        fails(new(model, TrainOptions { objective, ..options() }), 6, message);
        fails(library.evaluate_model(model, Some(objective), &train), 6, message);
    }
    fails(new(&model, TrainOptions { memory: 1000, ..options() }), 8, "1000");
    fails(new(&model, TrainOptions { trainable: Trainable::Top(3), ..options() }), 1, "3");
    fails(new(&model, TrainOptions { label_smoothing: 2.0, ..options() }), 1, "label_smoothing: 2");
    fails(library.save_adapter(&trainer, Path::new("nowhere")), 1, "no low-rank pairs");
    fails(library.evaluate_model(&bare, None, &train), 7, "");
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(library.save_model(&model, &file.path().join("below a file")).is_err());
}
