//! Memory, and a library, at the same addresses in every run and on every machine.
//!
//! NVRTC walks tables that are ordered by addresses, and what it makes of a larger kernel depends on them: with the
//! addresses of a usual process, which are random, each run gives other registers and another order of instructions.
//! Here this program's `malloc`, which the compiler uses too, has addresses of its own choice; and all addresses above
//! them are taken before the compiler is opened, so that it always comes to lie below. For x86-64 Linux.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const START: usize = 0x5000_0000_0000;
const SPACE: usize = 1 << 40;
const END: usize = 0x7fff_ffff_f000;

/// Memory begins anew at multiples of it.
const ARENA: usize = 1 << 36;

/// Before each piece: its class and its size.
const HEAD: usize = 16;

static LOCK: AtomicBool = AtomicBool::new(false);
/// Bytes used, from `START`.
static USED: AtomicUsize = AtomicUsize::new(0);
/// The latest freed piece of each class, which holds the address of the one before it.
static FREED: [AtomicUsize; 128] = [const { AtomicUsize::new(0) }; 128];

unsafe extern "C" {
    fn mmap(at: *mut c_void, bytes: usize, access: c_int, flags: c_int, file: c_int, offset: i64) -> *mut c_void;
}

const PRIVATE_ANONYMOUS_NORESERVE: c_int = 0x2 | 0x20 | 0x4000;
const FIXED_NOREPLACE: c_int = 0x10_0000;
const READ_WRITE: c_int = 0x3;

fn locked<R>(work: impl FnOnce() -> R) -> R {
    while LOCK.swap(true, Ordering::Acquire) {
        std::hint::spin_loop();
    }
    let result = work();
    LOCK.store(false, Ordering::Release);
    result
}

/// The class of pieces of `bytes`, and the size that they have.
fn class(bytes: usize) -> (usize, usize) {
    if bytes <= 1024 {
        let sixteens = bytes.div_ceil(16).max(1);
        return (sixteens, sixteens * 16);
    }
    let size = bytes.next_power_of_two();
    (64 + size.trailing_zeros() as usize - 10, size)
}

/// Memory begins anew: what is allocated from here on does not depend on what was before.
pub fn begin() {
    locked(|| {
        FREED.iter().for_each(|freed| freed.store(0, Ordering::Relaxed));
        let used = USED.load(Ordering::Relaxed);
        USED.store((used / ARENA + 1) * ARENA, Ordering::Relaxed);
    });
}

/// Takes all addresses above the memory that nothing lies at.
pub fn occupy() -> Result<(), String> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|e| format!("/proc/self/maps: {e}"))?;
    let mut free = START + SPACE;
    let take = |from: usize, to: usize| {
        if from < to {
            let flags = PRIVATE_ANONYMOUS_NORESERVE | FIXED_NOREPLACE;
            // SAFETY: nothing lies there, or the call fails; nobody may access it.
            unsafe { mmap(std::ptr::without_provenance_mut(from), to - from, 0, flags, -1, 0) };
        }
    };
    for line in maps.lines() {
        let bounds = line.split(' ').next().and_then(|range| range.split_once('-'));
        let bounds = bounds.map(|(from, to)| (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)));
        let Some((Ok(from), Ok(to))) = bounds else { continue };
        if to > free && from < END {
            take(free, from);
            free = to;
        }
    }
    take(free, END);
    Ok(())
}

fn allocate(bytes: usize, alignment: usize) -> *mut c_void {
    locked(|| {
        if USED.load(Ordering::Relaxed) == 0 {
            let (start, flags) =
                (std::ptr::without_provenance_mut(START), PRIVATE_ANONYMOUS_NORESERVE | FIXED_NOREPLACE);
            // SAFETY: nothing lies there, or the call fails.
            let got = unsafe { mmap(start, SPACE, READ_WRITE, flags, -1, 0) };
            if got.addr() != START {
                std::process::abort();
            }
            USED.store(HEAD, Ordering::Relaxed);
        }
        let (class, size) = class(bytes);
        let freed = FREED[class].load(Ordering::Relaxed);
        if alignment <= 16 && freed != 0 {
            let piece = std::ptr::with_exposed_provenance_mut::<usize>(freed);
            // SAFETY: a freed piece of at least 16 bytes, which holds the next one's address.
            FREED[class].store(unsafe { *piece }, Ordering::Relaxed);
            return piece.cast();
        }
        let start = (START + USED.load(Ordering::Relaxed) + HEAD).next_multiple_of(alignment.max(16));
        if start + size > START + SPACE {
            return std::ptr::null_mut();
        }
        USED.store(start + size - START, Ordering::Relaxed);
        let piece = std::ptr::with_exposed_provenance_mut::<usize>(start);
        // SAFETY: the head lies before the piece, in memory that is mapped and nobody else's.
        unsafe {
            *piece.sub(2) = class;
            *piece.sub(1) = size;
        }
        piece.cast()
    })
}

/// # Safety
/// `piece` is null or came from this allocator.
unsafe fn size_of_piece(piece: *mut c_void) -> usize {
    // SAFETY: the caller's promise; the head is before it.
    if piece.is_null() { 0 } else { unsafe { *piece.cast::<usize>().sub(1) } }
}

#[unsafe(no_mangle)]
extern "C" fn malloc(bytes: usize) -> *mut c_void {
    allocate(bytes, 16)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(piece: *mut c_void) {
    if piece.is_null() {
        return;
    }
    locked(|| {
        let word = piece.cast::<usize>();
        // What is older than the present beginning is not used again.
        if (piece.addr() - START) / ARENA == USED.load(Ordering::Relaxed) / ARENA {
            // SAFETY: the piece came from this allocator, has room for an address, and has its class before it.
            unsafe { *word = FREED[*word.sub(2)].swap(piece.expose_provenance(), Ordering::Relaxed) };
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, bytes: usize) -> *mut c_void {
    let Some(bytes) = count.checked_mul(bytes) else { return std::ptr::null_mut() };
    let piece = allocate(bytes, 16);
    if !piece.is_null() {
        // SAFETY: the piece has as many bytes.
        unsafe { piece.cast::<u8>().write_bytes(0, bytes) };
    }
    piece
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(piece: *mut c_void, bytes: usize) -> *mut c_void {
    // SAFETY: the callers of C's functions promise that the piece came from here.
    let size = unsafe { size_of_piece(piece) };
    if bytes <= size && !piece.is_null() {
        return piece;
    }
    let moved = allocate(bytes, 16);
    if !moved.is_null() && !piece.is_null() {
        // SAFETY: both have at least `size` bytes, and are two pieces.
        unsafe {
            moved.cast::<u8>().copy_from_nonoverlapping(piece.cast(), size);
            free(piece);
        }
    }
    moved
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, alignment: usize, bytes: usize) -> c_int {
    const NO_MEMORY: c_int = 12;
    let piece = allocate(bytes, alignment);
    // SAFETY: the caller gives a place for the address.
    unsafe { *out = piece };
    if piece.is_null() { NO_MEMORY } else { 0 }
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(alignment: usize, bytes: usize) -> *mut c_void {
    allocate(bytes, alignment)
}

#[unsafe(no_mangle)]
extern "C" fn memalign(alignment: usize, bytes: usize) -> *mut c_void {
    allocate(bytes, alignment)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_usable_size(piece: *mut c_void) -> usize {
    // SAFETY: the caller's promise.
    unsafe { size_of_piece(piece) }
}
