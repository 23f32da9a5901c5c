//! A fixed row of locks, one of which is chosen by hash.

use std::hash::{BuildHasher, RandomState};

use crossbeam_utils::CachePadded;
use parking_lot::lock_api::{RawRwLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::Error;

/// The most shards; they take 128 bytes each, and more do not help.
pub const MAX_SHARDS: usize = 1 << 16;

/// Spreads the information of hashes over all 64 bits, differently in each table.
///
/// Python's integers hash to themselves, so that a run of ids differs in its low bits only, and a
/// hostile set of ids could be chosen to agree in any bits of a known function. This is the
/// finalizer of MurmurHash3 (Appleby 2011), a bijection, of the hash and a secret.
#[derive(Clone, Copy)]
pub struct Mixer {
    secret: u64,
}

impl Default for Mixer {
    fn default() -> Self {
        Self {
            secret: RandomState::new().hash_one(0_u64),
        }
    }
}

impl Mixer {
    /// Mix a hash.
    #[must_use]
    #[inline]
    pub const fn mix(self, hash: u64) -> u64 {
        finalize(hash ^ self.secret)
    }
}

const fn finalize(hash: u64) -> u64 {
    let mut h = hash;
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// A row of independently locked values. `L` is the kind of lock.
///
/// No method takes a second lock while it holds a first, except the `lock_all` pair, which go in
/// index order; so the shards cannot deadlock among themselves.
pub struct Shards<T, L: RawRwLock = parking_lot::RawRwLock> {
    row: Box<[CachePadded<RwLock<L, T>>]>,
}

impl<T: Default, L: RawRwLock> Shards<T, L> {
    /// Make `count` default values.
    ///
    /// # Errors
    /// [`Error::ZeroSize`] if `count` is zero, [`Error::TooLarge`] if it is above [`MAX_SHARDS`].
    pub fn new(count: usize) -> Result<Self, Error> {
        let argument = "num_shards";
        if count == 0 {
            return Err(Error::ZeroSize { argument });
        }
        if count > MAX_SHARDS {
            return Err(Error::TooLarge {
                argument,
                limit: MAX_SHARDS,
                value: count,
            });
        }
        let row = (0..count)
            .map(|_| CachePadded::new(RwLock::new(T::default())))
            .collect();
        Ok(Self { row })
    }
}

impl<T, L: RawRwLock> Shards<T, L> {
    /// The number of shards, never zero.
    #[must_use]
    pub fn count(&self) -> usize {
        self.row.len()
    }

    /// Choose the shard of a mixed hash.
    ///
    /// Bits 16 to 47 decide: the tables inside a shard use the lowest bits for the bucket and the
    /// highest seven for the tag, and would lose by sharing them.
    fn of(&self, mixed: u64) -> &RwLock<L, T> {
        let middle = (mixed >> 16) & 0xffff_ffff;
        let index = (middle * self.row.len() as u64) >> 32;
        #[allow(clippy::cast_possible_truncation)] // below row.len(), which is a usize
        &self.row[index as usize]
    }

    /// Lock the shard of a mixed hash for reading.
    pub fn read(&self, mixed: u64) -> RwLockReadGuard<'_, L, T> {
        self.of(mixed).read()
    }

    /// Lock the shard of a mixed hash for writing.
    pub fn write(&self, mixed: u64) -> RwLockWriteGuard<'_, L, T> {
        self.of(mixed).write()
    }

    /// Lock every shard for reading: a view of one moment.
    #[must_use]
    pub fn read_all(&self) -> Vec<RwLockReadGuard<'_, L, T>> {
        self.row.iter().map(|shard| shard.read()).collect()
    }

    /// Lock every shard for writing.
    #[must_use]
    pub fn write_all(&self) -> Vec<RwLockWriteGuard<'_, L, T>> {
        self.row.iter().map(|shard| shard.write()).collect()
    }

    /// Visit the shards one after another, each under its own read lock.
    pub fn each(&self) -> impl Iterator<Item = RwLockReadGuard<'_, L, T>> {
        self.row.iter().map(|shard| shard.read())
    }

    /// Visit the shards one after another, each under its own write lock.
    pub fn each_mut(&self) -> impl Iterator<Item = RwLockWriteGuard<'_, L, T>> {
        self.row.iter().map(|shard| shard.write())
    }

    /// Visit the shards that nobody is writing at this moment, without waiting.
    pub fn try_each(&self) -> impl Iterator<Item = RwLockReadGuard<'_, L, T>> {
        self.row.iter().filter_map(|shard| shard.try_read())
    }

    /// Visit the shards for writing that nobody uses at this moment, without waiting.
    pub fn try_each_mut(&self) -> impl Iterator<Item = RwLockWriteGuard<'_, L, T>> {
        self.row.iter().filter_map(|shard| shard.try_write())
    }
}
