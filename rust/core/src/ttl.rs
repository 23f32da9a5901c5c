//! When entries expire, and in which order.
//!
//! Entries with the cache's own time to live expire in the order in which they were set, so a list
//! is enough for them. Entries with a time to live of their own are in a heap as well as in the
//! table of times; a heap item whose entry has since been set anew or removed is recognised when
//! it comes up, because the table then says something else. So are the few entries with the common
//! time to live that would expire before one that was set earlier: the clock went back, or stood
//! still for one of several threads.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::slab_list::{Index, Link, Links, Order};

/// When an entry expires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deadline {
    /// Never.
    Never,
    /// At this time, which is the time it was set plus what all entries have to live.
    Common(f64),
    /// At this time, which nothing is known about.
    Own(f64),
}

impl Deadline {
    /// The first moment at which the entry is no longer there.
    #[must_use]
    pub fn time(self) -> f64 {
        match self {
            Self::Never => f64::INFINITY,
            Self::Common(time) | Self::Own(time) => time,
        }
    }

    /// Whether the entry is gone. Times that cannot be compared are past.
    #[must_use]
    pub fn is_past(self, now: f64) -> bool {
        self != Self::Never && !matches!(now.partial_cmp(&self.time()), Some(Ordering::Less))
    }
}

/// Marks the link of an entry whose deadline is its own, which is in no list.
const OWN: Link = Link::marked();

#[derive(Clone, Copy)]
struct Timing {
    /// Infinite for entries that never expire, and only for those.
    time: f64,
    /// Among the common deadlines, or `OWN`.
    link: Link,
}

impl Timing {
    const NEVER: Self = Self {
        time: f64::INFINITY,
        link: Link::NONE,
    };

    fn deadline(&self) -> Deadline {
        if self.time == f64::INFINITY {
            Deadline::Never
        } else if self.link == OWN {
            Deadline::Own(self.time)
        } else {
            Deadline::Common(self.time)
        }
    }
}

#[derive(Clone)]
struct Timings(Vec<Timing>);

impl Links for Timings {
    fn link(&mut self, index: Index) -> &mut Link {
        &mut self.0[index as usize].link
    }
}

#[derive(Clone, PartialEq)]
struct Due(f64, Index);

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

/// The deadlines of entries that are named by index.
#[derive(Clone)]
pub struct Deadlines {
    timings: Timings,
    common: Order,
    own: BinaryHeap<Reverse<Due>>,
    /// Entries whose deadline is their own; the heap may hold more.
    owners: usize,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            timings: Timings(Vec::new()),
            common: Order::default(),
            own: BinaryHeap::new(),
            owners: 0,
        }
    }
}

impl Deadlines {
    /// The deadline of an entry.
    #[must_use]
    pub fn get(&self, index: Index) -> Deadline {
        self.timings
            .0
            .get(index as usize)
            .map_or(Deadline::Never, Timing::deadline)
    }

    /// When an entry expires; infinite if never.
    #[must_use]
    #[inline]
    pub fn time(&self, index: Index) -> f64 {
        self.timings
            .0
            .get(index as usize)
            .map_or(f64::INFINITY, |timing| timing.time)
    }

    /// Give an entry a deadline in place of the one it has.
    pub fn set(&mut self, index: Index, deadline: Deadline) {
        self.remove(index);
        let mut time = deadline.time();
        if time.is_nan() {
            // Past at any time.
            time = f64::NEG_INFINITY;
        }
        if time == f64::INFINITY {
            return;
        }
        let place = index as usize;
        if place >= self.timings.0.len() {
            self.grow(place + 1);
        }
        self.timings.0[place].time = time;
        if matches!(deadline, Deadline::Own(_)) || self.is_before_last(time) {
            self.timings.0[place].link = OWN;
            self.owners += 1;
            self.own.push(Reverse(Due(time, index)));
            self.tidy();
        } else {
            self.common.push_back(&mut self.timings, index);
        }
    }

    /// Whether a time does not belong at the end of the list of common deadlines.
    fn is_before_last(&self, time: f64) -> bool {
        self.common
            .last()
            .is_some_and(|last| time < self.time(last))
    }

    /// Grow large tables by a quarter, like the slab they belong to.
    fn grow(&mut self, len: usize) {
        let timings = &mut self.timings.0;
        if len > timings.capacity() && len >= 1 << 16 {
            timings.reserve_exact(len - timings.len() + len / 4);
        }
        timings.resize(len, Timing::NEVER);
    }

    /// Forget the deadline of an entry.
    pub fn remove(&mut self, index: Index) {
        match self.get(index) {
            Deadline::Never => return,
            Deadline::Common(_) => self.common.unlink(&mut self.timings, index),
            Deadline::Own(_) => self.owners -= 1,
        }
        self.timings.0[index as usize] = Timing::NEVER;
    }

    /// The entry whose deadline was the first to be past; `None` if no deadline is.
    ///
    /// The caller removes the entry before asking again.
    pub fn next_past(&mut self, now: f64) -> Option<Index> {
        let (common, own) = (self.common.first(), self.first_own());
        let first = match (common, own) {
            (Some(common), Some(own)) if self.time(own) < self.time(common) => Some(own),
            (Some(common), _) => Some(common),
            (None, own) => own,
        };
        first.filter(|&index| self.get(index).is_past(now))
    }

    /// The entry with the first deadline in the heap, rid of items that mean nothing any more.
    fn first_own(&mut self) -> Option<Index> {
        while let Some(Reverse(Due(time, index))) = self.own.peek() {
            if self.get(*index) == Deadline::Own(*time) {
                return Some(*index);
            }
            self.own.pop();
        }
        None
    }

    /// Drop the heap items that mean nothing any more, once they are the larger part.
    fn tidy(&mut self) {
        if self.own.len() <= 2 * self.owners + 64 {
            return;
        }
        let items = std::mem::take(&mut self.own).into_vec();
        self.own = items
            .into_iter()
            .filter(|Reverse(Due(time, index))| self.get(*index) == Deadline::Own(*time))
            .collect();
    }
}
