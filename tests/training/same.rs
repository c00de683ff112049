//! The same seed gives the same bits, whatever the threads, the caches and the memory.

use cloze::bert::Keep;
use cloze::engine::{LoraOptions, TrainOptions, Trainable};

use crate::cases::{albert, bits, fitted, labelled, options, sequence};

const ALL: [Trainable; 5] = [Trainable::Head, Trainable::Top(1), Trainable::Layers, Trainable::All, Trainable::Lora];

/// With dropout of 0.1 from the folder, accumulation, grouping by length and, of pairs, their own dropout.
fn variant(trainable: Trainable) -> TrainOptions {
    let targets = vec!["all-linear".to_owned()];
    TrainOptions {
        lora: LoraOptions { rank: 4, dropout: 0.2, targets, ..LoraOptions::default() },
        ..options(trainable)
    }
}

#[test]
fn threads_change_nothing() {
    let (train, dev) = (labelled(22, 1), labelled(7, 2));
    for trainable in ALL {
        let run = |threads| fitted(&sequence(threads), &variant(trainable), &train, Some(&dev));
        let alone = run(1);
        for threads in [2, 3] {
            let other = run(threads);
            assert_eq!(bits(&other), bits(&alone), "{trainable:?} on {threads} threads");
            assert_eq!(other.position(), alone.position(), "{trainable:?} on {threads} threads");
        }
        assert_eq!(alone.position().step, 12);
    }
}

#[test]
fn albert_too() {
    let (train, dev) = (labelled(22, 1), labelled(7, 2));
    for trainable in [Trainable::Top(1), Trainable::Lora] {
        let options = TrainOptions { dropout: Some(0.1), ..variant(trainable) };
        let run = |threads| fitted(&albert(threads), &options, &train, Some(&dev));
        let (one, three) = (run(1), run(3));
        assert_eq!(bits(&one), bits(&three), "{trainable:?}");
        assert_eq!(one.position(), three.position());
    }
}

#[test]
fn the_seed_changes_everything() {
    let train = labelled(22, 1);
    for trainable in ALL {
        let run = |seed| bits(&fitted(&sequence(2), &TrainOptions { seed, ..variant(trainable) }, &train, None));
        assert_eq!(run(7), run(7), "{trainable:?}");
        assert_ne!(run(7), run(8), "{trainable:?}");
    }
}

/// Enough for the hidden states of a few of the examples.
const FEW: u64 = 24 * 4 * 40;

#[test]
fn where_frozen_layers_are_kept_changes_nothing() {
    let (train, dev) = (labelled(22, 1), labelled(7, 2));
    for trainable in [Trainable::Head, Trainable::Top(1)] {
        let run = |cache_memory, cache_file| {
            let options = TrainOptions { cache_memory, cache_file, ..variant(trainable) };
            let trainer = fitted(&sequence(2), &options, &train, Some(&dev));
            (bits(&trainer), trainer.position().clone())
        };
        let nowhere = run(0, 0);
        for (memory, file) in [(1 << 20, 0), (0, 1 << 20), (FEW, 0), (0, FEW), (FEW, FEW), (FEW, 1 << 20)] {
            assert_eq!(run(memory, file), nowhere, "{trainable:?}: {memory} bytes of memory and {file} of a file");
        }
    }
}

#[test]
fn computing_activations_again_changes_nothing() {
    let train = labelled(9, 1);
    for trainable in [Trainable::All, Trainable::Lora] {
        // one example to a batch: a smaller budget cannot cut the passes, it can only keep less
        let options = TrainOptions { batch_size: 1, epochs: 2, ..variant(trainable) };
        let free = fitted(&sequence(2), &options, &train, None);
        assert_eq!(free.memory().passes.keep, Keep::Everything);
        let tight = TrainOptions { memory: free.memory().total() - 1, ..options };
        let tight = fitted(&sequence(2), &tight, &train, None);
        assert_eq!(tight.memory().passes.keep, Keep::Inputs);
        assert_eq!(bits(&tight), bits(&free), "{trainable:?}");
    }
}

#[test]
fn dropout_in_frozen_layers_is_a_switch() {
    let (train, dev) = (labelled(22, 1), labelled(7, 2));
    for trainable in [Trainable::Head, Trainable::Top(1)] {
        let run = |dropout, frozen_dropout| {
            let options = TrainOptions { dropout, frozen_dropout, ..variant(trainable) };
            bits(&fitted(&sequence(2), &options, &train, Some(&dev)))
        };
        assert_ne!(run(None, true), run(None, false), "{trainable:?}: frozen layers have no dropout");
        assert_eq!(run(None, true), run(None, true), "{trainable:?}");
        assert_eq!(run(Some(0.0), true), run(Some(0.0), false), "{trainable:?}: without dropout both are the same");
    }
}
