//! What callers hand in: handles, arrays, text, token ids.

use std::ffi::{CStr, c_char};
use std::path::Path;

use super::cloze_model;
use crate::engine::{Input, Model};
use crate::error::{Error, Result};

pub const CLOZE_NUL: usize = usize::MAX;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_input {
    pub text: *const c_char,
    pub text_size: usize,
    pub pair: *const c_char,
    pub pair_size: usize,
    pub ids: *const i32,
    pub types: *const i32,
    pub id_count: usize,
}

/// A number of C as an index; every platform that can map a model has 32 bits at least.
pub(super) fn index(number: u32) -> usize {
    number as usize
}

/// What a pointer points to.
///
/// # Safety
///
/// The header's promise for `pointer`, for as long as `'a`.
pub(super) unsafe fn reference<'a, T>(name: &str, pointer: *const T) -> Result<&'a T> {
    if pointer.is_null() {
        return Err(Error::argument(format!("{name}: a null pointer")));
    }
    if !pointer.is_aligned() {
        return Err(Error::argument(format!("{name}: a pointer not aligned to {} bytes", align_of::<T>())));
    }
    // SAFETY: neither NULL nor unaligned; the caller's promise for the rest.
    Ok(unsafe { &*pointer })
}

/// The model behind a handle.
///
/// # Safety
///
/// The header's promise for `model`, for as long as `'a`.
pub(super) unsafe fn model<'a>(model: *const cloze_model) -> Result<&'a Model> {
    // SAFETY: the caller's promise.
    Ok(&unsafe { reference("model", model) }?.0)
}

/// `count` elements; NULL is fine for none.
///
/// # Safety
///
/// The header's promise for `pointer` and `count`, for as long as `'a`.
pub(super) unsafe fn array<'a, T>(name: &str, pointer: *const T, count: usize) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if count > isize::MAX as usize / size_of::<T>() {
        return Err(Error::argument(format!("{name}: {count} elements, more than memory holds")));
    }
    // SAFETY: the caller's promise; the first element is checked for NULL and alignment.
    let first: *const T = unsafe { reference(name, pointer) }?;
    // SAFETY: the caller's promise for `count` elements, which fit an address space.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

/// A string that ends with NUL.
///
/// # Safety
///
/// The header's promise for `pointer`, for as long as `'a`.
pub(super) unsafe fn c_string<'a>(name: &str, pointer: *const c_char) -> Result<&'a CStr> {
    // SAFETY: the caller's promise; `reference` checks for NULL.
    unsafe { reference(name, pointer).map(|_| CStr::from_ptr(pointer)) }
}

/// A string that ends with NUL, or NULL for none.
///
/// # Safety
///
/// `pointer` is NULL or the header's promise holds for it, for as long as `'a`.
pub(super) unsafe fn optional_string<'a>(name: &str, pointer: *const c_char) -> Result<Option<&'a str>> {
    // SAFETY: the caller's promise.
    if pointer.is_null() { Ok(None) } else { unsafe { text(name, pointer, CLOZE_NUL) }.map(Some) }
}

/// `count` strings that end with NUL.
///
/// # Safety
///
/// The header's promise for `pointer`, `count` and each string.
pub(super) unsafe fn c_strings(name: &str, pointer: *const *const c_char, count: usize) -> Result<Vec<String>> {
    // SAFETY: the caller's promise.
    let pointers = unsafe { array(name, pointer, count) }?.iter().enumerate();
    // SAFETY: the caller's promise.
    let own = |(place, &one)| unsafe { text(&format!("{name}[{place}]"), one, CLOZE_NUL) }.map(str::to_owned);
    pointers.map(own).collect()
}

/// A path as the system has it: any bytes on Unix, elsewhere UTF-8, of which its calls make UTF-16.
///
/// # Safety
///
/// The header's promise for `pointer`, for as long as `'a`.
pub(super) unsafe fn path_of<'a>(name: &str, pointer: *const c_char) -> Result<&'a Path> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        // SAFETY: the caller's promise.
        let bytes = unsafe { c_string(name, pointer) }?.to_bytes();
        Ok(Path::new(std::ffi::OsStr::from_bytes(bytes)))
    }
    #[cfg(not(unix))]
    {
        // SAFETY: the caller's promise.
        unsafe { text(name, pointer, CLOZE_NUL) }.map(Path::new)
    }
}

/// Text of `size` bytes, or up to its NUL where that is [`CLOZE_NUL`]. Not UTF-8 is `InvalidInput` that names the byte.
///
/// # Safety
///
/// The header's promise for `pointer` and `size`, for as long as `'a`.
pub(super) unsafe fn text<'a>(name: &str, pointer: *const c_char, size: usize) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    let bytes = unsafe {
        match size {
            CLOZE_NUL => c_string(name, pointer)?.to_bytes(),
            size => array(name, pointer.cast::<u8>(), size)?,
        }
    };
    std::str::from_utf8(bytes)
        .map_err(|e| Error::input(format!("{name}: not UTF-8 at byte {} of {}", e.valid_up_to(), bytes.len())))
}

/// Numbers that C hands over signed; a negative one is `InvalidInput` that names it.
///
/// # Safety
///
/// The header's promise for `pointer` and `count`, for as long as `'a`.
pub(super) unsafe fn numbers<'a>(name: &str, pointer: *const i32, count: usize) -> Result<&'a [u32]> {
    // SAFETY: the caller's promise; the two types differ in sign only.
    let numbers = unsafe { array(name, pointer.cast::<u32>(), count) }?;
    match numbers.iter().position(|&number| number > i32::MAX as u32) {
        None => Ok(numbers),
        Some(place) => Err(Error::input(format!("{name}[{place}]: {}, below 0", numbers[place].cast_signed()))),
    }
}

/// One id that may be left out; a negative one is `InvalidInput`.
///
/// # Safety
///
/// `pointer` is NULL or the header's promise holds for it.
pub(super) unsafe fn optional_id(name: &str, pointer: *const i32) -> Result<Option<u32>> {
    // SAFETY: the caller's promise, for one element or none.
    let ids = unsafe { numbers(name, pointer, usize::from(!pointer.is_null())) }?;
    Ok(ids.first().copied())
}

/// The inputs of a call.
///
/// # Safety
///
/// The header's promise for `inputs`, `count` and what they point to, for as long as `'a`.
pub(super) unsafe fn inputs<'a>(inputs: *const cloze_input, count: usize) -> Result<Vec<Input<'a>>> {
    // SAFETY: the caller's promise.
    let inputs = unsafe { array("inputs", inputs, count) }?;
    if u32::try_from(count).is_err() {
        return Err(Error::argument(format!("inputs: {count} of them, at most {} in one call", u32::MAX)));
    }
    // SAFETY: the caller's promise.
    let read = |(place, input)| unsafe { one(input) }.map_err(|e: Error| e.within(format!("input {place}")));
    inputs.iter().enumerate().map(read).collect()
}

/// # Safety
///
/// The header's promise for what `input` points to, for as long as `'a`.
unsafe fn one<'a>(input: &cloze_input) -> Result<Input<'a>> {
    let &cloze_input { text: first, text_size, pair, pair_size, ids, types, id_count } = input;
    match (first.is_null(), ids.is_null()) {
        (true, true) => Err(Error::argument("neither text nor ids, expected one of them")),
        (false, false) => Err(Error::argument("both text and ids, expected one of them")),
        (true, false) if !pair.is_null() => Err(Error::argument("a pair without a text")),
        (false, true) if !types.is_null() => Err(Error::argument("types without ids")),
        // SAFETY: the caller's promise.
        (false, true) => unsafe {
            let first = text("text", first, text_size)?;
            if pair.is_null() {
                return Ok(Input::Text(first));
            }
            Ok(Input::Pair(first, text("pair", pair, pair_size)?))
        },
        // SAFETY: the caller's promise; NULL types are none.
        (true, false) => unsafe {
            let type_count = if types.is_null() { 0 } else { id_count };
            Ok(Input::Tokens { ids: numbers("ids", ids, id_count)?, types: numbers("types", types, type_count)? })
        },
    }
}
