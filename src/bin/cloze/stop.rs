//! Why a verb ends before its end.

use std::io;

use cloze::error::{Error, Status};

/// How a verb ends.
pub type Done = Result<(), Stop>;

/// What ends a verb early.
pub enum Stop {
    /// The work failed: exit status 1.
    Failed(Error),
    /// The arguments make no sense together: exit status 2.
    Usage(String),
    /// Whoever read the output has gone: no failure.
    Closed,
}

impl Stop {
    /// Arguments that make no sense together.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// A failed write to stdout.
    pub fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(Error::new(Status::Io, format!("standard output: {error}"))),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
