//! Gives the shared library the name that programs look for, `libcloze.so.<abi>` or `libcloze.<abi>.dylib`, from the one
//! place that defines the ABI number: `include/cloze.h`.

fn main() {
    println!("cargo:rerun-if-changed=include/cloze.h");
    let header = std::fs::read_to_string("include/cloze.h").unwrap_or_default();
    let abi = header
        .lines()
        .find_map(|line| line.strip_prefix("#define CLOZE_ABI "))
        .and_then(|rest| rest.trim().parse::<u32>().ok())
        .unwrap_or_else(|| panic!("include/cloze.h: expected a line \"#define CLOZE_ABI <number>\""));
    println!("cargo:rustc-env=CLOZE_ABI={abi}");
    let link = |argument: &str| println!("cargo:rustc-cdylib-link-arg=-Wl,{argument}");
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => link(&format!("-soname,libcloze.so.{abi}")),
        Ok("macos") => {
            link(&format!("-install_name,@rpath/libcloze.{abi}.dylib"));
            link("-headerpad_max_install_names"); // room for the path that an installation puts there
        }
        _ => {}
    }
}
