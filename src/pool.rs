//! Worker threads of one model, and the flag that stops their work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use crate::error::{Error, Result, Status};

/// A flag that any thread may set to stop the calls that watch it. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the calls that watch this flag to stop. Only an atomic store: safe in a signal handler.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Clears the flag for another call.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error once the flag is set.
    pub fn check(&self) -> Result<()> {
        if self.is_set() { Err(Error::new(Status::Cancelled, "cancelled by the caller")) } else { Ok(()) }
    }
}

/// Threads that belong to one model. Nothing is global: the threads have ended when the pool is dropped, after which a host
/// may unload the library.
pub struct Pool {
    workers: Option<rayon_core::ThreadPool>,
    handles: Vec<JoinHandle<()>>,
    threads: usize,
}

impl Pool {
    /// A pool of `threads`; 0 takes one per processor that this process may use. One thread means the caller's own.
    pub fn new(threads: usize) -> Result<Self> {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            n if n > 1024 => return Err(Error::argument(format!("{n} threads: at most 1024"))),
            n => n,
        };
        if threads == 1 {
            return Ok(Self::alone());
        }
        let mut handles = Vec::with_capacity(threads);
        let built = rayon_core::ThreadPoolBuilder::new()
            .num_threads(threads)
            .spawn_handler(|worker| {
                let thread = thread::Builder::new().name(format!("cloze-{}", worker.index()));
                handles.push(thread.spawn(|| worker.run())?);
                Ok(())
            })
            .build();
        // where one thread could not be started, rayon has asked the others to end, and the drop waits for them
        let (workers, failure) = match built {
            Ok(workers) => (Some(workers), None),
            Err(e) => (None, Some(Error::new(Status::OutOfMemory, format!("cannot start {threads} threads: {e}")))),
        };
        let pool = Self { workers, handles, threads };
        failure.map_or(Ok(pool), Err)
    }

    /// The caller's own thread.
    pub fn alone() -> Self {
        Self { workers: None, handles: Vec::new(), threads: 1 }
    }

    /// Number of threads that work on a call.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` on a thread of the pool, so that the [`Pool::for_each`] inside start without a hand-over.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.workers {
            None => work(),
            Some(workers) => workers.install(work),
        }
    }

    /// Calls `task` once for every index below `items`, on any thread in any order, and returns when all are done.
    ///
    /// `cancel` is polled before every item; items that have not begun by then are left out and the result is an error.
    pub fn for_each(&self, items: usize, cancel: Option<&Cancel>, task: impl Fn(usize) + Sync) -> Result<()> {
        self.run(items, cancel, |taken| {
            while let Some(item) = taken.next() {
                task(item);
            }
        })
    }

    /// [`Pool::for_each`] of a task that also hears which item its thread takes up next, if there is one: it can have the
    /// memory of that on its way. For many items only: a thread has two at a time, of which another cannot take one.
    pub fn for_each_ahead(
        &self,
        items: usize,
        cancel: Option<&Cancel>,
        task: impl Fn(usize, Option<usize>) + Sync,
    ) -> Result<()> {
        self.run(items, cancel, |taken| {
            let mut next = taken.next();
            while let Some(item) = next {
                next = taken.next();
                task(item, next);
            }
        })
    }

    /// Runs `work` on as many threads as there are items for.
    fn run(&self, items: usize, cancel: Option<&Cancel>, work: impl Fn(&Taken<'_>) + Sync) -> Result<()> {
        let taken = Taken { count: AtomicUsize::new(0), items, cancel };
        match &self.workers {
            Some(workers) if items > 1 => {
                let helpers = self.threads.min(items) - 1;
                workers.install(|| {
                    rayon_core::scope(|scope| {
                        for _ in 0..helpers {
                            scope.spawn(|_| work(&taken));
                        }
                        work(&taken);
                    });
                });
            }
            _ => work(&taken),
        }
        cancel.map_or(Ok(()), Cancel::check)
    }
}

/// Items of a call, each of which one thread takes.
struct Taken<'a> {
    count: AtomicUsize,
    items: usize,
    cancel: Option<&'a Cancel>,
}

impl Taken<'_> {
    /// One that nobody has, if there is any and the call goes on.
    fn next(&self) -> Option<usize> {
        if self.cancel.is_some_and(Cancel::is_set) {
            return None;
        }
        Some(self.count.fetch_add(1, Ordering::Relaxed)).filter(|&item| item < self.items)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.workers.take()); // asks the threads to end
        let own = thread::current().id();
        if self.handles.iter().any(|handle| handle.thread().id() == own) {
            return; // dropped by a job of its own, which cannot wait for itself
        }
        for handle in self.handles.drain(..) {
            let _ = handle.join(); // a panic of a job was its caller's
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn threads_have_ended_when_the_pool_is_dropped() {
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        static ENDED: AtomicUsize = AtomicUsize::new(0);
        struct Slow;
        impl Drop for Slow {
            fn drop(&mut self) {
                thread::sleep(std::time::Duration::from_millis(50));
                ENDED.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread_local! {
            static LAST: Slow = {
                BEGUN.fetch_add(1, Ordering::Relaxed);
                Slow
            };
        }
        let pool = Pool::new(3).unwrap();
        pool.for_each(100, None, |_| LAST.with(|_| thread::sleep(std::time::Duration::from_millis(1)))).unwrap();
        drop(pool);
        assert!(BEGUN.load(Ordering::Relaxed) > 0);
        assert_eq!(ENDED.load(Ordering::Relaxed), BEGUN.load(Ordering::Relaxed));
    }

    #[test]
    fn every_item_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).unwrap();
            for items in [0, 1, 2, 97] {
                let counts: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                pool.for_each(items, None, |i| _ = counts[i].fetch_add(1, Ordering::Relaxed)).unwrap();
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_thread_hears_of_the_item_that_it_takes_up_next() {
        thread_local!(static HEARD: Cell<Option<usize>> = const { Cell::new(None) });
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).unwrap();
            for items in [0, 1, 2, 97] {
                let counts: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                let task = |item: usize, next: Option<usize>| {
                    counts[item].fetch_add(1, Ordering::Relaxed);
                    assert!(HEARD.replace(next).is_none_or(|heard| heard == item));
                };
                pool.for_each_ahead(items, None, task).unwrap();
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_set_flag_stops_the_work_and_is_an_error() {
        let (pool, cancel, ran) = (Pool::new(2).unwrap(), Cancel::new(), AtomicUsize::new(0));
        let result = pool.for_each(1000, Some(&cancel), |_| {
            ran.fetch_add(1, Ordering::Relaxed);
            cancel.set();
        });
        assert_eq!(result.unwrap_err().status(), Status::Cancelled);
        assert!(ran.load(Ordering::Relaxed) <= 2);
        cancel.reset();
        assert!(pool.for_each(3, Some(&cancel), |_| ()).is_ok());
    }

    #[test]
    fn an_absurd_number_of_threads_is_refused() {
        assert_eq!(Pool::new(1_000_000).err().map(|e| e.status()), Some(Status::InvalidArgument));
    }
}
