//! Gives the shared library the name that programs look for, `libcloze.so.<abi>` or `libcloze.<abi>.dylib`, from the one
//! place that defines the ABI number, `include/cloze.h`; and deflates the kernels' PTX, of which the library holds a copy.
//! Programs of Windows look for `cloze.dll`, the file's own name.

use std::path::Path;
use std::{env, fs};

fn main() {
    soname();
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        deflate(Path::new("kernels/ptx"), Path::new(&env::var_os("OUT_DIR").unwrap_or_default()));
    }
}

fn soname() {
    println!("cargo:rerun-if-changed=include/cloze.h");
    let header = fs::read_to_string("include/cloze.h").unwrap_or_default();
    let abi = header
        .lines()
        .find_map(|line| line.strip_prefix("#define CLOZE_ABI "))
        .and_then(|rest| rest.trim().parse::<u32>().ok())
        .unwrap_or_else(|| panic!("include/cloze.h: expected a line \"#define CLOZE_ABI <number>\""));
    println!("cargo:rustc-env=CLOZE_ABI={abi}");
    let link = |argument: &str| println!("cargo:rustc-cdylib-link-arg=-Wl,{argument}");
    if env::var("CARGO_CFG_TARGET_VENDOR").as_deref() == Ok("apple") {
        link(&format!("-install_name,@rpath/libcloze.{abi}.dylib"));
        link("-headerpad_max_install_names"); // room for the path that an installation puts there
    } else if env::var_os("CARGO_CFG_UNIX").is_some() {
        link(&format!("-soname,libcloze.so.{abi}"));
    }
}

/// Writes `<file>.deflated` for every PTX file.
fn deflate(from: &Path, to: &Path) {
    println!("cargo:rerun-if-changed={}", from.display());
    let failed = |path: &Path, error: std::io::Error| -> ! { panic!("{}: {error}", path.display()) };
    let entries = fs::read_dir(from).unwrap_or_else(|error| failed(from, error));
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".ptx")) else {
            continue;
        };
        let text = fs::read(&path).unwrap_or_else(|error| failed(&path, error));
        let deflated = to.join(format!("{name}.deflated"));
        let bytes = miniz_oxide::deflate::compress_to_vec(&text, 9);
        fs::write(&deflated, bytes).unwrap_or_else(|error| failed(&deflated, error));
    }
}
