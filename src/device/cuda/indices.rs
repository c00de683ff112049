//! Numbers that the host makes and kernels read: row numbers, offsets, token ids.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::CUdeviceptr;

use super::context::{Block, Context};
use super::replay;
use crate::error::{Error, Result};

/// 32-bit numbers in a GPU's memory.
pub struct Indices {
    start: CUdeviceptr,
    /// Their memory, where it is not that of a graph.
    own: Block,
    host: Vec<u32>,
    context: Arc<Context>,
}

impl Indices {
    /// Where they lie.
    pub fn pointer(&self) -> CUdeviceptr {
        self.start
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.host.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.host.is_empty()
    }
}

impl Drop for Indices {
    fn drop(&mut self) {
        self.context.free(std::mem::take(&mut self.own));
    }
}

/// The latest indices by what they are: the layers of one pass ask for the same.
#[derive(Default)]
pub(super) struct Latest(Mutex<VecDeque<(u64, Arc<Indices>)>>);

/// How many are kept.
const KEPT: usize = 32;

impl Latest {
    pub fn get(&self, context: &Arc<Context>, values: &[usize]) -> Result<Arc<Indices>> {
        let context_of = || Arc::clone(context);
        if replay::active() {
            let host = narrowed(values)?;
            if let Some(start) = replay::slot(&host) {
                return Ok(Arc::new(Indices { start: start?, own: Block::default(), host, context: context_of() }));
            }
        }
        let mut hasher = DefaultHasher::new();
        values.hash(&mut hasher);
        let hash = hasher.finish();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |indices: &Indices| {
            indices.len() == values.len() && indices.host.iter().zip(values).all(|(&a, &b)| a as usize == b)
        };
        if let Some((_, found)) = kept.iter().find(|(h, indices)| *h == hash && same(indices)) {
            return Ok(Arc::clone(found));
        }
        let host = narrowed(values)?;
        let block = context.alloc(host.len() * size_of::<u32>())?;
        let bytes: Vec<u8> = host.iter().flat_map(|value| value.to_le_bytes()).collect();
        context.write(&block, &bytes)?;
        let indices = Arc::new(Indices { start: block.start, own: block, host, context: context_of() });
        kept.push_back((hash, Arc::clone(&indices)));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(indices)
    }
}

fn narrowed(values: &[usize]) -> Result<Vec<u32>> {
    let narrow = |&value| u32::try_from(value).map_err(|_| Error::internal(format!("index {value} for 32 bits")));
    values.iter().map(narrow).collect()
}
