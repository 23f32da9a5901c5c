//! A cache that removes what was not used for the longest time, with optional deadlines and tags.
//!
//! [`Lru`] has no lock and knows no clock: its owner locks it, passes the time, and drops what it
//! hands back after unlocking. Keys are found by `(hash, eq)` in a step of their own; the index
//! that [`Lru::find`] returns is good until the next change.
//!
//! Reads do not remove what has expired, they only do not see it: [`Lru::expire`] removes it, and
//! every insertion expires first.
//!
//! An entry takes the key, the value, 16 bytes, and 5 to 10 bytes of hash table; 8 more where sizes
//! are kept, 16 more where there are deadlines.

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::loads::{Loads, Ticket};
use crate::shards::Mixer;
use crate::slab_list::{Index, SlabList};
use crate::tags::Tags;
use crate::ttl::{Deadline, Deadlines};

/// One key with its value.
struct Record<K, V> {
    key: K,
    value: V,
    /// Half of the mixed hash.
    hash: u32,
    /// Ascending in the order of insertion; replacing the value keeps it.
    sequence: u32,
}

#[inline]
fn half(mixer: Mixer, hash: u64) -> u32 {
    (mixer.mix(hash) >> 32) as u32
}

/// A hash for the table, which looks at the lowest and the highest bits.
#[inline]
fn table_hash(half: u32) -> u64 {
    (u64::from(half) << 32) | u64::from(half)
}

/// Why an entry, or its old value, left the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// To make room, or by [`Lru::pop_oldest`].
    Evicted,
    /// Its deadline was past.
    Expired,
    /// Another value was set for the key.
    Replaced,
    /// On request.
    Removed,
}

/// What left the cache, to be dropped by the caller outside the lock.
pub struct Departure<K, V> {
    /// The key; `None` if it stays, with another value.
    pub key: Option<K>,
    /// The value.
    pub value: V,
    /// Why it left.
    pub reason: Reason,
}

/// What left the cache in one step. Most often nothing, or one entry.
pub type Departures<K, V> = SmallVec<[Departure<K, V>; 1]>;

/// A value to store.
pub struct Put<'a, V> {
    /// The value.
    pub value: V,
    /// Its size; 1 if sizes are not kept.
    pub size: f64,
    /// When it expires.
    pub deadline: Deadline,
    /// The tags by which it can be removed.
    pub tags: &'a [Box<str>],
}

/// Cumulative counts since the cache was made, and its present length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Look-ups that found a live entry.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Entries that left to make room.
    pub evictions: u64,
    /// Entries that left because their deadline was past.
    pub expirations: u64,
    /// Entries, those included that have expired and are not removed yet.
    pub len: usize,
}

/// See the module.
pub struct Lru<K, V> {
    mixer: Mixer,
    table: HashTable<Index>,
    records: SlabList<Record<K, V>>,
    /// That of the next entry.
    sequence: u32,
    max_size: f64,
    size: f64,
    /// By index; `None` if every entry counts 1.
    sizes: Option<Vec<f64>>,
    /// `None` until an entry has a deadline.
    deadlines: Option<Deadlines>,
    /// `None` until an entry has a tag.
    tags: Option<Box<Tags>>,
    loads: Loads,
    stats: Stats,
    departed: u64,
}

impl<K, V> Lru<K, V> {
    /// Make an empty cache.
    ///
    /// `max_size` bounds the sum of all sizes. With `sized`, each entry has a size of its own.
    #[must_use]
    pub fn new(max_size: f64, sized: bool) -> Self {
        Self {
            mixer: Mixer::default(),
            table: HashTable::new(),
            records: SlabList::default(),
            sequence: 0,
            max_size,
            size: 0.0,
            sizes: sized.then(Vec::new),
            deadlines: None,
            tags: None,
            loads: Loads::default(),
            stats: Stats::default(),
            departed: 0,
        }
    }

    fn record(&self, index: Index) -> &Record<K, V> {
        self.records
            .get(index)
            .expect("the table names only entries")
    }

    /// Look a key up, whether it has expired or not.
    #[must_use]
    #[inline]
    pub fn find(&self, hash: u64, mut eq: impl FnMut(&K) -> bool) -> Option<Index> {
        let hash = half(self.mixer, hash);
        self.table
            .find(table_hash(hash), |&index| {
                let record = self.record(index);
                record.hash == hash && eq(&record.key)
            })
            .copied()
    }

    /// Use an entry: the value if it has not expired, which becomes the last to be evicted.
    ///
    /// `is_ahead` says whether a time is still to come; it is not asked about entries that never
    /// expire. Like the caches this one stands in for, it moves expired entries too.
    #[inline]
    pub fn hit(&mut self, found: Option<Index>, is_ahead: impl FnOnce(f64) -> bool) -> Option<&V> {
        let live = found.filter(|&index| {
            self.records.move_to_back(index);
            let time = self.expires(index);
            time == f64::INFINITY || is_ahead(time)
        });
        let Some(index) = live else {
            self.stats.misses += 1;
            return None;
        };
        self.stats.hits += 1;
        Some(&self.record(index).value)
    }

    /// When an entry expires; infinite if never.
    #[inline]
    fn expires(&self, index: Index) -> f64 {
        self.deadlines
            .as_ref()
            .map_or(f64::INFINITY, |deadlines| deadlines.time(index))
    }

    /// Whether the deadline of an entry is still to come.
    #[must_use]
    pub fn is_live(&self, index: Index, now: f64) -> bool {
        let time = self.expires(index);
        time == f64::INFINITY || now < time
    }

    /// Read an entry without using it.
    #[must_use]
    pub fn peek(&self, index: Index) -> (&K, &V) {
        let record = self.record(index);
        (&record.key, &record.value)
    }

    /// The size of an entry.
    #[must_use]
    pub fn size_of(&self, index: Index) -> f64 {
        match &self.sizes {
            None => 1.0,
            Some(sizes) => sizes[index as usize],
        }
    }

    /// The deadline of an entry.
    #[must_use]
    pub fn deadline(&self, index: Index) -> Deadline {
        self.deadlines
            .as_ref()
            .map_or(Deadline::Never, |deadlines| deadlines.get(index))
    }

    /// Give an entry another deadline.
    pub fn set_deadline(&mut self, index: Index, deadline: Deadline) {
        self.deadlines
            .get_or_insert_with(Deadlines::default)
            .set(index, deadline);
    }

    /// Make an entry the last to be evicted.
    pub fn touch(&mut self, index: Index) {
        self.records.move_to_back(index);
    }

    /// The tags of an entry.
    pub fn tags(&self, index: Index) -> impl Iterator<Item = &str> {
        self.tags.iter().flat_map(move |tags| tags.get(index))
    }

    /// Whether an entry of this size, in place of the one that was found, needs no eviction.
    #[must_use]
    #[inline]
    pub fn has_room(&self, found: Option<Index>, size: f64) -> bool {
        let before = found.map_or(0.0, |index| self.size_of(index));
        self.size + (size - before) <= self.max_size
            && (found.is_some() || self.records.len() < SlabList::<Record<K, V>>::MAX_LEN)
    }

    /// Store a value for the key that was looked for and `found` or not.
    ///
    /// Evicts what must leave for it, which can be the entry that was found. `key` is called if
    /// the key is new. The size must not be above the maximum.
    #[inline]
    pub fn put(
        &mut self,
        mut found: Option<Index>,
        hash: u64,
        key: impl FnOnce() -> K,
        put: Put<'_, V>,
        left: &mut Departures<K, V>,
    ) {
        let hash = half(self.mixer, hash);
        self.loads.change_key(hash);
        while !self.has_room(found, put.size) {
            let Some(oldest) = self.records.front() else {
                break;
            };
            if found == Some(oldest) {
                found = None;
            }
            left.push(self.take(oldest, Reason::Evicted));
        }
        let index = match found {
            Some(index) => self.replace(index, put.value, left),
            None => self.insert(hash, key(), put.value),
        };
        self.set_size(index, found.is_some(), put.size);
        if self.deadlines.is_some() || put.deadline != Deadline::Never {
            self.deadlines
                .get_or_insert_with(Deadlines::default)
                .set(index, put.deadline);
        }
        if self.tags.is_some() || !put.tags.is_empty() {
            self.tags
                .get_or_insert_with(Box::default)
                .set(index, put.tags);
        }
    }

    /// Whether no entry ever had a size, a deadline or a tag.
    #[must_use]
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.sizes.is_none() && self.deadlines.is_none() && self.tags.is_none()
    }

    /// Put a value in place of that of an entry, which is returned. For plain caches only: sizes,
    /// deadlines and tags are not looked at.
    ///
    /// # Panics
    /// If there is no such entry.
    #[must_use = "drop the old value after the call, outside the lock"]
    #[inline]
    pub fn swap(&mut self, index: Index, value: V) -> V {
        self.records.move_to_back(index);
        let record = self
            .records
            .get_mut(index)
            .expect("only entries are swapped");
        self.loads.change_key(record.hash);
        std::mem::replace(&mut record.value, value)
    }

    fn replace(&mut self, index: Index, value: V, left: &mut Departures<K, V>) -> Index {
        self.records.move_to_back(index);
        if let Some(record) = self.records.get_mut(index) {
            left.push(Departure {
                key: None,
                value: std::mem::replace(&mut record.value, value),
                reason: Reason::Replaced,
            });
        }
        index
    }

    fn insert(&mut self, hash: u32, key: K, value: V) -> Index {
        if self.sequence == u32::MAX {
            self.renumber();
        }
        let sequence = self.sequence;
        self.sequence += 1;
        let index = self.records.push_back(Record {
            key,
            value,
            hash,
            sequence,
        });
        let records = &self.records;
        self.table.insert_unique(table_hash(hash), index, |&other| {
            table_hash(records.get(other).map_or(0, |record| record.hash))
        });
        index
    }

    /// Number the entries from 0 on again, in the same order.
    fn renumber(&mut self) {
        self.sequence = 0;
        for index in self.in_order_of_insertion(f64::NEG_INFINITY) {
            if let Some(record) = self.records.get_mut(index) {
                record.sequence = self.sequence;
                self.sequence += 1;
            }
        }
    }

    fn set_size(&mut self, index: Index, replaces: bool, size: f64) {
        let Some(sizes) = &mut self.sizes else {
            self.size += f64::from(u8::from(!replaces));
            return;
        };
        let place = index as usize;
        if place >= sizes.len() {
            sizes.resize(place + 1, 0.0);
        }
        let before = if replaces { sizes[place] } else { 0.0 };
        self.size += size - before;
        sizes[place] = size;
    }

    /// Take an entry out.
    #[must_use = "drop what left after the call, outside the lock"]
    pub fn remove(&mut self, index: Index) -> Departure<K, V> {
        self.loads.change_key(self.record(index).hash);
        self.take(index, Reason::Removed)
    }

    /// Let no load of this key that is running be stored, though there is no entry to remove.
    pub fn forget(&mut self, hash: u64) {
        self.loads.change_key(half(self.mixer, hash));
    }

    /// Take the entry out that was not used for the longest time.
    #[must_use = "drop what left after the call, outside the lock"]
    pub fn pop_oldest(&mut self) -> Option<Departure<K, V>> {
        let oldest = self.records.front()?;
        Some(self.take(oldest, Reason::Evicted))
    }

    /// The entry that was not used for the longest time.
    #[must_use]
    pub fn oldest(&self) -> Option<Index> {
        self.records.front()
    }

    fn take(&mut self, index: Index, reason: Reason) -> Departure<K, V> {
        match reason {
            Reason::Evicted => self.stats.evictions += 1,
            Reason::Expired => self.stats.expirations += 1,
            Reason::Replaced | Reason::Removed => {}
        }
        self.departed += 1;
        self.size -= self.size_of(index);
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.remove(index);
        }
        if let Some(tags) = &mut self.tags {
            tags.remove(index);
        }
        let record = self.records.remove(index).expect("only entries are taken");
        if let Ok(entry) = self
            .table
            .find_entry(table_hash(record.hash), |&other| other == index)
        {
            entry.remove();
        }
        if self.records.is_empty() {
            // What rounding has left.
            self.size = 0.0;
        }
        Departure {
            key: Some(record.key),
            value: record.value,
            reason,
        }
    }

    /// Take out all entries whose deadline is past, in the order of their deadlines.
    #[inline]
    pub fn expire(&mut self, now: f64, left: &mut Departures<K, V>) {
        while let Some(index) = self.next_past(now) {
            left.push(self.take(index, Reason::Expired));
        }
    }

    fn next_past(&mut self, now: f64) -> Option<Index> {
        self.deadlines.as_mut()?.next_past(now)
    }

    /// Take out all entries that have a tag, and let no load that is running store one.
    pub fn invalidate_tag(&mut self, tag: &str, left: &mut Departures<K, V>) {
        self.loads.change_tag(tag);
        let Some(tags) = &self.tags else {
            return;
        };
        for index in tags.entries(tag) {
            left.push(self.remove(index));
        }
    }

    /// Take everything out.
    #[must_use = "drop what left after the call, outside the lock"]
    pub fn clear(&mut self) -> Vec<(K, V)> {
        self.loads.change_all();
        self.departed += self.records.len() as u64;
        self.table = HashTable::new();
        self.size = 0.0;
        if let Some(sizes) = &mut self.sizes {
            *sizes = Vec::new();
        }
        self.deadlines = None;
        self.tags = None;
        let records = self.records.drain();
        records.into_iter().map(|r| (r.key, r.value)).collect()
    }

    /// The entries that are live, in the order in which their keys were inserted.
    #[must_use]
    pub fn in_order_of_insertion(&self, now: f64) -> Vec<Index> {
        let mut entries: Vec<(u32, Index)> = self
            .records
            .iter()
            .filter(|(index, _)| self.is_live(*index, now))
            .map(|(index, record)| (record.sequence, index))
            .collect();
        entries.sort_unstable();
        entries.into_iter().map(|(_, index)| index).collect()
    }

    /// All entries in the order of their use, the oldest first.
    pub fn in_order_of_use(&self) -> impl Iterator<Item = Index> + '_ {
        self.records.iter().map(|(index, _)| index)
    }

    /// Copy all entries; the copy's counts and loads begin anew.
    #[must_use]
    pub fn copy_with(&self, mut copy: impl FnMut(&K, &V) -> (K, V)) -> Self {
        let records = self.records.copy_with(|record| {
            let (key, value) = copy(&record.key, &record.value);
            Record {
                key,
                value,
                ..*record
            }
        });
        Self {
            mixer: self.mixer,
            table: self.table.clone(),
            records,
            sequence: self.sequence,
            max_size: self.max_size,
            size: self.size,
            sizes: self.sizes.clone(),
            deadlines: self.deadlines.clone(),
            tags: self.tags.clone(),
            loads: Loads::default(),
            stats: Stats::default(),
            departed: 0,
        }
    }

    /// The number of entries, those included that have expired and are not removed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many entries have left, for whatever reason.
    #[must_use]
    pub fn departed(&self) -> u64 {
        self.departed
    }

    /// The sum of all sizes.
    #[must_use]
    pub fn size(&self) -> f64 {
        self.size
    }

    /// What the sum of all sizes does not exceed.
    #[must_use]
    pub fn max_size(&self) -> f64 {
        self.max_size
    }

    /// Whether an entry ever had a deadline.
    #[must_use]
    #[inline]
    pub fn is_timed(&self) -> bool {
        self.deadlines.is_some()
    }

    /// What the cache has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            len: self.len(),
            ..self.stats
        }
    }

    /// A value is about to be computed. Ended by [`Lru::end_load`].
    pub fn begin_load(&mut self) -> Ticket {
        self.loads.begin()
    }

    /// The computation has ended, stored or not.
    pub fn end_load(&mut self) {
        self.loads.end();
    }

    /// Whether a value may be stored that began to be computed with this ticket.
    #[must_use]
    pub fn is_current(&self, ticket: Ticket, hash: u64, tags: &[Box<str>]) -> bool {
        self.loads.is_current(
            ticket,
            half(self.mixer, hash),
            tags.iter().map(AsRef::as_ref),
        )
    }
}
