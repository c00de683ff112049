//! Attention on a GPU: on tensor cores where type, D and distances between rows allow it, else in f32 and of any shape.

mod pieces;

use super::{AttentionDropout, Columns, Direction, Gradients, Inputs, Op, Relative, Saved};
use crate::device::cuda::{Args, Cuda, CudaBuffer, Family, Grid, Kernel, family};
use crate::device::{Device, Hidden, Tensor};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::Accumulate;
use crate::ops::dropout::Draw;
use pieces::{Order, Work};

/// 16-bit hidden states, whole pieces of them, no relative positions: forward.
static FORWARD: Family = family!("attention_forward");
/// The same: backward.
static BACKWARD: Family = family!("attention_backward");
/// Everything else, without relative positions.
static EXACT: Family = family!("attention_exact");
/// With relative positions.
static RELATIVE: Family = family!("attention_relative");

/// Threads of every block.
const THREADS: u32 = 128;
/// Most queries of a piece for the kernel in f32 whose tiles are small.
const FEW: usize = 8;
/// Columns of D that a block in f32 writes.
const CHUNK: usize = 64;
/// Bytes of a tile in f32, `Tile` in `kernels/exact.cuh`, and of `Queries`.
const EXACT_TILE: u32 = 64 * 68 * 4;
const EXACT_QUERIES: u32 = 5 * 64 * 4;
/// Most tokens: kernels count rows of a sequence, and a little more, in 31 bits.
const MOST_TOKENS: usize = 1 << 30;
/// Blocks that are wanted of the gradient of relative positions: a few for every processor.
const TABLE_BLOCKS: usize = 1024;

/// Which kernels take the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    /// Tensor cores, with D columns a head.
    Flash(usize),
    /// f32.
    Exact,
}

impl Inputs<'_, Cuda> {
    fn dtype(&self) -> DType {
        self.key.tensor.buffer().dtype()
    }

    fn columns(&self) -> [&Columns<'_, Cuda>; 3] {
        [&self.query, &self.key, &self.value]
    }

    /// Whether every row of a head begins at a multiple of `elements`.
    fn aligned(&self, elements: usize) -> bool {
        let fits =
            |c: &&Columns<'_, Cuda>| c.first.is_multiple_of(elements) && c.tensor.cols().is_multiple_of(elements);
        self.dim().is_multiple_of(elements) && self.columns().iter().all(fits)
    }

    fn engine(&self) -> Engine {
        match self.dim() {
            dim @ (32 | 64) if self.dtype() != DType::F32 && self.relative.is_none() && self.aligned(8) => {
                Engine::Flash(dim)
            }
            _ => Engine::Exact,
        }
    }

    fn work(&self) -> Result<Work<'_>> {
        if self.tokens() >= MOST_TOKENS {
            return Err(Error::input(format!("attention over {} tokens, fewer than {MOST_TOKENS} fit", self.tokens())));
        }
        Ok(Work { offsets: self.offsets, rows: self.rows, direction: self.direction })
    }

    /// Query, key and value: where their columns begin, and the distance of rows.
    fn push_columns(&self, args: Args) -> Args {
        let size = self.dtype().size();
        self.columns().into_iter().fold(args, |args, c| {
            args.pointer(c.tensor.buffer().pointer() + (c.first * size) as u64).size(c.tensor.cols())
        })
    }

    /// The masks, and the number of the first row. Without dropout everything is below no threshold.
    fn push_dropout(&self, args: Args) -> Args {
        match &self.dropout {
            Some(AttentionDropout { dropout, first_row }) => Draw::new(dropout, 0).push(args).size(*first_row),
            None => args.u64(0).u32(0).u32(0).u32(0).f32(1.0).u32(0),
        }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim() as f32).sqrt()
    }

    /// What the kernels in f32 have in common, but for the queries' pieces.
    fn push_exact(&self, pieces: u64, rows: u64) -> Args {
        let args = self.push_columns(Args::new());
        let args = match &self.relative {
            Some(Relative { table, with_keys }) => {
                args.read(table.buffer()).size(table.rows()).u32(u32::from(*with_keys))
            }
            None => args.pointer(0).u32(0).u32(0),
        };
        let kind = match self.dtype() {
            DType::F32 => 0,
            DType::Bf16 => 1,
            DType::F16 => 2,
        };
        let ahead = if self.direction == Direction::Causal { 0 } else { MOST_TOKENS };
        let args = args.pointer(pieces).pointer(rows).size(self.heads).size(self.dim()).f32(self.scale());
        let args = args.u32(kind).size(ahead).u32(u32::from(self.aligned(4)));
        self.push_dropout(args)
    }

    /// What the kernels on tensor cores have in common after the matrices.
    fn push_flash(&self, args: Args, pieces: u64, rows: u64) -> Args {
        let causal = u32::from(self.direction == Direction::Causal);
        let args = args.pointer(pieces).pointer(rows).size(self.heads).f32(self.scale()).u32(causal);
        self.push_dropout(args)
    }

    /// A block for each of `pieces` and each head, and where D is cut, each chunk.
    fn grid(&self, pieces: usize, chunks: usize, shared: u32) -> Grid {
        Grid { blocks: [pieces, self.heads, chunks], threads: THREADS, shared }
    }

    fn chunks(&self) -> usize {
        self.dim().div_ceil(CHUNK)
    }

    /// The kernel in f32 of this name, without or with relative positions.
    fn exact(&self, name: [&'static str; 2]) -> Kernel {
        match self.relative {
            None => Kernel::new(&EXACT, name[0]),
            Some(_) => Kernel::new(&RELATIVE, name[1]),
        }
    }

    fn order(&self) -> Order {
        if self.relative.is_some() { Order::Placed } else { Order::Packed }
    }
}

/// Where gradients go: the first element and the distance of rows, of query, key and value.
struct Targets {
    pointers: [u64; 3],
    strides: [usize; 2],
}

impl Targets {
    fn new(gradients: Gradients<'_, Cuda>, hidden: usize) -> Self {
        let start = |tensor: &mut Hidden<Cuda>| {
            (tensor.buffer_mut().pointer_mut(), (hidden * tensor.buffer().dtype().size()) as u64, tensor.cols())
        };
        match gradients {
            Gradients::Joined(all) => {
                let (first, step, stride) = start(all);
                Self { pointers: [first, first + step, first + 2 * step], strides: [stride, stride] }
            }
            Gradients::Apart { query, key_value } => {
                let ((first, _, stride), (key, step, key_stride)) = (start(query), start(key_value));
                Self { pointers: [first, key, key + step], strides: [stride, key_stride] }
            }
        }
    }
}

impl Op for Cuda {
    fn attention_forward(
        &self,
        inputs: &Inputs<'_, Cuda>,
        y: &mut Hidden<Cuda>,
        log_sum_exp: Option<&mut Tensor<Cuda>>,
    ) -> Result<()> {
        if inputs.rows.is_empty() || inputs.hidden == 0 {
            return Ok(());
        }
        let work = inputs.work()?;
        let queries = work.of_queries(inputs.order());
        let few = queries.iter().all(|&[_, _, first, end, _]| end - first <= FEW);
        let pieces = work.upload(self, [queries])?;
        let ([count], [first]) = (pieces.counts, pieces.pointers);
        let log_sum_exp = log_sum_exp.map(Tensor::buffer_mut);
        let (kernel, grid, args) = match inputs.engine() {
            Engine::Flash(dim) => {
                let name = if dim == 32 { "attention_forward_32" } else { "attention_forward_64" };
                let args = inputs.push_columns(Args::new()).write(y.buffer_mut()).write_or_null(log_sum_exp);
                let grid = inputs.grid(count, 1, 5 * flash_tile(dim));
                (Kernel::of(&FORWARD, name, inputs.dtype()), grid, inputs.push_flash(args, first, pieces.rows))
            }
            Engine::Exact => {
                let tiles = if inputs.relative.is_some() { 5 } else { 3 };
                let grid = inputs.grid(count, inputs.chunks(), tiles * EXACT_TILE + EXACT_QUERIES);
                let args = inputs.push_exact(first, pieces.rows).write(y.buffer_mut()).write_or_null(log_sum_exp);
                let exact = if few { "attention_exact_forward_few" } else { "attention_exact_forward" };
                (inputs.exact([exact, "attention_relative_forward"]), grid, args)
            }
        };
        // SAFETY: pieces lie within the sequences and the rows of the queries, which the inputs' check found in all
        // matrices; `forward` gave y their shape, and `forward_saving` the statistics theirs.
        unsafe { self.launch(&kernel, grid, args) }
    }

    fn attention_backward(
        &self,
        inputs: &Inputs<'_, Cuda>,
        saved: &Saved<Cuda>,
        y: &Hidden<Cuda>,
        dy: &Hidden<Cuda>,
        gradients: Gradients<'_, Cuda>,
        table: Option<Accumulate<'_, Cuda>>,
    ) -> Result<()> {
        if inputs.tokens() == 0 || inputs.hidden == 0 {
            return Ok(());
        }
        let work = inputs.work()?;
        let lists = [work.of_queries(inputs.order()), work.of_keys(), work.of_sequences()];
        let pieces = work.upload(self, lists)?;
        let ([queries, keys, _], [first_query, first_key, first_sequence]) = (pieces.counts, pieces.pointers);
        // d of every query and head: the queries' kernel writes it, the others read it.
        let mut along: CudaBuffer<f32> = self.alloc(inputs.rows.len() * inputs.heads)?;
        let log_sum_exp = saved.log_sum_exp.buffer();
        let Targets { pointers: [query, key, value], strides: [query_stride, key_stride] } =
            Targets::new(gradients, inputs.hidden);
        let (query_kernel, query_grid, query_args, key_kernel, key_grid, key_args);
        match inputs.engine() {
            Engine::Flash(dim) => {
                let names = match dim {
                    32 => ["attention_backward_query_32", "attention_backward_key_32"],
                    _ => ["attention_backward_query_64", "attention_backward_key_64"],
                };
                [query_kernel, key_kernel] = names.map(|name| Kernel::of(&BACKWARD, name, inputs.dtype()));
                query_grid = inputs.grid(queries, 1, 6 * flash_tile(dim));
                // and lse, d and position of two tiles of queries
                key_grid = inputs.grid(keys, 1, 6 * flash_tile(dim) + 2 * 3 * 64 * 4);
                let args = inputs.push_columns(Args::new()).read(y.buffer()).read(dy.buffer()).read(log_sum_exp);
                let args = args.write(&mut along).pointer(query).size(query_stride);
                query_args = inputs.push_flash(args, first_query, pieces.rows);
                let args = inputs.push_columns(Args::new()).read(dy.buffer()).read(log_sum_exp).read(&along);
                let args = args.pointer(key).pointer(value).size(key_stride);
                key_args = inputs.push_flash(args, first_key, pieces.rows);
            }
            Engine::Exact => {
                query_kernel = inputs.exact(["attention_exact_backward_query", "attention_relative_backward_query"]);
                key_kernel = inputs.exact(["attention_exact_backward_key", "attention_relative_backward_key"]);
                query_grid = inputs.grid(queries, inputs.chunks(), GRADIENT_TILES);
                key_grid = inputs.grid(keys, inputs.chunks(), GRADIENT_TILES);
                let args = inputs.push_exact(first_query, pieces.rows).read(y.buffer()).read(dy.buffer());
                query_args = args.read(log_sum_exp).write(&mut along).pointer(query).size(query_stride);
                let args = inputs.push_exact(first_key, pieces.rows).read(dy.buffer()).read(log_sum_exp);
                key_args = args.read(&along).pointer(key).pointer(value).size(key_stride);
            }
        }
        // SAFETY: pieces lie within the sequences and the rows of the queries; `backward` checked that all matrices
        // have those, and gave the gradients their shapes; `along` has a number for every query and head.
        unsafe {
            self.launch(&query_kernel, query_grid, query_args)?;
            self.launch(&key_kernel, key_grid, key_args)?;
        }
        match table {
            Some(Accumulate(gradient)) if !inputs.rows.is_empty() => {
                let args = inputs.push_exact(first_sequence, pieces.rows);
                self.add_to_table(inputs, args.read(dy.buffer()).read(log_sum_exp).read(&along), gradient)
            }
            _ => Ok(()),
        }
    }
}

/// Bytes of shared memory of every kernel in f32 that takes part in a gradient.
const GRADIENT_TILES: u32 = 5 * EXACT_TILE + EXACT_QUERIES;

/// Bytes of a tile of 64 rows for tensor cores.
const fn flash_tile(dim: usize) -> u32 {
    64 * dim as u32 * 2
}

impl Cuda {
    /// The gradient of the table of relative positions: sums apart for groups of sequences and heads, added in order.
    /// `args` are those of the inputs, dy, lse and d.
    fn add_to_table(&self, inputs: &Inputs<'_, Cuda>, args: Args, gradient: &mut Tensor<Cuda>) -> Result<()> {
        let ((places, dim), sequences) = (gradient.shape(), inputs.offsets.len() - 1);
        let (tiles, chunks) = (places.div_ceil(64), inputs.chunks());
        let groups = (TABLE_BLOCKS / (tiles * inputs.heads * chunks)).clamp(1, sequences);
        let mut sums: CudaBuffer<f32> = self.alloc(groups * inputs.heads * places * dim)?;
        let args = args.write(&mut sums).size(sequences).size(groups);
        let kernel = Kernel::new(&RELATIVE, "attention_relative_table");
        // SAFETY: as for the other gradients; the sums have a row for every group, head and row of the table.
        unsafe { self.launch(&kernel, inputs.grid(tiles, groups * chunks, GRADIENT_TILES), args)? };
        let elements = places * dim;
        let args = Args::new().write(gradient.buffer_mut()).read(&sums).size(elements).size(groups * inputs.heads);
        let kernel = Kernel::new(&RELATIVE, "attention_relative_add");
        // SAFETY: the gradient has `elements`, the sums as many for every group and head.
        unsafe { self.launch(&kernel, Grid::covering(elements, 256), args) }
    }
}
