//! A double-ended queue with the verbs of work stealing, safe from any thread.
//!
//! The deques of `crossbeam-deque` are faster for an owner who is alone at its end, and that is what
//! the executor uses; but only the owning thread may touch that end. This queue has no owner: a
//! ring buffer behind a lock, whose every operation is a few instructions long.

use std::collections::VecDeque;

use parking_lot::lock_api::{Mutex, RawMutex};

/// A queue whose owner works at the new end and whose thieves take from the old one. `L` is the kind
/// of lock.
pub struct Queue<T, L: RawMutex = parking_lot::RawMutex> {
    items: Mutex<L, VecDeque<T>>,
}

impl<T, L: RawMutex> Default for Queue<T, L> {
    fn default() -> Self {
        Self {
            items: Mutex::new(VecDeque::new()),
        }
    }
}

impl<T, L: RawMutex> Queue<T, L> {
    /// Add an item at the new end.
    pub fn push(&self, item: T) {
        self.items.lock().push_back(item);
    }

    /// Add items at the new end, the last one newest, with none of another thread between them.
    pub fn push_many(&self, items: Vec<T>) {
        self.items.lock().extend(items);
    }

    /// Take the newest item.
    pub fn pop(&self) -> Option<T> {
        self.items.lock().pop_back()
    }

    /// Take the oldest item.
    pub fn steal(&self) -> Option<T> {
        self.items.lock().pop_front()
    }

    /// Take up to `most` of the oldest items, the oldest first.
    pub fn steal_many(&self, most: usize) -> Vec<T> {
        let mut items = self.items.lock();
        let most = most.min(items.len());
        items.drain(..most).collect()
    }

    /// Take all items, the oldest first.
    pub fn clear(&self) -> VecDeque<T> {
        std::mem::take(&mut *self.items.lock())
    }

    /// Count the items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.lock().len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visit the items, the oldest first, unless the queue is in use at this moment.
    ///
    /// # Errors
    /// The first error of `visit`.
    pub fn try_visit<E>(&self, visit: impl FnMut(&T) -> Result<(), E>) -> Result<(), E> {
        match self.items.try_lock() {
            Some(items) => items.iter().try_for_each(visit),
            None => Ok(()),
        }
    }

    /// Take all items, or none if the queue is in use at this moment.
    pub fn try_clear(&self) -> VecDeque<T> {
        match self.items.try_lock() {
            Some(mut items) => std::mem::take(&mut *items),
            None => VecDeque::new(),
        }
    }
}
