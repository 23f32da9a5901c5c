//! Which loads may still be stored: a load that began before an invalidation may not.
//!
//! Every change counts as an event with a number of its own. A load remembers the number of the
//! last event before it began; when it ends, its value is stored only if nothing that concerns its
//! key (or one of its tags, or everything) has happened since. Keys are known by their hash: two
//! keys of equal hash can only keep each other from being stored.
//!
//! Events are recorded only while some load is running, and at most [`MAX_EVENTS`] of each kind;
//! beyond that, everything counts as changed, which is safe.

use std::collections::HashMap;

/// The most events of a kind that are told apart.
pub const MAX_EVENTS: usize = 4096;

/// Events that happened while loads were running.
#[derive(Default)]
pub struct Loads {
    running: usize,
    last: u64,
    /// The last event that concerned every key.
    all: u64,
    /// The last event of each key, by hash.
    keys: HashMap<u32, u64>,
    /// The last invalidation of each tag.
    tags: HashMap<Box<str>, u64>,
}

/// The moment at which a load began. Ended by [`Loads::end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Ticket {
    /// The ticket as a number, to be kept by the caller.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The ticket of a number that [`Ticket::number`] returned.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl Loads {
    /// A load begins.
    pub fn begin(&mut self) -> Ticket {
        self.running += 1;
        Ticket(self.last)
    }

    /// A load has ended, whether it was stored or not.
    pub fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
        if self.running == 0 {
            self.keys.clear();
            self.tags.clear();
        }
    }

    /// Whether no event has concerned this key or one of the tags since the load began.
    pub fn is_current<'a>(
        &self,
        ticket: Ticket,
        hash: u32,
        mut tags: impl Iterator<Item = &'a str>,
    ) -> bool {
        let before = |event: Option<&u64>| event.is_none_or(|&event| event <= ticket.0);
        self.all <= ticket.0
            && before(self.keys.get(&hash))
            && tags.all(|tag| before(self.tags.get(tag)))
    }

    /// A key was set or removed.
    #[inline]
    pub fn change_key(&mut self, hash: u32) {
        if self.running > 0 {
            self.note_key(hash);
        }
    }

    #[cold]
    fn note_key(&mut self, hash: u32) {
        self.last += 1;
        self.keys.insert(hash, self.last);
        if self.keys.len() > MAX_EVENTS {
            self.change_all();
        }
    }

    /// A tag was invalidated.
    pub fn change_tag(&mut self, tag: &str) {
        if self.running > 0 {
            self.last += 1;
            self.tags.insert(tag.into(), self.last);
            if self.tags.len() > MAX_EVENTS {
                self.change_all();
            }
        }
    }

    /// Everything was removed.
    pub fn change_all(&mut self) {
        self.last += 1;
        self.all = self.last;
        self.keys.clear();
        self.tags.clear();
    }
}
