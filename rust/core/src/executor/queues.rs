//! Where tasks wait until a thread takes them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use crossbeam_deque::{Injector, Steal, Stealer, Worker as Deque};
use parking_lot::Mutex;

use super::lane::Lane;

/// What is queued as one: a task, or a lane with tasks.
pub(super) enum Unit<T> {
    Task(T),
    Lane(Arc<Lane<T>>),
}

/// A unit whose priority is not zero; the greatest is the next.
struct Ranked<T> {
    rank: (i32, Reverse<u64>),
    unit: Unit<T>,
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<T> Eq for Ranked<T> {}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// Units by priority, those of one priority oldest first.
pub(super) struct Heap<T> {
    len: AtomicUsize,
    units: Mutex<(BinaryHeap<Ranked<T>>, u64)>,
}

impl<T> Heap<T> {
    fn new() -> Self {
        Self {
            len: AtomicUsize::new(0),
            units: Mutex::new((BinaryHeap::new(), 0)),
        }
    }

    fn push(&self, unit: Unit<T>, priority: i32) {
        let mut units = self.units.lock();
        let (heap, pushed) = &mut *units;
        *pushed += 1;
        heap.push(Ranked {
            rank: (priority, Reverse(*pushed)),
            unit,
        });
        self.len.store(heap.len(), Ordering::SeqCst);
    }

    pub(super) fn pop(&self) -> Option<(Unit<T>, i32)> {
        if self.len() == 0 {
            return None;
        }
        let mut units = self.units.lock();
        let ranked = units.0.pop()?;
        self.len.store(units.0.len(), Ordering::SeqCst);
        Some((ranked.unit, ranked.rank.0))
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }
}

pub(super) struct Queues<T> {
    /// Units of a priority above zero.
    pub(super) urgent: Heap<T>,

    /// Units of priority zero from threads that are not workers, oldest first.
    pub(super) injector: Injector<Unit<T>>,

    /// One end of each worker's deque, by worker index.
    pub(super) stealers: Box<[Stealer<Unit<T>>]>,

    /// Deques below this index have had a worker.
    used: AtomicUsize,

    /// Units of a priority below zero.
    pub(super) idle: Heap<T>,
}

impl<T> Queues<T> {
    pub(super) fn new(deques: &[Deque<Unit<T>>]) -> Self {
        Self {
            urgent: Heap::new(),
            injector: Injector::new(),
            stealers: deques.iter().map(Deque::stealer).collect(),
            used: AtomicUsize::new(0),
            idle: Heap::new(),
        }
    }

    /// The deque at `index` is in use from now on.
    pub(super) fn use_deque(&self, index: usize) {
        self.used.fetch_max(index + 1, Ordering::SeqCst);
    }

    /// The deques that may hold units.
    pub(super) fn used(&self) -> &[Stealer<Unit<T>>] {
        &self.stealers[..self.used.load(Ordering::SeqCst)]
    }

    /// Queue a unit, on the deque of the current worker if it has priority zero and there is one.
    pub(super) fn push(&self, unit: Unit<T>, priority: i32, own: Option<&Deque<Unit<T>>>) {
        match priority {
            0 => match own {
                Some(deque) => deque.push(unit),
                None => self.injector.push(unit),
            },
            1.. => self.urgent.push(unit, priority),
            _ => self.idle.push(unit, priority),
        }
    }

    /// Whether any queue holds a unit.
    pub(super) fn has_work(&self) -> bool {
        !self.injector.is_empty()
            || self.urgent.len() > 0
            || self.used().iter().any(|s| !s.is_empty())
            || self.idle.len() > 0
    }

    /// An estimate of the units that wait.
    pub(super) fn len(&self) -> usize {
        let deques: usize = self.used().iter().map(Stealer::len).sum();
        self.injector.len() + deques + self.urgent.len() + self.idle.len()
    }

    /// Take a unit as a thread that is not a worker, the most urgent first.
    pub(super) fn take(&self) -> Option<(Unit<T>, i32)> {
        let plain = || {
            take(|| self.injector.steal())
                .or_else(|| self.used().iter().find_map(|s| take(|| s.steal())))
        };
        self.urgent
            .pop()
            .or_else(|| plain().map(|unit| (unit, 0)))
            .or_else(|| self.idle.pop())
    }

    /// Take a unit that can be done without: one of low priority, else the oldest from outside.
    pub(super) fn take_least(&self) -> Option<(Unit<T>, i32)> {
        self.idle
            .pop()
            .or_else(|| take(|| self.injector.steal()).map(|unit| (unit, 0)))
            .or_else(|| self.take())
    }
}

/// Repeat `steal` until it finds a unit or the queue was seen empty.
pub(super) fn take<T>(steal: impl Fn() -> Steal<T>) -> Option<T> {
    loop {
        match steal() {
            Steal::Success(unit) => return Some(unit),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}
