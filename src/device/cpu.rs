//! The CPU: buffers that are owned, or mapped until first written; an instruction set; worker threads.

mod memory;
mod packed;

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use memory::{Block, Spare};
pub use packed::{Arithmetic, Groups, Memory, Packed};

use super::{Device, Mapped, Portions, Quantised};
use crate::dtype::{Element, Scalar};
use crate::error::{Error, Result};
use crate::pool::{Cancel, Pool};
use crate::simd::Isa;
use crate::simd::dot::DotKernel;

/// A CPU: the threads of one model and the instruction set they use.
#[derive(Clone)]
pub struct Cpu {
    pool: Arc<Pool>,
    isa: Isa,
    arithmetic: Arithmetic,
    memory: Memory,
    spare: Arc<Spare>,
    cancel: Option<Cancel>,
}

impl Cpu {
    /// Enough tokens to keep every thread busy and the traffic of weights small, few enough that activations stay tens
    /// of megabytes (a BERT-base layer holds 8 H + F values a token at its widest); 128 rows of logits are 15 MiB for
    /// 30,522 words.
    pub const PORTIONS: Portions = Portions {
        answer_tokens: 2048,
        encode_tokens: 2048,
        answer_logits: 128,
        pass_bytes: 96 << 20,
        pass_tokens: (512, 2048),
        pass_logits: 8 << 20,
    };

    /// A CPU of `threads` threads (0: all) with the best instruction set, or the one that `CLOZE_ISA` names.
    pub fn new(threads: usize) -> Result<Self> {
        Self::with_isa(threads, Isa::detect()?)
    }

    /// A CPU of `threads` threads that uses `isa`.
    pub fn with_isa(threads: usize, isa: Isa) -> Result<Self> {
        let pool = Arc::new(Pool::new(threads)?);
        Ok(Self { pool, isa, arithmetic: Arithmetic::F32, memory: Memory::Fast, spare: Arc::default(), cancel: None })
    }

    /// The same CPU, for models whose encoders' weights are multiplied as `arithmetic` says and kept as `memory` says.
    pub fn computing(&self, arithmetic: Arithmetic, memory: Memory) -> Self {
        Self { arithmetic, memory, ..self.clone() }
    }

    /// How weights are kept.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// What weights are packed as.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// The same CPU, for a call that stops once `cancel` is set.
    pub fn cancelled_by(&self, cancel: Option<&Cancel>) -> Self {
        Self { cancel: cancel.cloned(), ..self.clone() }
    }

    /// Instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Runs `kernel` on numbers of this CPU's arithmetic, compiled for its instruction set.
    #[inline]
    pub fn dispatch_dot<K: DotKernel>(&self, kernel: K) -> K::Output {
        match self.arithmetic {
            Arithmetic::F32 => self.isa.dispatch_f32(kernel),
            Arithmetic::Bf16 => self.isa.dispatch_bf16(kernel),
            Arithmetic::Int8 => self.isa.dispatch_int8(kernel),
        }
    }

    /// The same CPU, for work that stays on its caller's thread.
    pub fn alone(&self) -> Self {
        Self { pool: Arc::new(Pool::alone()), ..self.clone() }
    }

    /// Number of worker threads.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Calls `task` for every index below `items` on the worker threads; see [`Pool::for_each`].
    pub fn for_each(&self, items: usize, task: impl Fn(usize) + Sync) -> Result<()> {
        self.pool.for_each(items, self.cancel.as_ref(), task)
    }

    /// See [`Pool::for_each_ahead`].
    pub fn for_each_ahead(&self, items: usize, task: impl Fn(usize, Option<usize>) + Sync) -> Result<()> {
        self.pool.for_each_ahead(items, self.cancel.as_ref(), task)
    }

    /// [`Cpu::for_each`] of a task that may fail: an error of one of the items, if any has one.
    pub fn try_for_each(&self, items: usize, task: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let failure = Mutex::new(Ok(()));
        self.for_each(items, |item| {
            if let Err(error) = task(item) {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
            }
        })?;
        failure.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error once the call has been cancelled.
    pub fn check_cancel(&self) -> Result<()> {
        self.cancel.as_ref().map_or(Ok(()), Cancel::check)
    }
}

impl Device for Cpu {
    type Activation = f32;
    type Packed = Packed;
    type Integers = Quantised;
    type Buffer<E: Scalar> = CpuBuffer<E>;

    fn alloc<E: Scalar>(&self, len: usize) -> Result<CpuBuffer<E>> {
        let block = match self.spare.take(len * size_of::<E>()) {
            Some(block) => block,
            None => Block::new(len * size_of::<E>())?,
        };
        Ok(CpuBuffer {
            storage: Storage::Owned { block, spare: Some(Arc::clone(&self.spare)) },
            len,
            element: PhantomData,
        })
    }

    fn adopt<E: Element>(&self, stored: &Mapped) -> Result<CpuBuffer<E>> {
        let bytes = stored.bytes();
        if !bytes.len().is_multiple_of(size_of::<E>()) {
            return Err(Error::internal(format!("{} bytes are no whole number of {}", bytes.len(), E::DTYPE)));
        }
        let len = bytes.len() / size_of::<E>();
        if cfg!(target_endian = "big") {
            return Err(Error::unsupported("big-endian processors: weights are little-endian and used in place"));
        }
        if bytes.as_ptr().cast::<E>().is_aligned() {
            return Ok(CpuBuffer { storage: Storage::Mapped(stored.clone()), len, element: PhantomData });
        }
        let mut copy = self.alloc::<E>(len)?;
        let target = copy.as_mut_slice()?;
        // SAFETY: source and target are `bytes.len()` bytes of separate memory, and every bit pattern is an `E`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.as_mut_ptr().cast::<u8>(), bytes.len()) };
        Ok(copy)
    }

    fn write<E: Element>(&self, values: &[E], buffer: &mut CpuBuffer<E>) -> Result<()> {
        let found = buffer.len;
        match buffer.as_mut_slice()?.get_mut(..values.len()) {
            Some(target) => target.copy_from_slice(values),
            None => return Err(Error::internal(format!("{} elements for a buffer of {found}", values.len()))),
        }
        Ok(())
    }

    fn download<E: Element>(&self, buffer: &CpuBuffer<E>, out: &mut [E]) -> Result<()> {
        let values = buffer.as_slice();
        if values.len() < out.len() {
            return Err(Error::internal(format!("{} elements wanted of a buffer of {}", out.len(), values.len())));
        }
        out.copy_from_slice(&values[..out.len()]);
        Ok(())
    }

    fn host<'a, E: Element>(&self, buffer: &'a CpuBuffer<E>, len: usize) -> Result<Cow<'a, [E]>> {
        let found = buffer.len;
        let values = buffer.as_slice().get(..len);
        values
            .map(Cow::Borrowed)
            .ok_or_else(|| Error::internal(format!("{len} elements wanted of a buffer of {found}")))
    }

    fn expose<E: Element>(&self, buffer: &mut CpuBuffer<E>) -> Result<*mut E> {
        Ok(buffer.as_mut_slice()?.as_mut_ptr())
    }

    fn upload_activations(&self, values: &[f32]) -> Result<CpuBuffer<f32>> {
        self.upload(values)
    }

    fn download_activations(&self, buffer: &CpuBuffer<f32>, out: &mut [f32]) -> Result<()> {
        self.download(buffer, out)
    }

    fn clear<E: Scalar>(&self, buffer: &mut CpuBuffer<E>) -> Result<()> {
        let values = buffer.as_mut_slice()?;
        let len = values.len();
        let target = Target(values.as_mut_ptr());
        self.for_each(len.div_ceil(COPIED), |item| {
            let first = item * COPIED;
            // SAFETY: `values` is borrowed exclusively, and every item has its own part of it.
            unsafe { target.part(first, COPIED.min(len - first)) }.fill(E::default());
        })
    }

    fn copy<E: Scalar>(&self, from: &CpuBuffer<E>, to: &mut CpuBuffer<E>, len: usize) -> Result<()> {
        let (from, to) = (from.as_slice(), to.as_mut_slice()?);
        if from.len() < len || to.len() < len {
            return Err(Error::internal(format!("{len} elements to copy from {} to {}", from.len(), to.len())));
        }
        let target = Target(to.as_mut_ptr());
        self.for_each(len.div_ceil(COPIED), |item| {
            let part = item * COPIED..len.min((item + 1) * COPIED);
            // SAFETY: `to` is borrowed exclusively and has `len` elements, and every item has its own part of it.
            unsafe { target.part(part.start, part.len()) }.copy_from_slice(&from[part]);
        })
    }

    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    fn portions(&self) -> Portions {
        // Of fewer tokens a thread has too few rows, of more, what a layer reads has left the cache since it was written.
        let encode_tokens = (512 * self.threads()).clamp(1024, Self::PORTIONS.encode_tokens);
        Portions { encode_tokens, ..Self::PORTIONS }
    }

    fn len<E: Scalar>(buffer: &CpuBuffer<E>) -> usize {
        buffer.len
    }
}

/// Elements that one work item copies or clears.
const COPIED: usize = 32 * 1024;

/// Memory whose parts several threads write.
struct Target<E>(*mut E);

// SAFETY: the pointer comes from an exclusive borrow, elements may be sent, and every access is `unsafe` with the duty to
// keep parts disjoint.
unsafe impl<E: Scalar> Sync for Target<E> {}

impl<E: Scalar> Target<E> {
    /// `len` elements from `first` on.
    ///
    /// # Safety
    /// They lie within the memory, are initialised, and nothing else refers to them while the result lives.
    #[allow(clippy::mut_from_ref)] // disjointness is the caller's promise
    unsafe fn part(&self, first: usize, len: usize) -> &mut [E] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(first), len) }
    }
}

/// Elements in main memory: owned, or read in place from a mapping and copied when first written.
pub struct CpuBuffer<E: Scalar> {
    storage: Storage,
    len: usize,
    element: PhantomData<E>,
}

enum Storage {
    Owned { block: Block, spare: Option<Arc<Spare>> },
    Mapped(Mapped),
}

impl<E: Scalar> CpuBuffer<E> {
    /// `len` zeros, whose memory goes back to the system at the end.
    fn fresh(len: usize) -> Result<Self> {
        let block = Block::new(len * size_of::<E>())?;
        Ok(Self { storage: Storage::Owned { block, spare: None }, len, element: PhantomData })
    }

    /// See [`Mapped::release`].
    pub fn release(&self) {
        if let Storage::Mapped(mapped) = &self.storage {
            mapped.release();
        }
    }

    /// The elements.
    pub fn as_slice(&self) -> &[E] {
        let start = match &self.storage {
            Storage::Owned { block, .. } => block.start().cast_const().cast::<E>(),
            Storage::Mapped(mapped) => mapped.bytes().as_ptr().cast::<E>(),
        };
        // SAFETY: `start` is aligned for `E` (blocks are, and `adopt` checked the mapping) and followed by `len`
        // initialised elements: blocks are zeroed when made, mappings are plain bytes, and every bit pattern is an `E`.
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }

    /// The elements, to write. A mapped buffer becomes an owned copy first.
    pub fn as_mut_slice(&mut self) -> Result<&mut [E]> {
        if let Storage::Mapped(_) = self.storage {
            let block = Block::new(self.len * size_of::<E>())?;
            let target = block.start().cast::<E>();
            // SAFETY: the new block holds `len` elements and overlaps nothing.
            unsafe { std::ptr::copy_nonoverlapping(self.as_slice().as_ptr(), target, self.len) };
            self.storage = Storage::Owned { block, spare: None };
        }
        match &mut self.storage {
            // SAFETY: an owned block is aligned, initialised, holds `len` elements and is borrowed exclusively.
            Storage::Owned { block, .. } => unsafe {
                Ok(std::slice::from_raw_parts_mut(block.start().cast::<E>(), self.len))
            },
            Storage::Mapped(_) => Err(Error::internal("a mapped buffer was not copied before writing")),
        }
    }
}

impl<E: Scalar> Drop for CpuBuffer<E> {
    fn drop(&mut self) {
        if let Storage::Owned { block, spare: Some(spare) } = &mut self.storage {
            spare.put(std::mem::replace(block, Block::EMPTY));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Owner;
    use crate::error::Status;

    fn mapped(bytes: Vec<u8>, skip: usize) -> Mapped {
        let length = bytes.len();
        Mapped::new(Owner::Buffer(Arc::new(bytes)), skip..length).unwrap()
    }

    #[test]
    fn aligned_bytes_are_used_in_place_and_copied_on_write() {
        let cpu = Cpu::new(1).unwrap();
        let values = [1.5f32, -2.0, 3.25];
        let mut bytes = vec![0u8; 16];
        let skip = bytes.as_ptr().align_offset(4);
        bytes.truncate(skip);
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        // Extending may have moved the bytes: find an aligned start again.
        let stored = mapped(bytes, skip);
        let mut buffer: CpuBuffer<f32> = cpu.adopt(&stored).unwrap();
        assert_eq!(buffer.as_slice(), values);
        if stored.bytes().as_ptr().cast::<f32>().is_aligned() {
            assert_eq!(buffer.as_slice().as_ptr().cast::<u8>(), stored.bytes().as_ptr());
        }
        buffer.as_mut_slice().unwrap()[0] = 9.0;
        assert_eq!(buffer.as_slice(), [9.0, -2.0, 3.25]);
        assert_eq!(stored.bytes()[..4], 1.5f32.to_le_bytes());
    }

    #[test]
    fn unaligned_bytes_are_copied() {
        let cpu = Cpu::new(1).unwrap();
        let mut bytes = vec![0u8; 13];
        bytes[1..5].copy_from_slice(&7.0f32.to_le_bytes());
        bytes[5..9].copy_from_slice(&8.0f32.to_le_bytes());
        bytes[9..13].copy_from_slice(&9.0f32.to_le_bytes());
        let stored = mapped(bytes, 1);
        let buffer: CpuBuffer<f32> = cpu.adopt(&stored).unwrap();
        assert_eq!(buffer.as_slice(), [7.0, 8.0, 9.0]);
    }

    #[test]
    fn memory_is_aligned_and_reused() {
        let cpu = Cpu::new(1).unwrap();
        let buffer = cpu.alloc::<f32>(1000).unwrap();
        let start = buffer.as_slice().as_ptr();
        assert_eq!(start.align_offset(64), 0);
        drop(buffer);
        assert_eq!(cpu.alloc::<f32>(900).unwrap().as_slice().as_ptr(), start);
        assert_eq!(cpu.alloc::<f32>(0).unwrap().as_slice().len(), 0);
    }

    #[test]
    fn too_much_memory_is_an_error() {
        let cpu = Cpu::new(1).unwrap();
        assert_eq!(cpu.alloc::<f32>(usize::MAX / 16).err().map(|e| e.status()), Some(Status::OutOfMemory));
    }
}
