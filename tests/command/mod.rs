//! The program as a shell calls it, and what it printed.

#![allow(dead_code, clippy::unwrap_used)] // every test program uses a part; a test may panic

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub fn cloze(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloze"));
    command.args(arguments).env_remove("CLOZE_MODEL").stdin(Stdio::null());
    command
}

/// A verb on a golden model.
pub fn ask(verb: &str, model: &str, arguments: &[&str]) -> Output {
    cloze(&[verb]).arg("--model").arg(folder(model)).args(arguments).output().unwrap()
}

pub fn ask_about(stdin: &[u8], verb: &str, model: &str, arguments: &[&str]) -> Output {
    let mut command = cloze(&[verb]);
    command.arg("--model").arg(folder(model)).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin); // a program that fails early does not read it
    child.wait_with_output().unwrap()
}

/// What a successful run printed.
#[track_caller]
pub fn printed(output: Output) -> String {
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{complaint}");
    assert_eq!(complaint, "");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub fn objects(output: Output) -> Vec<Value> {
    printed(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The complaint of a failed run: one line, nothing on stdout.
#[track_caller]
pub fn refused(output: Output, code: i32) -> String {
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{complaint}");
    assert!(output.stdout.is_empty());
    assert!(complaint.starts_with("cloze: ") && complaint.ends_with('\n'), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    complaint
}

#[track_caller]
pub fn has_keys(object: &Value, expected: &str) {
    let keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, expected.split(' ').collect::<Vec<_>>());
}
