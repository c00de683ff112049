//! The built shared library, and C programs compiled against it.

#![allow(dead_code, clippy::unwrap_used)] // every test program uses a part; a test may panic

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::oracle;

/// The shared library of this build. Cargo builds it before any integration test and leaves it beside the test programs.
pub fn shared_library() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let name = format!("{}cloze{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let beside = program.with_file_name(&name);
    let above = program.parent().unwrap().with_file_name(&name);
    let age = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).ok();
    let newest = [beside, above].into_iter().filter(|path| path.exists()).max_by_key(age);
    newest.unwrap_or_else(|| panic!("{name} is not beside {}", program.display()))
}

/// A path of this repository.
pub fn path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Whether `command` can be started here. If not, says so loudly.
pub fn present(command: &str) -> bool {
    let found = Command::new(command).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        oracle::absent(command, &format!("{command} cannot be started"));
    }
    found
}

/// The C compiler: `CC`, else `cc`, on Windows `gcc`. There it may be missing, which is said loudly.
pub fn c_compiler() -> Option<String> {
    let usual = if cfg!(windows) { "gcc" } else { "cc" };
    let compiler = std::env::var("CC").unwrap_or_else(|_| usual.to_owned());
    (!cfg!(windows) || present(&compiler)).then_some(compiler)
}

/// Runs a compiler with every warning an error; `None` where it accepts, else what it says.
pub fn refusal(compiler: &str, arguments: &[&str]) -> Option<String> {
    let include = path("include");
    let output = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-I"])
        .arg(&include)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{compiler}: {e}: these tests need a C compiler"));
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Compiles or fails the test.
#[track_caller]
pub fn compile(compiler: &str, arguments: &[&str]) {
    if let Some(message) = refusal(compiler, arguments) {
        panic!("{compiler} {}:\n{message}", arguments.join(" "));
    }
}

/// The name by which programs look for the library, from its ABI number.
pub fn soname() -> String {
    let abi = cloze::capi::CLOZE_ABI;
    match std::env::consts::OS {
        "windows" => "cloze.dll".to_owned(),
        "macos" => format!("libcloze.{abi}.dylib"),
        _ => format!("libcloze.so.{abi}"),
    }
}

/// A folder with the library under its soname and nothing else, and programs linked against it: that they run proves
/// the soname.
pub struct Programs {
    folder: tempfile::TempDir,
    compiler: String,
}

impl Programs {
    /// `None` where there is no C compiler.
    pub fn new() -> Option<Self> {
        c_compiler().map(Self::of)
    }

    /// Programs that `compiler` builds.
    pub fn of(compiler: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(shared_library(), folder.path().join(soname())).unwrap();
        Self { folder, compiler }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Builds a program of C99 files.
    #[track_caller]
    pub fn build(&self, name: &str, sources: &[&Path]) -> PathBuf {
        let program = self.folder.path().join(name).with_extension(std::env::consts::EXE_EXTENSION);
        let (library, rpath) = (shared_library(), format!("-Wl,-rpath,{}", self.folder.path().display()));
        let mut arguments = vec!["-std=c99", "-g"];
        arguments.extend(sources.iter().map(|source| source.to_str().unwrap()));
        arguments.extend(["-o", program.to_str().unwrap(), library.to_str().unwrap(), "-lm"]);
        if cfg!(unix) {
            arguments.push(&rpath); // Windows looks beside the program
        }
        compile(&self.compiler, &arguments);
        program
    }
}

/// Runs a program that has to succeed and returns what it prints, with `\n` at the ends of lines.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.replace("\r\n", "\n")
}
