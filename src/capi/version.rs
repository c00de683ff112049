//! 2  Version

use std::ffi::{CStr, c_char};

use super::guard::guard_value;

/// The number in `include/cloze.h`, which build.rs reads and puts into the soname as well.
pub const CLOZE_ABI: u32 = parse(env!("CLOZE_ABI"));

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

const fn parse(digits: &str) -> u32 {
    let (mut number, mut index) = (0, 0);
    while index < digits.len() {
        number = number * 10 + (digits.as_bytes()[index] - b'0') as u32;
        index += 1;
    }
    number
}

#[unsafe(no_mangle)]
pub extern "C" fn cloze_abi() -> u32 {
    guard_value(0, || CLOZE_ABI)
}

#[unsafe(no_mangle)]
pub extern "C" fn cloze_version() -> *const c_char {
    guard_value(std::ptr::null(), || VERSION.as_ptr())
}
