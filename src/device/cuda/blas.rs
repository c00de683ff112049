//! cuBLASLt where it is found: the maker's products of 16-bit matrices, which on its newest chips are faster than kernels
//! that run on all of them.
//!
//! Matrices are column-major there: a row-major matrix is its transpose. A plan for a shape is made once. The library's
//! choice depends on the shape alone, so that a shape has the same bits every time.

use std::collections::HashMap;
use std::ffi::{OsString, c_int, c_void};
use std::path::PathBuf;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use libloading::Library;

use super::context::{Block, Context};
use super::replay::{self, Action};
use crate::dtype::DType;
use crate::error::{Error, Result, Status};

/// Names the library, or with `own` forbids it.
const VARIABLE: &str = "CLOZE_CUBLASLT";

/// Where the library may be: on the system's paths, then in the toolkit's own folder.
fn places() -> Vec<OsString> {
    let (names, folders) = if cfg!(windows) {
        let toolkit = std::env::var_os("CUDA_PATH").map(PathBuf::from);
        let folders = toolkit.map_or(vec![], |toolkit| vec![toolkit.join("bin").join("x64"), toolkit.join("bin")]);
        (["cublasLt64_13.dll", "cublasLt64_12.dll"], folders)
    } else {
        (["libcublasLt.so.13", "libcublasLt.so.12"], vec![PathBuf::from("/usr/local/cuda/lib64")])
    };
    let inside = folders.iter().flat_map(|folder| names.map(|name| folder.join(name).into_os_string()));
    names.iter().map(OsString::from).chain(inside).collect()
}

/// Bytes for what a product keeps meanwhile.
const WORKSPACE: usize = 32 << 20;

// Numbers of cublasLt.h and library_types.h, the same in CUDA 12 and 13.
const COMPUTE_32F: c_int = 68;
const TYPES: [(DType, c_int); 3] = [(DType::F32, 0), (DType::F16, 2), (DType::Bf16, 14)];
const TRANSPOSE_A: c_int = 3;
const TRANSPOSE_B: c_int = 4;
const EPILOGUE: c_int = 7;
const BIAS: c_int = 8;
const EPILOGUE_BIAS: u32 = 4;
const WORKSPACE_BYTES: c_int = 1;
/// Of a, b and c, which is there as the summand and as the result.
const ALIGNMENTS: [c_int; 4] = [5, 6, 7, 8];

/// Bytes that addresses are multiples of, at least and as far as it matters.
const ALIGNED: (u64, u64) = (16, 256);

type Handle = *mut c_void;

/// What the library tells of a way to compute a product.
#[repr(C)]
#[derive(Clone, Copy)]
struct Found {
    algorithm: [u64; 8],
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

/// The functions that are used.
struct Functions {
    create: unsafe extern "C" fn(*mut Handle) -> c_int,
    destroy: unsafe extern "C" fn(Handle) -> c_int,
    product: unsafe extern "C" fn(*mut Handle, c_int, c_int) -> c_int,
    set: unsafe extern "C" fn(Handle, c_int, *const c_void, usize) -> c_int,
    drop_product: unsafe extern "C" fn(Handle) -> c_int,
    layout: unsafe extern "C" fn(*mut Handle, c_int, u64, u64, i64) -> c_int,
    drop_layout: unsafe extern "C" fn(Handle) -> c_int,
    preference: unsafe extern "C" fn(*mut Handle) -> c_int,
    prefer: unsafe extern "C" fn(Handle, c_int, *const c_void, usize) -> c_int,
    drop_preference: unsafe extern "C" fn(Handle) -> c_int,
    #[allow(clippy::type_complexity)] // as the header has it
    heuristic: unsafe extern "C" fn(
        Handle,
        Handle,
        Handle,
        Handle,
        Handle,
        Handle,
        Handle,
        c_int,
        *mut Found,
        *mut c_int,
    ) -> c_int,
    #[allow(clippy::type_complexity)]
    multiply: unsafe extern "C" fn(
        Handle,
        Handle,
        *const c_void,
        *const c_void,
        Handle,
        *const c_void,
        Handle,
        *const c_void,
        *const c_void,
        Handle,
        *mut c_void,
        Handle,
        *const Found,
        *mut c_void,
        usize,
        *mut c_void,
    ) -> c_int,
    // Last: the functions are gone with it.
    _library: Library,
}

/// An operand as it lies in memory, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operand {
    /// Address of the first element.
    pub start: u64,
    /// Rows and columns.
    pub shape: (usize, usize),
    /// Elements from a row to the next.
    pub stride: usize,
}

/// c ← a' b' + bias, or c ← c + a' b', where a' is a or its transpose, and so is b'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// Left, and whether it is transposed.
    pub a: (Operand, bool),
    /// Right, and whether it is transposed.
    pub b: (Operand, bool),
    /// The result.
    pub c: Operand,
    /// Type of a and b.
    pub dtype: DType,
    /// Type of c.
    pub result: DType,
    /// Address of the bias of every column of c, of the type of c, or 0. There is none where the product is added.
    pub bias: u64,
    /// Whether to add.
    pub adds: bool,
}

/// A call but for its addresses, of which only what all of them are multiples of is known.
type Shape = ([((usize, usize), usize); 3], [bool; 4], DType, DType, u64);

impl Call {
    fn shape(&self) -> Shape {
        let of = |operand: &Operand| (operand.shape, operand.stride);
        let flags = [self.a.1, self.b.1, self.adds, self.bias != 0];
        ([of(&self.a.0), of(&self.b.0), of(&self.c)], flags, self.dtype, self.result, self.alignment())
    }

    /// Bytes that all addresses are multiples of.
    fn alignment(&self) -> u64 {
        let all = self.a.0.start | self.b.0.start | self.c.start | self.bias | ALIGNED.1;
        1 << all.trailing_zeros()
    }
}

/// The library, ready for one device.
pub(super) struct Blas {
    functions: Functions,
    handle: Handle,
    workspace: Block,
    plans: Mutex<HashMap<Shape, Plan>>,
}

/// How a shape is computed.
#[derive(Clone, Copy)]
struct Plan {
    product: Handle,
    layouts: [Handle; 3],
    found: Found,
}

// SAFETY: the library's handles may be used from any thread; plans are behind a mutex.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

fn check(status: c_int, call: &str) -> Result<()> {
    match status {
        0 => Ok(()),
        3 => Err(Error::new(Status::OutOfMemory, format!("{call}: cuBLASLt cannot allocate memory"))),
        status => Err(Error::new(Status::NoDevice, format!("{call}: cuBLASLt error {status}"))),
    }
}

impl Functions {
    /// Those of the library that is found first; `None` where there is none, or it is not to be used.
    fn find() -> Option<Self> {
        let named = std::env::var_os(VARIABLE);
        let choices: Vec<OsString> = match named {
            Some(own) if own == "own" => return None,
            Some(path) => vec![path],
            None => places(),
        };
        // SAFETY: the library's initialisers are trusted as those of every linked library are.
        let library = choices.iter().find_map(|name| unsafe { Library::new(name) }.ok())?;
        // SAFETY: each type is that of the header's function of the name.
        unsafe {
            macro_rules! function {
                ($name:literal) => {
                    *library.get(concat!($name, "\0").as_bytes()).ok()?
                };
            }
            Some(Self {
                create: function!("cublasLtCreate"),
                destroy: function!("cublasLtDestroy"),
                product: function!("cublasLtMatmulDescCreate"),
                set: function!("cublasLtMatmulDescSetAttribute"),
                drop_product: function!("cublasLtMatmulDescDestroy"),
                layout: function!("cublasLtMatrixLayoutCreate"),
                drop_layout: function!("cublasLtMatrixLayoutDestroy"),
                preference: function!("cublasLtMatmulPreferenceCreate"),
                prefer: function!("cublasLtMatmulPreferenceSetAttribute"),
                drop_preference: function!("cublasLtMatmulPreferenceDestroy"),
                heuristic: function!("cublasLtMatmulAlgoGetHeuristic"),
                multiply: function!("cublasLtMatmul"),
                _library: library,
            })
        }
    }
}

impl Blas {
    /// The library for the device of `context`; `None` where there is none that works.
    pub fn find(context: &Context) -> Option<Self> {
        let functions = Functions::find()?;
        let _current = context.enter().ok()?;
        let mut handle = ptr::null_mut();
        // SAFETY: a context is current; the pointer is to a live handle.
        check(unsafe { (functions.create)(&raw mut handle) }, "cublasLtCreate").ok()?;
        let workspace = context.lasting(WORKSPACE).ok()?;
        Some(Self { functions, handle, workspace, plans: Mutex::default() })
    }

    /// Enqueues a product. `false` where the library has no way to compute it.
    ///
    /// # Safety
    /// The operands are in the device's memory, in their types, and their shapes fit each other; nothing else refers to
    /// what is written.
    pub unsafe fn multiply(&self, context: &Context, call: &Call) -> Result<bool> {
        if call.alignment() < ALIGNED.0 {
            return Ok(false);
        }
        // First, as whoever records has it before the plans.
        let _submission = context.submit()?;
        // Held until the product is enqueued: its description holds the address of the bias.
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = *plans.entry(call.shape()).or_insert_with(|| replay::apart(|| self.plan(call)));
        if plan.found.state != 0 {
            return Ok(false);
        }
        if replay::noted(call) == Action::Skip {
            return Ok(true);
        }
        if call.bias != 0 {
            // SAFETY: the product's description is ours, and the value is an address.
            check(unsafe { self.set(plan.product, BIAS, &call.bias) }, "cublasLtMatmulDescSetAttribute")?;
        }
        let (alpha, beta) = (1.0f32, if call.adds { 1.0f32 } else { 0.0 });
        let [a, b, c] = [call.b.0.start, call.a.0.start, call.c.start].map(|start| start as *mut c_void);
        // SAFETY: the plan is of this shape, the workspace is as large as it was promised, and the rest is the caller's
        // promise. The order of operands is that of the transposed product.
        let status = unsafe {
            (self.functions.multiply)(
                self.handle,
                plan.product,
                (&raw const alpha).cast(),
                a,
                plan.layouts[0],
                b,
                plan.layouts[1],
                (&raw const beta).cast(),
                c,
                plan.layouts[2],
                c,
                plan.layouts[2],
                &raw const plan.found,
                self.workspace.start as *mut c_void,
                WORKSPACE,
                context.stream().cast(),
            )
        };
        check(status, "cublasLtMatmul")?;
        Ok(true)
    }

    /// # Safety
    /// `product` is a description of a product, and `T` the type of the attribute.
    unsafe fn set<T>(&self, product: Handle, attribute: c_int, value: &T) -> c_int {
        // SAFETY: the caller's promise; the pointer is to a live value of that size.
        unsafe { (self.functions.set)(product, attribute, ptr::from_ref(value).cast(), size_of::<T>()) }
    }

    /// The library's way to compute cᵀ = b'ᵀ a'ᵀ; its state tells whether there is one.
    fn plan(&self, call: &Call) -> Plan {
        let found = Found { algorithm: [0; 8], workspace: 0, state: 1, waves: 0.0, reserved: [0; 4] };
        let mut plan = Plan { product: ptr::null_mut(), layouts: [ptr::null_mut(); 3], found };
        if self.make(&mut plan, call).is_err() {
            plan.found.state = 1;
        }
        plan
    }

    /// A context is current.
    fn make(&self, plan: &mut Plan, call: &Call) -> Result<()> {
        let Plan { product, layouts, found } = plan;
        let number = |dtype| TYPES.iter().find(|(known, _)| *known == dtype).map_or(0, |(_, number)| *number);
        let (mut preference, mut count) = (ptr::null_mut(), 0);
        // SAFETY: pointers are to live values of the types that the header has, descriptions are made before they are
        // used, and sizes are those of the values.
        unsafe {
            check((self.functions.product)(product, COMPUTE_32F, 0), "cublasLtMatmulDescCreate")?;
            for (attribute, transposed) in [(TRANSPOSE_A, call.b.1), (TRANSPOSE_B, call.a.1)] {
                let operation = c_int::from(transposed);
                check(self.set(*product, attribute, &operation), "cublasLtMatmulDescSetAttribute")?;
            }
            if call.bias != 0 {
                check(self.set(*product, EPILOGUE, &EPILOGUE_BIAS), "cublasLtMatmulDescSetAttribute")?;
                check(self.set(*product, BIAS, &call.bias), "cublasLtMatmulDescSetAttribute")?;
            }
            let operands = [(call.b.0, call.dtype), (call.a.0, call.dtype), (call.c, call.result)];
            for (layout, (operand, dtype)) in layouts.iter_mut().zip(operands) {
                let (rows, columns) = operand.shape;
                let made =
                    (self.functions.layout)(layout, number(dtype), columns as u64, rows as u64, operand.stride as i64);
                check(made, "cublasLtMatrixLayoutCreate")?;
            }
            check((self.functions.preference)(&raw mut preference), "cublasLtMatmulPreferenceCreate")?;
            let (limit, alignment) = (WORKSPACE, call.alignment() as u32);
            let mut set =
                (self.functions.prefer)(preference, WORKSPACE_BYTES, (&raw const limit).cast(), size_of::<usize>());
            for attribute in ALIGNMENTS {
                let value = (&raw const alignment).cast();
                set |= (self.functions.prefer)(preference, attribute, value, size_of::<u32>());
            }
            let [a, b, c] = *layouts;
            let asked = (self.functions.heuristic)(
                self.handle,
                *product,
                a,
                b,
                c,
                c,
                preference,
                1,
                &raw mut *found,
                &raw mut count,
            );
            (self.functions.drop_preference)(preference);
            check(set, "cublasLtMatmulPreferenceSetAttribute")?;
            check(asked, "cublasLtMatmulAlgoGetHeuristic")?;
        }
        if count == 0 {
            found.state = 1;
        }
        Ok(())
    }

    /// Gives up what the library holds. The device has run what it was given.
    pub fn close(self, context: &Context) {
        let _current = context.enter();
        let plans = self.plans.into_inner().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: all of it was made by this library and is used no more.
        unsafe {
            for plan in plans.into_values() {
                for layout in plan.layouts.into_iter().filter(|layout| !layout.is_null()) {
                    (self.functions.drop_layout)(layout);
                }
                if !plan.product.is_null() {
                    (self.functions.drop_product)(plan.product);
                }
            }
            (self.functions.destroy)(self.handle);
        }
        context.free(self.workspace);
    }
}
