//! cuBLASLt, found at run time: NVIDIA's products of large 16-bit matrices.
//!
//! It is no part of the driver and may be absent; then, and for all other products, this library's own kernels do. What
//! is called here is the same from CUDA 11 to 13: objects behind pointers from `…Create` functions, and one struct.

use std::collections::HashMap;
use std::ffi::{OsString, c_int, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::sys::CUstream;
use libloading::Library;

use super::Cuda;
use super::context::{Block, Context};
use super::replay::{self, Action};
use crate::dtype::DType;
use crate::error::{Error, Result, Status};

/// Who multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Multiplier {
    /// This library's kernels: a row of a product has the same bits whatever other rows there are.
    Own,
    /// cuBLASLt where it is found and the product is large: the same bits for the same shape alone.
    #[default]
    Fastest,
    /// cuBLASLt where it is found, however small the product.
    Blas,
}

impl Multiplier {
    /// What `CLOZE_CUDA_BLAS` says: `own`, `auto` or `always`.
    pub(super) fn named() -> Result<Self> {
        match std::env::var("CLOZE_CUDA_BLAS").as_deref() {
            Ok("own") => Ok(Self::Own),
            Ok("auto") | Err(_) => Ok(Self::Fastest),
            Ok("always") => Ok(Self::Blas),
            Ok(other) => Err(Error::input(format!("CLOZE_CUDA_BLAS={other}: own, auto or always"))),
        }
    }
}

/// A product of row-major matrices, c = a b, or c + a b.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LargeProduct {
    /// Type of a and b: one of the 16-bit ones.
    pub dtype: DType,
    /// Type of c: the same, or f32.
    pub sums: DType,
    /// Whether a and b are stored transposed.
    pub transposed: [bool; 2],
    /// Rows of c.
    pub rows: usize,
    /// Columns of c.
    pub columns: usize,
    /// Columns of a, rows of b.
    pub depth: usize,
    /// Elements from a stored row of a, b and c to the next.
    pub strides: [usize; 3],
    /// Whether c is added to.
    pub adds: bool,
}

/// Multiply-adds from which a product is worth a call that is not ours.
const LARGE: usize = 1 << 30;

/// Bytes that cuBLASLt may use meanwhile, as NVIDIA recommends for Hopper.
const WORKSPACE: usize = 32 << 20;

/// Pointers are taken to be aligned to no more than this many bytes, and to no less than a vector.
const ALIGNMENTS: (u64, u64) = (16, 256);

impl Cuda {
    /// Whether a product of that type with so many multiply-adds is one for cuBLASLt, and there is one.
    pub fn multiplies(&self, dtype: DType, size: usize) -> bool {
        let wanted = match self.multiplier {
            Multiplier::Own => false,
            Multiplier::Fastest => size >= LARGE,
            Multiplier::Blas => size > 0,
        };
        wanted && dtype != DType::F32 && self.found().is_some()
    }

    fn found(&self) -> Option<&Blas> {
        self.blas.get_or_init(|| Blas::find(&self.context)).as_ref()
    }

    /// Enqueues a product by cuBLASLt; `bias`, of the type of c, is added to every row. False where that is not to be
    /// done, or cannot be: nothing has happened then.
    ///
    /// # Safety
    /// `a`, `b` and `c` are of matrices of these shapes, `bias` of a row of c, in the device's memory; only c may be
    /// written meanwhile.
    pub unsafe fn multiply(&self, product: &LargeProduct, [a, b, c]: [u64; 3], bias: Option<u64>) -> Result<bool> {
        let size = product.rows.saturating_mul(product.columns).saturating_mul(product.depth);
        let lowest = |pointer: u64| 1 << pointer.trailing_zeros().min(ALIGNMENTS.1.trailing_zeros());
        let alignment = [a, b, c].into_iter().chain(bias).map(lowest).min().unwrap_or(ALIGNMENTS.1);
        let whole = product.strides.iter().all(|stride| stride.is_multiple_of(8));
        if !self.multiplies(product.dtype, size) || !whole || alignment < ALIGNMENTS.0 {
            return Ok(false);
        }
        let Some(blas) = self.found() else { return Ok(false) };
        self.check_cancel()?;
        let submission = self.context.submit()?;
        let mut plans = blas.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (*product, bias.is_some(), alignment);
        let plan = plans.entry(key).or_insert_with(|| Plan::new(blas, product, bias.is_some(), alignment));
        let Some(plan) = plan else { return Ok(false) };
        if replay::noted(("cublasLtMatmul", product, a, b, c, bias)) == Action::Skip {
            return Ok(true);
        }
        // SAFETY: the caller's promise; a context is current, as `submission` sees to.
        let status = unsafe { plan.run(blas, [a, b, c], bias, self.context.stream()) };
        drop(plans);
        drop(submission);
        match status {
            0 => Ok(true),
            status => Err(Error::new(Status::NoDevice, format!("cublasLtMatmul of {product:?}: status {status}"))),
        }
    }
}

type Object = *mut c_void;
type Value = *const c_void;

/// A way to compute a product, to be passed on as it is.
type Algorithm = [u64; 8];

/// `cublasLtMatmulHeuristicResult_t`
#[repr(C)]
#[derive(Default)]
struct Advice {
    algorithm: Algorithm,
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

// Values of enumerations in cublasLt.h and library_types.h.
const COMPUTE_F32: c_int = 68;
const TYPE_F32: c_int = 0;
const TYPE_F16: c_int = 2;
const TYPE_BF16: c_int = 14;
const DESC_TRANSPOSED_A: c_int = 3;
const DESC_TRANSPOSED_B: c_int = 4;
const DESC_EPILOGUE: c_int = 7;
const DESC_BIAS_POINTER: c_int = 8;
const TRANSPOSED: c_int = 1;
const EPILOGUE_BIAS: c_int = 4;
const PREFERENCE_WORKSPACE: c_int = 1;
const PREFERENCE_ALIGNMENTS: [c_int; 4] = [5, 6, 7, 8];

/// Declares the functions that are called, and looks them up.
macro_rules! functions {
    ($($field:ident $name:literal ($($argument:ty),*);)*) => {
        struct Functions {
            $($field: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl Functions {
            fn of(library: &Library) -> std::result::Result<Self, libloading::Error> {
                // SAFETY: the types are those of cublasLt.h.
                Ok(Self { $($field: unsafe { *library.get($name)? },)* })
            }
        }
    };
}
functions! {
    create b"cublasLtCreate" (*mut Object);
    destroy b"cublasLtDestroy" (Object);
    desc_create b"cublasLtMatmulDescCreate" (*mut Object, c_int, c_int);
    desc_destroy b"cublasLtMatmulDescDestroy" (Object);
    desc_set b"cublasLtMatmulDescSetAttribute" (Object, c_int, Value, usize);
    layout_create b"cublasLtMatrixLayoutCreate" (*mut Object, c_int, u64, u64, i64);
    layout_destroy b"cublasLtMatrixLayoutDestroy" (Object);
    preference_create b"cublasLtMatmulPreferenceCreate" (*mut Object);
    preference_destroy b"cublasLtMatmulPreferenceDestroy" (Object);
    preference_set b"cublasLtMatmulPreferenceSetAttribute" (Object, c_int, Value, usize);
    advise b"cublasLtMatmulAlgoGetHeuristic"
        (Object, Object, Object, Object, Object, Object, Object, c_int, *mut Advice, *mut c_int);
    matmul b"cublasLtMatmul"
        (Object, Object, Value, Value, Object, Value, Object, Value, Value, Object, Object, Object, *const Algorithm,
         Object, usize, CUstream);
}

/// The library, opened once a process: where `CLOZE_CUBLASLT` says, or where the system or the toolkit has it.
fn functions() -> Option<&'static Functions> {
    static FOUND: OnceLock<Option<Functions>> = OnceLock::new();
    let find = || {
        let names = ["libcublasLt.so.13", "libcublasLt.so.12"];
        let places: Vec<OsString> = match std::env::var_os("CLOZE_CUBLASLT") {
            Some(path) => vec![path],
            None if cfg!(windows) => vec!["cublasLt64_13.dll".into(), "cublasLt64_12.dll".into()],
            None => {
                let places = ["", "/usr/local/cuda/lib64/"];
                places.iter().flat_map(|place| names.map(|name| format!("{place}{name}").into())).collect()
            }
        };
        places.iter().find_map(|place| {
            // SAFETY: the library's initialisers are trusted as those of every linked library are.
            let library = unsafe { Library::new(place) }.ok()?;
            let functions = Functions::of(&library).ok()?;
            // never closed: the functions stay
            std::mem::forget(library);
            Some(functions)
        })
    };
    FOUND.get_or_init(find).as_ref()
}

/// cuBLASLt as one device uses it.
pub(super) struct Blas {
    functions: &'static Functions,
    context: Arc<Context>,
    handle: Object,
    workspace: Block,
    plans: Mutex<HashMap<(LargeProduct, bool, u64), Option<Plan>>>,
}

// SAFETY: cuBLASLt's handle may be used from any thread; plans are behind a mutex.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

impl Blas {
    fn find(context: &Arc<Context>) -> Option<Self> {
        let functions = functions()?;
        let _current = context.enter().ok()?;
        let workspace = replay::apart(|| context.alloc(WORKSPACE)).ok()?;
        let mut handle = ptr::null_mut();
        // SAFETY: a context is current; the pointer is to a live handle.
        if unsafe { (functions.create)(&raw mut handle) } != 0 {
            context.free(workspace);
            return None;
        }
        Some(Self { functions, context: Arc::clone(context), handle, workspace, plans: Mutex::default() })
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        self.plans.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        if let Ok(_current) = self.context.enter() {
            // SAFETY: the handle is ours; work under way does not need it.
            let _ = unsafe { (self.functions.destroy)(self.handle) };
        }
        self.context.free(std::mem::take(&mut self.workspace));
    }
}

/// How one product is computed.
struct Plan {
    functions: &'static Functions,
    desc: Object,
    /// Of cuBLASLt's A, B and C.
    layouts: [Object; 3],
    algorithm: Algorithm,
    adds: bool,
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: each object is ours, or null where it was not made.
        unsafe {
            self.layouts.iter().filter(|layout| !layout.is_null()).for_each(|&layout| {
                (self.functions.layout_destroy)(layout);
            });
            if !self.desc.is_null() {
                (self.functions.desc_destroy)(self.desc);
            }
        }
    }
}

fn typed(dtype: DType) -> c_int {
    match dtype {
        DType::F32 => TYPE_F32,
        DType::F16 => TYPE_F16,
        DType::Bf16 => TYPE_BF16,
    }
}

/// A value that is passed by its address and size.
fn value<T>(value: &T) -> (Value, usize) {
    (ptr::from_ref(value).cast(), size_of::<T>())
}

impl Plan {
    /// `None` where cuBLASLt knows no way.
    ///
    /// It takes columns for rows: cᵀ = bᵀ aᵀ is computed, whose first operand is the second here.
    fn new(blas: &Blas, product: &LargeProduct, bias: bool, alignment: u64) -> Option<Self> {
        let &LargeProduct { rows, columns, depth, strides, transposed, .. } = product;
        let functions = blas.functions;
        let ok = |status: c_int| (status == 0).then_some(());
        let (desc, layouts) = (ptr::null_mut(), [ptr::null_mut(); 3]);
        let mut plan = Self { functions, desc, layouts, algorithm: [0; 8], adds: product.adds };
        // SAFETY: pointers are to live objects and values of the sizes that are given; a failure ends it.
        unsafe {
            ok((functions.desc_create)(&raw mut plan.desc, COMPUTE_F32, TYPE_F32))?;
            let set = |name: c_int, number: c_int| {
                let (at, size) = value(&number);
                ok((functions.desc_set)(plan.desc, name, at, size))
            };
            // A row-major matrix is its own transpose in columns, and so is what is stored transposed twice that.
            if transposed[1] {
                set(DESC_TRANSPOSED_A, TRANSPOSED)?;
            }
            if transposed[0] {
                set(DESC_TRANSPOSED_B, TRANSPOSED)?;
            }
            if bias {
                set(DESC_EPILOGUE, EPILOGUE_BIAS)?;
            }
            let stored = |rows, columns, transposed| if transposed { (rows, columns) } else { (columns, rows) };
            let shapes = [
                (stored(depth, columns, transposed[1]), strides[1], product.dtype),
                (stored(rows, depth, transposed[0]), strides[0], product.dtype),
                ((columns, rows), strides[2], product.sums),
            ];
            for (layout, ((down, across), stride, dtype)) in plan.layouts.iter_mut().zip(shapes) {
                let (down, across) = (down as u64, across as u64);
                ok((functions.layout_create)(layout, typed(dtype), down, across, stride as i64))?;
            }
            let mut preference = ptr::null_mut();
            ok((functions.preference_create)(&raw mut preference))?;
            let (at, size) = value(&WORKSPACE);
            let mut known = (functions.preference_set)(preference, PREFERENCE_WORKSPACE, at, size);
            for name in PREFERENCE_ALIGNMENTS {
                let bytes = alignment as u32;
                let (at, size) = value(&bytes);
                known |= (functions.preference_set)(preference, name, at, size);
            }
            let (mut advice, mut count) = (Advice::default(), 0);
            let [a, b, c] = plan.layouts;
            let (desc, advice_at) = (plan.desc, &raw mut advice);
            known |= (functions.advise)(blas.handle, desc, a, b, c, c, preference, 1, advice_at, &raw mut count);
            (functions.preference_destroy)(preference);
            if known != 0 || count < 1 || advice.state != 0 || advice.workspace > WORKSPACE {
                return None;
            }
            plan.algorithm = advice.algorithm;
        }
        Some(plan)
    }

    /// Enqueues the product; the status is cuBLASLt's.
    ///
    /// # Safety
    /// As [`Cuda::multiply`]; the context is current.
    unsafe fn run(&self, blas: &Blas, [a, b, c]: [u64; 3], bias: Option<u64>, stream: CUstream) -> c_int {
        let (one, beta) = (1.0f32, if self.adds { 1.0f32 } else { 0.0 });
        let [left, right, sums] = self.layouts;
        let place = ptr::with_exposed_provenance_mut::<c_void>;
        // SAFETY: the caller's promise; layouts are those of the matrices, the workspace is as large as the plan was
        // made for, and the stream runs one product at a time.
        unsafe {
            if let Some(bias) = bias {
                let (at, size) = value(&bias);
                let status = (blas.functions.desc_set)(self.desc, DESC_BIAS_POINTER, at, size);
                if status != 0 {
                    return status;
                }
            }
            (blas.functions.matmul)(
                blas.handle,
                self.desc,
                value(&one).0,
                place(b as usize),
                left,
                place(a as usize),
                right,
                value(&beta).0,
                place(c as usize),
                sums,
                place(c as usize),
                sums,
                &raw const self.algorithm,
                place(blas.workspace.start as usize),
                WORKSPACE,
                stream,
            )
        }
    }
}
