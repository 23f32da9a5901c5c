//! What an executor and its workers share.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_deque::Worker as Deque;

use super::bound::Bound;
use super::holders::{Admission, Holders};
use super::lane::Lane;
use super::queues::{Queues, Unit};
use super::sleep::{Notice, Sleep};
use super::stats::{Meters, Stats};
use super::sync::atomic::{AtomicIsize, Ordering};
use super::sync::{thread_local, Mutex, RwLock};
use super::worker::Worker;
use super::{Host, Size};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Shutdown,
    Broken,
}

pub(super) struct Shared<T> {
    pub(super) host: Box<dyn Host<T>>,

    pub(super) queues: Queues<T>,

    /// The workers' ends of the deques, while they have no worker.
    pub(super) deques: Mutex<Vec<Option<Deque<Unit<T>>>>>,

    pub(super) sleep: Sleep,

    /// Held for reading while a task is accepted and for writing while the state changes, so that
    /// no task is accepted after the workers were told that none would come.
    pub(super) state: RwLock<State>,

    pub(super) bound: Option<Bound>,

    local_queues: bool,

    pub(super) holders: Holders<(Unit<T>, i32)>,

    /// Lanes of which a task runs.
    lanes: Mutex<Vec<Arc<Lane<T>>>>,

    /// Tasks that wait in lanes behind another.
    behind: AtomicIsize,

    pub(super) meters: Arc<Meters>,
}

/// What a thread owes when the task it took is done.
pub(super) struct Duty<T> {
    pub(super) lane: Option<Arc<Lane<T>>>,
    pub(super) holding: bool,
    pub(super) priority: i32,
}

/// What is to be done next, with the promise that its place among the holders is kept.
pub(super) type Successor<T> = (Unit<T>, i32);

thread_local! {
    /// The deque of the worker that this thread is, with the address of its executor.
    pub(super) static CURRENT: RefCell<Option<(usize, Rc<dyn Any>)>> = const { RefCell::new(None) };
}

impl<T: Send + 'static> Shared<T> {
    pub(super) fn new(host: impl Host<T>, capacity: usize, size: Size) -> Self {
        let deques: Vec<Deque<Unit<T>>> = (0..capacity).map(|_| Deque::new_lifo()).collect();
        Self {
            host: Box::new(host),
            queues: Queues::new(&deques),
            deques: Mutex::new(deques.into_iter().map(Some).collect()),
            sleep: Sleep::new(capacity, size.limit),
            state: RwLock::new(State::Running),
            bound: size.bound.map(Bound::new),
            local_queues: size.local_queues,
            holders: Holders::new(),
            lanes: Mutex::default(),
            behind: AtomicIsize::new(0),
            meters: Arc::new(Meters::new(capacity)),
        }
    }

    pub(super) fn stopped(&self) -> bool {
        *self.state.read() != State::Running
    }

    /// An estimate of the tasks that wait.
    pub(super) fn queued(&self) -> usize {
        let behind = self.behind.load(Ordering::Relaxed);
        self.queues.len() + self.holders.aside() + usize::try_from(behind).unwrap_or(0)
    }

    /// Queue a unit where those of the current thread belong.
    pub(super) fn push(&self, unit: Unit<T>, priority: i32) {
        let address = std::ptr::from_ref(self) as usize;
        CURRENT.with(|current| {
            let current = current.borrow();
            let own = current
                .as_ref()
                .filter(|(owner, _)| self.local_queues && *owner == address);
            let own = own.and_then(|(_, deque)| deque.downcast_ref());
            self.queues.push(unit, priority, own);
        });
    }

    /// A task was put behind others in a lane.
    pub(super) fn count_behind(&self) {
        self.behind.fetch_add(1, Ordering::Relaxed);
    }

    /// Make sure that somebody looks for what was pushed; maybe by a new worker.
    pub(super) fn notify(self: &Arc<Self>) -> Option<Worker<T>> {
        match self.sleep.notify(|| self.queues.len()) {
            Notice::Seen => None,
            Notice::Start(place) => Some(Worker::new(Arc::clone(self), place)),
        }
    }

    /// The same on behalf of a thread that cannot hand a worker to its caller.
    pub(super) fn announce(self: &Arc<Self>) {
        if let Some(worker) = self.notify() {
            self.host.spawn(worker);
        }
    }

    /// Take the task out of a unit that was taken from a queue. `None`: there is none to run now.
    pub(super) fn admit(self: &Arc<Self>, unit: Unit<T>, priority: i32) -> Option<(T, Duty<T>)> {
        let holding = self.holders.is_limited()
            && match &unit {
                Unit::Task(task) => self.host.holds(task),
                Unit::Lane(lane) => lane.peek(|task| self.host.holds(task)).unwrap_or(false),
            };
        if !holding {
            return self.open(unit, priority, false);
        }
        match self.holders.enter((unit, priority)) {
            Admission::Run((unit, priority)) => self.open(unit, priority, true),
            Admission::Aside => None,
        }
    }

    /// The same for a unit that needs no admission, or has it already.
    pub(super) fn open(
        self: &Arc<Self>,
        unit: Unit<T>,
        priority: i32,
        holding: bool,
    ) -> Option<(T, Duty<T>)> {
        let mut duty = Duty {
            lane: None,
            holding,
            priority,
        };
        let task = match unit {
            Unit::Task(task) => task,
            Unit::Lane(lane) => {
                self.lanes.lock().push(Arc::clone(&lane));
                let taken = lane.take();
                duty.lane = Some(lane);
                let Some((task, priority)) = taken else {
                    self.give_up(duty);
                    return None;
                };
                duty.priority = priority;
                task
            }
        };
        if let Some(bound) = &self.bound {
            bound.leave();
        }
        Some((task, duty))
    }

    /// A task is done: let the next of its lane be queued, and say which holding task follows it.
    pub(super) fn finish(self: &Arc<Self>, duty: Duty<T>) -> Option<Successor<T>> {
        if let Some(lane) = duty.lane {
            self.finish_lane(lane);
        }
        if duty.holding {
            self.holders.leave()
        } else {
            None
        }
    }

    /// A task is done, and this thread takes no other.
    pub(super) fn give_up(self: &Arc<Self>, duty: Duty<T>) {
        if let Some(lane) = duty.lane {
            self.finish_lane(lane);
        }
        if duty.holding {
            if let Some((unit, priority)) = self.holders.leave_place() {
                self.queues.push(unit, priority, None);
                self.announce();
            }
        }
    }

    fn finish_lane(self: &Arc<Self>, lane: Arc<Lane<T>>) {
        {
            let mut lanes = self.lanes.lock();
            if let Some(position) = lanes.iter().position(|other| Arc::ptr_eq(other, &lane)) {
                lanes.swap_remove(position);
            }
        }
        if let Some(priority) = lane.finish() {
            self.behind.fetch_sub(1, Ordering::Relaxed);
            self.queues.push(Unit::Lane(lane), priority, None);
            self.announce();
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.meters.stats();
        (stats.workers, stats.parked, stats.limit) = self.sleep.census();
        stats.queued = self.queued();
        stats
    }

    /// Take out every task that no thread has begun.
    pub(super) fn drain(&self) -> Vec<T> {
        let mut drained = Vec::new();
        while let Some((unit, _)) = self.queues.take() {
            self.drain_unit(unit, &mut drained);
        }
        for (unit, _) in self.holders.drain() {
            self.drain_unit(unit, &mut drained);
        }
        let lanes = self.lanes.lock().clone();
        for lane in lanes {
            self.drain_lane(&lane, 0, &mut drained);
        }
        if let Some(bound) = &self.bound {
            for _ in &drained {
                bound.leave();
            }
        }
        drained
    }

    fn drain_unit(&self, unit: Unit<T>, drained: &mut Vec<T>) {
        match unit {
            Unit::Task(task) => drained.push(task),
            Unit::Lane(lane) => {
                self.drain_lane(&lane, 1, drained);
                // Nothing is left unless a task was offered meanwhile, which is then lost to no
                // one: the state refuses offers before anything is drained.
                lane.finish();
            }
        }
    }

    fn drain_lane(&self, lane: &Lane<T>, in_front: isize, drained: &mut Vec<T>) {
        let tasks = lane.drain();
        let count = isize::try_from(tasks.len()).unwrap_or(isize::MAX);
        self.behind.fetch_sub(count - in_front, Ordering::Relaxed);
        drained.extend(tasks);
    }
}
