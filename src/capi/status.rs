//! 3  Status and errors

use std::ffi::{CStr, c_char};

use super::guard::guard_value;
use crate::error::Status;

pub type cloze_status = i32;

pub const CLOZE_OK: cloze_status = 0;
pub const CLOZE_INVALID_ARGUMENT: cloze_status = Status::InvalidArgument.code();
pub const CLOZE_BUFFER_TOO_SMALL: cloze_status = Status::BufferTooSmall.code();
pub const CLOZE_INVALID_INPUT: cloze_status = Status::InvalidInput.code();
pub const CLOZE_IO: cloze_status = Status::Io.code();
pub const CLOZE_INVALID_FILE: cloze_status = Status::InvalidFile.code();
pub const CLOZE_UNSUPPORTED: cloze_status = Status::Unsupported.code();
pub const CLOZE_MISSING: cloze_status = Status::Missing.code();
pub const CLOZE_OUT_OF_MEMORY: cloze_status = Status::OutOfMemory.code();
pub const CLOZE_CANCELLED: cloze_status = Status::Cancelled.code();
pub const CLOZE_BUSY: cloze_status = Status::Busy.code();
pub const CLOZE_NO_DEVICE: cloze_status = Status::NoDevice.code();
pub const CLOZE_NOT_FINITE: cloze_status = Status::NotFinite.code();
pub const CLOZE_INTERNAL: cloze_status = Status::Internal.code();

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_error {
    pub status: i32,
    pub message: [c_char; 252],
}

/// [`Status::ALL`] as C reads it.
const NAMES: [&CStr; 14] = [
    c"CLOZE_OK",
    c"CLOZE_INVALID_ARGUMENT",
    c"CLOZE_BUFFER_TOO_SMALL",
    c"CLOZE_INVALID_INPUT",
    c"CLOZE_IO",
    c"CLOZE_INVALID_FILE",
    c"CLOZE_UNSUPPORTED",
    c"CLOZE_MISSING",
    c"CLOZE_OUT_OF_MEMORY",
    c"CLOZE_CANCELLED",
    c"CLOZE_BUSY",
    c"CLOZE_NO_DEVICE",
    c"CLOZE_NOT_FINITE",
    c"CLOZE_INTERNAL",
];

#[unsafe(no_mangle)]
pub extern "C" fn cloze_status_name(status: cloze_status) -> *const c_char {
    guard_value(c"CLOZE_UNKNOWN".as_ptr(), || {
        let known = usize::try_from(status).ok().and_then(|status| NAMES.get(status).copied());
        known.unwrap_or(c"CLOZE_UNKNOWN").as_ptr()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_one_table() {
        assert_eq!(NAMES.len(), Status::ALL.len() + 1);
        for (status, name) in Status::ALL {
            assert_eq!(NAMES[status.code() as usize].to_str(), Ok(name));
        }
    }
}
