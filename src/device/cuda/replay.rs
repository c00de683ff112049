//! Work that comes again in the same shapes: recorded as a CUDA graph, then started as a whole.
//!
//! A graph holds kernels with their arguments: pointers and sizes. What differs from one time to the next are the numbers
//! behind [`Indices`](super::Indices) alone, and the answer. So a replay runs the same Rust code again without starting
//! anything: allocations give the recorded addresses, indices are written into their recorded places, and of every launch
//! only a digest is taken. Where the digest is that of the recording, the graph computes what the code asked for, and is
//! started; where not (other weights, another path through the code), the code runs once more for real.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::{self, CUdeviceptr, CUgraphExec};

use super::context::{Block, Context};
use super::driver::check;
use crate::error::{Error, Result};

/// Bytes for the indices of one graph.
const SLOTS: usize = 256 << 10;

/// Places of indices are multiples of it.
const SLOT: usize = 256;

/// Graphs that a device keeps; the one that was used longest ago gives way.
const KEPT: usize = 64;

/// The graphs of a device, by the shapes of the work.
#[derive(Default)]
pub(super) struct Graphs(Mutex<State>);

#[derive(Default)]
struct State {
    graphs: HashMap<Vec<usize>, Arc<Mutex<Graph>>>,
    /// In the order of use, the latest last.
    order: Vec<Vec<usize>>,
    /// Ran once: recorded when it comes again.
    seen: HashSet<Vec<usize>>,
    /// Cannot be recorded.
    refused: HashSet<Vec<usize>>,
}

/// A recorded piece of work.
struct Graph {
    exec: CUgraphExec,
    context: Arc<Context>,
    digest: u64,
    /// Addresses in the order of allocation.
    allocated: Vec<(CUdeviceptr, usize)>,
    /// Memory of the work: nothing else uses it while the graph lives.
    owned: Vec<Block>,
    slots: Block,
}

// SAFETY: the driver's handles may be used from any thread; a graph is behind a mutex.
unsafe impl Send for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        if let Ok(_current) = self.context.enter() {
            // SAFETY: the graph is ours; the driver keeps what a launch under way needs.
            let _ = unsafe { sys::cuGraphExecDestroy(self.exec) };
        }
        for block in self.owned.drain(..) {
            self.context.free(block);
        }
        self.context.free(std::mem::take(&mut self.slots));
    }
}

/// What the calls of this thread do instead of starting work.
struct Session {
    mode: Mode,
    digest: DefaultHasher,
    slots: CUdeviceptr,
    /// Bytes of indices so far.
    written: Vec<u8>,
    /// Allocations so far.
    allocated: Vec<(CUdeviceptr, usize)>,
    /// Freed blocks of a recording.
    spare: Vec<Block>,
    /// Why the work cannot be recorded, or is not what was recorded.
    failure: Option<String>,
}

enum Mode {
    Record,
    /// Addresses to give out.
    Replay(Vec<(CUdeviceptr, usize)>),
}

thread_local! {
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
}

/// What a call does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Enqueues its work; a stream that records takes it up.
    Start,
    /// Nothing more.
    Skip,
}

/// Tells of work that is about to be enqueued: what it is, to the last argument.
pub(super) fn noted(work: impl Hash) -> Action {
    SESSION.with_borrow_mut(|session| match session {
        None => Action::Start,
        Some(session) => {
            work.hash(&mut session.digest);
            if matches!(session.mode, Mode::Record) { Action::Start } else { Action::Skip }
        }
    })
}

/// Refuses work that waits for the device or reads the host's memory: it cannot be part of a graph.
pub(super) fn outside(call: &str) -> Result<()> {
    SESSION.with_borrow_mut(|session| match session {
        None => Ok(()),
        Some(session) => {
            session.failure.get_or_insert_with(|| format!("{call} within recorded work"));
            Err(Error::internal(format!("{call} within recorded work")))
        }
    })
}

/// Whether this thread records or replays.
pub(super) fn active() -> bool {
    SESSION.with_borrow(Option::is_some)
}

/// Whether this thread records.
pub(super) fn recording() -> bool {
    SESSION.with_borrow(|session| session.as_ref().is_some_and(|session| matches!(session.mode, Mode::Record)))
}

/// Runs work for real though this thread replays: what outlives the recorded work, such as converted weights.
pub(super) fn apart<R>(work: impl FnOnce() -> R) -> R {
    let session = SESSION.take();
    let result = work();
    SESSION.set(session);
    result
}

/// Memory of recorded work, where this thread records or replays; `fresh` makes more.
pub(super) fn alloc(bytes: usize, fresh: impl FnOnce() -> Result<Block>) -> Option<Result<Block>> {
    SESSION.with_borrow_mut(|session| {
        let session = session.as_mut()?;
        let block = match &session.mode {
            Mode::Replay(addresses) => match addresses.get(session.allocated.len()) {
                Some(&(start, size)) if size == bytes => Block { start, bytes, recorded: true },
                _ => {
                    session.failure.get_or_insert_with(|| format!("{bytes} bytes were not recorded"));
                    return Some(Err(Error::internal("other memory than was recorded")));
                }
            },
            Mode::Record => match session.spare.iter().position(|block| block.bytes == bytes) {
                Some(at) => session.spare.swap_remove(at),
                None => match fresh() {
                    Ok(block) => Block { recorded: true, ..block },
                    Err(error) => return Some(Err(error)),
                },
            },
        };
        session.allocated.push((block.start, block.bytes));
        Some(Ok(block))
    })
}

/// Takes back memory of recorded work.
pub(super) fn freed(block: Block) {
    SESSION.with_borrow_mut(|session| {
        if let Some(session) = session
            && matches!(session.mode, Mode::Record)
        {
            session.spare.push(block);
        }
    });
}

/// Where indices go, within the memory of the graph, where this thread records or replays.
pub(super) fn slot(values: &[u32]) -> Option<Result<CUdeviceptr>> {
    SESSION.with_borrow_mut(|session| {
        let session = session.as_mut()?;
        let start = session.written.len().next_multiple_of(SLOT);
        session.written.resize(start, 0);
        session.written.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        if session.written.len() > SLOTS {
            session.failure.get_or_insert_with(|| "more indices than fit a graph".to_owned());
            return Some(Err(Error::internal("more indices than fit a graph")));
        }
        Some(Ok(session.slots + start as u64))
    })
}

impl Session {
    fn new(mode: Mode, slots: CUdeviceptr) -> Self {
        let (written, allocated, spare) = (Vec::new(), Vec::new(), Vec::new());
        Self { mode, digest: DefaultHasher::new(), slots, written, allocated, spare, failure: None }
    }
}

impl Graphs {
    /// Runs `work`, whose shapes are `key`: for real, or as a graph once it has come twice. `keep` copies its result out
    /// of the memory that the next replay uses again. `work` starts the same kernels whenever its shapes and the weights
    /// are the same.
    pub fn run<R>(
        &self,
        context: &Arc<Context>,
        key: &[usize],
        mut work: impl FnMut() -> Result<R>,
        keep: impl Fn(&R) -> Result<R>,
    ) -> Result<R> {
        if active() {
            return work();
        }
        let (known, record) = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let known = state.used(key);
            (known, !state.refused.contains(key) && !state.seen.insert(key.to_vec()))
        };
        if let Some(graph) = known {
            let graph = graph.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(result) = graph.replay(&mut work, &keep)? {
                return Ok(result);
            }
            drop(graph);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).forget(key);
            return work();
        }
        if !record {
            return work();
        }
        match Graph::record(context, &mut work)? {
            Some(graph) => {
                let kept = {
                    let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    state.insert(key, graph)
                };
                let graph = kept.lock().unwrap_or_else(PoisonError::into_inner);
                match graph.replay(&mut work, &keep)? {
                    Some(result) => Ok(result),
                    None => work(),
                }
            }
            None => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).refused.insert(key.to_vec());
                work()
            }
        }
    }

    /// Gives up all graphs and their memory.
    pub fn clear(&self) {
        let state = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(state);
    }
}

impl State {
    fn used(&mut self, key: &[usize]) -> Option<Arc<Mutex<Graph>>> {
        let graph = self.graphs.get(key).cloned()?;
        if let Some(at) = self.order.iter().position(|other| other == key) {
            let key = self.order.remove(at);
            self.order.push(key);
        }
        Some(graph)
    }

    fn insert(&mut self, key: &[usize], graph: Graph) -> Arc<Mutex<Graph>> {
        if self.order.len() >= KEPT {
            let oldest = self.order.remove(0);
            self.graphs.remove(&oldest);
        }
        let graph = Arc::new(Mutex::new(graph));
        self.graphs.insert(key.to_vec(), Arc::clone(&graph));
        self.order.push(key.to_vec());
        graph
    }

    fn forget(&mut self, key: &[usize]) {
        self.graphs.remove(key);
        self.order.retain(|other| other != key);
    }
}

impl Graph {
    /// Records `work` without running it. `None` where it cannot be recorded.
    fn record<R>(context: &Arc<Context>, work: &mut impl FnMut() -> Result<R>) -> Result<Option<Self>> {
        let slots = context.alloc(SLOTS)?;
        // Other threads' work must not slip into the recording.
        let exclusive = context.exclusive()?;
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: a context is current and the stream is ours.
        check(unsafe { sys::cuStreamBeginCapture_v2(context.stream(), mode) }, "cuStreamBeginCapture")?;
        SESSION.set(Some(Session::new(Mode::Record, slots.start)));
        let outcome = work();
        let succeeded = outcome.is_ok();
        drop(outcome);
        let session = SESSION.take();
        let mut graph = ptr::null_mut();
        // SAFETY: the stream records; the pointer is to a live handle.
        let ended = check(unsafe { sys::cuStreamEndCapture(context.stream(), &raw mut graph) }, "cuStreamEndCapture");
        let Some(session) = session else {
            return Err(Error::internal("a recording that was taken away"));
        };
        let owned = session.spare;
        if ended.is_err() || !succeeded || session.failure.is_some() {
            if !graph.is_null() {
                // SAFETY: the graph is ours.
                let _ = unsafe { sys::cuGraphDestroy(graph) };
            }
            drop(exclusive);
            owned.into_iter().for_each(|block| context.free(Block { recorded: false, ..block }));
            context.free(slots);
            return Ok(None);
        }
        let mut exec = ptr::null_mut();
        // SAFETY: the graph was just recorded and is ours; the pointer is to a live handle.
        let made = check(unsafe { sys::cuGraphInstantiateWithFlags(&raw mut exec, graph, 0) }, "cuGraphInstantiate");
        // SAFETY: as above; what was made of it stays.
        let _ = unsafe { sys::cuGraphDestroy(graph) };
        drop(exclusive);
        made?;
        Ok(Some(Self {
            exec,
            context: Arc::clone(context),
            digest: session.digest.finish(),
            allocated: session.allocated,
            owned: owned.into_iter().map(|block| Block { recorded: false, ..block }).collect(),
            slots,
        }))
    }

    /// The result of `work` by this graph; `None` where the graph is of other work.
    fn replay<R>(&self, work: &mut impl FnMut() -> Result<R>, keep: &impl Fn(&R) -> Result<R>) -> Result<Option<R>> {
        SESSION.set(Some(Session::new(Mode::Replay(self.allocated.clone()), self.slots.start)));
        let outcome = work();
        let Some(session) = SESSION.take() else {
            return Err(Error::internal("a replay that was taken away"));
        };
        if session.failure.is_some() || session.digest.finish() != self.digest {
            return Ok(None);
        }
        let result = outcome?;
        // No other call comes between the indices, the graph and the copy of its result.
        let _exclusive = self.context.exclusive()?;
        self.context.write(&self.slots, &session.written)?;
        // SAFETY: a context is current, the graph is ours and its memory lives as long as it does.
        check(unsafe { sys::cuGraphLaunch(self.exec, self.context.stream()) }, "cuGraphLaunch")?;
        let kept = keep(&result)?;
        Ok(Some(kept))
    }
}
