//! What tests compare with: the folder `../shared` beside the checkout, which a user's clone does not have.

#![allow(dead_code)] // every test program uses a part

use std::path::{Path, PathBuf};

/// `../shared/<path>`, or `None` with a loud line. `CLOZE_REQUIRE=shared` turns the absence into a failure.
pub fn shared(path: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if found.exists() {
        return Some(found);
    }
    absent("shared", &format!("{} is not there", found.display()));
    None
}

/// Says loudly that a test lacks `what`, and fails when `CLOZE_REQUIRE` lists it.
pub fn absent(what: &str, why: &str) {
    let required = std::env::var("CLOZE_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r == what), "CLOZE_REQUIRE={required}: {why}");
    eprintln!("SKIPPED ({what}): {why}");
}
