//! Lanes by keys.
//!
//! A lane is found by `(hash, eq)`, with `eq` called under the table's lock. Lanes stay when they
//! are idle, so that their statistics can be read, until there are too many of them; a lane that is
//! to go is closed first, and whoever holds it then makes another.

use std::sync::Arc;

use hashbrown::HashTable;
use parking_lot::Mutex;

use super::lane::Lane;
use crate::shards::Mixer;

struct Slot<K, T> {
    hash: u64,
    key: K,
    lane: Arc<Lane<T>>,
}

struct State<K, T> {
    table: HashTable<Slot<K, T>>,
    /// When there are so many lanes, the idle ones go.
    sweep_at: usize,
}

/// The lanes of an executor by keys `K`.
pub struct Lanes<K, T> {
    kept: usize,
    mixer: Mixer,
    state: Mutex<State<K, T>>,
}

/// What was taken out of the table, to be dropped by the caller.
pub type Swept<K, T> = Vec<(K, Arc<Lane<T>>)>;

impl<K, T> Lanes<K, T> {
    /// Keep up to about `kept` lanes that are idle.
    #[must_use]
    pub fn new(kept: usize) -> Self {
        Self {
            kept,
            mixer: Mixer::default(),
            state: Mutex::new(State {
                table: HashTable::new(),
                sweep_at: kept.max(1),
            }),
        }
    }

    /// The lane of a key; one is made if `make` returns the key for it. `None` otherwise.
    ///
    /// The second part is to be dropped by the caller.
    pub fn of(
        &self,
        hash: u64,
        mut eq: impl FnMut(&K) -> bool,
        make: impl FnOnce() -> Option<K>,
    ) -> (Option<Arc<Lane<T>>>, Swept<K, T>) {
        let hash = self.mixer.mix(hash);
        let mut state = self.state.lock();
        let found = state
            .table
            .find_entry(hash, |slot| slot.hash == hash && eq(&slot.key));
        let mut removed = Vec::new();
        if let Ok(entry) = found {
            if !entry.get().lane.is_closed() {
                return (Some(Arc::clone(&entry.get().lane)), removed);
            }
            let (slot, _) = entry.remove();
            removed.push((slot.key, slot.lane));
        }
        let Some(key) = make() else {
            return (None, removed);
        };
        if state.table.len() >= state.sweep_at {
            removed.extend(sweep(&mut state.table));
            state.sweep_at = self.kept.max(2 * state.table.len()).max(1);
        }
        let lane = Arc::new(Lane::default());
        let slot = Slot {
            hash,
            key,
            lane: Arc::clone(&lane),
        };
        state.table.insert_unique(hash, slot, |slot| slot.hash);
        (Some(lane), removed)
    }

    /// Read every lane that is kept.
    pub fn snapshot<R>(&self, mut read: impl FnMut(&K, &Lane<T>) -> R) -> Vec<R> {
        let state = self.state.lock();
        let slots = state.table.iter();
        slots.map(|slot| read(&slot.key, &slot.lane)).collect()
    }
}

/// Close the idle lanes and take them out.
fn sweep<K, T>(table: &mut HashTable<Slot<K, T>>) -> Swept<K, T> {
    table
        .extract_if(|slot| slot.lane.close_if_idle())
        .map(|slot| (slot.key, slot.lane))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(lanes: &Lanes<u64, ()>, key: u64) -> Arc<Lane<()>> {
        let (lane, removed) = lanes.of(key, |stored| *stored == key, || Some(key));
        drop(removed);
        lane.unwrap()
    }

    #[test]
    fn a_key_keeps_its_lane() {
        let lanes = Lanes::new(8);
        assert!(Arc::ptr_eq(&lane(&lanes, 1), &lane(&lanes, 1)));
        assert!(!Arc::ptr_eq(&lane(&lanes, 1), &lane(&lanes, 2)));
        assert!(lanes.of(3, |_| false, || None).0.is_none());
    }

    #[test]
    fn idle_lanes_go_when_there_are_many() {
        let lanes = Lanes::new(8);
        let busy = lane(&lanes, 100);
        assert!(matches!(
            busy.offer((), 0),
            super::super::lane::Offer::Schedule
        ));
        for key in 0..100 {
            lane(&lanes, key);
        }
        assert!(lanes.snapshot(|_, _| ()).len() <= 17);
        assert!(Arc::ptr_eq(&busy, &lane(&lanes, 100)));
    }

    #[test]
    fn a_closed_lane_is_replaced() {
        let lanes = Lanes::new(8);
        let first = lane(&lanes, 1);
        assert!(first.close_if_idle());
        assert!(!Arc::ptr_eq(&first, &lane(&lanes, 1)));
    }
}
