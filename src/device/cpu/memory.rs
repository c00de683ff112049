//! Main memory: zeroed, aligned to a cache line, and in large pages where there is much of it.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use memmap2::MmapMut;

use crate::error::{Error, Result, Status};

/// Initialised memory aligned to a cache line.
pub struct Block {
    start: NonNull<u8>,
    bytes: usize,
    source: Source,
}

/// Where a block's memory goes back to.
enum Source {
    /// It has none.
    Nowhere,
    Heap,
    #[expect(dead_code, reason = "unmaps when it is dropped")]
    Map(MmapMut),
}

// SAFETY: a block owns plain bytes; access is through `&` and `&mut` of its owner.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    const ALIGNMENT: usize = 64;
    /// A large page of x86-64, and of most others. Main memory is read faster in those: addresses are translated less often,
    /// and the processor reads ahead within a page only.
    const LARGE: usize = 2 << 20;
    /// No memory.
    pub const EMPTY: Block = Block { start: NonNull::<Line>::dangling().cast(), bytes: 0, source: Source::Nowhere };

    /// `bytes` zeros.
    pub fn new(bytes: usize) -> Result<Self> {
        let block = match bytes {
            0 => Some(Self::EMPTY),
            1..Self::LARGE => Self::of_heap(bytes),
            _ => Self::of_map(bytes),
        };
        block.ok_or_else(|| Error::new(Status::OutOfMemory, format!("cannot allocate {bytes} bytes")))
    }

    /// `bytes` is not 0.
    fn of_heap(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes, Self::ALIGNMENT).ok()?;
        // SAFETY: `bytes` is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { start, bytes, source: Source::Heap })
    }

    /// From the start of a large page on. What a map has before that is never touched, and so costs no memory.
    fn of_map(bytes: usize) -> Option<Self> {
        let mut map = MmapMut::map_anon(bytes.checked_add(Self::LARGE)?).ok()?;
        let skip = map.as_ptr().align_offset(Self::LARGE);
        // Whole ones: the end of the memory would take all of another. Where the system has none, small ones do as well.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, skip, bytes - bytes % Self::LARGE);
        let start = NonNull::from(map.get_mut(skip..skip.checked_add(bytes)?)?).cast();
        Some(Self { start, bytes, source: Source::Map(map) })
    }

    /// Its first byte.
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Source::Heap = self.source {
            // SAFETY: `of_heap` allocated this memory with the same size and alignment.
            unsafe { dealloc(self.start.as_ptr(), Layout::from_size_align_unchecked(self.bytes, Self::ALIGNMENT)) };
        }
    }
}

#[repr(align(64))]
struct Line;

/// Freed blocks kept for the next call: fresh memory costs a page fault every 4 KiB.
#[derive(Default)]
pub struct Spare(Mutex<Vec<Block>>);

impl Spare {
    /// Most bytes kept while no call runs: those of a training pass and its gradients.
    const KEPT_BYTES: usize = 192 << 20;

    /// The smallest kept block of at least `bytes` and at most twice that.
    pub fn take(&self, bytes: usize) -> Option<Block> {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |b: &Block| b.bytes >= bytes && b.bytes / 2 <= bytes;
        let (index, _) = blocks.iter().enumerate().filter(|(_, b)| fits(b)).min_by_key(|(_, b)| b.bytes)?;
        Some(blocks.swap_remove(index))
    }

    /// Keeps `block`, unless there are enough.
    pub fn put(&self, block: Block) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if block.bytes > 0 && blocks.iter().map(|b| b.bytes).sum::<usize>() + block.bytes <= Self::KEPT_BYTES {
            blocks.push(block);
        }
    }
}
