//! A work-stealing executor whose threads belong to the caller.
//!
//! The executor keeps queues, decides who sleeps and who wakes, and says when another thread is
//! wanted; it creates no thread itself. [`Executor::submit`] may return a [`Worker`]: the caller
//! runs [`Worker::run`] on a new thread of whatever kind it likes. The protocol of parking and
//! waking is told in `SLEEP.md`.

mod sleep;
mod worker;

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use crossbeam_deque::{Injector, Steal, Stealer, Worker as Deque};
use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, RwLock};

use crate::Error;
use sleep::Sleep;
pub use worker::{Tasks, Worker};

/// What runs tasks of type `T`, on every thread of an executor.
pub trait Host<T>: Send + Sync + 'static {
    /// Prepare the current thread; `false` breaks the executor.
    fn start(&self) -> bool {
        true
    }

    /// Take tasks until [`Tasks::next`] returns `None`, and run each.
    ///
    /// There may be none. A panic of this method ends the thread.
    fn run(&self, tasks: &mut Tasks<'_, T>);

    /// Receive the tasks that will not run because [`Host::start`] returned `false`.
    fn abandon(&self, tasks: Vec<T>);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Shutdown,
    Broken,
}

/// Cumulative counts since the executor was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tasks accepted by `submit`.
    pub submitted: u64,
    /// Tasks handed to a host or taken by `steal`.
    pub started: u64,
    /// Tasks that a worker took from another worker's deque.
    pub steals: u64,
    /// Times that a worker went to sleep.
    pub parks: u64,
    /// Threads that were wanted so far and not taken back.
    pub workers: usize,
}

/// Counters of one worker, written by it alone.
#[derive(Default)]
struct Counters {
    started: AtomicU64,
    steals: AtomicU64,
    parks: AtomicU64,
}

impl Counters {
    /// Add one, without a read-modify-write: there is a single writer.
    fn count(counter: &AtomicU64) {
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// What the executor and its workers share.
struct Shared<T> {
    host: Box<dyn Host<T>>,

    /// Tasks from threads that are not workers, oldest first.
    injector: Injector<T>,

    /// One end of each worker's deque, by worker index.
    stealers: Box<[Stealer<T>]>,

    /// The other ends, until a worker takes its own.
    deques: Mutex<Vec<Option<Deque<T>>>>,

    sleep: Sleep,

    /// Held for reading while a task is accepted and for writing while the state changes, so that
    /// no task is accepted after the workers were told that none would come.
    state: RwLock<State>,

    submitted: AtomicU64,

    /// Tasks that threads other than workers took.
    helped: AtomicU64,

    counters: Box<[CachePadded<Counters>]>,

    /// Worker threads that are wanted and have not ended.
    live: AtomicUsize,
}

impl<T> Shared<T> {
    /// Whether any queue holds a task.
    fn has_work(&self) -> bool {
        !self.injector.is_empty() || self.stealers.iter().any(|s| !s.is_empty())
    }

    /// Take every queued task out.
    fn drain(&self) -> Vec<T> {
        let mut drained = Vec::new();
        while let Some(task) = take(|| self.injector.steal()) {
            drained.push(task);
        }
        for stealer in &self.stealers {
            while let Some(task) = take(|| stealer.steal()) {
                drained.push(task);
            }
        }
        drained
    }
}

/// Repeat `steal` until it finds a task or the queue was seen empty.
fn take<T>(steal: impl Fn() -> Steal<T>) -> Option<T> {
    loop {
        match steal() {
            Steal::Success(task) => return Some(task),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

thread_local! {
    /// The deque of the worker that this thread is, with the address of its executor.
    static CURRENT: RefCell<Option<(usize, Rc<dyn Any>)>> = const { RefCell::new(None) };
}

/// A pool of at most `max_workers` threads that take tasks from each other.
///
/// Dropping the executor lets its workers finish what was submitted and end.
pub struct Executor<T: Send + 'static> {
    shared: Arc<Shared<T>>,
}

impl<T: Send + 'static> Executor<T> {
    /// Make an executor without any thread.
    ///
    /// # Errors
    /// [`Error::ZeroSize`] if `max_workers` is zero.
    pub fn new(max_workers: usize, host: impl Host<T>) -> Result<Self, Error> {
        if max_workers == 0 {
            return Err(Error::ZeroSize {
                argument: "max_workers",
            });
        }
        let deques: Vec<Deque<T>> = (0..max_workers).map(|_| Deque::new_lifo()).collect();
        let shared = Shared {
            host: Box::new(host),
            injector: Injector::new(),
            stealers: deques.iter().map(Deque::stealer).collect(),
            deques: Mutex::new(deques.into_iter().map(Some).collect()),
            sleep: Sleep::new(max_workers),
            state: RwLock::new(State::Running),
            submitted: AtomicU64::new(0),
            helped: AtomicU64::new(0),
            counters: (0..max_workers).map(|_| CachePadded::default()).collect(),
            live: AtomicUsize::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Accept a task, and wake or ask for a thread if one is needed to run it.
    ///
    /// A task submitted by a worker of this executor goes to the worker's own deque, from which
    /// the worker takes the newest and others take the oldest; any other goes to the injector.
    /// If a [`Worker`] is returned, its `run` must be called on a new thread; dropping it instead
    /// withdraws the wish, and the task waits for another worker.
    ///
    /// # Errors
    /// The task comes back with [`Error::Shutdown`] or [`Error::Broken`].
    pub fn submit(&self, task: T) -> Result<Option<Worker<T>>, (T, Error)> {
        {
            let state = self.shared.state.read();
            match *state {
                State::Running => {}
                State::Shutdown => return Err((task, Error::Shutdown)),
                State::Broken => return Err((task, Error::Broken)),
            }
            self.shared.submitted.fetch_add(1, Ordering::Relaxed);
            self.push(task);
        }
        Ok(self.notify())
    }

    /// Queue a task where the current thread's tasks belong.
    fn push(&self, task: T) {
        let address = Arc::as_ptr(&self.shared) as usize;
        CURRENT.with_borrow(|current| {
            let own = current.as_ref().filter(|(owner, _)| *owner == address);
            if let Some(deque) = own.and_then(|(_, deque)| deque.downcast_ref::<Deque<T>>()) {
                deque.push(task);
            } else {
                self.shared.injector.push(task);
            }
        });
    }

    /// Make sure that somebody looks for the task that was just pushed.
    fn notify(&self) -> Option<Worker<T>> {
        if self.shared.sleep.wake_one() {
            return None;
        }
        let spawn = self.shared.sleep.claim_worker(|| self.queued())?;
        self.shared.live.fetch_add(1, Ordering::Relaxed);
        Some(Worker::new(Arc::clone(&self.shared), spawn))
    }

    /// Take a queued task, to be run by a thread that would otherwise wait for it.
    ///
    /// Nobody is woken for what remains: whoever pushed it saw to that.
    #[must_use = "the task is no longer in any queue"]
    pub fn steal(&self) -> Option<T> {
        let shared = &self.shared;
        let task = take(|| shared.injector.steal())
            .or_else(|| shared.stealers.iter().find_map(|s| take(|| s.steal())))?;
        shared.helped.fetch_add(1, Ordering::Relaxed);
        Some(task)
    }

    /// Refuse new tasks; the workers finish what is queued and end.
    ///
    /// With `cancel`, what no worker has taken yet is returned instead of run.
    #[must_use = "drop or cancel the tasks that were taken back"]
    pub fn shutdown(&self, cancel: bool) -> Vec<T> {
        {
            let mut state = self.shared.state.write();
            if *state == State::Running {
                *state = State::Shutdown;
            }
        }
        let cancelled = if cancel {
            self.shared.drain()
        } else {
            Vec::new()
        };
        self.shared.sleep.wake_all();
        cancelled
    }

    /// Whether `shutdown` was called or a worker failed to start.
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        *self.shared.state.read() != State::Running
    }

    /// An estimate of the tasks that wait in queues.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.injector.len() + self.shared.stealers.iter().map(Stealer::len).sum::<usize>()
    }

    /// Sum the counters of all workers; each sum is exact once the workers have ended.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let sum = |field: fn(&Counters) -> &AtomicU64| {
            self.shared
                .counters
                .iter()
                .map(|c| field(c).load(Ordering::Relaxed))
                .sum()
        };
        Stats {
            submitted: self.shared.submitted.load(Ordering::Relaxed),
            started: sum(|c| &c.started) + self.shared.helped.load(Ordering::Relaxed),
            steals: sum(|c| &c.steals),
            parks: sum(|c| &c.parks),
            workers: self.shared.live.load(Ordering::Relaxed),
        }
    }
}

impl<T: Send + 'static> Drop for Executor<T> {
    fn drop(&mut self) {
        drop(self.shutdown(false));
    }
}
