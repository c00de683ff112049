//! What can go wrong, and the one table from it to the status codes of the C ABI.

use std::fmt;
use std::path::Path;

/// Result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Kinds of failure. The discriminants are the status codes of `cloze.h`; a number is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// An argument breaks the documented contract: a null pointer, an unknown option, sizes that disagree.
    InvalidArgument = 1,
    /// An output buffer is too small; the needed count has been written.
    BufferTooSmall = 2,
    /// A text or a token sequence cannot be used: bad UTF-8, too long, no mask, an id outside the vocabulary.
    InvalidInput = 3,
    /// The operating system refused to open, read, map or write a file.
    Io = 4,
    /// A file is there but is not what its format demands.
    InvalidFile = 5,
    /// A file asks for something that cloze does not implement; the message names it.
    Unsupported = 6,
    /// The model lacks what was asked of it: a tensor, a head, a tokenizer.
    Missing = 7,
    /// Memory could not be allocated.
    OutOfMemory = 8,
    /// The caller cancelled.
    Cancelled = 9,
    /// An exclusive handle is in use by another call.
    Busy = 10,
    /// The requested device is not available.
    NoDevice = 11,
    /// Weights or results are not finite numbers.
    NotFinite = 12,
    /// A defect of cloze itself.
    Internal = 13,
}

impl Status {
    /// Every status with its name in `cloze.h`, in the order of the codes.
    pub const ALL: [(Status, &'static str); 13] = [
        (Status::InvalidArgument, "CLOZE_INVALID_ARGUMENT"),
        (Status::BufferTooSmall, "CLOZE_BUFFER_TOO_SMALL"),
        (Status::InvalidInput, "CLOZE_INVALID_INPUT"),
        (Status::Io, "CLOZE_IO"),
        (Status::InvalidFile, "CLOZE_INVALID_FILE"),
        (Status::Unsupported, "CLOZE_UNSUPPORTED"),
        (Status::Missing, "CLOZE_MISSING"),
        (Status::OutOfMemory, "CLOZE_OUT_OF_MEMORY"),
        (Status::Cancelled, "CLOZE_CANCELLED"),
        (Status::Busy, "CLOZE_BUSY"),
        (Status::NoDevice, "CLOZE_NO_DEVICE"),
        (Status::NotFinite, "CLOZE_NOT_FINITE"),
        (Status::Internal, "CLOZE_INTERNAL"),
    ];

    /// Status code of the C ABI.
    pub const fn code(self) -> i32 {
        self as i32
    }
}

/// A failure: its kind, and a lower-case message that names the thing and both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    message: String,
}

impl Error {
    /// An error of kind `status`.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// An argument that breaks the contract.
    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(Status::InvalidArgument, message)
    }

    /// A text or token sequence that cannot be used.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Status::InvalidInput, message)
    }

    /// A file that is not what its format demands.
    pub fn file(message: impl Into<String>) -> Self {
        Self::new(Status::InvalidFile, message)
    }

    /// Something a model folder asks for and cloze does not implement.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Status::Unsupported, message)
    }

    /// Something the model lacks.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(Status::Missing, message)
    }

    /// A defect of cloze.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Status::Internal, message)
    }

    /// An operating-system error on `path`.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        let status = if error.kind() == std::io::ErrorKind::OutOfMemory { Status::OutOfMemory } else { Status::Io };
        Self::new(status, format!("{}: {error}", path.display()))
    }

    /// The same error with what it happened in put before the message: `model.safetensors: …`.
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Kind of failure.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The message alone, as [`fmt::Display`] prints it.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_dense_and_in_order() {
        for (index, (status, name)) in Status::ALL.iter().enumerate() {
            assert_eq!(status.code(), index as i32 + 1, "{name}");
        }
    }
}
