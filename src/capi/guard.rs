//! The boundary: no panic crosses it, and every return tells what happened.

use std::any::Any;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{CLOZE_OK, cloze_error, cloze_status};
use crate::error::{Error, Result};

/// Runs `body`, writes its outcome to `error` and returns its status. A panic becomes `CLOZE_INTERNAL`.
///
/// Unwind safety: a model is immutable, and outputs are written by the last step of a body.
///
/// # Safety
///
/// `error` is NULL or valid for a write.
pub(super) unsafe fn guard(error: *mut cloze_error, body: impl FnOnce() -> Result<()>) -> cloze_status {
    let outcome = catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|panic| Err(Error::internal(format!("panic: {}", message_of(panic.as_ref())))));
    let record = match &outcome {
        Ok(()) => cloze_error { status: CLOZE_OK, message: [0; 252] },
        Err(failure) => cloze_error { status: failure.status().code(), message: cut(failure.message()) },
    };
    if !error.is_null() {
        // SAFETY: not NULL, and the caller's promise; unaligned records are none of ours to judge.
        unsafe { error.write_unaligned(record) };
    }
    record.status
}

/// Runs `body` for the functions that cannot fail; `otherwise` if it panics all the same.
pub(super) fn guard_value<R>(otherwise: R, body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&'static str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without message")
}

/// As much of `message` as fits before a NUL, ending between two characters. A NUL inside becomes a space.
pub(super) fn cut<const N: usize>(message: &str) -> [c_char; N] {
    let mut cut = [0; N];
    let end = (0..cut.len().min(message.len() + 1)).rev().find(|&end| message.is_char_boundary(end)).unwrap_or(0);
    for (to, &from) in cut.iter_mut().zip(&message.as_bytes()[..end]) {
        *to = if from == 0 { b' ' } else { from } as c_char;
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn guarded(body: impl FnOnce() -> Result<()>) -> (cloze_status, cloze_status, String) {
        let mut error = cloze_error { status: -1, message: [1; 252] };
        // SAFETY: a local record.
        let status = unsafe { guard(&mut error, body) };
        // SAFETY: `cut` leaves a NUL at the end.
        let message = unsafe { CStr::from_ptr(error.message.as_ptr()) };
        (status, error.status, message.to_str().unwrap().to_owned())
    }

    #[test]
    fn every_outcome_is_recorded() {
        assert_eq!(guarded(|| Ok(())), (0, 0, String::new()));
        assert_eq!(guarded(|| Err(Error::missing("a head"))), (7, 7, "a head".to_owned()));
        assert_eq!(guarded(|| panic!("row {}", 3)), (13, 13, "panic: row 3".to_owned()));
        assert_eq!(guard_value(7, || panic!("no")), 7);
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { guard(std::ptr::null_mut(), || Err(Error::argument("x"))) }, 1);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        for (text, expected) in [("x".repeat(251), 251), ("x".repeat(252), 251), ("é".repeat(200), 250)] {
            let (.., message) = guarded(|| Err(Error::argument(text.clone())));
            assert_eq!((message.len(), text.starts_with(&message)), (expected, true));
        }
        assert_eq!(guarded(|| Err(Error::argument("a\0b"))).2, "a b");
    }
}
