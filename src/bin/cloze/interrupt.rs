//! Ctrl-C as a request: the first asks the work to stop where nothing is lost, the second ends the program.

use std::thread;

use cloze::engine::Cancel;
use cloze::error::{Error, Result, Status};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What shells report of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// A flag that Ctrl-C (or a request to terminate) sets, from now on and for good.
pub fn watched() -> Result<Cancel> {
    let failed = |error| Error::new(Status::Io, format!("watching for Ctrl-C: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let cancel = Cancel::new();
    let flag = cancel.clone();
    let watch = move || {
        for _ in &mut signals {
            if flag.is_set() {
                std::process::exit(INTERRUPTED);
            }
            flag.set();
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
    Ok(cancel)
}
