//! What the bindings in `bindings/` rest on: raw layers that are made of `include/cloze.h`, and the numbers that every
//! language has to give.
//!
//! `CLOZE_BLESS=1 cargo test --features linalg --test bindings` writes anew what these tests compare with.

#![allow(clippy::unwrap_used)] // a test may panic

#[path = "../built/mod.rs"]
mod built;
mod csharp;
mod header;
mod layout;
#[path = "../oracle/mod.rs"]
mod oracle;
mod python;
mod vectors;

use std::fs;

use built::{path, refusal};
use header::Item;
use layout::Layouts;

/// Whether files that tests compare with are to be written anew.
fn bless() -> bool {
    std::env::var_os("CLOZE_BLESS").is_some()
}

/// Comments of the header as lines of at most `width` characters; "@since" becomes a word.
fn prose(doc: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut paragraph = true;
    for line in doc.lines() {
        if line.is_empty() || line.starts_with("@since") {
            paragraph = true;
        }
        if line.is_empty() {
            lines.push(String::new());
            continue;
        }
        for word in line.replace("@since ", "Since ").split_whitespace() {
            match lines.last_mut().filter(|last| !paragraph && last.chars().count() + 1 + word.chars().count() <= width)
            {
                Some(last) => *last += &format!(" {word}"),
                None => lines.push(word.to_owned()),
            }
            paragraph = false;
        }
    }
    lines
}

fn items() -> Vec<Item> {
    header::parse(&fs::read_to_string(path("include/cloze.h")).unwrap()).unwrap()
}

/// The file is `expected`, or becomes it.
fn drift(file: &str, expected: &str) {
    if bless() {
        fs::create_dir_all(path(file).parent().unwrap()).unwrap();
        fs::write(path(file), expected).unwrap();
    }
    let found = fs::read_to_string(path(file)).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    let line = differs.unwrap_or_else(|| found.lines().count().min(expected.lines().count())) + 1;
    assert!(
        found == expected,
        "{file}:{line} is not what include/cloze.h says: CLOZE_BLESS=1 cargo test --test bindings"
    );
}

#[test]
fn the_layer_of_python_is_that_of_the_header() {
    drift("bindings/python/cloze/_raw.py", &python::module(&items()));
}

#[test]
fn the_layer_of_csharp_is_that_of_the_header() {
    drift("bindings/csharp/Cloze/Raw.g.cs", &csharp::file(&items()));
}

#[test]
fn layouts_are_those_of_the_compiler() {
    let layouts = Layouts::of(&items());
    drift("bindings/layouts.json", &vectors::pretty(&layouts.json()));
    let Some(cc) = built::c_compiler() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("layouts.c");
    let check = |c: &str| {
        fs::write(&file, c).unwrap();
        refusal(&cc, &["-std=c11", "-fsyntax-only", file.to_str().unwrap()])
    };
    let assertions = layouts.assertions();
    assert_eq!(check(&assertions), None);
    // The compiler does compare: another number is refused.
    let changed = assertions.replacen("offsetof(cloze_error, message) == 4", "offsetof(cloze_error, message) == 8", 1);
    assert_ne!(changed, assertions);
    assert!(check(&changed).is_some_and(|message| message.contains("cloze_error.message")));
}

/// Nothing of the header is left out: every function, constant and struct is in both layers.
#[test]
fn nothing_is_left_out() {
    let (python, csharp) = (python::module(&items()), csharp::file(&items()));
    let header = fs::read_to_string(path("include/cloze.h")).unwrap();
    let functions = header.lines().filter(|line| line.starts_with("CLOZE_API ")).count();
    let constants = header.lines().filter(|line| line.starts_with("#define CLOZE_") && !line.contains("_INIT {"));
    let constants =
        constants.filter(|line| !line.starts_with("#define CLOZE_API") && *line != "#define CLOZE_H").count();
    let structs = header.lines().filter(|line| line.starts_with("typedef struct ") && line.ends_with('{')).count();
    assert!(functions > 60 && constants > 100 && structs > 30);
    assert_eq!(python.matches("= _declared(").count(), functions);
    assert_eq!(csharp.matches("static extern ").count(), functions);
    assert_eq!(python.lines().filter(|line| line.starts_with("CLOZE_")).count(), constants);
    assert_eq!(csharp.lines().filter(|line| line.contains(" CLOZE_") && line.contains(" = ")).count(), constants);
    assert_eq!(python.matches("(Structure):").count(), structs);
    assert_eq!(csharp.matches("internal struct ").count(), structs);
}

/// Packages of other languages have the version of the crate.
#[test]
fn versions_are_one() {
    let version = env!("CARGO_PKG_VERSION");
    let python = fs::read_to_string(path("bindings/python/cloze/__init__.py")).unwrap();
    assert!(
        python.contains(&format!("\n__version__ = \"{version}\"\n")),
        "bindings/python/cloze/__init__.py: not {version}"
    );
}
