//! Where results go: memory of the caller, written only by the last step of a successful call.

use std::ffi::c_char;

use super::options::{Sized32, claimed};
use crate::error::{Error, Result, Status};

/// A number of the engine in a field of C.
pub(super) fn field<T: TryFrom<usize>>(number: usize) -> Result<T> {
    T::try_from(number).map_err(|_| Error::internal(format!("{number} does not fit its field")))
}

/// A token id in a field of C.
pub(super) fn id(id: u32) -> Result<i32> {
    i32::try_from(id).map_err(|_| Error::internal(format!("token id {id} does not fit its field")))
}

/// Room for one value.
pub(super) struct Value<T>(*mut T);

impl<T> Value<T> {
    /// # Safety
    ///
    /// The header's promise for `pointer`, until the last use of the result.
    pub unsafe fn new(name: &str, pointer: *mut T) -> Result<Self> {
        check(name, pointer)?;
        Ok(Self(pointer))
    }

    pub fn write(&self, value: T) {
        // SAFETY: the promise of `new`.
        unsafe { self.0.write(value) };
    }
}

/// Room for a struct that begins with its size: the caller may know fewer fields, or more.
pub(super) struct Struct<T> {
    pointer: *mut T,
    size: usize,
}

impl<T: Sized32> Struct<T> {
    /// # Safety
    ///
    /// The header's promise for `pointer`, until the last use of the result: it points to as many bytes as its first field
    /// says.
    pub unsafe fn new(name: &str, pointer: *mut T) -> Result<Self> {
        check(name, pointer)?;
        // SAFETY: the caller's promise.
        Ok(Self { pointer, size: unsafe { claimed(pointer) }? })
    }

    /// Writes all fields but the size; those that this library does not know become zero.
    pub fn write(&self, value: &T) {
        let (first, known) = (size_of::<u32>(), self.size.min(size_of::<T>()));
        let (from, to) = ((&raw const *value).cast::<u8>(), self.pointer.cast::<u8>());
        // SAFETY: the promise of `new`: `size` bytes are there. By the trait `T` begins with a `u32`, and `claimed` gives no
        // size that is less; a `T` has no bytes that are not initialised, and `known` is at most its size.
        unsafe {
            to.add(first).copy_from_nonoverlapping(from.add(first), known - first);
            to.add(known).write_bytes(0, self.size - known);
        }
    }
}

/// Room for `capacity` elements, and for their count where the function has one.
pub(super) struct Array<T> {
    name: &'static str,
    pointer: *mut T,
    capacity: usize,
    count: Option<Value<usize>>,
}

impl<T: Copy> Array<T> {
    /// # Safety
    ///
    /// The header's promise for `pointer`, `capacity` and `count`, until the last use of the result.
    pub unsafe fn new(name: &'static str, pointer: *mut T, capacity: usize, count: *mut usize) -> Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { Ok(Self { count: Some(Value::new("count", count)?), ..Self::uncounted(name, pointer, capacity)? }) }
    }

    /// Of functions whose results are as many as their inputs.
    ///
    /// # Safety
    ///
    /// The header's promise for `pointer` and `capacity`, until the last use of the result.
    pub unsafe fn uncounted(name: &'static str, pointer: *mut T, capacity: usize) -> Result<Self> {
        if capacity > 0 {
            check(name, pointer)?;
        }
        Ok(Self { name, pointer, capacity, count: None })
    }

    /// Fails with `BufferTooSmall`, the needed count written, unless `needed` elements fit.
    pub fn reserve(&self, needed: usize) -> Result<()> {
        if needed <= self.capacity {
            return Ok(());
        }
        if let Some(count) = &self.count {
            count.write(needed);
        }
        Err(too_small(self.name, self.capacity, needed))
    }

    /// Writes the rows one after another, and their total length as the count.
    pub fn write<R: AsRef<[T]>>(&self, rows: &[R]) -> Result<()> {
        let total: usize = rows.iter().map(|row| row.as_ref().len()).sum();
        if total > self.capacity {
            return Err(Error::internal(format!("{}: {total} results, {} were expected", self.name, self.capacity)));
        }
        let mut end = 0;
        for row in rows.iter().map(AsRef::as_ref) {
            // SAFETY: the promise of `new`; `end + row.len()` is at most `total`, which the capacity holds.
            unsafe { self.pointer.add(end).copy_from_nonoverlapping(row.as_ptr(), row.len()) };
            end += row.len();
        }
        if let Some(count) = &self.count {
            count.write(total);
        }
        Ok(())
    }
}

/// Room for a string and its NUL, and for its size without it.
pub(super) struct Text {
    name: &'static str,
    pointer: *mut c_char,
    capacity: usize,
    size: Value<usize>,
}

impl Text {
    /// # Safety
    ///
    /// The header's promise for `pointer`, `capacity` and `size`, until the last use of the result.
    pub unsafe fn new(name: &'static str, pointer: *mut c_char, capacity: usize, size: *mut usize) -> Result<Self> {
        if capacity > 0 {
            check(name, pointer)?;
        }
        // SAFETY: the caller's promise.
        Ok(Self { name, pointer, capacity, size: unsafe { Value::new("size", size) }? })
    }

    /// Writes `text`, or fails with `BufferTooSmall`; its size is written either way.
    pub fn write(&self, text: &str) -> Result<()> {
        self.size.write(text.len());
        if text.len() >= self.capacity {
            return Err(too_small(self.name, self.capacity, text.len() + 1));
        }
        // SAFETY: the promise of `new`; the text and a NUL are at most the capacity.
        unsafe {
            self.pointer.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
            self.pointer.add(text.len()).write(0);
        }
        Ok(())
    }
}

fn check<T>(name: &str, pointer: *mut T) -> Result<()> {
    if pointer.is_null() {
        return Err(Error::argument(format!("{name}: a null pointer")));
    }
    if !pointer.is_aligned() {
        return Err(Error::argument(format!("{name}: a pointer not aligned to {} bytes", align_of::<T>())));
    }
    Ok(())
}

fn too_small(name: &str, capacity: usize, needed: usize) -> Error {
    Error::new(Status::BufferTooSmall, format!("{name}: capacity {capacity}, needed {needed}"))
}
