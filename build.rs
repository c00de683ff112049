//! Gives the shared library its soname, `libcloze.so.<abi>`, from the one place that defines the ABI number: `include/cloze.h`.

fn main() {
    println!("cargo:rerun-if-changed=include/cloze.h");
    let header = std::fs::read_to_string("include/cloze.h").unwrap_or_default();
    let abi = header
        .lines()
        .find_map(|line| line.strip_prefix("#define CLOZE_ABI "))
        .and_then(|rest| rest.trim().parse::<u32>().ok())
        .unwrap_or_else(|| panic!("include/cloze.h: expected a line \"#define CLOZE_ABI <number>\""));
    println!("cargo:rustc-env=CLOZE_ABI={abi}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcloze.so.{abi}");
    }
}
