//! The PTX that is checked in is what `kernels/build.sh` makes of the sources beside it.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

#[path = "../../kernels/build.rs"]
#[allow(dead_code)]
pub mod build;

use build::{Ptx, Sources, families};

fn kernels() -> PathBuf {
    crate::repository().join("kernels")
}

/// Every family with its PTX file.
fn files() -> Vec<(Sources, String)> {
    let read = |family: String| {
        let path = kernels().join(format!("ptx/{family}.ptx"));
        let text =
            fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}: run kernels/build.sh", path.display()));
        (Sources::read(&kernels(), &family).unwrap(), text)
    };
    families(&kernels()).unwrap().into_iter().map(read).collect()
}

#[test]
fn of_these_sources() {
    for (sources, file) in files() {
        let family = &sources.family;
        let ptx = Ptx::parse(&file).unwrap_or_else(|| panic!("{family}.ptx is not made by kernels/build.sh"));
        assert_eq!(ptx.sources, sources.hash(), "{family}.ptx is of other sources: run kernels/build.sh");
        assert_eq!(ptx.own, build::hash(&[ptx.text]), "{family}.ptx was changed by hand: run kernels/build.sh");
        assert!(ptx.text.starts_with(".version 8.0\n.target sm_80\n"), "{family}.ptx is for other drivers");
        assert!(!ptx.text.contains('/'), "{family}.ptx tells a path");
    }
}

#[test]
fn no_other_files() {
    let families = families(&kernels()).unwrap();
    for entry in fs::read_dir(kernels().join("ptx")).into_iter().flatten().flatten() {
        let name = PathBuf::from(entry.file_name());
        let known = name.extension().is_some_and(|extension| extension == "ptx")
            && families.iter().any(|family| name.file_stem().is_some_and(|stem| stem == family.as_str()));
        assert!(known, "kernels/ptx/{} has no sources", name.display());
    }
}

/// Kernels are looked up by name, and registers that are spilled cost what tuning brought.
#[test]
fn kernels_are_apart_and_fit() {
    let files = files();
    let mut known = HashMap::new();
    for (sources, file) in &files {
        let ptx = Ptx::parse(file).unwrap();
        for entry in ptx.entries() {
            if let Some(other) = known.insert(entry, &sources.family) {
                panic!("kernel {entry} is in {other} and in {}", sources.family);
            }
            let told: Vec<_> = ptx.resources.iter().filter(|line| line.split(' ').nth(2) == Some(entry)).collect();
            assert_eq!(told.len(), 2, "{entry}: {told:?}");
            assert!(told.iter().all(|line| line.ends_with(" 0")), "{entry} spills registers: {told:?}");
        }
    }
}

/// With the compiler named, to the byte.
#[test]
fn compiled_again() {
    if std::env::var_os("CLOZE_NVRTC").is_none() {
        crate::oracle::absent("nvrtc", "CLOZE_NVRTC names no compiler: PTX is not compiled again");
        return;
    }
    let output = Command::new("sh").arg(kernels().join("build.sh")).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
