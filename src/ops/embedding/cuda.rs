//! Embeddings on a GPU.

use cudarc::driver::sys::CUdeviceptr;

use super::{Gradients, Op, Tables};
use crate::batch::Batch;
use crate::device::Hidden;
use crate::device::cuda::{Args, Cuda, Family, Kernel, family};
use crate::error::Result;
use crate::ops::Accumulate;
use crate::ops::kernels::{Scatter, warps};
use crate::ops::linear::Weight;

static EMBEDDING: Family = family!("embedding");

impl Op for Cuda {
    fn embedding_forward(&self, batch: &Batch, tables: &Tables<'_, Cuda>, y: &mut Hidden<Cuda>) -> Result<()> {
        let (rows, width) = y.shape();
        if rows == 0 || width == 0 {
            return Ok(());
        }
        let (ids, types) = (self.indices(&wide(batch.ids()))?, self.indices(&wide(batch.types()))?);
        let places = tables.position.map(|_| self.indices(&places(batch))).transpose()?;
        let (word, token_type) = (table(tables.word), table(tables.token_type));
        let position = tables.position.map_or((0, 0), table);
        let args = Args::new()
            .pointer(word.0)
            .pointer(token_type.0)
            .pointer(position.0)
            .u32(word.1 | token_type.1 << 2 | position.1 << 4)
            .indices(&ids)
            .indices(&types)
            .pointer(places.as_ref().map_or(0, |places| places.pointer()))
            .write(y.buffer_mut())
            .size(rows)
            .size(width);
        // SAFETY: a warp a row writes within it; `forward` checked that ids, types and places have rows in the tables, and
        // that these are as wide as y.
        unsafe { self.launch(&Kernel::of(&EMBEDDING, "embedding_forward", y.buffer().dtype()), warps(rows), args) }
    }

    fn embedding_backward(
        &self,
        batch: &Batch,
        dy: &Hidden<Cuda>,
        pad: Option<u32>,
        gradients: Gradients<'_, Cuda>,
    ) -> Result<()> {
        let add = |pairs: Vec<(usize, usize)>, gradient: Accumulate<'_, Cuda>| {
            let scatter = Scatter {
                runs: Kernel::of(&EMBEDDING, "embedding_backward", dy.buffer().dtype()),
                parts: Kernel::new(&EMBEDDING, "embedding_backward_parts"),
                pairs,
                x: dy,
            };
            // SAFETY: `backward` checked that dy has a row a token and that the gradients have rows for what the batch
            // names, of dy's width.
            unsafe { scatter.add(self, gradient) }
        };
        let pairs = |rows: Vec<usize>| rows.into_iter().enumerate().map(|(source, target)| (target, source));
        if let Some(word) = gradients.word {
            let pad = pad.map(|pad| pad as usize);
            add(pairs(wide(batch.ids())).filter(|pair| Some(pair.0) != pad).collect(), word)?;
        }
        if let Some(token_type) = gradients.token_type {
            add(pairs(wide(batch.types())).collect(), token_type)?;
        }
        if let Some(position) = gradients.position {
            add(pairs(places(batch)).collect(), position)?;
        }
        Ok(())
    }
}

fn wide(numbers: &[u32]) -> Vec<usize> {
    numbers.iter().map(|&number| number as usize).collect()
}

/// The position of every token in its sequence.
fn places(batch: &Batch) -> Vec<usize> {
    (0..batch.sequences()).flat_map(|sequence| batch.positions(sequence)).collect()
}

/// Where a table lies and the number of its type in `kernels/embedding.cu`.
fn table(weight: &Weight<Cuda>) -> (CUdeviceptr, u32) {
    match weight {
        Weight::F32(table) => (table.buffer().pointer(), 0),
        Weight::Bf16(table) => (table.buffer().pointer(), 1),
        Weight::F16(table) => (table.buffer().pointer(), 2),
        Weight::Int8(never) => match *never {},
    }
}
