//! `make install`: what it puts where, and that small CMake and pkg-config projects build against it and answer.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // a test may panic

mod built;
mod oracle;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use built::{path, present, run, shared_library};
use cloze::capi::CLOZE_ABI;

const SENTENCE: &str = "She opened the [MASK] and looked out.";

/// `make` with the libraries of this build, in a folder that stands for target/release.
struct Make {
    folder: tempfile::TempDir,
}

impl Make {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let built = folder.path().join("built");
        fs::create_dir(&built).unwrap();
        let library = shared_library();
        symlink(library.with_file_name("libcloze.a"), built.join("libcloze.a")).unwrap();
        symlink(&library, built.join(library.file_name().unwrap())).unwrap();
        Self { folder }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn run(&self, target: &str, settings: &[(&str, &Path)]) {
        let mut make = Command::new("make");
        make.args(["--no-print-directory", "-C"]).arg(path("")).args([target, "CARGO=true"]);
        make.arg(format!("BUILT={}", self.path("built").display()));
        make.args(settings.iter().map(|(name, value)| format!("{name}={}", value.display())));
        run(&mut make);
    }
}

/// Files below a folder, by their paths within it.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn answers(program: &Path, libraries: &Path) {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", libraries).env("DYLD_LIBRARY_PATH", libraries);
    assert_eq!(run(command.arg(path("model")).arg(SENTENCE)), "door\n", "{}", program.display());
}

/// C++ compilers that are here, and what each builds: the archive is large, so one of them links it.
fn compilers() -> Vec<(&'static str, &'static [&'static str])> {
    let all: [(_, &[_]); 2] = [("g++", &["c", "c-static", "cpp", "cpp-static"]), ("clang++", &["cpp"])];
    all.into_iter().filter(|(compiler, _)| present(compiler)).collect()
}

/// Everything is where a packager expects it, nothing speaks of the stage, and nothing is left behind.
#[test]
fn a_staged_installation_comes_and_goes() {
    if !present("make") {
        return;
    }
    let make = Make::new();
    let stage = make.path("stage");
    let places = [
        ("DESTDIR", stage.as_path()),
        ("PREFIX", Path::new("/opt/cloze")),
        ("LIBDIR", Path::new("/opt/cloze/lib/any")),
        ("INCLUDEDIR", Path::new("/opt/headers")),
    ];
    make.run("install", &places);
    let (plain, soname) = match std::env::consts::OS {
        "macos" => ("libcloze.dylib".to_owned(), format!("libcloze.{CLOZE_ABI}.dylib")),
        _ => ("libcloze.so".to_owned(), format!("libcloze.so.{CLOZE_ABI}")),
    };
    let mut expected: Vec<String> = ["cmake/cloze/clozeConfig.cmake", "cmake/cloze/clozeConfigVersion.cmake"]
        .into_iter()
        .chain(["libcloze.a", "pkgconfig/cloze.pc", &plain, &soname])
        .map(|file| format!("opt/cloze/lib/any/{file}"))
        .collect();
    let parts = files(&path("bindings/cpp/cloze")).into_iter().map(|file| format!("cloze/{file}"));
    let headers = ["cloze.h", "cloze.hpp"].map(String::from).into_iter().chain(parts);
    expected.extend(headers.map(|file| format!("opt/headers/{file}")));
    expected.sort();
    assert_eq!(files(&stage), expected);
    assert_eq!(fs::read_link(stage.join("opt/cloze/lib/any").join(&plain)).unwrap(), Path::new(&soname));
    for text in ["pkgconfig/cloze.pc", "cmake/cloze/clozeConfig.cmake", "cmake/cloze/clozeConfigVersion.cmake"] {
        let text = fs::read_to_string(stage.join("opt/cloze/lib/any").join(text)).unwrap();
        assert!(!text.contains('@') && !text.contains(stage.to_str().unwrap()), "{text}");
    }
    let pc = fs::read_to_string(stage.join("opt/cloze/lib/any/pkgconfig/cloze.pc")).unwrap();
    for line in ["prefix=/opt/cloze", "libdir=${prefix}/lib/any", "includedir=/opt/headers"] {
        assert!(pc.lines().any(|have| have == line), "no line {line}\n{pc}");
    }
    make.run("install", &places); // over itself
    make.run("uninstall", &places);
    assert_eq!(files(&stage), [""; 0]);
}

#[test]
fn a_pkg_config_project_builds_and_answers() {
    if !(present("make") && present("pkg-config")) {
        return;
    }
    let make = Make::new();
    let prefix = make.path("prefix");
    make.run("install", &[("PREFIX", &prefix)]);
    for (compiler, built) in compilers() {
        let programs = make.path(compiler);
        fs::create_dir(&programs).unwrap();
        let sources = path("tests/install");
        let mut build = Command::new("make");
        build.arg("-f").arg(sources.join("Makefile")).arg(format!("SOURCES={}", sources.display()));
        build.arg(format!("CXX={compiler}")).args(built).current_dir(&programs);
        run(build.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")));
        for program in built {
            let libraries = if program.ends_with("static") { Path::new("/") } else { &prefix.join("lib") };
            answers(&programs.join(program), libraries);
        }
    }
}

/// Also after the tree has been moved.
#[test]
fn a_cmake_project_builds_and_answers() {
    if !(present("make") && present("cmake")) {
        return;
    }
    let make = Make::new();
    let (first, moved) = (make.path("first"), make.path("moved to here"));
    make.run("install", &[("PREFIX", &first)]);
    fs::rename(&first, &moved).unwrap();
    for (compiler, programs) in compilers() {
        let build = make.path(compiler);
        let mut cmake = Command::new("cmake");
        cmake.arg("-S").arg(path("tests/install")).arg("-B").arg(&build).env("CXX", compiler);
        run(cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", moved.display())));
        run(Command::new("cmake").arg("--build").arg(&build).arg("--target").args(programs));
        for program in programs {
            answers(&build.join(program), Path::new("/"));
        }
    }
}

/// A version is accepted where it is not newer, and by its upper end.
#[test]
fn cmake_compares_versions() {
    if !(present("make") && present("cmake")) {
        return;
    }
    let make = Make::new();
    let prefix = make.path("prefix");
    make.run("install", &[("PREFIX", &prefix)]);
    let version = env!("CARGO_PKG_VERSION");
    let cases = [
        ("0.1".to_owned(), true),
        (version.to_owned(), true),
        (format!("{version};EXACT"), true),
        (format!("{version}.1"), false),
        ("0.1;EXACT".to_owned(), false),
        (format!("0.1...{version}"), true),
        (format!("0.1...<{version}"), false),
    ];
    let mut project = String::from("cmake_minimum_required(VERSION 3.19)\nproject(versions C)\n");
    for (wanted, _) in &cases {
        project += &format!(
            "find_package(cloze {} QUIET CONFIG PATHS \"{}\" NO_DEFAULT_PATH)\n\
             message(\"found: ${{cloze_FOUND}}\")\nunset(cloze_DIR CACHE)\n",
            wanted.replace(';', " "),
            prefix.display()
        );
    }
    fs::write(make.path("CMakeLists.txt"), project).unwrap();
    let mut cmake = Command::new("cmake");
    cmake.arg("-S").arg(make.path("")).arg("-B").arg(make.path("build"));
    let output = cmake.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let found: Vec<bool> = said.lines().filter_map(|line| Some(line.strip_prefix("found: ")? == "1")).collect();
    assert_eq!(found, cases.iter().map(|case| case.1).collect::<Vec<_>>(), "{cases:?}");
}
