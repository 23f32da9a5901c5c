//! How many tasks that hold a common resource, such as an interpreter lock, run at a time.
//!
//! A worker that takes a holding task while enough of them run puts it aside and looks for another.
//! Whoever ends a holding task takes the oldest that was put aside. The count and the tasks put
//! aside are under one lock, so a task is put aside only while somebody runs who will take it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

struct State<U> {
    running: usize,
    aside: VecDeque<U>,
}

pub(super) struct Holders<U> {
    /// How many may run; zero means any number.
    limit: AtomicUsize,
    aside: AtomicUsize,
    state: Mutex<State<U>>,
}

/// What is to be done with a holding task.
pub(super) enum Admission<U> {
    /// Run it, and call [`Holders::leave`] when it is done.
    Run(U),
    /// Nothing: it was put aside.
    Aside,
}

impl<U> Holders<U> {
    pub(super) fn new() -> Self {
        Self {
            limit: AtomicUsize::new(0),
            aside: AtomicUsize::new(0),
            state: Mutex::new(State {
                running: 0,
                aside: VecDeque::new(),
            }),
        }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.limit.load(Ordering::Relaxed) > 0
    }

    /// Tasks that were put aside.
    pub(super) fn aside(&self) -> usize {
        self.aside.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, unit: U) -> Admission<U> {
        let mut state = self.state.lock();
        if state.running < self.limit.load(Ordering::Relaxed) || state.running == 0 {
            state.running += 1;
            return Admission::Run(unit);
        }
        state.aside.push_back(unit);
        self.aside.store(state.aside.len(), Ordering::Relaxed);
        Admission::Aside
    }

    /// A holding task is done. The one that is returned runs in its place.
    pub(super) fn leave(&self) -> Option<U> {
        let mut state = self.state.lock();
        let next = state.aside.pop_front();
        self.aside.store(state.aside.len(), Ordering::Relaxed);
        if next.is_none() {
            state.running -= 1;
        }
        next
    }

    /// A holding task is done, and the caller runs no other. What is returned must be queued again.
    pub(super) fn leave_place(&self) -> Option<U> {
        let mut state = self.state.lock();
        state.running -= 1;
        let next = state.aside.pop_front();
        self.aside.store(state.aside.len(), Ordering::Relaxed);
        next
    }

    /// Change the limit. What is returned must be queued again.
    pub(super) fn set_limit(&self, limit: usize) -> Vec<U> {
        let mut state = self.state.lock();
        self.limit.store(limit, Ordering::Relaxed);
        self.take_all(&mut state)
    }

    pub(super) fn drain(&self) -> Vec<U> {
        self.take_all(&mut self.state.lock())
    }

    fn take_all(&self, state: &mut State<U>) -> Vec<U> {
        self.aside.store(0, Ordering::Relaxed);
        state.aside.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_run_and_the_rest_follow_in_order() {
        let holders = Holders::new();
        assert!(holders.set_limit(2).is_empty());
        for task in 0..2 {
            assert!(matches!(holders.enter(task), Admission::Run(_)));
        }
        for task in 2..4 {
            assert!(matches!(holders.enter(task), Admission::Aside));
        }
        assert_eq!(holders.aside(), 2);
        assert_eq!([holders.leave(), holders.leave()], [Some(2), Some(3)]);
        assert_eq!([holders.leave(), holders.leave()], [None, None]);
        assert!(matches!(holders.enter(4), Admission::Run(4)));
    }

    #[test]
    fn a_new_limit_gives_back_what_was_put_aside() {
        let holders = Holders::new();
        assert!(holders.set_limit(1).is_empty());
        assert!(matches!(holders.enter(0), Admission::Run(0)));
        assert!(matches!(holders.enter(1), Admission::Aside));
        assert_eq!(holders.set_limit(0), [1]);
        assert_eq!(holders.leave(), None);
    }
}
