//! Attention cut into pieces of work, as `Piece` in `kernels/attention.cuh` has them.

use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;

use crate::batch::Selection;
use crate::device::cuda::{Cuda, Indices};
use crate::error::Result;
use crate::ops::attention::Direction;

/// Queries or keys of a piece.
const TILE: usize = 64;

/// Numbers of a piece: first key, end of keys, first query, end of queries, start.
type Piece = [usize; 5];

/// How the queries of a piece are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they follow each other.
    Packed,
    /// One a position, so that distances to keys are those of a square; some places are empty.
    Placed,
}

/// Sequences, queries in them, and which keys those see.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// First row of every sequence, then their number.
    pub offsets: &'a [usize],
    /// Rows of the queries.
    pub rows: &'a Selection,
    /// Which keys they see.
    pub direction: Direction,
}

impl Work<'_> {
    /// Keys and queries of every sequence.
    fn sequences(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + '_ {
        let range = |pair: &[usize]| pair[0]..pair[1];
        self.offsets.windows(2).map(range).zip(self.rows.offsets().windows(2).map(range))
    }

    /// End of the keys that are seen by some queries of one sequence.
    fn end_of_keys(&self, keys: &Range<usize>, queries: &Range<usize>) -> usize {
        match (self.direction, queries.is_empty()) {
            (Direction::Bidirectional, _) => keys.end,
            (Direction::Causal, true) => keys.start,
            (Direction::Causal, false) => keys.end.min(self.rows.rows()[queries.end - 1] + 1),
        }
    }

    /// The first of some queries of one sequence that belongs to token row `row` or a later one.
    fn first_from(&self, queries: &Range<usize>, row: usize) -> usize {
        queries.start + self.rows.rows()[queries.clone()].partition_point(|&query| query < row)
    }

    /// Queries, by tiles; the ones with most keys first, for they take longest.
    pub fn of_queries(&self, order: Order) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (keys, queries) in self.sequences() {
            let mut push = |queries: Range<usize>, start| {
                if !queries.is_empty() {
                    pieces.push([keys.start, self.end_of_keys(&keys, &queries), queries.start, queries.end, start]);
                }
            };
            match order {
                Order::Packed => {
                    for first in queries.clone().step_by(TILE) {
                        push(first..queries.end.min(first + TILE), 0);
                    }
                }
                Order::Placed => {
                    for place in keys.clone().step_by(TILE) {
                        let first = self.first_from(&queries, place);
                        push(first..self.first_from(&queries, place + TILE), place - keys.start);
                    }
                }
            }
        }
        pieces.sort_by_key(|&[first, end, ..]| std::cmp::Reverse(end - first));
        pieces
    }

    /// Keys, by tiles, and all queries that may see any of a tile; the ones with most queries first.
    pub fn of_keys(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (keys, queries) in self.sequences() {
            for tile in keys.clone().step_by(TILE) {
                let first = match self.direction {
                    Direction::Bidirectional => queries.start,
                    Direction::Causal => self.first_from(&queries, tile),
                };
                pieces.push([keys.start, keys.end, first, queries.end, tile - keys.start]);
            }
        }
        pieces.sort_by_key(|&[_, _, first, end, _]| std::cmp::Reverse(end - first));
        pieces
    }

    /// Whole sequences, without keys that nothing sees.
    pub fn of_sequences(&self) -> Vec<Piece> {
        self.sequences()
            .map(|(keys, queries)| [keys.start, self.end_of_keys(&keys, &queries), queries.start, queries.end, 0])
            .collect()
    }

    /// Lists of pieces in a device's memory, and the rows of the queries.
    pub fn upload<const N: usize>(&self, device: &Cuda, lists: [Vec<Piece>; N]) -> Result<Pieces<N>> {
        let counts = lists.each_ref().map(Vec::len);
        let mut numbers: Vec<usize> = lists.iter().flatten().flatten().copied().collect();
        let before = numbers.len();
        // Queries of all rows are their own rows.
        let every = self.rows.len() == self.offsets.last().copied().unwrap_or(0);
        if !every {
            numbers.extend(self.rows.rows());
        }
        let indices = device.indices(&numbers)?;
        let at = |number: usize| indices.pointer() + (number * size_of::<u32>()) as u64;
        let mut first = 0;
        let pointers = counts.map(|count| {
            let pointer = at(first);
            first += count * size_of::<Piece>() / size_of::<usize>();
            pointer
        });
        let rows = if every { 0 } else { at(before) };
        Ok(Pieces { counts, pointers, rows, _indices: indices })
    }
}

/// Lists of pieces in a device's memory.
pub struct Pieces<const N: usize> {
    /// How many pieces each list has.
    pub counts: [usize; N],
    /// Where each list begins.
    pub pointers: [CUdeviceptr; N],
    /// The token rows of the queries; null where they are all rows.
    pub rows: CUdeviceptr,
    _indices: Arc<Indices>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    fn batch(lengths: &[usize]) -> Batch {
        let mut batch = Batch::new();
        lengths.iter().for_each(|&n| batch.push(&vec![0; n], &vec![0; n]).unwrap());
        batch
    }

    #[test]
    fn queries_of_all_rows_are_tiles_of_their_sequences() {
        let batch = batch(&[3, 130]);
        let work = |direction| (Selection::all(&batch), direction);
        let (rows, direction) = work(Direction::Bidirectional);
        let both = Work { offsets: batch.offsets(), rows: &rows, direction };
        let packed = vec![[3, 133, 3, 67, 0], [3, 133, 67, 131, 0], [3, 133, 131, 133, 0], [0, 3, 0, 3, 0]];
        assert_eq!(both.of_queries(Order::Packed), packed);
        let starts: Vec<usize> = both.of_queries(Order::Placed).iter().map(|piece| piece[4]).collect();
        assert_eq!(starts, [0, 64, 128, 0]);
        let causal = Work { direction: Direction::Causal, ..both };
        let expected = vec![[3, 133, 131, 133, 0], [3, 131, 67, 131, 0], [3, 67, 3, 67, 0], [0, 3, 0, 3, 0]];
        assert_eq!(causal.of_queries(Order::Packed), expected);
        assert_eq!(
            causal.of_keys(),
            [[3, 133, 3, 133, 0], [3, 133, 67, 133, 64], [0, 3, 0, 3, 0], [3, 133, 131, 133, 128]]
        );
    }

    #[test]
    fn selected_queries_lie_together_or_at_their_positions() {
        let batch = batch(&[70, 4, 200]);
        let rows = Selection::positions(&batch, &[vec![5, 69], vec![], vec![0, 1, 64, 199]]).unwrap();
        let work = Work { offsets: batch.offsets(), rows: &rows, direction: Direction::Causal };
        assert_eq!(work.of_queries(Order::Packed), [[74, 274, 2, 6, 0], [0, 70, 0, 2, 0]]);
        let placed = [[74, 274, 5, 6, 192], [0, 70, 1, 2, 64], [74, 139, 4, 5, 64], [0, 6, 0, 1, 0], [74, 76, 2, 4, 0]];
        assert_eq!(work.of_queries(Order::Placed), placed);
        // Keys that no query sees have a gradient too: zero.
        let keys = work.of_keys();
        assert_eq!(keys.len(), 2 + 1 + 4);
        assert!(keys.contains(&[70, 74, 2, 2, 0]) && keys.contains(&[74, 274, 5, 6, 128]));
        assert_eq!(work.of_sequences(), [[0, 70, 0, 2, 0], [70, 70, 2, 2, 0], [74, 274, 2, 6, 0]]);
    }
}
