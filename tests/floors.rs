//! The architecture of the sources: who may import whom, where `unsafe` may stand, how long a file may be.
//!
//! The floors are read from the table at the head of `src/lib.rs`.

#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that hold `unsafe` code.
const UNSAFE: [&str; 5] = ["simd", "device", "weights", "ops", "capi"];
/// Modules that see only part of what lies below them: their imports, beside themselves.
const NARROW: [(&str, &[&str]); 2] = [("capi", &["error", "engine"]), ("bin", &["error", "engine"])];
const MOST_LINES: usize = 600;

struct Source {
    /// Below `src`.
    path: PathBuf,
    /// Top-level module: `ops` for `ops/gemm.rs`; `bin` for the command line.
    module: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut found) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&root).unwrap().to_owned();
                let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
                let module = first.strip_suffix(".rs").unwrap_or(first).to_owned();
                found.push(Source { path, module, text });
            }
        }
    }
    assert!(found.len() > 50);
    found
}

/// Floor of every module, from the lines "//! | 0 | `error` `batch` |".
fn floors(sources: &[Source]) -> BTreeMap<String, u32> {
    let lib = sources.iter().find(|source| source.path == Path::new("lib.rs")).unwrap();
    let mut floors = BTreeMap::new();
    for line in lib.text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["//!", floor, modules, ""] = cells[..]
            && let Ok(floor) = floor.parse()
        {
            for module in modules.split_whitespace() {
                floors.insert(module.trim_matches('`').to_owned(), floor);
            }
        }
    }
    let declared = lib.text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let mut declared: Vec<&str> = declared.collect();
    declared.sort_unstable();
    assert_eq!(declared, floors.keys().collect::<Vec<_>>(), "modules of lib.rs and of its table");
    floors
}

/// The text with comments and what stands in a string left out.
fn code(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let mut quoted = false;
        let mut previous = ' ';
        let mut kept = String::new();
        for character in line.chars() {
            if character == '"' && previous != '\\' && previous != '\'' {
                quoted = !quoted;
            } else if !quoted {
                kept.push(character);
            }
            previous = character;
        }
        code.push_str(kept.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// Top-level modules that follow `root::`, as in `crate::error::Error` and `crate::{error::Error, pool}`.
fn imports(code: &str, root: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for (at, _) in code.match_indices(root) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + root.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(name(rest));
            continue;
        };
        let (mut depth, mut item) = (1, String::new());
        for character in group.chars() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && character == ',') {
                found.push(name(item.trim_start()));
                item.clear();
            } else {
                item.push(character);
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.retain(|module| !module.is_empty());
    found
}

#[test]
fn imports_are_found() {
    let text = "use crate::error::Error;\nuse crate::{batch::{Batch, Tokens}, pool};\n// crate::no\nlet x = \"crate::no\"; y(crate::simd::Isa)";
    assert_eq!(imports(&code(text), "crate::"), ["error", "batch", "pool", "simd"]);
}

#[test]
fn nothing_imports_from_its_own_floor_or_above() {
    let sources = sources();
    let floors = floors(&sources);
    let mut wrong = Vec::new();
    for source in &sources {
        if source.module == "lib" {
            continue;
        }
        let root = if source.module == "bin" { "cloze::" } else { "crate::" };
        let own = if source.module == "bin" { 7 } else { floors[&source.module] };
        for import in imports(&code(&source.text), root) {
            // Inside the program, `crate` is the program; in the library, names that are no module are macros.
            let Some(&floor) = floors.get(&import) else { continue };
            let narrow = NARROW.iter().find(|(module, _)| *module == source.module);
            let allowed = import == source.module
                || import == "error"
                || (floor < own && narrow.is_none_or(|(_, only)| only.contains(&&*import)));
            if !allowed {
                let (path, module) = (source.path.display(), &source.module);
                wrong.push(format!("{path}: {module} (floor {own}) imports {import} (floor {floor})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_stands_where_it_is_allowed() {
    for source in sources() {
        let code = code(&source.text);
        let word = |word: &str| code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word);
        if source.module != "lib" && (word("unsafe") || code.contains("allow(unsafe_code)")) {
            assert!(UNSAFE.contains(&source.module.as_str()), "{}: unsafe code", source.path.display());
        }
    }
}

#[test]
fn modules_without_unsafe_code_forbid_it() {
    let sources = sources();
    let lib = &sources.iter().find(|source| source.path == Path::new("lib.rs")).unwrap().text;
    assert!(lib.contains("#![deny(unsafe_code)]"));
    for module in floors(&sources).keys() {
        let forbidden = lib.contains(&format!("#[forbid(unsafe_code)]\npub mod {module};"));
        assert_eq!(forbidden, !UNSAFE.contains(&module.as_str()), "{module}");
    }
}

#[test]
fn no_file_is_long() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= MOST_LINES, "{}: {lines} lines, at most {MOST_LINES}", source.path.display());
    }
}

/// A library that unwraps ends its host's call with a panic instead of an error.
#[test]
fn nothing_unwraps_outside_tests() {
    let sources = sources();
    let test_only: Vec<PathBuf> = sources.iter().flat_map(test_files).collect();
    for source in &sources {
        if test_only.contains(&source.path) {
            continue;
        }
        let code = code(&source.text);
        let lines = code.lines().zip(source.text.lines());
        let before_tests = lines.take_while(|(_, line)| line.trim() != "mod tests {");
        for (number, (code, _)) in before_tests.enumerate() {
            assert!(!code.contains(".unwrap()"), "{}:{}: unwrap", source.path.display(), number + 1);
        }
    }
}

/// Files that `source` declares under `#[cfg(test)]`.
fn test_files(source: &Source) -> Vec<PathBuf> {
    let folder = match source.path.file_stem().unwrap().to_str().unwrap() {
        "mod" | "lib" | "main" => source.path.parent().unwrap().to_owned(),
        _ => source.path.with_extension(""),
    };
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
        let name = pair[1].strip_suffix(';')?.rsplit_once("mod ")?.1;
        Some(folder.join(format!("{name}.rs")))
    });
    declared.collect()
}
