//! A sharded hash map whose equality is a closure and whose removed entries are returned.
//!
//! Keys are found by `(hash, eq)`: `eq` is called, under the lock of one shard, for stored keys
//! whose full hash is equal, and must not call back into the registry. A caller whose equality
//! runs foreign code notes the keys it could not decide, answers `false`, and compares them after
//! the call (see the bindings for that protocol).

use hashbrown::hash_table::{Entry as TableEntry, OccupiedEntry, VacantEntry};
use hashbrown::HashTable;
use parking_lot::lock_api::RawRwLock;

use crate::shards::{Mixer, Shards};
use crate::Error;

/// One key with its value and its mixed hash.
struct Record<K, V> {
    hash: u64,
    key: K,
    value: V,
}

/// A table that could hold so many times what it does is made smaller.
const SPARSE: usize = 8;

/// Room is made for no fewer entries in each shard, and for no more in all.
const LEAST_RESERVED: usize = 4;
const MOST_RESERVED: usize = 1 << 16;

type Table<K, V> = HashTable<Record<K, V>>;

/// A concurrent map from keys to values. `L` is the kind of lock.
pub struct Registry<K, V, L: RawRwLock = parking_lot::RawRwLock> {
    mixer: Mixer,
    shards: Shards<Table<K, V>, L>,
}

/// What [`Registry::entry`] found, still under the lock of the shard.
pub enum Entry<'a, K, V> {
    /// The key is present.
    Occupied(Occupied<'a, K, V>),
    /// The key is absent.
    Vacant(Vacant<'a, K, V>),
}

/// A present entry.
pub struct Occupied<'a, K, V>(OccupiedEntry<'a, Record<K, V>>);

/// The place of an absent entry.
pub struct Vacant<'a, K, V> {
    hash: u64,
    place: VacantEntry<'a, Record<K, V>>,
}

impl<K, V> Occupied<'_, K, V> {
    /// The stored key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.0.get().key
    }

    /// The stored value.
    #[must_use]
    pub fn value(&self) -> &V {
        &self.0.get().value
    }

    /// Put `value` in place of the stored one, which is returned.
    #[must_use = "drop the old value after the call, outside the lock"]
    pub fn replace(&mut self, value: V) -> V {
        std::mem::replace(&mut self.0.get_mut().value, value)
    }

    /// Take the entry out.
    #[must_use = "drop the old entry after the call, outside the lock"]
    pub fn remove(self) -> (K, V) {
        let (record, _) = self.0.remove();
        (record.key, record.value)
    }
}

impl<K, V> Vacant<'_, K, V> {
    /// Store a key, which must have the hash and equality that the entry was asked for with.
    pub fn insert(self, key: K, value: V) {
        self.place.insert(Record {
            hash: self.hash,
            key,
            value,
        });
    }
}

impl<K, V, L: RawRwLock> Registry<K, V, L> {
    /// Make an empty registry of `num_shards` shards.
    ///
    /// # Errors
    /// [`Error::ZeroSize`] if `num_shards` is zero.
    pub fn new(num_shards: usize) -> Result<Self, Error> {
        Ok(Self {
            mixer: Mixer::default(),
            shards: Shards::new(num_shards)?,
        })
    }

    /// The number of shards.
    #[must_use]
    pub fn num_shards(&self) -> usize {
        self.shards.count()
    }

    /// The number of entries; under concurrent writers, some number between the moments that the
    /// call began and ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.each().map(|table| table.len()).sum()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Look a key up and read its value under a shared lock.
    pub fn get<R>(
        &self,
        hash: u64,
        mut eq: impl FnMut(&K) -> bool,
        read: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        let hash = self.mixer.mix(hash);
        let table = self.shards.read(hash);
        table
            .find(hash, |r| r.hash == hash && eq(&r.key))
            .map(|r| read(&r.value))
    }

    /// Look a key up and decide, under the exclusive lock of its shard, what becomes of it.
    pub fn entry<R>(
        &self,
        hash: u64,
        mut eq: impl FnMut(&K) -> bool,
        decide: impl FnOnce(Entry<'_, K, V>) -> R,
    ) -> R {
        let hash = self.mixer.mix(hash);
        let mut table = self.shards.write(hash);
        match table.entry(hash, |r| r.hash == hash && eq(&r.key), |r| r.hash) {
            TableEntry::Occupied(found) => decide(Entry::Occupied(Occupied(found))),
            TableEntry::Vacant(place) => decide(Entry::Vacant(Vacant { hash, place })),
        }
    }

    /// Read all entries at one moment: no entry is missed, none is seen from another moment.
    pub fn snapshot<R>(&self, mut read: impl FnMut(&K, &V) -> R) -> Vec<R> {
        let tables = self.shards.read_all();
        let mut all = Vec::with_capacity(tables.iter().map(|table| table.len()).sum());
        for table in &tables {
            all.extend(table.iter().map(|r| read(&r.key, &r.value)));
        }
        all
    }

    /// Make room for `total` entries, if they spread evenly, so that the tables need not grow.
    ///
    /// It is a hint: what is too small to matter is ignored, and what is large is limited, because
    /// entries that are announced need not be different.
    pub fn reserve(&self, total: usize) {
        let each = total.min(MOST_RESERVED) / self.num_shards();
        if each < LEAST_RESERVED {
            return;
        }
        for mut table in self.shards.each_mut() {
            let more = each.saturating_sub(table.len());
            table.reserve(more, |r| r.hash);
        }
    }

    /// Take any entry out, and look at it under the lock of its shard.
    ///
    /// The table shrinks with its content, so that emptying a registry takes a time proportional to
    /// what was in it.
    #[must_use = "drop the entry after the call, outside the lock"]
    pub fn take_any(&self, mut leaving: impl FnMut(&K, &V)) -> Option<(K, V)> {
        self.shards.each_mut().find_map(|mut table| {
            let record = table.extract_if(|_| true).next()?;
            if table.capacity() > SPARSE * (table.len() + 1) {
                let len = table.len();
                table.shrink_to(2 * len, |r| r.hash);
            }
            leaving(&record.key, &record.value);
            Some((record.key, record.value))
        })
    }

    /// Empty the registry in one moment, look at each entry under the locks, and return all.
    #[must_use = "drop the old entries after the call, outside the locks"]
    pub fn clear(&self, mut leaving: impl FnMut(&K, &V)) -> impl Iterator<Item = (K, V)> {
        let mut tables = self.shards.write_all();
        for record in tables.iter().flat_map(|table| table.iter()) {
            leaving(&record.key, &record.value);
        }
        let taken: Vec<Table<K, V>> = tables
            .iter_mut()
            .map(|t| std::mem::take(&mut **t))
            .collect();
        drop(tables);
        taken.into_iter().flatten().map(|r| (r.key, r.value))
    }

    /// Visit the entries of every shard that nobody is writing, without waiting for the others.
    ///
    /// This is for garbage collectors, which may run while this thread is inside the registry.
    ///
    /// # Errors
    /// The first error of `visit`.
    pub fn try_visit<E>(&self, mut visit: impl FnMut(&K, &V) -> Result<(), E>) -> Result<(), E> {
        for table in self.shards.try_each() {
            for record in table.iter() {
                visit(&record.key, &record.value)?;
            }
        }
        Ok(())
    }

    /// Empty every shard that nobody uses, without waiting for the others.
    #[must_use = "drop the old entries after the call, outside the locks"]
    pub fn try_clear(&self) -> impl Iterator<Item = (K, V)> {
        let taken: Vec<Table<K, V>> = self
            .shards
            .try_each_mut()
            .map(|mut t| std::mem::take(&mut *t))
            .collect();
        taken.into_iter().flatten().map(|r| (r.key, r.value))
    }
}
