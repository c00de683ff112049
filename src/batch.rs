//! The ragged batch: token rows laid end to end, and rows chosen from it. No padding exists anywhere.

use std::ops::Range;

use crate::error::{Error, Result};

/// Token ids of one sequence, special tokens included, and the segment of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Ids.
    pub ids: Vec<u32>,
    /// Segments; as many as ids.
    pub types: Vec<u32>,
}

/// S token sequences laid end to end as T rows.
///
/// Invariants: every sequence has at least one token; `ids` and `types` have T entries; `offsets` has S + 1 entries,
/// starts at 0, rises strictly and ends at T; `first_positions` has S entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    ids: Vec<u32>,
    types: Vec<u32>,
    offsets: Vec<usize>,
    first_positions: Vec<usize>,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// A batch of no sequences.
    pub fn new() -> Self {
        Self { ids: Vec::new(), types: Vec::new(), offsets: vec![0], first_positions: Vec::new() }
    }

    /// Appends one sequence of token ids and their segment ids.
    ///
    /// Fails when the sequence is empty or the two lengths differ.
    pub fn push(&mut self, ids: &[u32], types: &[u32]) -> Result<()> {
        self.push_from(0, ids, types)
    }

    /// Appends the continuation of a sequence of which `position` tokens came before.
    ///
    /// Fails as [`Batch::push`] does.
    pub fn push_from(&mut self, position: usize, ids: &[u32], types: &[u32]) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::input("empty token sequence: at least one token is needed"));
        }
        if ids.len() != types.len() {
            return Err(Error::input(format!("{} token ids but {} type ids", ids.len(), types.len())));
        }
        self.ids.extend_from_slice(ids);
        self.types.extend_from_slice(types);
        self.offsets.push(self.ids.len());
        self.first_positions.push(position);
        Ok(())
    }

    /// The given sequences, in order. Fails as [`Batch::push`] does.
    pub fn of<'a>(sequences: impl IntoIterator<Item = &'a Tokens>) -> Result<Self> {
        let mut batch = Self::new();
        for tokens in sequences {
            batch.push(&tokens.ids, &tokens.types)?;
        }
        Ok(batch)
    }

    /// Number of sequences, S.
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of token rows, T.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Token ids, `[T]`.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Segment ids, `[T]`.
    pub fn types(&self) -> &[u32] {
        &self.types
    }

    /// First row of every sequence, then T: `[S + 1]`.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Rows of sequence `index`.
    pub fn rows(&self, index: usize) -> Range<usize> {
        self.offsets[index]..self.offsets[index + 1]
    }

    /// Positions of the tokens of sequence `index`: from 0 on, unless it continues one.
    pub fn positions(&self, index: usize) -> Range<usize> {
        let first = self.first_positions[index];
        first..first.saturating_add(self.rows(index).len())
    }

    /// The end of the furthest positions: the length of the longest sequence, where none continues another.
    pub fn longest(&self) -> usize {
        (0..self.sequences()).map(|sequence| self.positions(sequence).end).max().unwrap_or(0)
    }
}

/// Rows of a [`Batch`] that are asked for, grouped by sequence.
///
/// Invariants: `offsets` has S + 1 entries, starts at 0, never falls and ends at `rows.len()`; the rows of one group
/// belong to that sequence and rise strictly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    rows: Vec<usize>,
    offsets: Vec<usize>,
}

impl Selection {
    /// Every row.
    pub fn all(batch: &Batch) -> Self {
        Self { rows: (0..batch.tokens()).collect(), offsets: batch.offsets().to_vec() }
    }

    /// The first row of every sequence: BERT's `[CLS]`.
    pub fn first(batch: &Batch) -> Self {
        Self { rows: batch.offsets()[..batch.sequences()].to_vec(), offsets: (0..=batch.sequences()).collect() }
    }

    /// The given positions within each sequence; one list a sequence, each rising strictly.
    pub fn positions<P: AsRef<[usize]>>(batch: &Batch, positions: &[P]) -> Result<Self> {
        Self::within(batch.offsets(), positions)
    }

    /// As [`Selection::positions`], of rows that lie as `offsets` `[S + 1]` says.
    pub fn within<P: AsRef<[usize]>>(offsets: &[usize], positions: &[P]) -> Result<Self> {
        let sequences = offsets.len().saturating_sub(1);
        if positions.len() != sequences {
            return Err(Error::argument(format!("{} lists of positions for {sequences} sequences", positions.len())));
        }
        let mut selection = Self { rows: Vec::new(), offsets: vec![0] };
        for (index, (list, pair)) in positions.iter().zip(offsets.windows(2)).enumerate() {
            let rows = pair[0]..pair[1];
            let mut previous = None;
            for &position in list.as_ref() {
                if position >= rows.len() {
                    return Err(Error::argument(format!(
                        "position {position} in sequence {index} of {} tokens",
                        rows.len()
                    )));
                }
                if previous.is_some_and(|p| p >= position) {
                    return Err(Error::argument(format!("positions of sequence {index} do not rise at {position}")));
                }
                previous = Some(position);
                selection.rows.push(rows.start + position);
            }
            selection.offsets.push(selection.rows.len());
        }
        Ok(selection)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no row is selected.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Row indices into the batch, ascending.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Where each sequence's rows begin in [`Selection::rows`], then the total: `[S + 1]`.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lengths: &[usize]) -> Batch {
        let mut batch = Batch::new();
        for &n in lengths {
            batch.push(&vec![7; n], &vec![0; n]).unwrap();
        }
        batch
    }

    #[test]
    fn sequences_lie_end_to_end() {
        let batch = batch(&[2, 1, 3]);
        assert_eq!((batch.sequences(), batch.tokens()), (3, 6));
        assert_eq!(batch.offsets(), [0, 2, 3, 6]);
        assert_eq!(batch.rows(2), 3..6);
    }

    #[test]
    fn continuations_have_later_positions() {
        let mut batch = batch(&[2]);
        batch.push_from(5, &[1, 2, 3], &[0; 3]).unwrap();
        assert_eq!((batch.positions(0), batch.positions(1)), (0..2, 5..8));
        assert_eq!((batch.rows(1), batch.longest()), (2..5, 8));
        assert_eq!(Batch::new().longest(), 0);
    }

    #[test]
    fn empty_and_uneven_sequences_are_refused_and_change_nothing() {
        let mut batch = batch(&[2]);
        assert!(batch.push(&[], &[]).is_err());
        assert!(batch.push(&[1, 2], &[0]).is_err());
        assert_eq!(batch.offsets(), [0, 2]);
        assert_eq!(batch.tokens(), 2);
    }

    #[test]
    fn selections_are_grouped_by_sequence() {
        let batch = batch(&[3, 2, 4]);
        assert_eq!(Selection::first(&batch).rows(), [0, 3, 5]);
        assert_eq!(Selection::all(&batch).len(), 9);
        let chosen = Selection::positions(&batch, &[vec![2], vec![], vec![0, 3]]).unwrap();
        assert_eq!(chosen.rows(), [2, 5, 8]);
        assert_eq!(chosen.offsets(), [0, 1, 1, 3]);
    }

    #[test]
    fn positions_outside_or_out_of_order_are_refused() {
        let batch = batch(&[3]);
        assert!(Selection::positions(&batch, &[vec![3]]).is_err());
        assert!(Selection::positions(&batch, &[vec![1, 1]]).is_err());
        assert!(Selection::positions(&batch, &[vec![0], vec![0]]).is_err());
    }
}
