//! A registry does what a `HashMap` does, with hashes that the fuzzer chooses.

#![no_main]

use std::collections::HashMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use overdrive_core::registry::{Entry, Registry};

#[derive(Arbitrary, Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    name: u8,
    hash: u64,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Put(Key, u32),
    Get(Key),
    Take(Key),
    TakeAny,
    Clear,
}

#[derive(Arbitrary, Debug)]
struct Input {
    shards: u8,
    steps: Vec<Step>,
}

type Subject = Registry<Key, u32>;

fn put(registry: &Subject, key: Key, value: u32) -> Option<u32> {
    let insert = |entry: Entry<'_, Key, u32>| match entry {
        Entry::Occupied(mut entry) => Some(entry.replace(value)),
        Entry::Vacant(place) => {
            place.insert(key, value);
            None
        }
    };
    registry.entry(key.hash, |k| *k == key, insert)
}

fn take(registry: &Subject, key: Key) -> Option<u32> {
    let remove = |entry: Entry<'_, Key, u32>| match entry {
        Entry::Occupied(entry) => Some(entry.remove().1),
        Entry::Vacant(_) => None,
    };
    registry.entry(key.hash, |k| *k == key, remove)
}

fuzz_target!(|input: Input| {
    let registry = Subject::new(usize::from(input.shards) + 1).unwrap();
    let mut model: HashMap<Key, u32> = HashMap::new();
    for step in input.steps {
        match step {
            Step::Put(key, value) => {
                assert_eq!(put(&registry, key, value), model.insert(key, value));
            }
            Step::Get(key) => {
                let found = registry.get(key.hash, |k| *k == key, |value| *value);
                assert_eq!(found, model.get(&key).copied());
            }
            Step::Take(key) => assert_eq!(take(&registry, key), model.remove(&key)),
            Step::TakeAny => match registry.take_any(|_, _| ()) {
                Some((key, value)) => assert_eq!(model.remove(&key), Some(value)),
                None => assert!(model.is_empty()),
            },
            Step::Clear => {
                let taken: HashMap<_, _> = registry.clear(|_, _| ()).into_iter().collect();
                assert_eq!(taken, model);
                model.clear();
            }
        }
        assert_eq!(registry.len(), model.len());
    }
    let all: HashMap<_, _> = registry.snapshot(|k, v| (*k, *v)).into_iter().collect();
    assert_eq!(all, model);
});
