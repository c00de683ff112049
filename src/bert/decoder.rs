//! Reading from left to right a part at a time: keys and values of what was read are kept, and only new rows are
//! computed.
//!
//! Sequences lie in slots of one capacity, so that the rows of a slot stay where they are while it fills. Causal attention
//! reads none of the free rows behind a sequence.

use crate::batch::{Batch, Selection};
use crate::device::{Device, Hidden, Tensor};
use crate::error::{Error, Result};
use crate::ops::attention::Direction;
use crate::ops::{Ops, assign};

use super::encoder::Encoder;
use super::layer::{Kept, Work};

/// Keys and values of the tokens that some sequences have so far, of every application of a layer.
pub struct Cache<D: Device> {
    /// `[slots · capacity, 2H]`: key and value side by side.
    layers: Vec<Hidden<D>>,
    /// Tokens of every slot.
    lengths: Vec<usize>,
    /// Rows of every slot.
    capacity: usize,
}

/// What is appended to the sequence of one slot.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Number of the slot.
    pub slot: usize,
    /// Token ids; at least one.
    pub ids: &'a [u32],
    /// Segments; as many as ids.
    pub types: &'a [u32],
}

/// Which rows of the parts come out of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Every one.
    All,
    /// The last of each part.
    Last,
}

/// Rows of a slot that is used for the first time.
const FIRST_CAPACITY: usize = 32;

impl<D: Ops> Cache<D> {
    /// A cache of `slots` empty sequences.
    pub fn new(slots: usize) -> Self {
        Self { layers: Vec::new(), lengths: vec![0; slots], capacity: 0 }
    }

    /// Tokens of every slot.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Makes the sequences of `slots`, in that order, those of the cache; one named twice is there twice.
    pub fn select(&mut self, device: &D, slots: &[usize]) -> Result<()> {
        if let Some(slot) = slots.iter().find(|&&slot| slot >= self.lengths.len()) {
            return Err(Error::internal(format!("slot {slot} of a cache of {}", self.lengths.len())));
        }
        self.lay_out(device, slots, self.capacity)
    }

    /// Room for `needed` rows in every slot, at least twice what there was, but no more than `most`.
    fn reserve(&mut self, device: &D, needed: usize, most: usize) -> Result<()> {
        if needed <= self.capacity {
            return Ok(());
        }
        let capacity = needed.max(2 * self.capacity).max(FIRST_CAPACITY).min(most.max(needed));
        self.lay_out(device, &(0..self.lengths.len()).collect::<Vec<_>>(), capacity)
    }

    fn lay_out(&mut self, device: &D, slots: &[usize], capacity: usize) -> Result<()> {
        let rows = |capacity: usize, places: &mut dyn Iterator<Item = (usize, usize)>| -> Vec<usize> {
            places.flat_map(|(place, length)| place * capacity..place * capacity + length).collect()
        };
        let lengths: Vec<usize> = slots.iter().map(|&slot| self.lengths[slot]).collect();
        let from = rows(self.capacity, &mut slots.iter().copied().zip(lengths.iter().copied()));
        let to = rows(capacity, &mut lengths.iter().copied().enumerate());
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let mut moved = Tensor::new(device, slots.len() * capacity, layer.cols())?;
            assign::forward(device, layer, Some(&from), &to, &mut moved)?;
            layers.push(moved);
        }
        (self.layers, self.lengths, self.capacity) = (layers, lengths, capacity);
        Ok(())
    }

    /// First row of every slot, then their number.
    fn offsets(&self) -> Vec<usize> {
        (0..=self.lengths.len()).map(|slot| slot * self.capacity).collect()
    }
}

impl<D: Ops> Encoder<D> {
    /// Appends `parts`, whose slots rise strictly, to their sequences and returns the final hidden states `[R, H]` of the
    /// rows asked for, which are those that [`Encoder::forward`] gives for the whole sequences, to the bit. The last layer
    /// computes no others.
    ///
    /// Fails as [`Encoder::run`] does; the cache then holds what it held.
    pub fn step(&self, device: &D, cache: &mut Cache<D>, parts: &[Part<'_>], asked: Asked) -> Result<Hidden<D>> {
        if self.shape.direction != Direction::Causal {
            return Err(Error::internal("a step of an encoder that is not causal"));
        }
        let mut batch = Batch::new();
        let (mut new, mut last) = (vec![Vec::new(); cache.lengths.len()], vec![Vec::new(); cache.lengths.len()]);
        for (index, part) in parts.iter().enumerate() {
            let Some(&length) =
                cache.lengths.get(part.slot).filter(|_| index == 0 || parts[index - 1].slot < part.slot)
            else {
                return Err(Error::internal(format!("slot {} of a cache of {}", part.slot, cache.lengths.len())));
            };
            batch.push_from(length, part.ids, part.types)?;
            new[part.slot] = batch.positions(index).collect();
            last[part.slot] = vec![batch.positions(index).end - 1];
        }
        self.check_lengths(&batch)?;
        let mut work = Work::new(device)?;
        self.embed(device, &batch, &mut work)?;

        let applications = self.schedule().iter().map(|&group| self.groups[group].len()).sum();
        if cache.layers.is_empty() {
            let empty = |_| Tensor::new(device, 0, 2 * self.shape.hidden);
            cache.layers = (0..applications).map(empty).collect::<Result<_>>()?;
        }
        cache.reserve(device, batch.longest(), self.shape.max_positions)?;
        let offsets = cache.offsets();
        let (rows, last) = (Selection::within(&offsets, &new)?, Selection::within(&offsets, &last)?);
        let every: Vec<usize> = (0..batch.tokens()).collect();
        let ends: Vec<usize> = (0..batch.sequences()).map(|sequence| batch.rows(sequence).end - 1).collect();
        let mut application = 0;
        for (step, &group) in self.schedule().iter().enumerate() {
            for inner in 0..self.groups[group].len() {
                let narrow = asked == Asked::Last && application + 1 == applications;
                let (places, asked) = if narrow { (&ends, &last) } else { (&every, &rows) };
                let key_value = &mut cache.layers[application];
                let kept = Kept { key_value, offsets: &offsets, rows: &rows, asked };
                self.applied(step, inner).step(device, places, kept, &mut work)?;
                application += 1;
            }
        }
        for part in parts {
            cache.lengths[part.slot] += part.ids.len();
        }
        Ok(work.x)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::bert::{Bert, Config};
    use crate::device::Cpu;
    use crate::weights::Weights;

    /// A model of `tests/golden` made a decoder.
    fn decoder(cpu: &Cpu, name: &str) -> Bert<Cpu> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let mut config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        config["is_decoder"] = json!(true);
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        Bert::load(cpu, config, &mut Weights::open(&folder).unwrap()).unwrap()
    }

    fn ids(length: usize, seed: usize) -> Vec<u32> {
        (0..length).map(|i| (5 + (i * 31 + seed * 17) % 90) as u32).collect()
    }

    /// `[T, H]` of the whole sequences at once.
    fn whole(cpu: &Cpu, encoder: &Encoder<Cpu>, sequences: &[Vec<u32>]) -> Vec<Vec<f32>> {
        let mut batch = Batch::new();
        sequences.iter().for_each(|ids| batch.push(ids, &vec![0; ids.len()]).unwrap());
        let hidden = encoder.forward(cpu, &batch, &Selection::all(&batch)).unwrap();
        let values = hidden.to_host(cpu).unwrap();
        let rows = |s: usize| batch.rows(s).start * hidden.cols()..batch.rows(s).end * hidden.cols();
        (0..sequences.len()).map(|s| values[rows(s)].to_vec()).collect()
    }

    #[test]
    fn a_token_at_a_time_gives_the_bits_of_all_at_once() {
        for name in ["pretraining", "odd", "relative_key", "relative_key_query", "bf16"] {
            let cpu = Cpu::new(2).unwrap();
            let bert = decoder(&cpu, name);
            let (encoder, most) = (bert.encoder(), bert.config().max_positions);
            let sequences = [ids(most, 1), ids(1, 2), ids(most / 2 + 1, 3)];
            let expected = whole(&cpu, encoder, &sequences);
            let (mut cache, mut got) = (Cache::new(3), vec![Vec::new(); 3]);
            for position in 0..most {
                let running: Vec<usize> = (0..3).filter(|&s| position < sequences[s].len()).collect();
                let part = |&slot: &usize| Part { slot, ids: &sequences[slot][position..=position], types: &[0] };
                let parts: Vec<Part<'_>> = running.iter().map(part).collect();
                let hidden = encoder.step(&cpu, &mut cache, &parts, Asked::Last).unwrap();
                for (slot, row) in running.iter().zip(hidden.to_host(&cpu).unwrap().chunks(hidden.cols())) {
                    got[*slot].extend_from_slice(row);
                }
            }
            // Every sum runs in one order whatever the number of rows, so nothing is rounded otherwise.
            assert_eq!(got, expected, "{name}");
            let next = Part { slot: 0, ids: &[7], types: &[0] };
            let error = encoder.step(&cpu, &mut cache, &[next], Asked::Last).err().unwrap();
            assert!(error.message().contains(&format!("sequence of {} tokens", most + 1)), "{error}");
            assert_eq!(cache.lengths(), [most, 1, most / 2 + 1]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Parts of any lengths, of any of the sequences.
        #[test]
        fn parts_join_to_whole_sequences(cuts in prop::collection::vec((0usize..3, 1usize..9), 1..12)) {
            let cpu = Cpu::new(2).unwrap();
            let bert = decoder(&cpu, "pretraining");
            let (encoder, most) = (bert.encoder(), bert.config().max_positions);
            let sequences = [ids(most, 1), ids(most, 2), ids(most, 3)];
            let expected = whole(&cpu, encoder, &sequences);
            let mut cache = Cache::new(3);
            let mut lengths = [0; 3];
            for (slot, length) in cuts {
                let from = lengths[slot];
                let to = most.min(from + length);
                if from == to {
                    continue;
                }
                let part = Part { slot, ids: &sequences[slot][from..to], types: &vec![0; to - from] };
                let hidden = encoder.step(&cpu, &mut cache, &[part], Asked::All).unwrap();
                lengths[slot] = to;
                let width = hidden.cols();
                prop_assert_eq!(&hidden.to_host(&cpu).unwrap()[..], &expected[slot][from * width..to * width]);
            }
            prop_assert_eq!(cache.lengths(), lengths);
        }
    }

    #[test]
    fn chosen_slots_go_on_by_themselves() {
        let cpu = Cpu::new(1).unwrap();
        let bert = decoder(&cpu, "pretraining");
        let encoder = bert.encoder();
        let mut cache = Cache::new(2);
        let prompts = [ids(3, 1), ids(5, 2)];
        let part = |slot: usize| Part { slot, ids: &prompts[slot], types: &[0; 5][..prompts[slot].len()] };
        encoder.step(&cpu, &mut cache, &[part(0), part(1)], Asked::Last).unwrap();
        cache.select(&cpu, &[1, 1, 0]).unwrap();
        assert_eq!(cache.lengths(), [5, 5, 3]);
        let next = [ids(2, 7), ids(2, 8), ids(2, 9)];
        let parts = [0, 1, 2].map(|slot| Part { slot, ids: &next[slot], types: &[0, 0] });
        let hidden = encoder.step(&cpu, &mut cache, &parts, Asked::Last).unwrap();
        let joined =
            [[&prompts[1][..], &next[0]], [&prompts[1], &next[1]], [&prompts[0], &next[2]]].map(|p| p.concat());
        let expected = whole(&cpu, encoder, &joined);
        for (row, expected) in hidden.to_host(&cpu).unwrap().chunks(hidden.cols()).zip(&expected) {
            assert_eq!(row, &expected[expected.len() - hidden.cols()..]);
        }
        assert!(cache.select(&cpu, &[3]).is_err());
    }

    #[test]
    fn what_is_no_step_is_refused() {
        let cpu = Cpu::new(1).unwrap();
        let bert = decoder(&cpu, "pretraining");
        let part = |slot| Part { slot, ids: &[5], types: &[0] };
        let mut cache = Cache::new(2);
        assert!(bert.encoder().step(&cpu, &mut cache, &[part(2)], Asked::All).is_err());
        assert!(bert.encoder().step(&cpu, &mut cache, &[part(1), part(0)], Asked::All).is_err());
        let none = Part { slot: 0, ids: &[], types: &[] };
        assert!(bert.encoder().step(&cpu, &mut cache, &[none], Asked::All).is_err());
        assert_eq!(cache.lengths(), [0, 0]);
    }
}
