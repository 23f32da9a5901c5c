//! The registry does what a `HashMap` does, with any hashes.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;

use overdrive_core::registry::{Entry, Registry};
use overdrive_core::shards::MAX_SHARDS;
use overdrive_core::Error;
use proptest::prelude::*;

/// Few hashes, so that keys collide.
fn hash(key: u16) -> u64 {
    u64::from(key % 5)
}

fn put(registry: &Registry<u16, u32>, key: u16, value: u32) -> Option<u32> {
    let insert = |entry: Entry<'_, u16, u32>| match entry {
        Entry::Occupied(mut entry) => Some(entry.replace(value)),
        Entry::Vacant(place) => {
            place.insert(key, value);
            None
        }
    };
    registry.entry(hash(key), |k| *k == key, insert)
}

fn get(registry: &Registry<u16, u32>, key: u16) -> Option<u32> {
    registry.get(hash(key), |k| *k == key, |value| *value)
}

fn take(registry: &Registry<u16, u32>, key: u16) -> Option<(u16, u32)> {
    let remove = |entry: Entry<'_, u16, u32>| match entry {
        Entry::Occupied(entry) => Some(entry.remove()),
        Entry::Vacant(_) => None,
    };
    registry.entry(hash(key), |k| *k == key, remove)
}

#[derive(Clone, Debug)]
enum Step {
    Put(u16, u32),
    Get(u16),
    Take(u16),
    TakeAny,
    Clear,
    Reserve(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0_u16..24;
    let step = prop_oneof![
        4 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => key.clone().prop_map(Step::Get),
        2 => key.prop_map(Step::Take),
        1 => Just(Step::TakeAny),
        1 => Just(Step::Clear),
        1 => (0_usize..99).prop_map(Step::Reserve),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn every_step_has_the_result_it_has_on_a_hash_map(steps in steps(), shards in 1_usize..5) {
        let registry = Registry::new(shards).unwrap();
        let mut model = HashMap::new();
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    prop_assert_eq!(put(&registry, key, value), model.insert(key, value));
                }
                Step::Get(key) => prop_assert_eq!(get(&registry, key), model.get(&key).copied()),
                Step::Take(key) => prop_assert_eq!(take(&registry, key), model.remove_entry(&key)),
                Step::Reserve(total) => registry.reserve(total),
                Step::TakeAny => {
                    let mut left = Vec::new();
                    let taken = registry.take_any(|key, value| left.push((*key, *value)));
                    prop_assert_eq!(&taken.into_iter().collect::<Vec<_>>(), &left);
                    prop_assert_eq!(left.len(), usize::from(!model.is_empty()));
                    for (key, value) in left {
                        prop_assert_eq!(model.remove(&key), Some(value));
                    }
                }
                Step::Clear => {
                    let mut left = HashMap::new();
                    let taken = registry.clear(|key, value| { left.insert(*key, *value); });
                    prop_assert_eq!(&taken.collect::<HashMap<_, _>>(), &model);
                    prop_assert_eq!(&left, &model);
                    model.clear();
                }
            }
            prop_assert_eq!(registry.len(), model.len());
            prop_assert_eq!(registry.is_empty(), model.is_empty());
        }
        let all: HashMap<_, _> = registry.snapshot(|k, v| (*k, *v)).into_iter().collect();
        prop_assert_eq!(all, model);
    }
}

#[test]
fn no_shard_and_too_many_shards_are_errors() {
    let make = |n| Registry::<u16, u32>::new(n).err();
    assert!(matches!(make(0), Some(Error::ZeroSize { .. })));
    assert!(matches!(make(MAX_SHARDS + 1), Some(Error::TooLarge { .. })));
    assert!(make(MAX_SHARDS).is_none());
}

#[test]
fn a_registry_in_use_is_skipped_by_visitors_that_must_not_wait() {
    let registry = Registry::<u16, u32>::new(1).unwrap();
    put(&registry, 1, 1);
    let count = |registry: &Registry<u16, u32>| {
        let mut count = 0;
        let visited: Result<(), ()> = registry.try_visit(|_, _| {
            count += 1;
            Ok(())
        });
        (visited, count)
    };
    assert_eq!(count(&registry), (Ok(()), 1));
    registry.entry(
        1,
        |_| true,
        |_| {
            assert_eq!(count(&registry), (Ok(()), 0));
            assert_eq!(registry.try_clear().count(), 0);
        },
    );
    assert_eq!(registry.try_clear().collect::<Vec<_>>(), [(1, 1)]);
}

#[test]
fn what_many_threads_put_and_take_is_neither_lost_nor_doubled() {
    const PER_THREAD: u16 = if cfg!(miri) { 20 } else { 2000 };
    let registry = Registry::new(4).unwrap();
    let taken = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for t in 0..3 {
            let (registry, taken) = (&registry, &taken);
            scope.spawn(move || {
                for i in 0..PER_THREAD {
                    put(registry, i * 3 + t, 0);
                    if i % 2 == 0 {
                        taken.lock().unwrap().extend(registry.take_any(|_, _| ()));
                    }
                }
            });
        }
    });
    let mut all = taken.into_inner().unwrap();
    all.extend(registry.clear(|_, _| ()));
    let mut keys: Vec<u16> = all.into_iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..3 * PER_THREAD).collect::<Vec<_>>());
}
