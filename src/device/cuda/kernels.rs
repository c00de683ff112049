//! The kernels by name, and the modules that hold them.
//!
//! `kernels/*.cu` are compiled ahead to PTX, which is checked in and part of this library; the driver compiles it for its
//! device when a kernel of a family is first wanted, and keeps the result on disk.

use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::PoisonError;

use cudarc::driver::sys::{self, CUjit_option_enum as Option_};

use super::context::{Context, Function, Module};
use super::driver::check;
use crate::dtype::DType;
use crate::error::{Error, Result};

/// Kernels that are compiled together: a file of `kernels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Stem of the file.
    pub name: &'static str,
    /// Its PTX, deflated.
    pub ptx: &'static [u8],
}

/// The [`Family`] of the file `kernels/<name>.cu`, with its PTX as `build.rs` deflated it.
macro_rules! family {
    ($name:literal) => {
        $crate::device::cuda::Family {
            name: $name,
            ptx: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".ptx.deflated")),
        }
    };
}
pub(crate) use family;

/// A kernel of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Where it stands.
    pub family: &'static Family,
    /// Its name, without the type's suffix.
    pub name: &'static str,
    /// The type it is compiled for, whose name follows its own after `_`; none where there is only one.
    pub dtype: Option<DType>,
}

impl Kernel {
    /// The one kernel `name`.
    pub const fn new(family: &'static Family, name: &'static str) -> Self {
        Self { family, name, dtype: None }
    }

    /// `name` for elements of type `dtype`.
    pub const fn of(family: &'static Family, name: &'static str, dtype: DType) -> Self {
        Self { family, name, dtype: Some(dtype) }
    }

    fn entry(&self) -> String {
        self.dtype.map_or_else(|| self.name.to_owned(), |dtype| format!("{}_{dtype}", self.name))
    }
}

/// Bytes of shared memory that any kernel may have without asking for more.
const COMMON_SHARED: u32 = 48 << 10;

impl Context {
    /// The kernel, ready to be launched with up to `shared` bytes of dynamic shared memory.
    pub(super) fn function(&self, kernel: &Kernel, shared: u32) -> Result<Function> {
        let key = (kernel.name, kernel.dtype);
        let known = self.functions.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let module = self.module(kernel.family)?;
        let (entry, mut function) = (kernel.entry(), ptr::null_mut());
        let name = CString::new(entry.as_str()).map_err(|e| Error::internal(format!("kernel {entry}: {e}")))?;
        let _current = self.enter()?;
        // SAFETY: the module is loaded in the current context; the pointers are to a string and a live handle.
        check(unsafe { sys::cuModuleGetFunction(&raw mut function, module.0, name.as_ptr()) }, "cuModuleGetFunction")
            .map_err(|e| e.within(format!("kernel {entry}")))?;
        if shared > COMMON_SHARED {
            let limit = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function was just found.
            check(unsafe { sys::cuFuncSetAttribute(function, limit, shared as i32) }, "cuFuncSetAttribute")
                .map_err(|e| e.within(format!("kernel {entry} with {shared} bytes of shared memory")))?;
        }
        let function = Function(function);
        self.functions.write().unwrap_or_else(PoisonError::into_inner).insert(key, function);
        Ok(function)
    }

    fn module(&self, family: &'static Family) -> Result<Module> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(family.name) {
            return Ok(*module);
        }
        let broken = |e: &dyn std::fmt::Display| Error::internal(format!("PTX of {}: {e}", family.name));
        let ptx = miniz_oxide::inflate::decompress_to_vec(family.ptx).map_err(|e| broken(&e))?;
        let image = CString::new(ptx).map_err(|e| broken(&e))?;
        let (mut module, mut log) = (ptr::null_mut(), vec![0u8; 4096]);
        let mut options = [Option_::CU_JIT_ERROR_LOG_BUFFER, Option_::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), ptr::without_provenance_mut(log.len())];
        let _current = self.enter()?;
        // SAFETY: a context is current; the image ends in a zero byte; there are as many options as values, the first of
        // them a buffer of the size that the second gives.
        let result = unsafe {
            let (options, values) = (options.as_mut_ptr(), values.as_mut_ptr());
            sys::cuModuleLoadDataEx(&raw mut module, image.as_ptr().cast(), 2, options, values)
        };
        check(result, "cuModuleLoadDataEx").map_err(|e| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            let said = String::from_utf8_lossy(&log[..end]);
            let log = if said.is_empty() { String::new() } else { format!(" ({})", said.trim()) };
            Error::new(e.status(), format!("kernels of {}: {e}{log}", family.name))
        })?;
        modules.insert(family.name, Module(module));
        Ok(Module(module))
    }
}
