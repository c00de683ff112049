//! Ctrl-C as a request: the first asks the work to stop where nothing is lost, the second ends the program.

use std::thread;

use cloze::engine::Cancel;
use cloze::error::{Error, Result, Status};
use signal_hook::consts::{SIGINT, SIGTERM};

/// What shells report of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// A flag that Ctrl-C (or a request to terminate) sets, from now on and for good.
pub fn watched() -> Result<Cancel> {
    let cancel = Cancel::new();
    let watch = watch(cancel.clone()).map_err(failed)?;
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
    Ok(cancel)
}

fn failed(error: std::io::Error) -> Error {
    Error::new(Status::Io, format!("watching for Ctrl-C: {error}"))
}

/// What the watching thread does.
#[cfg(unix)]
fn watch(cancel: Cancel) -> std::io::Result<impl FnOnce() + Send> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    Ok(move || {
        for _ in &mut signals {
            if cancel.is_set() {
                std::process::exit(INTERRUPTED);
            }
            cancel.set();
        }
    })
}

/// The same where signals cannot be waited for: the C runtime of Windows turns Ctrl-C into SIGINT, and sends no SIGTERM.
#[cfg(not(unix))]
fn watch(cancel: Cancel) -> std::io::Result<impl FnOnce() + Send> {
    use signal_hook::flag;
    use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering};
    let arrived = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // handlers run in this order: the first signal finds the flag clear
        flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&arrived))?;
        flag::register(signal, Arc::clone(&arrived))?;
    }
    Ok(move || {
        while !arrived.load(Ordering::Relaxed) {
            thread::sleep(std::time::Duration::from_millis(20));
        }
        cancel.set();
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[cfg_attr(windows, ignore = "Wine's signal() does not know SIG_GET; ci.yml asks for it on Windows")]
    #[test]
    fn the_first_request_sets_the_flag_and_ends_nothing() {
        let cancel = watched().unwrap();
        assert!(!cancel.is_set());
        signal_hook::low_level::raise(SIGINT).unwrap();
        let begun = Instant::now();
        while !cancel.is_set() {
            assert!(begun.elapsed() < Duration::from_secs(10));
            thread::sleep(Duration::from_millis(1));
        }
    }
}
