//! The life of one worker thread.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_deque::{Steal, Worker as Deque};

use super::queues::{take, Unit};
use super::shared::{Duty, Shared, State, CURRENT};
use super::sleep::{Notice, Rest};
use super::stats::Counters;
use super::sync::Parker;

/// Every so many tasks a worker looks first where it otherwise looks last, so that a chain of tasks
/// that submit tasks cannot starve what came from outside, nor urgent tasks the others. A prime, to
/// stay out of step with periodic loads.
const REVERSE_INTERVAL: u32 = 61;

/// The right to be one of an executor's threads.
pub struct Worker<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    index: usize,
    retired: bool,
}

impl<T: Send + 'static> Worker<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, index: usize) -> Self {
        Self {
            shared,
            index,
            retired: false,
        }
    }

    /// The index of the worker, below the executor's capacity. A later worker may have it again.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Work on the current thread until the executor is shut down and its queues are empty, or has
    /// more threads than it wants.
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
        shared.queues.use_deque(self.index);
        let deque = Rc::new(deque);
        if shared.host.start() {
            self.retired = work(&shared, self.index, &deque, &parker) == Rest::Retired;
        } else {
            abandon(&shared);
        }
        shared.deques.lock()[self.index] = Rc::into_inner(deque);
        shared.sleep.return_parker(self.index, parker);
        // The worker counts as searching, having looked for the last time; `drop` says farewell.
    }
}

impl<T: Send + 'static> Drop for Worker<T> {
    fn drop(&mut self) {
        let more = || self.shared.queues.has_work();
        if self.retired {
            self.shared.sleep.vacate(self.index, more);
        } else {
            self.shared.sleep.leave(self.index, more);
        }
    }
}

/// Break the executor: a thread could not be prepared.
fn abandon<T: Send + 'static>(shared: &Arc<Shared<T>>) {
    *shared.state.write() = State::Broken;
    shared.host.abandon(shared.drain());
    shared.sleep.wake_all();
    if let Some(bound) = &shared.bound {
        bound.wake_all();
    }
}

fn work<T: Send + 'static>(
    shared: &Arc<Shared<T>>,
    index: usize,
    deque: &Rc<Deque<Unit<T>>>,
    parker: &Parker,
) -> Rest {
    let _membership = Membership::enter(shared, deque);
    let counters = shared.meters.of(index);
    let mut tasks = Tasks {
        shared,
        deque,
        index,
        counters,
        turn: 0,
        searching: true,
        duty: None,
    };
    loop {
        shared.host.run(&mut tasks);
        tasks.stop();
        if shared.stopped() && !shared.queues.has_work() {
            return Rest::Awake;
        }
        let more = || shared.queues.has_work();
        match shared.sleep.rest(index, parker, more, || shared.stopped()) {
            Rest::Awake => {}
            Rest::Woken => counters.count_park(),
            Rest::Retired => return Rest::Retired,
        }
    }
}

/// Makes the current thread known as a worker, until dropped.
struct Membership {
    outer: Option<(usize, Rc<dyn Any>)>,
}

impl Membership {
    fn enter<T: Send + 'static>(shared: &Arc<Shared<T>>, deque: &Rc<Deque<Unit<T>>>) -> Self {
        let own: (usize, Rc<dyn Any>) = (
            Arc::as_ptr(shared) as usize,
            Rc::clone(deque) as Rc<dyn Any>,
        );
        Self {
            outer: CURRENT.with(|current| current.replace(Some(own))),
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        CURRENT.with(|current| current.replace(self.outer.take()));
    }
}

/// The tasks that one worker finds.
pub struct Tasks<'a, T: Send + 'static> {
    shared: &'a Arc<Shared<T>>,
    deque: &'a Deque<Unit<T>>,
    index: usize,
    counters: &'a Counters,
    turn: u32,
    searching: bool,
    duty: Option<Duty<T>>,
}

impl<T: Send + 'static> Tasks<'_, T> {
    /// Take the next task: an urgent one, else the newest of this worker's own, else the oldest
    /// from outside, else the oldest of another worker, else one of low priority.
    ///
    /// The task before it counts as done. `None` means that all queues were seen empty, or that
    /// this worker is to rest.
    #[allow(clippy::should_implement_trait)] // `None` is not the end: there may be more later
    pub fn next(&mut self) -> Option<T> {
        let duty = self.duty.take();
        let mut successor = duty.and_then(|duty| self.shared.finish(duty));
        loop {
            let opened = if let Some((unit, priority)) = successor.take() {
                self.shared.open(unit, priority, true)
            } else {
                let Some((unit, priority)) = self.find() else {
                    self.search();
                    return None;
                };
                self.shared.admit(unit, priority)
            };
            if let Some((task, duty)) = opened {
                self.begin(duty);
                return Some(task);
            }
        }
    }

    fn begin(&mut self, duty: Duty<T>) {
        if duty.lane.is_some() || duty.holding || duty.priority != 0 {
            self.duty = Some(duty);
        }
        if std::mem::replace(&mut self.searching, false) {
            let notice = self.shared.sleep.found(|| self.shared.queues.len());
            if let Notice::Start(place) = notice {
                let worker = Worker::new(Arc::clone(self.shared), place);
                self.shared.host.spawn(worker);
            }
        }
    }

    /// The host takes no more for now: count as searching, with nothing owed.
    fn stop(&mut self) {
        if let Some(duty) = self.duty.take() {
            self.shared.give_up(duty);
        }
        self.search();
    }

    /// From now on the worker is relied on to look at the queues before it sleeps. What the host
    /// does before that, others need no further thread for.
    fn search(&mut self) {
        if !std::mem::replace(&mut self.searching, true) {
            self.shared.sleep.search();
        }
    }

    /// Note that the task just taken runs from `now` on, a time in nanoseconds that is not zero,
    /// and what observers may know it as.
    pub fn note_begin(&self, now: u64, tag: u64) {
        self.counters.begin(now, tag);
    }

    /// Note how long the last task waited and ran, in nanoseconds.
    pub fn note_end(&self, queue_wait: u64, run: u64) {
        self.counters.record(queue_wait, run);
        if let Some(duty) = &self.duty {
            if let Some(lane) = &duty.lane {
                lane.record(queue_wait, run);
            }
            if duty.priority != 0 {
                let ledger = &self.shared.meters.ledger;
                ledger.record_priority(duty.priority, queue_wait, run);
            }
        }
    }

    /// Note how long the host kept this worker waiting before it could run tasks.
    pub fn note_attach(&self, wait: u64) {
        self.counters.record_attach(wait);
    }

    /// Queue the last task once more, behind what is queued, even after a shutdown.
    pub fn requeue(&self, task: T) {
        let priority = self.duty.as_ref().map_or(0, |duty| duty.priority);
        if let Some(bound) = &self.shared.bound {
            bound.force();
        }
        self.shared.queues.push(Unit::Task(task), priority, None);
        self.shared.announce();
    }

    fn find(&mut self) -> Option<(Unit<T>, i32)> {
        if self.shared.sleep.is_surplus() {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        let queues = &self.shared.queues;
        let plain = |unit| (unit, 0);
        if self.turn % REVERSE_INTERVAL == 0 {
            let reversed = queues.idle.pop().or_else(|| self.inject().map(plain));
            if reversed.is_some() {
                return reversed;
            }
        }
        queues
            .urgent
            .pop()
            .or_else(|| self.deque.pop().map(plain))
            .or_else(|| self.inject().map(plain))
            .or_else(|| self.steal().map(plain))
            .or_else(|| queues.idle.pop())
    }

    fn inject(&self) -> Option<Unit<T>> {
        // One at a time: of a batch in this worker's deque, others would see the tasks later than
        // younger ones that are still in the injector.
        take(|| self.shared.queues.injector.steal())
    }

    /// Ask every other worker once, beginning behind the own place; again while one was contended.
    fn steal(&self) -> Option<Unit<T>> {
        let stealers = self.shared.queues.used();
        loop {
            let others = (1..stealers.len()).map(|k| (self.index + k) % stealers.len());
            let found: Steal<Unit<T>> = others.map(|i| stealers[i].steal()).collect();
            match found {
                Steal::Success(unit) => {
                    self.counters.count_steal();
                    return Some(unit);
                }
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }
}
