//! What tests compare with: the folder `../shared` beside the checkout, which a user's clone does not have.

#![allow(dead_code, clippy::unwrap_used)] // every test program uses a part; a test may panic

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

/// What a golden folder expects: `expected.safetensors` and `expected.json`.
pub struct Expected {
    tensors: Vec<u8>,
    json: serde_json::Value,
}

impl Expected {
    /// Reads both files of `folder`.
    pub fn read(folder: &Path) -> Self {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{folder:?}/{name}: {e}"));
        Self {
            tensors: read("expected.safetensors"),
            json: serde_json::from_slice(&read("expected.json")).expect("expected.json"),
        }
    }

    /// `expected.json`.
    pub fn json(&self) -> &serde_json::Value {
        &self.json
    }

    /// Names of the tensors.
    pub fn names(&self) -> Vec<String> {
        let tensors = safetensors::SafeTensors::deserialize(&self.tensors).unwrap();
        tensors.names().into_iter().map(str::to_owned).collect()
    }

    /// A tensor of f32.
    pub fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let bytes = self.bytes(name)?;
        Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
    }

    /// A tensor of i64, all of them small and not negative.
    pub fn integers(&self, name: &str) -> Option<Vec<u32>> {
        let bytes = self.bytes(name)?;
        Some(bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()).try_into().unwrap()).collect())
    }

    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let tensors = safetensors::SafeTensors::deserialize(&self.tensors).unwrap();
        tensors.tensor(name).ok().map(|t| t.data().to_vec())
    }
}

/// A folder of `tests/golden`.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The files of a model folder, by their paths within it with `/` between folders.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else if !name.starts_with("expected.") {
            found.push((name, std::fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

/// The largest |a − b|. Fails when the lengths differ or a value is not finite.
#[track_caller]
pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|v| v.is_finite()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
