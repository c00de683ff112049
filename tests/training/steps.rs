//! Step by step from the host, flat buffers, and models handed out on the way.

use std::sync::atomic::{AtomicBool, Ordering};

use cloze::engine::{Dataset, FitRun, LoraOptions, Metrics, Objective, Record, Run, Schedule, TrainOptions, Trainable};
use cloze::error::Status;

use crate::cases::{answers, bits, fitted, labelled, options, refused, sequence, trainer};

fn slice(data: &Dataset, from: usize, to: usize) -> Dataset {
    data.select(&(from..to.min(data.len())).collect::<Vec<_>>()).unwrap()
}

#[test]
fn accumulating_and_applying_is_what_fit_does() {
    let (model, train) = (sequence(2), labelled(22, 1));
    for trainable in [Trainable::Head, Trainable::Top(1), Trainable::All, Trainable::Lora] {
        let options = TrainOptions {
            shuffle: false,
            group_by_length: false,
            lora: LoraOptions { rank: 4, dropout: 0.2, ..LoraOptions::default() },
            ..options(trainable)
        };
        let reference = fitted(&model, &options, &train, None);
        let mut own = trainer(&model, &options);
        let (total, warmup) = (12, 3);
        for step in 0..total {
            let first = (step % 3) as usize * 8;
            let mut losses = Vec::new();
            for first in [first, first + 4] {
                losses.push(own.accumulate(&slice(&train, first, first + 4), None).unwrap());
            }
            let rate = f64::from(options.learning_rate) * Schedule::Linear.factor(step, warmup, total);
            let norm = own.apply(Some(rate as f32)).unwrap();
            let Record::Step(record) = &reference.position().history[step as usize] else { panic!() };
            assert_eq!((losses[0] + losses[1]) / 2.0, record.loss, "{trainable:?} step {step}");
            assert_eq!(norm, record.gradient_norm, "{trainable:?} step {step}");
        }
        assert_eq!(bits(&own), bits(&reference), "{trainable:?}");
        assert_eq!(own.position().step, 12);
    }
}

#[test]
fn parameters_and_gradients_go_out_and_in() {
    let (model, train) = (sequence(2), labelled(22, 1));
    let options = options(Trainable::Top(1));
    let (mut one, mut two) = (trainer(&model, &options), trainer(&model, &options));
    let count = one.parameter_count();
    let named: usize = one.parameter_names().unwrap().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!((named, one.parameters().unwrap().len(), one.gradients().unwrap().len()), (count, count, count));

    // two machines, each with its half of the examples: the mean of their gradients makes the same step on both
    one.accumulate(&slice(&train, 0, 11), None).unwrap();
    two.accumulate(&slice(&train, 11, 22), None).unwrap();
    let (a, b) = (one.gradients().unwrap(), two.gradients().unwrap());
    let mean: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (a + b) / 2.0).collect();
    for trainer in [&mut one, &mut two] {
        trainer.set_gradients(&mean).unwrap();
        assert_eq!(trainer.gradients().unwrap(), mean);
        trainer.apply(None).unwrap();
        assert!(trainer.gradients().unwrap().iter().all(|g| *g == 0.0));
    }
    assert_eq!(bits(&one), bits(&two));
    assert_ne!(bits(&one), bits(&trainer(&model, &options)));

    // parameters carry over, and with them the answers
    let mut three = trainer(&model, &TrainOptions { seed: 5, ..options });
    assert_ne!(bits(&three), bits(&one));
    three.set_parameters(&one.parameters().unwrap()).unwrap();
    assert_eq!(bits(&three), bits(&one));
    assert_eq!(answers(&three.snapshot().unwrap()), answers(&one.snapshot().unwrap()));

    let mut wrong = one.parameters().unwrap();
    refused(
        three.set_parameters(&wrong[1..]),
        Status::InvalidArgument,
        &[&(count - 1).to_string(), &count.to_string()],
    );
    refused(three.set_gradients(&wrong[1..]), Status::InvalidArgument, &["gradients", &count.to_string()]);
    wrong[7] = f32::NAN;
    refused(three.set_parameters(&wrong), Status::NotFinite, &["parameters", "number 7", "NaN"]);
    refused(three.set_gradients(&wrong), Status::NotFinite, &["gradients", "number 7", "NaN"]);
    assert_eq!(bits(&three), bits(&one), "refused parameters changed some");
    refused(three.apply(None), Status::InvalidArgument, &["no gradients"]);
}

#[test]
fn gradients_are_averaged_where_they_lie() {
    let (model, train) = (sequence(2), labelled(22, 1));
    for trainable in [Trainable::Head, Trainable::Top(1), Trainable::All, Trainable::Lora] {
        let options = options(trainable);
        let [mut copied, mut shared] = [trainer(&model, &options), trainer(&model, &options)];
        for trainer in [&mut copied, &mut shared] {
            trainer.accumulate(&slice(&train, 0, 11), None).unwrap();
        }
        let expected = copied.gradients().unwrap();
        let buffers = shared.gradient_buffers().unwrap();
        let names = shared.parameter_names().unwrap();
        let sizes: Vec<usize> = names.iter().map(|(_, shape)| shape.iter().product()).collect();
        assert_eq!(buffers.iter().map(|(_, count)| *count).collect::<Vec<_>>(), sizes, "{trainable:?}");
        let mut flat = Vec::new();
        for (data, count) in buffers {
            // SAFETY: as `gradient_buffers` promises, up to the next call on the trainer.
            let values = unsafe { std::slice::from_raw_parts_mut(data, count) };
            flat.extend_from_slice(values);
            values.iter_mut().for_each(|value| *value *= 0.5);
        }
        assert_eq!(flat, expected, "{trainable:?}");
        copied.set_gradients(&expected.iter().map(|value| 0.5 * value).collect::<Vec<_>>()).unwrap();
        assert_eq!(shared.apply(None).unwrap(), copied.apply(None).unwrap(), "{trainable:?}");
        assert_eq!(bits(&shared), bits(&copied), "{trainable:?}");
    }
}

#[test]
fn a_loop_of_ones_own_goes_on_from_a_checkpoint() {
    let (model, train) = (sequence(2), labelled(24, 1));
    for trainable in [Trainable::Head, Trainable::Top(1), Trainable::All, Trainable::Lora] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = folder.path().join("here");
        // with dropout, which depends on the step
        let options = TrainOptions { dropout: Some(0.1), ..options(trainable) };
        let step = |trainer: &mut cloze::engine::Trainer, step: usize| {
            trainer.accumulate(&slice(&train, 4 * step, 4 * step + 4), None).unwrap();
            trainer.apply(Some(1e-3)).unwrap();
        };
        let mut whole = trainer(&model, &options);
        for number in 0..6 {
            if number == 3 {
                whole.accumulate(&slice(&train, 0, 2), None).unwrap();
                refused(whole.checkpoint(&checkpoint), Status::InvalidArgument, &["accumulated"]);
                assert!(!checkpoint.exists());
                let gradients = vec![0.0; whole.parameter_count()];
                whole.set_gradients(&gradients).unwrap();
                whole.apply(Some(0.0)).unwrap();
                whole.checkpoint(&checkpoint).unwrap();
                whole.checkpoint(&checkpoint).unwrap(); // over the old one
            }
            step(&mut whole, number);
        }
        let mut later = trainer(&model, &options);
        later.resume(&checkpoint).unwrap();
        assert_eq!(later.position().step, 4);
        (3..6).for_each(|number| step(&mut later, number));
        assert_eq!(bits(&later), bits(&whole), "{trainable:?}");
        assert_eq!(later.position().step, whole.position().step);
        let other = TrainOptions { seed: 99, ..options.clone() };
        refused(trainer(&model, &other).resume(&checkpoint), Status::InvalidArgument, &["seed", "99"]);
    }
}

#[test]
fn selections_are_copies_in_the_order_asked_for() {
    let data = labelled(5, 1);
    let some = data.select(&[4, 0, 4]).unwrap();
    let expected: Vec<_> = [4, 0, 4].iter().map(|&number: &usize| data.examples()[number].clone()).collect();
    assert_eq!(some.examples(), expected);
    assert!(data.select(&[]).unwrap().is_empty());
    refused(data.select(&[1, 5]), Status::InvalidArgument, &["number 1 is 5", "less than 5"]);
}

#[test]
fn steps_of_nothing_are_refused() {
    let model = sequence(1);
    let mut trainer = trainer(&model, &options(Trainable::Head));
    refused(trainer.apply(None), Status::InvalidArgument, &["no gradients"]);
    refused(trainer.accumulate(&Dataset::new(), None), Status::InvalidArgument, &["no examples"]);
    trainer.accumulate(&labelled(2, 1), None).unwrap();
    refused(trainer.apply(Some(f32::NAN)), Status::InvalidArgument, &["learning rate NaN"]);
    refused(trainer.fit(&labelled(9, 1), None, FitRun::default()), Status::InvalidArgument, &["accumulated"]);
    trainer.apply(None).unwrap();
    trainer.fit(&labelled(9, 1), None, FitRun::default()).unwrap();
}

#[test]
fn a_snapshot_never_changes_while_training_goes_on() {
    let (model, train) = (sequence(2), labelled(22, 1));
    let base = answers(&model);
    for trainable in [Trainable::Head, Trainable::Top(1), Trainable::All, Trainable::Lora] {
        let mut trainer = trainer(&model, &options(trainable));
        let (mut snapshots, mut seen) = (Vec::new(), Vec::new());
        for first in [0, 8, 16] {
            trainer.accumulate(&slice(&train, first, first + 8), None).unwrap();
            trainer.apply(Some(1e-2)).unwrap();
            snapshots.push(trainer.snapshot().unwrap());
            seen.push(answers(&snapshots[snapshots.len() - 1]));
        }
        assert!(seen[0] != seen[1] && seen[1] != seen[2], "{trainable:?}: nothing was learned");
        drop(trainer);
        for (snapshot, seen) in snapshots.iter().zip(&seen) {
            assert_eq!(&answers(snapshot), seen, "{trainable:?}");
        }
        assert_eq!(answers(&model), base, "{trainable:?}: the model it began from changed");
    }
}

#[test]
fn a_snapshot_answers_while_training_runs() {
    let (model, train) = (sequence(2), labelled(22, 1));
    let mut trainer = trainer(&model, &options(Trainable::All));
    trainer.accumulate(&slice(&train, 0, 8), None).unwrap();
    trainer.apply(None).unwrap();
    let snapshot = trainer.snapshot().unwrap();
    let (expected, done) = (answers(&snapshot), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(answers(&snapshot), expected);
            }
        });
        let trained = trainer.fit(&train, None, FitRun::default());
        done.store(true, Ordering::Relaxed);
        trained.unwrap();
    });
    assert_ne!(answers(&trainer.snapshot().unwrap()), expected);
}

#[test]
fn a_snapshot_can_be_trained_on() {
    let (model, train) = (sequence(2), labelled(22, 1));
    let first = fitted(&model, &options(Trainable::Top(1)), &train, None).snapshot().unwrap();
    let (before, base) = (answers(&first), answers(&model));
    let mut second = trainer(&first, &options(Trainable::All));
    assert_eq!(answers(&second.snapshot().unwrap()), before, "it does not begin where the first ended");
    second.fit(&train, None, FitRun::default()).unwrap();
    assert_ne!(answers(&second.snapshot().unwrap()), before);
    assert_eq!((answers(&first), answers(&model)), (before, base));
    let own = second.evaluate(&train, Run::default()).unwrap();
    let of_model = second.snapshot().unwrap().evaluate(Objective::Classify, &train, 0, Run::default()).unwrap();
    let names = |metrics: &Metrics| metrics.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&own), names(&of_model.metrics));
    for ((name, own), (_, other)) in own.iter().zip(of_model.metrics.iter()) {
        // the two may cut the examples into other passes
        assert!((own - other).abs() < 1e-6, "{name}: {own} and {other}");
    }
}

#[test]
fn evaluating_tells_its_progress_and_stops_when_it_is_told() {
    let mut trainer = trainer(&sequence(1), &options(Trainable::Head));
    let (data, mut seen) = (labelled(300, 1), Vec::new());
    let mut see = |done, of| {
        seen.push((done, of));
        true
    };
    let whole = trainer.evaluate(&data, Run { progress: Some(&mut see), ..Run::default() }).unwrap();
    assert_eq!(seen, [(256, 300), (300, 300)]);
    assert_eq!(whole, trainer.evaluate(&data, Run::default()).unwrap());
    let mut stop = |_, _| false;
    let stopped = trainer.evaluate(&data, Run { progress: Some(&mut stop), ..Run::default() });
    refused(stopped, Status::Cancelled, &["progress"]);
}
