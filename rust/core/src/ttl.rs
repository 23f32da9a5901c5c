//! When entries expire, and in which order.
//!
//! Entries with the cache's own time to live expire in the order in which they were set, so a list
//! is enough for them. Entries with a time to live of their own are in a heap as well as in the
//! table of times; a heap item whose entry has since been set anew or removed is recognised when
//! it comes up, because the table then says something else.

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
        let time = deadline.time();
        if time == f64::INFINITY {
            return;
        }
        let place = index as usize;
        if place >= self.timings.0.len() {
            self.grow(place + 1);
        }
        self.timings.0[place].time = time;
        if let Deadline::Own(_) = deadline {
            self.timings.0[place].link = OWN;
            self.owners += 1;
            self.own.push(Reverse(Due(time, index)));
            self.tidy();
        } else {
            self.common.push_back(&mut self.timings, index);
        }
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

    /// An entry whose deadline is past; `None` if no such entry is known.
    ///
    /// The caller removes the entry before asking again.
    pub fn next_past(&mut self, now: f64) -> Option<Index> {
        let first = self.common.first();
        if let Some(index) = first.filter(|&index| self.get(index).is_past(now)) {
            return Some(index);
        }
        while let Some(Reverse(Due(time, index))) = self.own.peek() {
            let (due, index) = (Deadline::Own(*time), *index);
            if !due.is_past(now) {
                return None;
            }
            self.own.pop();
            if matches!(self.get(index), deadline @ Deadline::Own(_) if deadline.is_past(now)) {
                return Some(index);
            }
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
