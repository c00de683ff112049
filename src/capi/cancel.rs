//! 4  Cancelling and progress

use std::ffi::{c_int, c_void};

use super::guard::{guard, guard_value};
use super::outputs::Value;
use super::{cloze_error, cloze_status};
use crate::engine::{Cancel, Run};
use crate::error::Result;

pub struct cloze_cancel(Cancel);

pub type cloze_progress = Option<unsafe extern "C" fn(user: *mut c_void, done: u64, total: u64) -> c_int>;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_cancel_new(cancel: *mut *mut cloze_cancel, error: *mut cloze_error) -> cloze_status {
    // SAFETY: the header's promise. `cloze_cancel_free` undoes this `into_raw`.
    unsafe {
        guard(error, || {
            let out = Value::new("cancel", cancel)?;
            out.write(Box::into_raw(Box::new(cloze_cancel(Cancel::new()))));
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_cancel_set(cancel: *mut cloze_cancel) {
    guard_value((), || {
        // SAFETY: the header's promise. Only shared references to a flag exist, and nothing here allocates or locks, so
        // that a signal handler may call it.
        if let Some(cancel) = unsafe { cancel.as_ref() } {
            cancel.0.set();
        }
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_cancel_reset(cancel: *mut cloze_cancel) {
    guard_value((), || {
        // SAFETY: the header's promise; only shared references to a flag exist.
        if let Some(cancel) = unsafe { cancel.as_ref() } {
            cancel.0.reset();
        }
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_cancel_free(cancel: *mut cloze_cancel) {
    guard_value((), || {
        if !cancel.is_null() {
            // SAFETY: from the `into_raw` of `cloze_cancel_new`, and by the header not freed before. Calls that watch the
            // flag hold clones.
            drop(unsafe { Box::from_raw(cancel) });
        }
    });
}

/// The flag behind a handle. The clone outlives a `cloze_cancel_free` during the call.
///
/// # Safety
///
/// `cancel` is NULL or a live flag.
pub(super) unsafe fn flag(cancel: *const cloze_cancel) -> Option<Cancel> {
    // SAFETY: the caller's promise.
    unsafe { cancel.as_ref() }.map(|cancel| cancel.0.clone())
}

/// What a call is stopped by and reports to.
pub(super) struct Watch {
    cancel: Option<Cancel>,
    progress: cloze_progress,
    user: *mut c_void,
}

impl Watch {
    /// The three fields of an options struct.
    ///
    /// # Safety
    ///
    /// `cancel` is NULL or a live flag; `progress` may be called with `user` until the call returns.
    pub unsafe fn new(cancel: *const cloze_cancel, progress: cloze_progress, user: *mut c_void) -> Self {
        // SAFETY: the caller's promise.
        Self { cancel: unsafe { flag(cancel) }, progress, user }
    }

    /// Runs a call of the engine under this watch.
    pub fn run<R>(&self, call: impl FnOnce(Run<'_>) -> Result<R>) -> Result<R> {
        let cancel = self.cancel.as_ref();
        match self.progress {
            None => call(Run { cancel, progress: None }),
            Some(progress) => {
                // SAFETY: the promise of `new`. The engine calls it on the thread that called us.
                let mut report = |done, total| unsafe { progress(self.user, done, total) } == 0;
                call(Run { cancel, progress: Some(&mut report) })
            }
        }
    }
}
