//! Option structs, which begin with their size: an old caller's lack the last fields, a newer caller's have more.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use super::cancel::{Watch, cloze_progress};
use super::{cloze_cancel, inputs};
use crate::engine::{Overflow, TextOptions};
use crate::error::{Error, Result};

pub const CLOZE_TEXT_PLAIN: u32 = 1;
pub const CLOZE_TEXT_TRUNCATE: u32 = 2;
pub const CLOZE_TEXT_REFUSE: u32 = 4;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_call_options {
    pub size: u32,
    pub text: u32,
    pub max_tokens: u32,
    pub reserved: u32,
    pub cancel: *const cloze_cancel,
    pub progress: cloze_progress,
    pub user: *mut c_void,
}

/// A struct that begins with its own size.
///
/// # Safety
///
/// `repr(C)` without padding, the first field is `size: u32`, and all bytes zero are a valid value.
pub(super) unsafe trait Sized32: Copy {
    /// The name in C.
    const NAME: &'static str;
}

// SAFETY: as `tests/abi.rs` proves of the layout; the other fields are integers, raw pointers and optional functions.
unsafe impl Sized32 for cloze_call_options {
    const NAME: &'static str = "cloze_call_options";
}

/// No struct of options comes near this: a size beyond it is one that nobody set.
const LARGEST: usize = 4096;

/// The size that the caller's struct claims to have.
///
/// # Safety
///
/// `sized` is valid for reads of its first field, which is at least true of any struct that the header's promise covers.
pub(super) unsafe fn claimed<T: Sized32>(sized: *const T) -> Result<usize> {
    // SAFETY: the caller's promise.
    let size = unsafe { sized.cast::<u32>().read_unaligned() } as usize;
    if !(4..=LARGEST).contains(&size) || !size.is_multiple_of(4) {
        let name = T::NAME;
        return Err(Error::argument(format!("{name}.size: {size}, expected sizeof({name})")));
    }
    Ok(size)
}

/// A copy of the caller's options in which the fields that the caller does not know are zero; all zeros for NULL.
///
/// # Safety
///
/// `options` is NULL or points to as many initialised bytes as its first field says.
pub(super) unsafe fn read<T: Sized32>(options: *const T) -> Result<T> {
    let mut own = MaybeUninit::<T>::zeroed();
    if !options.is_null() {
        // SAFETY: the caller's promise covers the first field.
        let size = unsafe { claimed(options) }?;
        let known = size.min(size_of::<T>());
        // SAFETY: the caller's promise: `size` bytes are there. `own` has room for `known` of them.
        let tail = unsafe {
            options.cast::<u8>().copy_to_nonoverlapping(own.as_mut_ptr().cast(), known);
            std::slice::from_raw_parts(options.cast::<u8>().add(known), size - known)
        };
        if let Some(place) = tail.iter().position(|&byte| byte != 0) {
            return Err(Error::argument(format!(
                "{}: byte {} is set, this library knows {} bytes: it is older than the header you compiled with",
                T::NAME,
                known + place,
                known
            )));
        }
    }
    // SAFETY: zeros are valid by the trait, and the caller's fields are what its struct holds.
    Ok(unsafe { own.assume_init() })
}

/// The choice that `number` stands for.
pub(super) fn choice<T: Copy>(field: &str, number: u32, choices: &[T]) -> Result<T> {
    let found = usize::try_from(number).ok().and_then(|number| choices.get(number).copied());
    found.ok_or_else(|| Error::argument(format!("{field}: {number}, expected 0 to {}", choices.len() - 1)))
}

/// A field that is 0 or 1.
pub(super) fn switch(field: &str, number: u32) -> Result<bool> {
    choice(field, number, &[false, true])
}

/// A field that later versions may use.
pub(super) fn reserved(field: &str, number: u32) -> Result<()> {
    if number == 0 { Ok(()) } else { Err(Error::argument(format!("{field}: {number}, expected 0"))) }
}

/// The fields `text` and `max_tokens` of the struct `name`.
pub(super) fn text<'a>(name: &str, text: u32, max_tokens: u32) -> Result<TextOptions<'a>> {
    let known = CLOZE_TEXT_PLAIN | CLOZE_TEXT_TRUNCATE | CLOZE_TEXT_REFUSE;
    if text & !known != 0 {
        return Err(Error::argument(format!("{name}.text: unknown bits {:#x} in {text:#x}", text & !known)));
    }
    let overflow = match (text & CLOZE_TEXT_TRUNCATE != 0, text & CLOZE_TEXT_REFUSE != 0) {
        (true, true) => {
            return Err(Error::argument(format!("{name}.text: CLOZE_TEXT_TRUNCATE and CLOZE_TEXT_REFUSE together")));
        }
        (true, false) => Some(Overflow::Truncate),
        (false, true) => Some(Overflow::Refuse),
        (false, false) => None,
    };
    let max_tokens = inputs::index(max_tokens);
    Ok(TextOptions { plain: text & CLOZE_TEXT_PLAIN != 0, overflow, max_tokens, prompt: None })
}

impl cloze_call_options {
    /// How text is read and what watches the call.
    ///
    /// # Safety
    ///
    /// The header's promise for `options` and the pointers in it.
    pub(super) unsafe fn take<'a>(options: *const Self) -> Result<(TextOptions<'a>, Watch)> {
        // SAFETY: the caller's promise.
        let own = unsafe { read(options) }?;
        reserved("cloze_call_options.reserved", own.reserved)?;
        let text = text(Self::NAME, own.text, own.max_tokens)?;
        // SAFETY: the caller's promise.
        Ok((text, unsafe { Watch::new(own.cancel, own.progress, own.user) }))
    }

    /// Most tokens, and what watches the call, where examples are read as their trainer reads them.
    ///
    /// # Safety
    ///
    /// The header's promise for `options` and the pointers in it.
    pub(super) unsafe fn take_for_examples(options: *const Self) -> Result<(usize, Watch)> {
        // SAFETY: the caller's promise.
        let own = unsafe { read(options) }?;
        reserved("cloze_call_options.reserved", own.reserved)?;
        reserved("cloze_call_options.text", own.text)?;
        // SAFETY: the caller's promise.
        Ok((inputs::index(own.max_tokens), unsafe { Watch::new(own.cancel, own.progress, own.user) }))
    }
}
