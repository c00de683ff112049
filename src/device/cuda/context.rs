//! The driver's objects for one model, and the calls on them. Every call makes the context current and restores what was:
//! the host application's own use of CUDA is not disturbed.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cudarc::driver::sys::{self, CUcontext, CUdeviceptr, CUfunction, CUmodule, CUstream};

use super::blas::Blas;
use super::driver::{DeviceInfo, check};
use super::replay::{self, Action};
use crate::dtype::DType;
use crate::error::{Error, Result, Status};

/// A device's primary context, which is shared with every user of the device in this process, and a stream of our own.
pub(super) struct Context {
    pub info: DeviceInfo,
    pub modules: Mutex<HashMap<&'static str, Module>>,
    pub functions: RwLock<HashMap<(&'static str, Option<DType>), Function>>,
    /// Looked for when a product is first large enough for it.
    blas: OnceLock<Option<Blas>>,
    spare: Spare,
    /// Blocks have the size that was asked for, and go back to the driver at once.
    exact: bool,
    /// Held for reading while work is enqueued, for writing while this stream records.
    gate: RwLock<()>,
    handle: CUcontext,
    stream: CUstream,
}

/// A module of kernels.
#[derive(Clone, Copy)]
pub(super) struct Module(pub CUmodule);

/// A kernel that can be launched.
#[derive(Clone, Copy)]
pub(super) struct Function(pub CUfunction);

// SAFETY: the driver's handles may be used from any thread; the context is made current in each call.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}
// SAFETY: as above; what the handles stand for is changed by the driver alone, which locks.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

thread_local! {
    /// The context that this thread has made current, and whether it holds the gate for writing.
    static CURRENT: Cell<(*const Context, bool)> = const { Cell::new((ptr::null(), false)) };
}

/// Makes a context current while it lives, on this thread.
pub(super) struct Current {
    before: (*const Context, bool),
    pushed: bool,
    /// Stays on its thread.
    thread: PhantomData<*const ()>,
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.set(self.before);
        if self.pushed {
            let mut popped = ptr::null_mut();
            // SAFETY: `Context::enter` pushed; a failure leaves nothing to do.
            let _ = unsafe { sys::cuCtxPopCurrent_v2(&raw mut popped) };
        }
    }
}

/// Leave to enqueue work.
pub(super) struct Submission<'a> {
    _gate: Option<RwLockReadGuard<'a, ()>>,
    _current: Current,
}

/// Leave to enqueue work that nobody else has.
pub(super) struct Exclusive<'a> {
    _gate: RwLockWriteGuard<'a, ()>,
    _current: Current,
}

impl Context {
    pub fn new(info: DeviceInfo) -> Result<Self> {
        let (mut handle, mut stream) = (ptr::null_mut(), ptr::null_mut());
        let device = info.ordinal as i32;
        // SAFETY: `usable` has found the device; the pointer is to a live handle.
        check(unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut handle, device) }, "cuDevicePrimaryCtxRetain")?;
        let mut context = Self {
            info,
            modules: Mutex::default(),
            functions: RwLock::default(),
            blas: OnceLock::new(),
            spare: Spare::default(),
            exact: std::env::var_os(EXACT_VARIABLE).is_some_and(|value| value == "1"),
            gate: RwLock::default(),
            handle,
            stream: ptr::null_mut(),
        };
        let current = context.enter()?;
        let flags = sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: a context is current; the pointer is to a live handle.
        check(unsafe { sys::cuStreamCreate(&raw mut stream, flags) }, "cuStreamCreate")?;
        drop(current);
        context.stream = stream;
        Ok(context)
    }

    /// Makes this context current on this thread until the result is dropped.
    pub fn enter(&self) -> Result<Current> {
        let before = CURRENT.get();
        let pushed = !ptr::eq(before.0, self);
        if pushed {
            // SAFETY: the handle is retained as long as `self` lives.
            check(unsafe { sys::cuCtxPushCurrent_v2(self.handle) }, "cuCtxPushCurrent")?;
            CURRENT.set((self, false));
        }
        Ok(Current { before, pushed, thread: PhantomData })
    }

    /// [`Context::enter`], and leave to enqueue work on the stream.
    pub fn submit(&self) -> Result<Submission<'_>> {
        let current = self.enter()?;
        let exclusive = CURRENT.get().1;
        let gate = (!exclusive).then(|| self.gate.read().unwrap_or_else(PoisonError::into_inner));
        Ok(Submission { _gate: gate, _current: current })
    }

    /// Keeps all other threads from enqueuing work. Not within another [`Context::exclusive`] of this thread.
    pub fn exclusive(&self) -> Result<Exclusive<'_>> {
        let current = self.enter()?;
        let gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        CURRENT.set((self, true));
        Ok(Exclusive { _gate: gate, _current: current })
    }

    pub fn stream(&self) -> CUstream {
        self.stream
    }

    pub fn memory(&self) -> Result<(u64, u64)> {
        let _current = self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: a context is current; the pointers are to live integers.
        check(unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) }, "cuMemGetInfo")?;
        Ok((free as u64, total as u64))
    }

    pub fn synchronize(&self) -> Result<()> {
        replay::outside("waiting")?;
        let _submission = self.submit()?;
        // SAFETY: the stream lives as long as `self`.
        check(unsafe { sys::cuStreamSynchronize(self.stream) }, "cuStreamSynchronize")
    }

    /// Memory of at least `bytes`, with unspecified contents.
    pub fn alloc(&self, bytes: usize) -> Result<Block> {
        if bytes == 0 {
            return Ok(Block::default());
        }
        let bytes = if self.exact { bytes } else { bytes.next_multiple_of(GRANULE) };
        if let Some(block) = replay::alloc(bytes, || self.common(bytes)) {
            return block;
        }
        self.common(bytes)
    }

    /// Memory of no recording, however long it is kept.
    pub fn lasting(&self, bytes: usize) -> Result<Block> {
        self.common(bytes.next_multiple_of(GRANULE))
    }

    /// cuBLASLt, where there is one.
    pub fn blas(&self) -> Option<&Blas> {
        self.blas.get_or_init(|| replay::apart(|| Blas::find(self))).as_ref()
    }

    /// Memory of no recording.
    fn common(&self, bytes: usize) -> Result<Block> {
        if let Some(block) = (!self.exact).then(|| self.spare.take(bytes)).flatten() {
            return Ok(block);
        }
        self.fresh(bytes).or_else(|error| {
            if error.status() != Status::OutOfMemory {
                return Err(error);
            }
            self.release_spare()?;
            self.fresh(bytes).map_err(|error| match self.memory() {
                Ok((free, total)) if error.status() == Status::OutOfMemory => {
                    let device = &self.info.name;
                    let message = format!("{device}: cannot allocate {bytes} bytes, {free} of {total} are free");
                    Error::new(Status::OutOfMemory, message)
                }
                _ => error,
            })
        })
    }

    fn fresh(&self, bytes: usize) -> Result<Block> {
        let _current = self.enter()?;
        let mut start = 0;
        // SAFETY: a context is current; the pointer is to a live integer.
        check(unsafe { sys::cuMemAlloc_v2(&raw mut start, bytes) }, "cuMemAlloc")?;
        Ok(Block { start, bytes, recorded: false })
    }

    /// Gives the blocks that are kept back to the driver.
    fn release_spare(&self) -> Result<()> {
        self.synchronize()?;
        let _current = self.enter()?;
        for block in self.spare.drain() {
            // SAFETY: the block came from `cuMemAlloc`, nothing refers to it, and the work that did has run.
            check(unsafe { sys::cuMemFree_v2(block.start) }, "cuMemFree")?;
        }
        Ok(())
    }

    /// Takes back memory that nothing refers to; work already enqueued may still use it.
    pub fn free(&self, block: Block) {
        if block.recorded {
            replay::freed(block);
        } else if block.bytes > 0 {
            self.spare.put(block);
            if self.exact && !replay::active() {
                // What fails is found by the next call.
                let _ = self.release_spare();
            }
        }
    }

    /// Copies host bytes into a block that holds as many.
    pub fn write(&self, to: &Block, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        replay::outside("a copy from the host")?;
        let _submission = self.submit()?;
        let from = bytes.as_ptr().cast::<c_void>();
        // SAFETY: the block holds at least `bytes.len()` bytes; the driver has read pageable memory when the call returns.
        check(unsafe { sys::cuMemcpyHtoDAsync_v2(to.start, from, bytes.len(), self.stream) }, "cuMemcpyHtoD")
    }

    /// Copies the first bytes of a block to the host, after all work enqueued so far.
    pub fn read(&self, from: &Block, out: &mut [u8]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        replay::outside("a copy to the host")?;
        let _submission = self.submit()?;
        let to = out.as_mut_ptr().cast::<c_void>();
        // SAFETY: the block holds at least `out.len()` bytes, and the stream is waited for before `out` is used.
        unsafe {
            check(sys::cuMemcpyDtoHAsync_v2(to, from.start, out.len(), self.stream), "cuMemcpyDtoH")?;
            check(sys::cuStreamSynchronize(self.stream), "cuStreamSynchronize")
        }
    }

    /// Sets the first bytes of a block to zero.
    pub fn zero(&self, block: &Block, bytes: usize) -> Result<()> {
        if bytes == 0 || replay::noted((block.start, bytes)) == Action::Skip {
            return Ok(());
        }
        let _submission = self.submit()?;
        // SAFETY: the block holds at least as many bytes.
        check(unsafe { sys::cuMemsetD8Async(block.start, 0, bytes, self.stream) }, "cuMemsetD8")
    }

    /// Copies the first bytes of one block to another; both hold as many.
    pub fn copy(&self, from: &Block, to: &Block, bytes: usize) -> Result<()> {
        if bytes == 0 || replay::noted((from.start, to.start, bytes)) == Action::Skip {
            return Ok(());
        }
        let _submission = self.submit()?;
        // SAFETY: both blocks hold at least as many bytes, and blocks do not overlap.
        check(unsafe { sys::cuMemcpyDtoDAsync_v2(to.start, from.start, bytes, self.stream) }, "cuMemcpyDtoD")
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // Nothing can be told here: what fails is left to the end of the process.
        let _ = self.synchronize();
        if let Some(blas) = self.blas.take().flatten() {
            blas.close(self);
        }
        let _ = self.release_spare();
        if let Ok(_current) = self.enter() {
            let modules = self.modules.get_mut().unwrap_or_else(PoisonError::into_inner);
            for Module(module) in modules.drain().map(|(_, module)| module) {
                // SAFETY: the module was loaded in this context and its kernels have run.
                let _ = unsafe { sys::cuModuleUnload(module) };
            }
            if !self.stream.is_null() {
                // SAFETY: the stream is ours and has run dry.
                let _ = unsafe { sys::cuStreamDestroy_v2(self.stream) };
            }
        }
        // SAFETY: `new` retained it once.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.info.ordinal as i32) };
    }
}

/// Set to 1, it makes every buffer an allocation of the driver: for tools that watch what kernels do with memory.
const EXACT_VARIABLE: &str = "CLOZE_CUDA_EXACT";

/// Sizes of blocks are multiples of it, starts aligned to it.
const GRANULE: usize = 256;

/// Memory of the device.
#[derive(Default)]
pub(super) struct Block {
    pub start: CUdeviceptr,
    pub bytes: usize,
    /// Belongs to a graph, or to the recording of one.
    pub recorded: bool,
}

/// Freed blocks, kept for the next allocation: the driver's own take microseconds and wait.
#[derive(Default)]
struct Spare(Mutex<Vec<Block>>);

impl Spare {
    /// The smallest kept block of at least `bytes` and at most a quarter more.
    fn take(&self, bytes: usize) -> Option<Block> {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = blocks.partition_point(|block| block.bytes < bytes);
        blocks.get(at).is_some_and(|block| block.bytes <= bytes + bytes / 4 + SMALL).then(|| blocks.remove(at))
    }

    /// Keeps a block, in the order of sizes.
    fn put(&self, block: Block) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = blocks.partition_point(|kept| kept.bytes < block.bytes);
        blocks.insert(at, block);
    }

    fn drain(&self) -> Vec<Block> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Bytes that a block may be too large by, however little is asked for.
const SMALL: usize = 64 << 10;
