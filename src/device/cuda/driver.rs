//! The CUDA driver, found at run time: why there is none, what devices there are, and every call's status as an error.

use std::ffi::{CStr, OsStr, c_int};
use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute, CUresult};
use libloading::Library;

use crate::error::{Error, Result, Status};

/// The oldest driver interface: CUDA 12.0, which drivers from R525 on have.
const OLDEST: c_int = 12_000;

/// The least compute capability: kernels use bf16 and asynchronous copies.
const LEAST_CAPABILITY: (u32, u32) = (8, 0);

/// Names a library path for the driver: tests put an emulation there.
const LIBRARY_VARIABLE: &str = "CLOZE_CUDA_LIBRARY";

/// Every function of the driver that this crate calls: a missing one would end the process inside `cudarc`.
const FUNCTIONS: [&str; 36] = [
    "cuCtxPopCurrent_v2",
    "cuCtxPushCurrent_v2",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadDataEx",
    "cuModuleUnload",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamSynchronize",
];

/// A device that a driver offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number, from 0.
    pub ordinal: usize,
    /// As the driver names it.
    pub name: String,
    /// Major and minor number of its architecture.
    pub capability: (u32, u32),
    /// Bytes of memory.
    pub memory: u64,
    /// Processors that run blocks of threads.
    pub multiprocessors: u32,
}

/// Finds the driver and initialises it, once a process. Fails with `NoDevice` and the reason.
pub fn initialise() -> Result<()> {
    static OUTCOME: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    OUTCOME.get_or_init(find).clone().map_err(|reason| Error::new(Status::NoDevice, reason))
}

fn find() -> std::result::Result<(), String> {
    let library = library()?;
    for name in FUNCTIONS {
        // SAFETY: the symbol is only looked up, never called through this type.
        if unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_err() {
            return Err(format!("CUDA driver without {name}: too old, need R525 or newer"));
        }
    }
    // cudarc opens the library by name and gets this one, which is never closed.
    std::mem::forget(library);
    let mut version = 0;
    // SAFETY: the functions are there, as checked above; the pointer is to a live integer.
    check(unsafe { sys::cuDriverGetVersion(&raw mut version) }, "cuDriverGetVersion").map_err(|e| e.to_string())?;
    if version < OLDEST {
        let name = |version: c_int| format!("{}.{}", version / 1000, version % 1000 / 10);
        return Err(format!("CUDA driver for CUDA {}, need {} or newer (R525)", name(version), name(OLDEST)));
    }
    // SAFETY: as above.
    check(unsafe { sys::cuInit(0) }, "cuInit").map_err(|e| e.to_string())
}

/// On Windows the driver is in the system's folder and is looked for nowhere else: a file of its name beside the program
/// or in the working directory is another's.
fn load(name: &OsStr, ours: bool) -> std::result::Result<Library, libloading::Error> {
    #[cfg(windows)]
    if ours {
        use libloading::os::windows::{LOAD_LIBRARY_SEARCH_SYSTEM32, Library};
        // SAFETY: the driver's initialisers are trusted as those of every linked library are.
        return unsafe { Library::load_with_flags(name, LOAD_LIBRARY_SEARCH_SYSTEM32) }.map(Into::into);
    }
    let _ = ours;
    // SAFETY: as above.
    unsafe { Library::new(name) }
}

fn library() -> std::result::Result<Library, String> {
    let named = std::env::var_os(LIBRARY_VARIABLE);
    let ours = named.is_none();
    let choices: Vec<std::ffi::OsString> = match named {
        Some(path) => vec![path],
        None if cfg!(windows) => vec!["nvcuda.dll".into()],
        None => vec!["libcuda.so.1".into(), "libcuda.so".into()],
    };
    let mut reasons = Vec::new();
    for choice in choices {
        match load(&choice, ours) {
            Ok(library) => return Ok(library),
            // libloading keeps the system's own words in the source
            Err(error) => reasons.push(std::error::Error::source(&error).map_or(error.to_string(), |e| e.to_string())),
        }
    }
    Err(format!("no CUDA driver: {}", reasons.join("; ")))
}

/// All devices, those that cloze cannot use included.
pub fn devices() -> Result<Vec<DeviceInfo>> {
    initialise()?;
    let mut count = 0;
    // SAFETY: the driver is initialised; the pointer is to a live integer.
    check(unsafe { sys::cuDeviceGetCount(&raw mut count) }, "cuDeviceGetCount")?;
    (0..count).map(device).collect()
}

fn device(ordinal: c_int) -> Result<DeviceInfo> {
    let (mut handle, mut memory, mut name) = (0, 0usize, [0; 256]);
    // SAFETY: the driver is initialised, `ordinal` is below its count of devices, and every pointer is to live memory of
    // the size that is given.
    unsafe {
        check(sys::cuDeviceGet(&raw mut handle, ordinal), "cuDeviceGet")?;
        check(sys::cuDeviceTotalMem_v2(&raw mut memory, handle), "cuDeviceTotalMem")?;
        check(sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as c_int, handle), "cuDeviceGetName")?;
        Ok(DeviceInfo {
            ordinal: ordinal as usize,
            name: CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned(),
            capability: (
                attribute(handle, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                attribute(handle, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            memory: memory as u64,
            multiprocessors: attribute(handle, Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        })
    }
}

/// # Safety
/// `device` is a handle that the initialised driver gave.
unsafe fn attribute(device: sys::CUdevice, attribute: Attribute) -> Result<u32> {
    let mut value = 0;
    // SAFETY: the caller's promise; the pointer is to a live integer.
    check(unsafe { sys::cuDeviceGetAttribute(&raw mut value, attribute, device) }, "cuDeviceGetAttribute")?;
    Ok(value.unsigned_abs())
}

/// The device with number `ordinal`. Fails with `NoDevice` when there is none, or kernels do not run on it.
pub fn usable(ordinal: usize) -> Result<DeviceInfo> {
    let all = devices()?;
    let none = || Error::new(Status::NoDevice, format!("CUDA device {ordinal}: there are {}", all.len()));
    let found = all.get(ordinal).cloned().ok_or_else(none)?;
    if found.capability < LEAST_CAPABILITY {
        let ((major, minor), (need, _)) = (found.capability, LEAST_CAPABILITY);
        let message = format!("{}: compute capability {major}.{minor}, need {need}.0 or newer (Ampere)", found.name);
        return Err(Error::new(Status::NoDevice, message));
    }
    Ok(found)
}

/// An error that names the call, where the driver refused it. The driver is initialised or `result` is a success.
pub fn check(result: CUresult, call: &str) -> Result<()> {
    if result == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut text = std::ptr::null();
    // SAFETY: the pointer is to a live pointer, which the driver sets to a string that it keeps, or to null.
    let known = unsafe { sys::cuGetErrorString(result, &raw mut text) } == CUresult::CUDA_SUCCESS && !text.is_null();
    // SAFETY: not null, and the driver's strings end in a zero byte.
    let text = if known { unsafe { CStr::from_ptr(text) }.to_string_lossy() } else { "unknown error".into() };
    let status = match result {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => Status::OutOfMemory,
        _ => Status::NoDevice,
    };
    Err(Error::new(status, format!("{call}: CUDA error {}, {text}", result as u32)))
}
