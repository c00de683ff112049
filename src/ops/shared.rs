//! Output rows that several worker threads write at once, each its own part.

use std::marker::PhantomData;

/// A row-major matrix borrowed exclusively, handed out to threads in disjoint pieces.
pub struct SharedRows<'a> {
    start: *mut f32,
    rows: usize,
    stride: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointer comes from an exclusive borrow, f32 may be sent, and every access is `unsafe` with the duty to
// keep pieces disjoint.
unsafe impl Send for SharedRows<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedRows<'_> {}

impl<'a> SharedRows<'a> {
    /// The rows of `values`, `stride` values each.
    pub fn new(values: &'a mut [f32], stride: usize) -> Self {
        let rows = values.len().checked_div(stride).unwrap_or(0);
        Self { start: values.as_mut_ptr(), rows, stride, borrow: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Address of one value; the row's remaining values follow.
    ///
    /// # Safety
    /// What is reached from it and written is reached by no other thread meanwhile.
    #[inline(always)]
    pub unsafe fn at(&self, row: usize, column: usize) -> *mut f32 {
        assert!(row < self.rows && column < self.stride);
        // SAFETY: within the borrowed values by the line above.
        unsafe { self.start.add(row * self.stride + column) }
    }

    /// Neighbouring rows.
    ///
    /// # Safety
    /// Nothing writes any of these values while the result lives.
    pub unsafe fn rows_from(&self, first: usize, count: usize) -> &[f32] {
        assert!(first <= self.rows && count <= self.rows - first);
        // SAFETY: within the borrowed values by the line above, initialised, and not written by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.add(first * self.stride), count * self.stride) }
    }

    /// Neighbouring rows, to write.
    ///
    /// # Safety
    /// No other reference to any of these values exists while the result lives.
    #[allow(clippy::mut_from_ref)] // disjointness is the caller's promise
    pub unsafe fn rows_from_mut(&self, first: usize, count: usize) -> &mut [f32] {
        assert!(first <= self.rows && count <= self.rows - first);
        // SAFETY: within the borrowed values by the line above, initialised, and exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first * self.stride), count * self.stride) }
    }

    /// Part of one row.
    ///
    /// # Safety
    /// No other reference to any of these values exists while the result lives.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // disjointness is the caller's promise
    pub unsafe fn row(&self, row: usize, column: usize, count: usize) -> &mut [f32] {
        assert!(row < self.rows && column + count <= self.stride);
        // SAFETY: within the borrowed values by the line above, initialised, and exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride + column), count) }
    }
}
