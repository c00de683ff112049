//! Several heads on one encoder.

use cloze::engine::{FitRun, Model, Objective, Run, TrainOptions, Trainable, Trainer};
use cloze::error::Status;
use tempfile::tempdir;

use crate::cases::{
    answers, apart, dataset, fitted, folder, labelled, numbers, open, options, refused, sequence, tagged, tags,
};
use cloze::engine::Target;

const TOPICS: [&str; 5] = ["art", "law", "math", "sport", "trade"];

fn topics(trainable: Trainable) -> TrainOptions {
    TrainOptions { head: "topic".into(), labels: TOPICS.map(str::to_owned).to_vec(), ..options(trainable) }
}

fn tagging(head: &str) -> TrainOptions {
    TrainOptions {
        objective: Objective::Tag,
        head: head.into(),
        labels: ["O", "B-X", "I-X", "B-Y"].map(str::to_owned).to_vec(),
        ..options(Trainable::Head)
    }
}

fn by_topic(count: usize) -> cloze::engine::Dataset {
    dataset(count, 4, |tokens, _| Target::Label(TOPICS[tokens.ids[1] as usize % 5].into()))
}

/// One encoder, the folder's own head, one for topics, one for tags and one for two numbers.
fn with_three() -> Model {
    let topic = fitted(&sequence(2), &topics(Trainable::Head), &by_topic(22), None).snapshot().unwrap();
    let tagger = fitted(&topic, &tagging("names"), &tagged(22, 5, 4), None).snapshot().unwrap();
    let rating = TrainOptions {
        objective: Objective::Regress,
        head: "rating".into(),
        labels: vec!["quality".into(), "length".into()],
        ..options(Trainable::Head)
    };
    fitted(&tagger, &rating, &numbers(22, 6, 2), None).snapshot().unwrap()
}

#[test]
fn heads_are_trained_saved_reopened_and_used_together() {
    let base = sequence(2);
    let model = with_three();
    assert_eq!(model.heads(), ["topic", "names", "rating"]);
    assert_eq!(answers(&model), answers(&base), "the folder's own head, pooler or encoder changed");
    let topic = model.with_head("topic").unwrap();
    assert_eq!(topic.labels(), TOPICS);
    assert_eq!(answers(&topic)[0].len(), 5);
    assert_ne!(answers(&topic)[0][..3], answers(&base)[0][..]);
    let names = model.with_head("names").unwrap();
    assert_eq!((names.labels().len(), tags(&names)[0].len()), (4, 4));
    let rating = model.with_head("rating").unwrap();
    assert_eq!((rating.labels(), answers(&rating)[0].len()), (&["quality".to_owned(), "length".to_owned()][..], 2));

    let root = tempdir().unwrap();
    let place = root.path().join("model");
    model.save(&place).unwrap();
    let again = open(&place, 2);
    let mut kept = again.heads();
    kept.sort_unstable();
    assert_eq!(kept, ["names", "rating", "topic"]);
    assert_eq!(answers(&again), answers(&base));
    assert_eq!(answers(&again.with_head("topic").unwrap()), answers(&topic));
    assert_eq!(tags(&again.with_head("names").unwrap()), tags(&names));
    let of_numbers = |model: &Model| {
        let found = model.evaluate(Objective::Regress, &numbers(9, 7, 2), 0, Run::default()).unwrap();
        found.metrics.get("loss").unwrap()
    };
    assert_eq!(of_numbers(&again.with_head("rating").unwrap()), of_numbers(&rating));

    // a folder of its own, in which the head has the place of the folder's
    let alone = root.path().join("topic");
    topic.save(&alone).unwrap();
    let alone = open(&alone, 1);
    assert_eq!((alone.labels(), answers(&alone)), (topic.labels(), answers(&topic)));
    refused(model.with_head("nothing"), Status::Missing, &["nothing", "topic, names, rating"]);
    refused(base.with_head("topic"), Status::Missing, &["topic", "none"]);
}

#[test]
fn a_named_head_goes_on_where_it_was() {
    let model = with_three();
    let before = answers(&model.with_head("topic").unwrap());
    let mut trainer = Trainer::new(&model, &topics(Trainable::Head), None).unwrap();
    assert_eq!(answers(&trainer.snapshot().unwrap().with_head("topic").unwrap()), before);
    trainer.fit(&by_topic(22), None, FitRun::default()).unwrap();
    let after = trainer.snapshot().unwrap();
    assert_eq!(after.heads().len(), 3, "{:?}", after.heads());
    assert_ne!(answers(&after.with_head("topic").unwrap()), before);
    assert_eq!(tags(&after.with_head("names").unwrap()), tags(&model.with_head("names").unwrap()));
    let fresh = Trainer::new(&model, &TrainOptions { fresh_head: true, ..topics(Trainable::Head) }, None).unwrap();
    assert_ne!(answers(&fresh.snapshot().unwrap().with_head("topic").unwrap()), before);
}

#[test]
fn a_named_head_may_train_with_layers_or_pairs() {
    let base = sequence(2);
    for trainable in [Trainable::Top(1), Trainable::Lora] {
        let model = fitted(&base, &topics(trainable), &by_topic(22), None).snapshot().unwrap();
        let root = tempdir().unwrap();
        let place = root.path().join("model");
        model.save(&place).unwrap();
        let again = open(&place, 2);
        // merged pairs are rounded once more: a few ulps of weights of order 1 through two layers
        let bound = if trainable == Trainable::Lora { 2e-6 } else { 0.0 };
        for head in [None, Some("topic")] {
            let of =
                |model: &Model| head.map_or_else(|| answers(model), |head| answers(&model.with_head(head).unwrap()));
            assert!(apart(&of(&again), &of(&model)) <= bound, "{trainable:?} {head:?}");
        }
        assert_eq!(again.labels(), base.labels());
    }
}

#[test]
fn names_that_cannot_be_folders_are_refused() {
    for name in [".hidden", "a/b", "a b", "é", ".."] {
        let options = TrainOptions { head: name.into(), ..options(Trainable::Head) };
        refused(Trainer::new(&sequence(1), &options, None), Status::InvalidArgument, &[&format!("{name:?}")]);
    }
    let options = TrainOptions { objective: Objective::MaskedLm, head: "x".into(), ..options(Trainable::All) };
    let model = open(&folder("golden_training/masked_lm"), 1);
    refused(Trainer::new(&model, &options, None), Status::InvalidArgument, &["head: x", "have names"]);
}

/// Classifiers of texts and of tokens share the name `classifier` in a folder: what was trained last is what is saved.
#[test]
fn a_classifier_then_a_tagger_is_saved_as_a_tagger() {
    let classifier = fitted(&sequence(2), &options(Trainable::Head), &labelled(22, 1), None).snapshot().unwrap();
    let tagger = fitted(&classifier, &tagging(""), &tagged(22, 5, 4), None).snapshot().unwrap();
    let root = tempdir().unwrap();
    let place = root.path().join("tagger");
    tagger.save(&place).unwrap();
    let again = open(&place, 2);
    assert_eq!((again.labels(), tags(&again)), (tagger.labels(), tags(&tagger)));
    let back = fitted(&tagger, &options(Trainable::Head), &labelled(22, 1), None).snapshot().unwrap();
    let place = root.path().join("classifier");
    back.save(&place).unwrap();
    let again = open(&place, 2);
    assert_eq!((again.labels(), answers(&again)), (back.labels(), answers(&back)));
}
