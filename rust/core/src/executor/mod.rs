//! A work-stealing executor whose threads belong to the caller.
//!
//! The executor keeps queues, decides who sleeps and who wakes, and says when another thread is
//! wanted; it creates no thread itself. [`Executor::submit`] may return a [`Worker`]: the caller
//! runs [`Worker::run`] on a new thread of whatever kind it likes. The protocol of parking and
//! waking is told in `SLEEP.md`.

mod bound;
mod holders;
mod lane;
mod lanes;
#[cfg(all(test, feature = "shuttle"))]
mod model;
mod promise;
mod queues;
mod shared;
mod sleep;
mod stats;
mod sync;
mod worker;

use std::sync::{Arc, Weak};

use crate::Error;
pub use bound::Wake;
pub use lane::Lane;
use lane::Offer;
pub use lanes::{Lanes, Swept};
pub use promise::{Aftermath, Begin, Phase, Promise, Waiting};
use queues::Unit;
use shared::{Duty, Shared, State};
use stats::Meters;
pub use stats::{Histogram, Stats, Totals};
use sync::atomic::Ordering;
pub use worker::{Tasks, Worker};

/// What runs tasks of type `T`, on every thread of an executor.
pub trait Host<T: Send + 'static>: Send + Sync + 'static {
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

    /// Have a worker run on a new thread, because a worker found more work than threads. Dropping
    /// it is allowed.
    fn spawn(&self, worker: Worker<T>) {
        drop(worker);
    }

    /// Whether a task holds what only few tasks can have; see [`Executor::limit_holders`]. Called
    /// while a lock is held: must not call back, and not block.
    fn holds(&self, task: &T) -> bool {
        let _ = task;
        false
    }
}

/// How large an executor is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// How many workers may be awake at a time.
    pub limit: usize,
    /// How many threads there may be, counting those that stand in for blocked ones.
    pub capacity: usize,
    /// How many tasks may wait; `None` means any number.
    pub bound: Option<usize>,
    /// Whether tasks submitted by tasks wait in a queue of their worker's own, to be stolen by
    /// others; otherwise they wait with those from outside.
    pub local_queues: bool,
}

/// A pool of threads that take tasks from each other.
///
/// Dropping the executor lets its workers finish what was submitted and end.
pub struct Executor<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    capacity: usize,
}

impl<T: Send + 'static> Executor<T> {
    /// Make an executor without any thread.
    ///
    /// # Errors
    /// [`Error::ZeroSize`] if a size is zero. A capacity below the limit is raised to it.
    pub fn new(size: Size, host: impl Host<T>) -> Result<Self, Error> {
        for (argument, value) in [
            ("max_workers", size.limit),
            ("max_queue", size.bound.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(Error::ZeroSize { argument });
            }
        }
        let capacity = size.capacity.max(size.limit);
        Ok(Self {
            shared: Arc::new(Shared::new(host, capacity, size)),
            capacity,
        })
    }

    /// Do something while no state change can happen, if tasks are accepted.
    fn accept<R>(&self, accepted: impl FnOnce() -> R) -> Result<R, Error> {
        let state = self.shared.state.read();
        match *state {
            State::Running => Ok(accepted()),
            State::Shutdown => Err(Error::Shutdown),
            State::Broken => Err(Error::Broken),
        }
    }

    /// Accept a task, and wake or ask for a thread if one is needed to run it.
    ///
    /// Tasks of a higher priority go first. Of those with priority zero, one submitted by a worker
    /// of this executor goes to the worker's own deque, from which the worker takes the newest and
    /// others take the oldest; any other goes to the injector.
    /// If a [`Worker`] is returned, its `run` must be called on a new thread; dropping it instead
    /// withdraws the wish, and the task waits for another worker.
    ///
    /// # Errors
    /// The task comes back with [`Error::Shutdown`] or [`Error::Broken`], or, unless `force` is
    /// set, with [`Error::Full`].
    pub fn submit(
        &self,
        task: T,
        priority: i32,
        force: bool,
    ) -> Result<Option<Worker<T>>, (T, Error)> {
        let mut task = Some(task);
        let accepted = self.accept(|| {
            if self.enter(force) {
                if let Some(task) = task.take() {
                    self.shared.push(Unit::Task(task), priority);
                }
            }
        });
        self.conclude(task, accepted)
    }

    /// Accept a task for a lane; otherwise as [`Executor::submit`].
    ///
    /// # Errors
    /// Also [`Error::Closed`] if the lane is closed.
    pub fn submit_to(
        &self,
        lane: &Arc<Lane<T>>,
        task: T,
        priority: i32,
        force: bool,
    ) -> Result<Option<Worker<T>>, (T, Error)> {
        let mut closed = false;
        let mut task = Some(task);
        let accepted = self.accept(|| {
            if !self.enter(force) {
                return;
            }
            let Some(offered) = task.take() else { return };
            match lane.offer(offered, priority) {
                Offer::Schedule => {
                    let unit = Unit::Lane(Arc::clone(lane));
                    self.shared.queues.push(unit, priority, None);
                }
                Offer::Queued => self.shared.count_behind(),
                Offer::Closed(offered) => {
                    task = Some(offered);
                    closed = true;
                }
            }
        });
        if closed {
            if let Some(bound) = &self.shared.bound {
                bound.leave();
            }
        }
        self.conclude(task, if closed { Err(Error::Closed) } else { accepted })
    }

    fn enter(&self, force: bool) -> bool {
        match &self.shared.bound {
            Some(bound) if force => {
                bound.force();
                true
            }
            Some(bound) => bound.enter(),
            None => true,
        }
    }

    /// After an attempt to queue a task, which is left if it was not queued.
    fn conclude(
        &self,
        left: Option<T>,
        accepted: Result<(), Error>,
    ) -> Result<Option<Worker<T>>, (T, Error)> {
        match (left, accepted) {
            (Some(task), Err(error)) => Err((task, error)),
            (Some(task), Ok(())) => Err((task, Error::Full)),
            (None, _) => {
                self.shared.meters.submitted.fetch_add(1, Ordering::Relaxed);
                Ok(self.shared.notify())
            }
        }
    }

    /// Accept tasks in their order, which stand for `count` in the statistics, whatever the bound.
    ///
    /// Call [`Executor::want_worker`] afterwards until it returns `None`.
    ///
    /// # Errors
    /// [`Error::Shutdown`] or [`Error::Broken`]; then no task was taken out of `tasks`.
    pub fn submit_many(
        &self,
        tasks: impl Iterator<Item = T>,
        priority: i32,
        count: u64,
    ) -> Result<(), Error> {
        self.accept(|| {
            for task in tasks {
                self.enter(true);
                self.shared.push(Unit::Task(task), priority);
            }
            self.shared
                .meters
                .submitted
                .fetch_add(count, Ordering::Relaxed);
        })
    }

    /// Make sure that somebody looks for queued tasks. A worker that is returned must be run, as
    /// that of [`Executor::submit`].
    #[must_use = "dropping it withdraws the wish"]
    pub fn want_worker(&self) -> Option<Worker<T>> {
        self.shared.notify()
    }

    /// Have `waiter` woken when the queue has room again, or at once, or in vain.
    pub fn wait_for_room(&self, waiter: Arc<dyn Wake>) {
        if let Some(bound) = &self.shared.bound {
            bound.wait(waiter);
        }
    }

    /// Tell that a waiter no longer waits, whether it was woken or not.
    pub fn stop_waiting(&self, waiter: &Arc<dyn Wake>) {
        if let Some(bound) = &self.shared.bound {
            bound.give_up(waiter);
        }
    }

    /// How many tasks may wait, if that is bounded.
    #[must_use]
    pub fn bound(&self) -> Option<usize> {
        self.shared.bound.as_ref().map(bound::Bound::capacity)
    }

    /// Take a queued task, to be run by a thread that would otherwise wait for it.
    ///
    /// Nobody is woken for what remains: whoever pushed it saw to that.
    #[must_use = "the task is no longer in any queue"]
    pub fn steal(&self) -> Option<Lease<T>> {
        self.lease(|| self.shared.queues.take())
    }

    /// Take a task that can be done without: one of low priority, else the oldest from outside.
    #[must_use = "the task is no longer in any queue"]
    pub fn steal_least(&self) -> Option<Lease<T>> {
        self.lease(|| self.shared.queues.take_least())
    }

    fn lease(&self, take: impl Fn() -> Option<(Unit<T>, i32)>) -> Option<Lease<T>> {
        loop {
            let (unit, priority) = take()?;
            if let Some((task, duty)) = self.shared.open(unit, priority, false) {
                return Some(Lease {
                    shared: Arc::clone(&self.shared),
                    task: Some(task),
                    duty: Some(duty),
                });
            }
        }
    }

    /// A handle that outlives the executor.
    #[must_use]
    pub fn observer(&self) -> Observer<T> {
        Observer {
            meters: Arc::clone(&self.shared.meters),
            shared: Arc::downgrade(&self.shared),
        }
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
        if let Some(bound) = &self.shared.bound {
            bound.wake_all();
        }
        cancelled
    }

    /// Whether `shutdown` was called or a worker failed to start.
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        self.shared.stopped()
    }

    /// How many threads there may be.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether a worker failed to start.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        *self.shared.state.read() == State::Broken
    }

    /// Let `limit` workers be awake, at least one and at most as many as there may be threads.
    ///
    /// Threads beyond the limit end when they are done with their task. Call
    /// [`Executor::want_worker`] afterwards until it returns `None`.
    pub fn set_limit(&self, limit: usize) {
        self.shared.sleep.set_limit(limit.clamp(1, self.capacity));
    }

    /// A worker is going to be blocked: another may be awake in its stead. Call
    /// [`Executor::want_worker`] afterwards until it returns `None`, and then [`Executor::unblock`].
    pub fn block(&self) {
        self.shared.sleep.set_blocked(true);
    }

    /// Undo one [`Executor::block`].
    pub fn unblock(&self) {
        self.shared.sleep.set_blocked(false);
    }

    /// Let at most `limit` tasks run at a time for which [`Host::holds`]; zero means any number.
    pub fn limit_holders(&self, limit: usize) {
        for (unit, priority) in self.shared.holders.set_limit(limit) {
            self.shared.queues.push(unit, priority, None);
            self.shared.announce();
        }
    }

    /// An estimate of the tasks that wait in queues and lanes.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.queued()
    }

    /// Sum the counters of all workers; each sum is exact once the workers have ended.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

impl<T: Send + 'static> Drop for Executor<T> {
    fn drop(&mut self) {
        drop(self.shutdown(false));
    }
}

/// Reads an executor's numbers, also when it is gone, and keeps nothing of it alive.
pub struct Observer<T: Send + 'static> {
    meters: Arc<Meters>,
    shared: Weak<Shared<T>>,
}

impl<T: Send + 'static> Observer<T> {
    /// Count a task that was run without being taken from a queue.
    pub fn note_claimed(&self, queue_wait: u64, run: u64) {
        self.meters.ledger.record_outside(queue_wait, run);
    }

    /// Tasks accepted so far.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        self.meters.submitted.load(Ordering::SeqCst)
    }

    /// See [`Executor::stats`]. If the executor is gone, nothing waits and no thread is left.
    ///
    /// May drop the last of what the executor held.
    #[must_use]
    pub fn stats(&self) -> Stats {
        match self.shared.upgrade() {
            Some(shared) => shared.stats(),
            None => self.meters.stats(),
        }
    }

    /// Tasks that workers have begun, and for how many nanoseconds the ended ones ran.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        self.meters.progress()
    }

    /// See [`Executor::queued`]; zero if the executor is gone.
    ///
    /// May drop the last of what the executor held.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.upgrade().map_or(0, |shared| shared.queued())
    }

    /// By worker, when the task that runs now was begun and its tag; see [`Tasks::note_begin`].
    #[must_use]
    pub fn running(&self) -> Vec<(usize, u64, u64)> {
        self.meters.running()
    }
}

/// A task that was taken by a thread that is not a worker. Dropping it says that it is done.
pub struct Lease<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    task: Option<T>,
    duty: Option<Duty<T>>,
}

impl<T: Send + 'static> Lease<T> {
    /// Take the task out, once.
    pub fn take(&mut self) -> Option<T> {
        self.task.take()
    }

    /// Note how long the task waited and ran, in nanoseconds.
    pub fn note_end(&self, queue_wait: u64, run: u64) {
        self.shared.meters.ledger.record_outside(queue_wait, run);
        let Some(duty) = &self.duty else { return };
        if let Some(lane) = &duty.lane {
            lane.record(queue_wait, run);
        }
        if duty.priority != 0 {
            let ledger = &self.shared.meters.ledger;
            ledger.record_priority(duty.priority, queue_wait, run);
        }
    }
}

impl<T: Send + 'static> Drop for Lease<T> {
    fn drop(&mut self) {
        if let Some(duty) = self.duty.take() {
            self.shared.give_up(duty);
        }
    }
}
