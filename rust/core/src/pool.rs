//! Objects that are lent out and come back.
//!
//! The pool knows each object by an address that the caller gives it, from the moment it is first
//! lent until it leaves the pool for good, so that it cannot be given back twice, and nothing can be
//! given back that was not lent. Giving back has two steps, [`Pool::begin_return`] and
//! [`Pool::end_return`] or [`Pool::discard`], between which the object belongs to the caller alone,
//! who cleans it with no lock held.

use hashbrown::HashTable;
use parking_lot::lock_api::{Mutex, MutexGuard, RawMutex};

use crate::shards::Mixer;

/// After so many objects are lent, look for abandoned ones before another is made.
const FIRST_SWEEP: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Lent,
    Returning,
}

struct Slot<T> {
    address: usize,
    phase: Phase,
    /// Absent while the object is returning, and when the slot is free.
    item: Option<T>,
}

/// Counts since the pool was made, and the present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Objects that wait to be lent.
    pub idle: usize,
    /// Objects that are lent.
    pub lent: usize,
    /// Objects that were lent for the first time.
    pub created: u64,
    /// Times that an object was lent again.
    pub reused: u64,
    /// Objects that left the pool because they could not be cleaned.
    pub discarded: u64,
    /// Objects that left the pool because enough others were idle.
    pub dropped: u64,
    /// Objects that were abandoned by whom they were lent to.
    pub leaked: u64,
}

struct State<T> {
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
    /// Slots in use, by address.
    index: HashTable<usize>,
    mixer: Mixer,
    /// Idle slots, the most recently used last.
    idle: Vec<usize>,
    next_sweep: usize,
    stats: Stats,
}

/// An object on its way back.
#[must_use = "end or discard the return"]
pub struct Return<T> {
    slot: usize,
    /// The object.
    pub item: T,
}

/// A pool of objects. `L` is the kind of lock.
pub struct Pool<T, L: RawMutex = parking_lot::RawMutex> {
    max_idle: usize,
    state: Mutex<L, State<T>>,
}

impl<T> State<T> {
    fn hash(&self, address: usize) -> u64 {
        self.mixer.mix(address as u64)
    }

    fn find(&self, address: usize) -> Option<usize> {
        self.index
            .find(self.hash(address), |&slot| {
                self.slots[slot].address == address
            })
            .copied()
    }

    fn insert(&mut self, slot: Slot<T>) {
        let address = slot.address;
        let place = if let Some(place) = self.free.pop() {
            self.slots[place] = slot;
            place
        } else {
            self.slots.push(slot);
            self.slots.len() - 1
        };
        let (slots, mixer) = (&self.slots, self.mixer);
        self.index
            .insert_unique(self.hash(address), place, |&slot| {
                mixer.mix(slots[slot].address as u64)
            });
    }

    /// Forget a slot and return what was in it.
    fn remove(&mut self, place: usize) -> Option<T> {
        let hash = self.hash(self.slots[place].address);
        if let Ok(entry) = self.index.find_entry(hash, |&slot| slot == place) {
            entry.remove();
        }
        self.free.push(place);
        self.slots[place].item.take()
    }
}

impl<T, L: RawMutex> Pool<T, L> {
    /// Make an empty pool that keeps at most `max_idle` objects waiting.
    #[must_use]
    pub fn new(max_idle: usize) -> Self {
        Self {
            max_idle,
            state: Mutex::new(State {
                slots: Vec::new(),
                free: Vec::new(),
                index: HashTable::new(),
                mixer: Mixer::default(),
                idle: Vec::new(),
                next_sweep: FIRST_SWEEP,
                stats: Stats::default(),
            }),
        }
    }

    /// The most objects that wait.
    #[must_use]
    pub fn max_idle(&self) -> usize {
        self.max_idle
    }

    /// Lend the idle object that came back last, and read it.
    pub fn take<R>(&self, read: impl FnOnce(&T) -> R) -> Option<R> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let slot = &mut state.slots[state.idle.pop()?];
        slot.phase = Phase::Lent;
        state.stats.lent += 1;
        state.stats.reused += 1;
        slot.item.as_ref().map(read)
    }

    /// Lend a new object.
    ///
    /// # Errors
    /// The object comes back if it is in the pool already.
    pub fn lend(&self, address: usize, item: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.find(address).is_some() {
            return Err(item);
        }
        state.insert(Slot {
            address,
            phase: Phase::Lent,
            item: Some(item),
        });
        state.stats.created += 1;
        state.stats.lent += 1;
        Ok(())
    }

    /// Take a lent object back to clean it; `None` if none of this address is lent.
    pub fn begin_return(&self, address: usize) -> Option<Return<T>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let place = state.find(address)?;
        let slot = &mut state.slots[place];
        if slot.phase != Phase::Lent {
            return None;
        }
        slot.phase = Phase::Returning;
        let item = slot.item.take()?;
        state.stats.lent -= 1;
        Some(Return { slot: place, item })
    }

    /// Let a cleaned object wait to be lent again; it comes back if enough others wait.
    #[must_use = "drop the object after the call, outside the lock"]
    pub fn end_return(&self, returned: Return<T>) -> Option<T> {
        let Return { slot: place, item } = returned;
        let mut state = self.state.lock();
        if state.idle.len() >= self.max_idle {
            state.remove(place);
            state.stats.dropped += 1;
            return Some(item);
        }
        let slot = &mut state.slots[place];
        slot.phase = Phase::Idle;
        slot.item = Some(item);
        state.idle.push(place);
        None
    }

    /// Let an object that could not be cleaned leave the pool.
    #[must_use = "drop the object after the call, outside the lock"]
    pub fn discard(&self, returned: Return<T>) -> T {
        let mut state = self.state.lock();
        state.remove(returned.slot);
        state.stats.discarded += 1;
        returned.item
    }

    /// Forget the lent objects that are abandoned, and return them.
    ///
    /// `abandoned` is called under the lock.
    #[must_use = "drop the objects after the call, outside the lock"]
    pub fn sweep(&self, abandoned: impl FnMut(&T) -> bool) -> Vec<T> {
        Self::sweep_locked(&mut self.state.lock(), abandoned)
    }

    /// [`Pool::sweep`], if twice as many objects are lent as after the last time.
    ///
    /// Called before every new object is made, this bounds what leaks at a constant cost for each.
    #[must_use = "drop the objects after the call, outside the lock"]
    pub fn sweep_if_grown(&self, abandoned: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut state = self.state.lock();
        if state.stats.lent < state.next_sweep {
            return Vec::new();
        }
        Self::sweep_locked(&mut state, abandoned)
    }

    fn sweep_locked(
        state: &mut MutexGuard<'_, L, State<T>>,
        mut abandoned: impl FnMut(&T) -> bool,
    ) -> Vec<T> {
        let found: Vec<usize> = (0..state.slots.len())
            .filter(|&place| {
                let slot = &state.slots[place];
                slot.phase == Phase::Lent && slot.item.as_ref().is_some_and(&mut abandoned)
            })
            .collect();
        let swept: Vec<T> = found
            .iter()
            .filter_map(|&place| state.remove(place))
            .collect();
        state.stats.lent -= swept.len();
        state.stats.leaked += swept.len() as u64;
        state.next_sweep = FIRST_SWEEP.max(2 * state.stats.lent);
        swept
    }

    /// Count.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.state.lock();
        Stats {
            idle: state.idle.len(),
            ..state.stats
        }
    }

    /// Visit the idle and the lent objects, unless the pool is in use at this moment.
    ///
    /// # Errors
    /// The first error of `visit`.
    pub fn try_visit<E>(&self, visit: impl FnMut(&T) -> Result<(), E>) -> Result<(), E> {
        match self.state.try_lock() {
            Some(state) => state
                .slots
                .iter()
                .filter_map(|slot| slot.item.as_ref())
                .try_for_each(visit),
            None => Ok(()),
        }
    }

    /// Take out all objects that are not returning, or none if the pool is in use at this moment.
    #[must_use = "drop the objects after the call, outside the lock"]
    pub fn try_clear(&self) -> Vec<T> {
        let Some(mut state) = self.state.try_lock() else {
            return Vec::new();
        };
        state.idle.clear();
        state.stats.lent = 0;
        let places = 0..state.slots.len();
        let held = |&place: &usize| state.slots[place].item.is_some();
        let places: Vec<usize> = places.filter(held).collect();
        places
            .into_iter()
            .filter_map(|place| state.remove(place))
            .collect()
    }
}
