//! A lane: tasks that run one after another, in their order, on whatever worker is free.
//!
//! A lane is queued as a whole while it has tasks and none of them runs. Whoever takes it runs its
//! first task and then puts the lane at the end of the queue, so that lanes take turns.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::stats::Totals;

struct State<T> {
    /// Tasks with their priorities, oldest first.
    tasks: VecDeque<(T, i32)>,

    /// The lane is queued, or one of its tasks runs.
    scheduled: bool,

    /// The lane takes no more tasks.
    closed: bool,

    totals: Totals,
}

/// Tasks that never run concurrently and keep their order.
pub struct Lane<T> {
    state: Mutex<State<T>>,
}

/// What became of a task that a lane was offered.
pub(super) enum Offer<T> {
    /// The lane was idle and must be queued now.
    Schedule,
    /// The task waits for those before it.
    Queued,
    /// The lane is closed; the task comes back.
    Closed(T),
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                tasks: VecDeque::new(),
                scheduled: false,
                closed: false,
                totals: Totals::default(),
            }),
        }
    }
}

impl<T> Lane<T> {
    /// Take no more tasks, if there are none. Returns whether the lane is closed.
    pub fn close_if_idle(&self) -> bool {
        let mut state = self.state.lock();
        state.closed |= !state.scheduled;
        state.closed
    }

    /// Whether the lane takes no more tasks.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// The tasks that wait in the lane.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.state.lock().tasks.len()
    }

    /// How long the lane's tasks waited and ran.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.state.lock().totals
    }

    pub(super) fn offer(&self, task: T, priority: i32) -> Offer<T> {
        let mut state = self.state.lock();
        if state.closed {
            return Offer::Closed(task);
        }
        state.tasks.push_back((task, priority));
        if std::mem::replace(&mut state.scheduled, true) {
            Offer::Queued
        } else {
            Offer::Schedule
        }
    }

    /// Ask something about the first task.
    pub(super) fn peek<R>(&self, ask: impl FnOnce(&T) -> R) -> Option<R> {
        self.state.lock().tasks.front().map(|(task, _)| ask(task))
    }

    /// Take the first task; the lane stays scheduled until [`Lane::finish`].
    pub(super) fn take(&self) -> Option<(T, i32)> {
        self.state.lock().tasks.pop_front()
    }

    /// The task that was taken is done: the priority with which to queue the lane again, if it has
    /// another.
    pub(super) fn finish(&self) -> Option<i32> {
        let mut state = self.state.lock();
        let next = state.tasks.front().map(|(_, priority)| *priority);
        state.scheduled = next.is_some();
        next
    }

    pub(super) fn record(&self, queue_wait: u64, run: u64) {
        self.state.lock().totals.add(queue_wait, run);
    }

    /// Take out every task that waits.
    pub(super) fn drain(&self) -> Vec<T> {
        let mut state = self.state.lock();
        state.tasks.drain(..).map(|(task, _)| task).collect()
    }
}
