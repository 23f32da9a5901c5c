//! A cache keeps its books, whatever sizes and times it is given.

#![no_main]

use std::collections::HashSet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use overdrive_core::lru::{Departures, Lru, Put};
use overdrive_core::ttl::Deadline;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum When {
    Never,
    Common(f64),
    Own(f64),
}

impl When {
    fn deadline(self) -> Deadline {
        match self {
            Self::Never => Deadline::Never,
            Self::Common(time) => Deadline::Common(time),
            Self::Own(time) => Deadline::Own(time),
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Put {
        key: u8,
        size: u16,
        when: When,
        tag: Option<bool>,
    },
    Hit(u8, f64),
    Remove(u8),
    PopOldest,
    Expire(f64),
    InvalidateTag(bool),
    SetDeadline(u8, When),
    Copy,
    Clear,
}

#[derive(Arbitrary, Debug)]
struct Input {
    max_size: u16,
    sized: bool,
    /// How many different hashes there are.
    hashes: u8,
    steps: Vec<Step>,
}

type Subject = Lru<u8, u8>;

fn name(tag: bool) -> Box<str> {
    if tag { "yes" } else { "no" }.into()
}

struct Fuzzed {
    lru: Subject,
    sized: bool,
    hashes: u64,
    left: Departures<u8, u8>,
}

impl Fuzzed {
    fn hash(&self, key: u8) -> u64 {
        u64::from(key) % self.hashes
    }

    fn find(&self, key: u8) -> Option<u32> {
        self.lru.find(self.hash(key), |k| *k == key)
    }

    fn put(&mut self, key: u8, size: u16, when: When, tag: Option<bool>) {
        let size = if self.sized { f64::from(size) } else { 1.0 };
        if size > self.lru.max_size() {
            return;
        }
        let tags: Vec<Box<str>> = tag.map(name).into_iter().collect();
        let put = Put {
            value: key,
            size,
            deadline: when.deadline(),
            tags: &tags,
        };
        let (found, hash) = (self.find(key), self.hash(key));
        self.lru.put(found, hash, || key, put, &mut self.left);
        assert!(self.find(key).is_some());
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put {
                key,
                size,
                when,
                tag,
            } => self.put(key, size, when, tag),
            Step::Hit(key, now) => {
                let found = self.find(key);
                let value = self.lru.hit(found, |time| now < time);
                assert!(value.is_none_or(|value| *value == key));
            }
            Step::Remove(key) => {
                let found = self.find(key);
                self.left.extend(found.map(|index| self.lru.remove(index)));
                assert!(self.find(key).is_none());
            }
            Step::PopOldest => self.left.extend(self.lru.pop_oldest()),
            Step::Expire(now) => {
                self.lru.expire(now, &mut self.left);
                assert_eq!(self.lru.in_order_of_insertion(now).len(), self.lru.len());
            }
            Step::InvalidateTag(tag) => self.lru.invalidate_tag(&name(tag), &mut self.left),
            Step::SetDeadline(key, when) => {
                if let Some(index) = self.find(key) {
                    self.lru.set_deadline(index, when.deadline());
                }
            }
            Step::Copy => self.lru = self.lru.copy_with(|key, value| (*key, *value)),
            Step::Clear => drop(self.lru.clear()),
        }
    }

    fn check(&self) {
        let order: Vec<u32> = self.lru.in_order_of_use().collect();
        let keys: HashSet<u8> = order.iter().map(|index| *self.lru.peek(*index).0).collect();
        assert_eq!((order.len(), keys.len()), (self.lru.len(), self.lru.len()));
        assert!(keys.iter().all(|key| self.find(*key).is_some()));
        let size: f64 = order.iter().map(|index| self.lru.size_of(*index)).sum();
        // Sizes are integers, so that nothing is rounded.
        assert!((size - self.lru.size()).abs() < 0.5);
        assert!(self.lru.size() <= self.lru.max_size());
    }
}

fuzz_target!(|input: Input| {
    let mut fuzzed = Fuzzed {
        lru: Subject::new(f64::from(input.max_size), input.sized),
        sized: input.sized,
        hashes: u64::from(input.hashes) + 1,
        left: Departures::new(),
    };
    for step in input.steps {
        fuzzed.step(step);
        fuzzed.check();
    }
});
