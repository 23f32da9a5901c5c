//! The life of one worker thread.

use std::any::Any;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use crossbeam_deque::{Steal, Worker as Deque};
use crossbeam_utils::sync::Parker;

use super::{take, Counters, Shared, State, CURRENT};

/// Every so many tasks a worker looks into the injector before its own deque, so that a chain of
/// tasks that submit tasks cannot starve what came from outside. A prime, to stay out of step with
/// periodic loads.
const INJECTOR_INTERVAL: u32 = 61;

/// The right to be one of an executor's threads.
pub struct Worker<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    index: usize,
    started: bool,
}

impl<T: Send + 'static> Worker<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, index: usize) -> Self {
        Self {
            shared,
            index,
            started: false,
        }
    }

    /// The index of the worker, below the executor's `max_workers`.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Work on the current thread until the executor is shut down and its queues are empty.
    ///
    /// The caller drops the worker afterwards, and with the last worker of a dropped executor also
    /// its host.
    pub fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        let deque = shared.deques.lock()[self.index].take();
        let parker = shared.sleep.take_parker(self.index);
        let (Some(deque), Some(parker)) = (deque, parker) else {
            return;
        };
        self.started = true;
        if shared.host.start() {
            work(&shared, self.index, &Rc::new(deque), &parker);
        } else {
            abandon(&shared);
        }
        // The thread counted as searching while it looked for the last time; `drop` says farewell.
    }
}

impl<T: Send + 'static> Drop for Worker<T> {
    fn drop(&mut self) {
        self.shared.live.fetch_sub(1, Ordering::Relaxed);
        if !self.started {
            self.shared
                .sleep
                .release_worker(self.index, || self.shared.has_work());
        }
    }
}

/// Break the executor: a thread could not be prepared.
fn abandon<T: 'static>(shared: &Shared<T>) {
    *shared.state.write() = State::Broken;
    shared.host.abandon(shared.drain());
    shared.sleep.wake_all();
}

fn work<T: Send + 'static>(
    shared: &Arc<Shared<T>>,
    index: usize,
    deque: &Rc<Deque<T>>,
    parker: &Parker,
) {
    let _membership = Membership::enter(shared, deque);
    let mut tasks = Tasks {
        shared,
        deque,
        index,
        turn: 0,
        searching: true,
    };
    loop {
        shared.host.run(&mut tasks);
        if !tasks.searching {
            tasks.searching = true;
            shared.sleep.search();
        }
        let running = || *shared.state.read() == State::Running;
        if !running() && !shared.has_work() {
            return;
        }
        if shared
            .sleep
            .park(index, parker, || shared.has_work() || !running())
        {
            Counters::count(&shared.counters[index].parks);
        }
    }
}

/// Makes the current thread known as a worker, until dropped.
struct Membership {
    outer: Option<(usize, Rc<dyn Any>)>,
}

impl Membership {
    fn enter<T: Send + 'static>(shared: &Arc<Shared<T>>, deque: &Rc<Deque<T>>) -> Self {
        let own: (usize, Rc<dyn Any>) = (
            Arc::as_ptr(shared) as usize,
            Rc::clone(deque) as Rc<dyn Any>,
        );
        Self {
            outer: CURRENT.replace(Some(own)),
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        CURRENT.replace(self.outer.take());
    }
}

/// The tasks that one worker finds.
pub struct Tasks<'a, T> {
    shared: &'a Shared<T>,
    deque: &'a Deque<T>,
    index: usize,
    turn: u32,
    searching: bool,
}

impl<T> Tasks<'_, T> {
    /// Take the next task: the newest of this worker's own, else the oldest from outside, else the
    /// oldest of another worker. `None` means that all queues were seen empty.
    #[allow(clippy::should_implement_trait)] // `None` is not the end: there may be more later
    pub fn next(&mut self) -> Option<T> {
        self.turn = self.turn.wrapping_add(1);
        let task = self.find()?;
        Counters::count(&self.shared.counters[self.index].started);
        if self.searching {
            self.searching = false;
            self.shared.sleep.found(|| self.shared.has_work());
        }
        Some(task)
    }

    fn find(&self) -> Option<T> {
        if self.turn % INJECTOR_INTERVAL == 0 {
            if let Some(task) = self.inject() {
                return Some(task);
            }
        }
        self.deque
            .pop()
            .or_else(|| self.inject())
            .or_else(|| self.steal())
    }

    fn inject(&self) -> Option<T> {
        take(|| self.shared.injector.steal_batch_and_pop(self.deque))
    }

    /// Ask every other worker once, beginning behind the own place; again while one was contended.
    fn steal(&self) -> Option<T> {
        let stealers = &self.shared.stealers;
        loop {
            let others = (1..stealers.len()).map(|k| (self.index + k) % stealers.len());
            let found: Steal<T> = others
                .map(|i| stealers[i].steal_batch_and_pop(self.deque))
                .collect();
            match found {
                Steal::Success(task) => {
                    Counters::count(&self.shared.counters[self.index].steals);
                    return Some(task);
                }
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }
}
