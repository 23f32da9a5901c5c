//! Who sleeps, who looks for work, who is woken. The protocol is told in `SLEEP.md`.

use std::sync::atomic::{fence, AtomicUsize, Ordering};

use crossbeam_utils::sync::{Parker, Unparker};
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

pub(super) struct Sleep {
    /// Workers that sleep or are about to, newest last. Only indices of `unparkers`.
    sleepers: Mutex<Vec<usize>>,

    /// The length of `sleepers`, readable without the lock.
    parked: CachePadded<AtomicUsize>,

    /// Workers that are awake (or being started) and have not found a task yet.
    searching: CachePadded<AtomicUsize>,

    /// Indices of workers that may still be started, lowest last.
    vacant: Mutex<Vec<usize>>,

    /// The length of `vacant`, readable without the lock.
    vacancies: AtomicUsize,

    parkers: Mutex<Vec<Option<Parker>>>,
    unparkers: Box<[Unparker]>,
}

impl Sleep {
    pub(super) fn new(max_workers: usize) -> Self {
        let parkers: Vec<Parker> = (0..max_workers).map(|_| Parker::new()).collect();
        Self {
            sleepers: Mutex::new(Vec::with_capacity(max_workers)),
            parked: CachePadded::new(AtomicUsize::new(0)),
            searching: CachePadded::new(AtomicUsize::new(0)),
            vacant: Mutex::new((0..max_workers).rev().collect()),
            vacancies: AtomicUsize::new(max_workers),
            unparkers: parkers
                .iter()
                .map(|parker| parker.unparker().clone())
                .collect(),
            parkers: Mutex::new(parkers.into_iter().map(Some).collect()),
        }
    }

    /// After a push: wake a sleeper unless a searcher will see the push.
    ///
    /// Returns whether the push is taken care of; if not, every worker is busy.
    pub(super) fn wake_one(&self) -> bool {
        fence(Ordering::SeqCst);
        if self.searching.load(Ordering::SeqCst) > 0 && self.parked.load(Ordering::SeqCst) > 0 {
            return true;
        }
        self.unpark_newest()
    }

    fn unpark_newest(&self) -> bool {
        if self.parked.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let Some(index) = self.pop_sleeper() else {
            return false;
        };
        self.unparkers[index].unpark();
        true
    }

    /// Take the newest sleeper off the list and count it as searching on its behalf.
    fn pop_sleeper(&self) -> Option<usize> {
        let mut sleepers = self.sleepers.lock();
        let index = sleepers.pop()?;
        self.searching.fetch_add(1, Ordering::SeqCst);
        self.parked.store(sleepers.len(), Ordering::SeqCst);
        Some(index)
    }

    pub(super) fn wake_all(&self) {
        fence(Ordering::SeqCst);
        while self.unpark_newest() {}
    }

    /// Take the right to start a worker, if more tasks are queued than workers look for them.
    ///
    /// `queued` counts the tasks of all queues; it is called only while a worker may be started.
    pub(super) fn claim_worker(&self, queued: impl FnOnce() -> usize) -> Option<usize> {
        if self.vacancies.load(Ordering::Relaxed) == 0
            || queued() <= self.searching.load(Ordering::SeqCst)
        {
            return None;
        }
        let mut vacant = self.vacant.lock();
        let index = vacant.pop()?;
        self.vacancies.store(vacant.len(), Ordering::Relaxed);
        self.searching.fetch_add(1, Ordering::SeqCst);
        Some(index)
    }

    /// Give back the right to be a worker, which was never used and still counts as searching.
    pub(super) fn release_worker(&self, index: usize, more: impl FnOnce() -> bool) {
        {
            let mut vacant = self.vacant.lock();
            vacant.push(index);
            self.vacancies.store(vacant.len(), Ordering::Relaxed);
        }
        self.found(more);
    }

    /// Take the parker of a worker, once.
    pub(super) fn take_parker(&self, index: usize) -> Option<Parker> {
        self.parkers.lock()[index].take()
    }

    /// A searcher found a task. If it was the last one, `more` decides whether another is woken.
    pub(super) fn found(&self, more: impl FnOnce() -> bool) {
        if self.searching.fetch_sub(1, Ordering::SeqCst) == 1 {
            fence(Ordering::SeqCst);
            if more() {
                self.unpark_newest();
            }
        }
    }

    /// A worker that had a task looks for the next one.
    pub(super) fn search(&self) {
        self.searching.fetch_add(1, Ordering::SeqCst);
    }

    /// Sleep until woken, unless `awake` says there is a reason not to. The caller counts as
    /// searching before and after. Returns whether it slept.
    pub(super) fn park(&self, index: usize, parker: &Parker, awake: impl Fn() -> bool) -> bool {
        {
            let mut sleepers = self.sleepers.lock();
            sleepers.push(index);
            self.parked.store(sleepers.len(), Ordering::SeqCst);
            self.searching.fetch_sub(1, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        if awake() && self.withdraw(index) {
            return false;
        }
        parker.park();
        true
    }

    /// Leave the list of sleepers. `false` if somebody is already waking this worker.
    fn withdraw(&self, index: usize) -> bool {
        let mut sleepers = self.sleepers.lock();
        let Some(position) = sleepers.iter().rposition(|&i| i == index) else {
            return false;
        };
        sleepers.remove(position);
        self.searching.fetch_add(1, Ordering::SeqCst);
        self.parked.store(sleepers.len(), Ordering::SeqCst);
        true
    }
}
