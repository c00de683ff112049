//! Starting a kernel.

use std::ffi::c_void;

use cudarc::driver::sys::{self, CUdeviceptr};

use super::Cuda;
use super::buffer::CudaBuffer;
use super::driver::check;
use super::indices::Indices;
use super::kernels::Kernel;
use super::replay::{self, Action};
use crate::dtype::Scalar;
use crate::error::{Error, Result};

/// Blocks of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Blocks in x, y and z.
    pub blocks: [usize; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory of a block. A kernel is always started with the same number, or with 48 KiB at most.
    pub shared: u32,
}

impl Grid {
    /// `blocks` blocks of `threads` threads in a row, without dynamic shared memory.
    pub const fn line(blocks: usize, threads: u32) -> Self {
        Self { blocks: [blocks, 1, 1], threads, shared: 0 }
    }

    /// As many blocks of `threads` threads as give each of `items` a thread.
    pub const fn covering(items: usize, threads: u32) -> Self {
        Self::line(items.div_ceil(threads as usize), threads)
    }

    /// With `shared` bytes of dynamic shared memory a block.
    pub const fn with_shared(self, shared: u32) -> Self {
        Self { shared, ..self }
    }
}

/// What a kernel is given, in the order of its parameters.
#[derive(Default)]
pub struct Args {
    values: [u64; Args::MOST],
    count: usize,
}

impl Args {
    const MOST: usize = 32;

    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A pointer to elements that the kernel reads.
    pub fn read<E: Scalar>(self, buffer: &CudaBuffer<E>) -> Self {
        self.pointer(buffer.pointer())
    }

    /// A pointer to elements that the kernel reads, or null.
    pub fn read_or_null<E: Scalar>(self, buffer: Option<&CudaBuffer<E>>) -> Self {
        self.pointer(buffer.map_or(0, CudaBuffer::pointer))
    }

    /// A pointer to elements that the kernel writes.
    pub fn write<E: Scalar>(self, buffer: &mut CudaBuffer<E>) -> Self {
        self.pointer(buffer.pointer_mut())
    }

    /// A pointer to elements that the kernel writes, or null.
    pub fn write_or_null<E: Scalar>(self, buffer: Option<&mut CudaBuffer<E>>) -> Self {
        self.pointer(buffer.map_or(0, CudaBuffer::pointer_mut))
    }

    /// A pointer to numbers that the kernel reads.
    pub fn indices(self, indices: &Indices) -> Self {
        self.pointer(indices.pointer())
    }

    /// A pointer, or null.
    pub fn pointer(self, pointer: CUdeviceptr) -> Self {
        self.push(pointer)
    }

    /// A 32-bit size; the launch fails when it is larger.
    pub fn size(self, value: usize) -> Self {
        match u32::try_from(value) {
            Ok(value) => self.push(u64::from(value)),
            // Too many arguments for any kernel: told where the launch can fail.
            Err(_) => Self { count: usize::MAX, ..self },
        }
    }

    /// A 32-bit number.
    pub fn u32(self, value: u32) -> Self {
        self.push(u64::from(value))
    }

    /// A 64-bit number.
    pub fn u64(self, value: u64) -> Self {
        self.push(value)
    }

    /// An f32.
    pub fn f32(self, value: f32) -> Self {
        self.push(u64::from(value.to_bits()))
    }

    fn push(mut self, value: u64) -> Self {
        // parameters are read as little-endian values at the start of their eight bytes
        if let Some(slot) = self.values.get_mut(self.count) {
            *slot = value;
        }
        self.count = self.count.saturating_add(1);
        self
    }
}

impl Cuda {
    /// Enqueues a kernel. Does nothing for a grid without blocks; fails once the call has been cancelled.
    ///
    /// # Safety
    /// `args` are the kernel's parameters in number, order and type; with them and the grid, the kernel reads and writes
    /// only within the buffers that they point to.
    pub unsafe fn launch(&self, kernel: &Kernel, grid: Grid, args: Args) -> Result<()> {
        self.check_cancel()?;
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        let [x, y, z] = grid.blocks;
        let fits = x <= i32::MAX as usize && y <= 65_535 && z <= 65_535 && args.count <= Args::MOST;
        if !fits {
            let message = format!("kernel {}: blocks {:?}, or a size, beyond its range", kernel.name, grid.blocks);
            return Err(Error::input(message));
        }
        let arguments = &args.values[..args.count];
        if replay::noted((kernel.name, kernel.dtype, grid, arguments)) == Action::Skip {
            return Ok(());
        }
        // null after the last: an emulated driver sees by it how many there are
        let mut pointers = [std::ptr::null_mut::<c_void>(); Args::MOST + 1];
        for (pointer, value) in pointers.iter_mut().zip(arguments) {
            *pointer = std::ptr::from_ref(value).cast_mut().cast();
        }
        let function = self.context.function(kernel, grid.shared)?;
        let _submission = self.context.submit()?;
        // SAFETY: the function belongs to the current context, each pointer is to eight live bytes that hold the
        // parameter's value, and what the kernel does with them is the caller's promise.
        let result = unsafe {
            sys::cuLaunchKernel(
                function.0,
                x as u32,
                y as u32,
                z as u32,
                grid.threads,
                1,
                1,
                grid.shared,
                self.context.stream(),
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        check(result, "cuLaunchKernel").map_err(|e| e.within(format!("kernel {}", kernel.name)))
    }
}
