//! 20  Devices

use std::ffi::c_char;

use super::guard::{cut, guard, guard_value};
use super::inputs::{index, model as opened, optional_string};
use super::options::{Sized32, choice};
use super::outputs::Struct;
use super::{cloze_error, cloze_model, cloze_status};
use crate::engine::{self, DeviceChoice, DeviceDescription, Memory, OpenOptions, Precision};
use crate::error::{Error, Result};

pub const CLOZE_PRECISION_AUTO: u32 = 0;
pub const CLOZE_PRECISION_F32: u32 = 1;
pub const CLOZE_PRECISION_BF16: u32 = 2;
pub const CLOZE_PRECISION_F16: u32 = 3;
pub const CLOZE_PRECISION_INT8: u32 = 4;

pub const CLOZE_MEMORY_FAST: u32 = 0;
pub const CLOZE_MEMORY_LEAST: u32 = 1;

/// By their numbers.
const PRECISIONS: [Precision; 5] = [Precision::Auto, Precision::F32, Precision::Bf16, Precision::F16, Precision::Int8];

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_device {
    pub size: u32,
    pub usable: u32,
    pub capability: u32,
    pub precision: u32,
    pub memory: u64,
    pub free_memory: u64,
    pub id: [c_char; 16],
    pub name: [c_char; 112],
    pub note: [c_char; 256],
}

// SAFETY: as `tests/abi.rs` proves of the layout; all fields are integers.
unsafe impl Sized32 for cloze_device {
    const NAME: &'static str = "cloze_device";
}

#[unsafe(no_mangle)]
pub extern "C" fn cloze_device_count() -> u32 {
    guard_value(0, || u32::try_from(engine::device_count()).unwrap_or(u32::MAX))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_device_get(
    index: u32,
    device: *mut cloze_device,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let out = Struct::new("device", device)?;
            let Some(found) = engine::device_at(self::index(index)) else {
                return Err(Error::missing(format!("device {index}: there are {}", engine::device_count())));
            };
            out.write(&described(&found, found.unusable.as_deref()));
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_device(
    model: *const cloze_model,
    device: *mut cloze_device,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let out = Struct::new("device", device)?;
            let info = model.info();
            out.write(&described(&info.device, info.device_note.as_deref()));
            Ok(())
        })
    }
}

fn described(device: &DeviceDescription, note: Option<&str>) -> cloze_device {
    cloze_device {
        size: 0, // the caller's
        usable: u32::from(device.unusable.is_none()),
        capability: device.capability.map_or(0, |(major, minor)| 10 * major + minor),
        precision: match device.precision {
            Precision::Auto => CLOZE_PRECISION_AUTO,
            Precision::F32 => CLOZE_PRECISION_F32,
            Precision::Bf16 => CLOZE_PRECISION_BF16,
            Precision::F16 => CLOZE_PRECISION_F16,
            Precision::Int8 => CLOZE_PRECISION_INT8,
        },
        memory: device.memory,
        free_memory: device.free_memory,
        id: cut(&device.id),
        name: cut(&device.name),
        note: cut(note.unwrap_or_default()),
    }
}

/// The fields `threads`, `device`, `precision` and `memory` of the struct `name`.
///
/// # Safety
///
/// The header's promise for `device`.
pub(super) unsafe fn open_options(
    name: &str,
    threads: u32,
    device: *const c_char,
    precision: u32,
    memory: u32,
) -> Result<OpenOptions> {
    // SAFETY: the caller's promise.
    let device = unsafe { optional_string(&format!("{name}.device"), device) }?;
    Ok(OpenOptions {
        threads: index(threads),
        device: device.map_or(Ok(DeviceChoice::Cpu), str::parse).map_err(|error: Error| error.within(name))?,
        precision: choice(&format!("{name}.precision"), precision, &PRECISIONS)?,
        memory: choice(&format!("{name}.memory"), memory, &[Memory::Fast, Memory::Least])?,
    })
}
