//! How many tasks may be queued, and who waits for room.

use std::collections::VecDeque;
use std::sync::atomic::{fence, AtomicUsize, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;

/// Somebody who waits for room in a queue.
pub trait Wake: Send + Sync {
    /// Let the waiter go on. Called with no lock held; must not block.
    fn wake(&self);
}

/// A count of queued tasks that does not exceed a bound.
///
/// Whoever waits registers first and looks for room afterwards; whoever makes room looks for
/// waiters afterwards. One of the two sees the other.
pub(super) struct Bound {
    capacity: usize,
    queued: AtomicUsize,
    waiting: AtomicUsize,
    waiters: Mutex<VecDeque<Arc<dyn Wake>>>,
}

impl Bound {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            queued: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiters: Mutex::default(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Count one more task, unless there is no room.
    pub(super) fn enter(&self) -> bool {
        self.queued
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |queued| {
                (queued < self.capacity).then_some(queued + 1)
            })
            .is_ok()
    }

    /// Count one more task even if there is no room.
    pub(super) fn force(&self) {
        self.queued.fetch_add(1, Ordering::SeqCst);
    }

    /// A task left the queue.
    pub(super) fn leave(&self) {
        self.queued.fetch_sub(1, Ordering::SeqCst);
        self.wake_first();
    }

    fn has_room(&self) -> bool {
        self.queued.load(Ordering::SeqCst) < self.capacity
    }

    fn wake_first(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let first = {
            let mut waiters = self.waiters.lock();
            let first = waiters.pop_front();
            self.waiting.store(waiters.len(), Ordering::SeqCst);
            first
        };
        if let Some(first) = first {
            first.wake();
        }
    }

    pub(super) fn wake_all(&self) {
        let waiters = {
            let mut waiters = self.waiters.lock();
            self.waiting.store(0, Ordering::SeqCst);
            std::mem::take(&mut *waiters)
        };
        for waiter in waiters {
            waiter.wake();
        }
    }

    /// Have `waiter` woken when there is room. It may be woken at once, or in vain.
    pub(super) fn wait(&self, waiter: Arc<dyn Wake>) {
        {
            let mut waiters = self.waiters.lock();
            waiters.push_back(waiter);
            self.waiting.store(waiters.len(), Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        if self.has_room() {
            self.wake_first();
        }
    }

    /// A waiter gives up. If it was woken already, the next one is woken in its place.
    pub(super) fn give_up(&self, waiter: &Arc<dyn Wake>) {
        let was_woken = {
            let mut waiters = self.waiters.lock();
            let before = waiters.len();
            waiters.retain(|other| !Arc::ptr_eq(other, waiter));
            self.waiting.store(waiters.len(), Ordering::SeqCst);
            waiters.len() == before
        };
        if was_woken && self.has_room() {
            self.wake_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Flag(AtomicUsize);

    impl Wake for Flag {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn woken(flag: &Flag) -> usize {
        flag.0.load(Ordering::SeqCst)
    }

    #[test]
    fn waiters_are_woken_in_order_as_room_is_made() {
        let bound = Bound::new(1);
        assert!(bound.enter());
        assert!(!bound.enter());
        let flags: Vec<Arc<Flag>> = (0..2).map(|_| Arc::default()).collect();
        for flag in &flags {
            bound.wait(Arc::clone(flag) as Arc<dyn Wake>);
        }
        bound.leave();
        assert_eq!((woken(&flags[0]), woken(&flags[1])), (1, 0));
        assert!(bound.enter());
        bound.leave();
        assert_eq!(woken(&flags[1]), 1);
    }

    #[test]
    fn a_waiter_that_gives_up_hands_its_turn_on() {
        let bound = Bound::new(1);
        assert!(bound.enter());
        let first: Arc<Flag> = Arc::default();
        let second: Arc<Flag> = Arc::default();
        let handle = Arc::clone(&first) as Arc<dyn Wake>;
        bound.wait(Arc::clone(&handle));
        bound.wait(Arc::clone(&second) as Arc<dyn Wake>);
        bound.leave();
        bound.give_up(&handle);
        assert_eq!((woken(&first), woken(&second)), (1, 1));
    }

    #[test]
    fn who_comes_when_there_is_room_is_woken_at_once() {
        let bound = Bound::new(1);
        let flag: Arc<Flag> = Arc::default();
        bound.wait(Arc::clone(&flag) as Arc<dyn Wake>);
        assert_eq!(woken(&flag), 1);
    }
}
