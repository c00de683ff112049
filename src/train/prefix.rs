//! Hidden states below the lowest layer that trains, computed once an example: memory first, then a scratch file.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use crate::batch::{Batch, Selection};
use crate::bert::Encoder;
use crate::device::Hidden;
use crate::error::{Error, Result};
use crate::ops::Ops;

/// Stored rows of every example of one dataset. What does not fit is computed again when it is needed.
pub struct PrefixCache {
    slots: Vec<Option<Slot>>,
    memory: Vec<f32>,
    /// Most numbers in memory, and in the file.
    memory_limit: usize,
    file_limit: usize,
    file: Option<File>,
    /// Numbers in the file.
    written: usize,
}

#[derive(Clone, Copy)]
enum Slot {
    /// First number in memory, and how many.
    Memory(usize, usize),
    /// The same, in the file.
    File(usize, usize),
}

/// Where a cache may put what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of an unnamed file in the temporary folder.
    pub file: u64,
}

impl PrefixCache {
    /// Nothing stored yet of `examples` examples.
    pub fn new(examples: usize, limits: CacheLimits) -> Self {
        let numbers = |bytes: u64| usize::try_from(bytes / 4).unwrap_or(usize::MAX);
        Self {
            slots: vec![None; examples],
            memory: Vec::new(),
            memory_limit: numbers(limits.memory),
            file_limit: numbers(limits.file),
            file: None,
            written: 0,
        }
    }

    /// The hidden states before step `depth` of L of the rows of `rows`, which are all rows unless `depth` is L. `examples`
    /// are the numbers of the batch's sequences in this cache.
    pub fn states<D: Ops>(
        &mut self,
        device: &D,
        encoder: &Encoder<D>,
        batch: &Batch,
        rows: &Selection,
        depth: usize,
        examples: &[usize],
    ) -> Result<Hidden<D>> {
        let width = encoder.hidden();
        let numbers_of = |index: usize| rows.offsets()[index] * width..rows.offsets()[index + 1] * width;
        let stored = |example: &usize| matches!(self.slots.get(*example), Some(Some(_)));
        if !examples.is_empty() && examples.iter().all(stored) {
            let (mut values, mut complete) = (vec![0.0; rows.len() * width], true);
            for (index, &example) in examples.iter().enumerate() {
                complete = complete && self.read(example, &mut values[numbers_of(index)])?;
            }
            if complete {
                return Hidden::<D>::from_values(device, &values, rows.len(), width);
            }
        }
        let states = encoder.run(device, batch, rows, depth, &mut |_, _| Ok(()))?;
        if self.has_room() {
            let values = states.to_values(device)?;
            for (index, &example) in examples.iter().enumerate() {
                self.store(example, &values[numbers_of(index)]);
            }
        }
        Ok(states)
    }

    /// Whether anything more can be kept.
    fn has_room(&self) -> bool {
        !self.slots.is_empty() && (self.memory.len() < self.memory_limit || self.written < self.file_limit)
    }

    /// Whether the example is stored, and then its numbers.
    fn read(&mut self, example: usize, out: &mut [f32]) -> Result<bool> {
        match self.slots.get(example).copied().flatten() {
            Some(Slot::Memory(first, count)) if count == out.len() => {
                out.copy_from_slice(&self.memory[first..first + count]);
                Ok(true)
            }
            Some(Slot::File(first, count)) if count == out.len() => {
                let Some(file) = &mut self.file else { return Ok(false) };
                read_numbers(file, first, out).map_err(|e| Error::io("scratch file".as_ref(), &e))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Keeps an example's numbers where there is room; a disk that is full is no error.
    fn store(&mut self, example: usize, values: &[f32]) {
        let Some(slot) = self.slots.get_mut(example).filter(|slot| slot.is_none()) else { return };
        if self.memory.len() + values.len() <= self.memory_limit {
            if self.memory.try_reserve(values.len()).is_ok() {
                *slot = Some(Slot::Memory(self.memory.len(), values.len()));
                self.memory.extend_from_slice(values);
            }
            return;
        }
        if self.written + values.len() > self.file_limit {
            return;
        }
        if self.file.is_none() {
            self.file = tempfile::tempfile().ok();
        }
        let written = self.file.as_mut().is_some_and(|file| write_numbers(file, self.written, values).is_ok());
        match written {
            true => {
                *slot = Some(Slot::File(self.written, values.len()));
                self.written += values.len();
            }
            false => self.file_limit = self.written,
        }
    }
}

const NUMBER: usize = size_of::<f32>();

fn write_numbers(file: &mut File, first: usize, values: &[f32]) -> std::io::Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    file.seek(SeekFrom::Start((first * NUMBER) as u64))?;
    file.write_all(&bytes)
}

fn read_numbers(file: &mut File, first: usize, out: &mut [f32]) -> std::io::Result<()> {
    let mut bytes = vec![0; out.len() * NUMBER];
    file.seek(SeekFrom::Start((first * NUMBER) as u64))?;
    std::io::Read::read_exact(file, &mut bytes)?;
    for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(NUMBER)) {
        *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_in_memory_goes_to_the_file_and_the_rest_is_not_kept() {
        let mut cache = PrefixCache::new(4, CacheLimits { memory: 12, file: 12 });
        for example in 0..4 {
            cache.store(example, &[example as f32 + 0.5; 2]);
        }
        let mut out = [0.0; 2];
        assert!(cache.read(0, &mut out).unwrap());
        assert_eq!(out, [0.5; 2]);
        assert!(cache.read(1, &mut out).unwrap());
        assert_eq!(out, [1.5; 2]);
        assert!(matches!(cache.slots[1], Some(Slot::File(0, 2))));
        assert!(!cache.read(2, &mut out).unwrap());
        assert!(!cache.read(3, &mut out).unwrap());
        let mut wrong = [0.0; 3];
        assert!(!cache.read(0, &mut wrong).unwrap());
    }
}
