//! The cache does what a queue of entries does that is searched from end to end.

use std::collections::{HashSet, VecDeque};

use overdrive_core::lru::{Departures, Lru, Put, Reason};
use overdrive_core::ttl::Deadline;
use proptest::prelude::*;

const TAGS: [&str; 2] = ["even", "all"];

#[derive(Clone, Debug)]
struct Entry {
    key: u16,
    value: u32,
    size: f64,
    time: f64,
    tags: HashSet<usize>,
    /// In the order of insertion.
    number: usize,
}

/// The oldest entry first.
struct Model {
    entries: VecDeque<Entry>,
    max_size: f64,
    number: usize,
    counts: [u64; 4],
}

type Left = Vec<(Option<u16>, u32, Reason)>;

impl Model {
    fn place(&self, key: u16) -> Option<usize> {
        self.entries.iter().position(|entry| entry.key == key)
    }

    fn size(&self) -> f64 {
        self.entries.iter().map(|entry| entry.size).sum()
    }

    fn take(&mut self, place: usize, reason: Reason) -> (Option<u16>, u32, Reason) {
        match reason {
            Reason::Evicted => self.counts[2] += 1,
            Reason::Expired => self.counts[3] += 1,
            Reason::Replaced | Reason::Removed => {}
        }
        let entry = self.entries.remove(place).unwrap();
        (Some(entry.key), entry.value, reason)
    }

    fn take_all(&mut self, reason: Reason, leaves: impl Fn(&Entry) -> bool) -> Left {
        let mut left = Vec::new();
        while let Some(place) = self.entries.iter().position(&leaves) {
            left.push(self.take(place, reason));
        }
        left
    }

    fn put(&mut self, mut entry: Entry) -> Left {
        let mut left = Vec::new();
        loop {
            let place = self.place(entry.key);
            let before = place.map_or(0.0, |place| self.entries[place].size);
            if self.size() - before + entry.size <= self.max_size {
                break;
            }
            left.push(self.take(0, Reason::Evicted));
        }
        if let Some(place) = self.place(entry.key) {
            let old = self.entries.remove(place).unwrap();
            left.push((None, old.value, Reason::Replaced));
            entry.number = old.number;
        } else {
            entry.number = self.number;
            self.number += 1;
        }
        self.entries.push_back(entry);
        left
    }

    fn hit(&mut self, key: u16, now: f64) -> Option<u32> {
        let live = self.place(key).map(|place| {
            let entry = self.entries.remove(place).unwrap();
            self.entries.push_back(entry.clone());
            entry
        });
        let live = live.filter(|entry| now < entry.time);
        self.counts[usize::from(live.is_none())] += 1;
        live.map(|entry| entry.value)
    }
}

/// Few hashes, so that keys collide.
fn hash(key: u16) -> u64 {
    u64::from(key % 3)
}

fn departures(left: Departures<u16, u32>) -> Left {
    let left = left.into_iter();
    left.map(|left| (left.key, left.value, left.reason))
        .collect()
}

fn sorted(mut left: Left) -> Left {
    left.sort_by_key(|(key, value, _)| (*key, *value));
    left
}

#[derive(Clone, Debug)]
enum Step {
    Put(u16, u32, f64, Deadline, Vec<usize>),
    Hit(u16, f64),
    Remove(u16),
    PopOldest,
    Expire(f64),
    InvalidateTag(usize),
    SetDeadline(u16, Deadline),
    Copy,
    Clear,
}

fn time() -> impl Strategy<Value = f64> {
    (0..12_i32).prop_map(f64::from)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..10_u16;
    let size = (0..4_i32).prop_map(f64::from);
    let deadline = prop_oneof![
        2 => Just(Deadline::Never),
        3 => time().prop_map(Deadline::Common),
        2 => time().prop_map(Deadline::Own),
    ];
    let tags = prop::collection::vec(0..TAGS.len(), 0..3);
    let step = prop_oneof![
        9 => (key.clone(), any::<u32>(), size, deadline.clone(), tags)
            .prop_map(|(key, value, size, deadline, tags)| {
                Step::Put(key, value, size, deadline, tags)
            }),
        6 => (key.clone(), time()).prop_map(|(key, now)| Step::Hit(key, now)),
        3 => key.clone().prop_map(Step::Remove),
        2 => Just(Step::PopOldest),
        2 => time().prop_map(Step::Expire),
        1 => (0..TAGS.len()).prop_map(Step::InvalidateTag),
        1 => (key, deadline).prop_map(|(key, deadline)| Step::SetDeadline(key, deadline)),
        1 => Just(Step::Copy),
        1 => Just(Step::Clear),
    ];
    prop::collection::vec(step, 0..100)
}

/// Take one step on both, and return what left them.
fn step_both(lru: &mut Lru<u16, u32>, model: &mut Model, sized: bool, step: Step) -> (Left, Left) {
    let find = |lru: &Lru<u16, u32>, key| lru.find(hash(key), |k| *k == key);
    let mut left = Departures::new();
    let expected = match step {
        Step::Put(key, value, size, deadline, tags) => {
            let size = if sized { size.min(model.max_size) } else { 1.0 };
            let names: Vec<Box<str>> = tags.iter().map(|tag| TAGS[*tag].into()).collect();
            let put = Put {
                value,
                size,
                deadline,
                tags: &names,
            };
            lru.put(find(lru, key), hash(key), || key, put, &mut left);
            let (time, tags) = (deadline.time(), tags.into_iter().collect());
            model.put(Entry {
                key,
                value,
                size,
                time,
                tags,
                number: 0,
            })
        }
        Step::Hit(key, now) => {
            let found = find(lru, key);
            let value = lru.hit(found, |time| now < time).copied();
            assert_eq!(value, model.hit(key, now));
            Vec::new()
        }
        Step::Remove(key) => {
            left.extend(find(lru, key).map(|index| lru.remove(index)));
            let place = model.place(key);
            place
                .map(|place| model.take(place, Reason::Removed))
                .into_iter()
                .collect()
        }
        Step::PopOldest => {
            left.extend(lru.pop_oldest());
            let any = !model.entries.is_empty();
            any.then(|| model.take(0, Reason::Evicted))
                .into_iter()
                .collect()
        }
        Step::Expire(now) => {
            lru.expire(now, &mut left);
            sorted(model.take_all(Reason::Expired, |entry| entry.time <= now))
        }
        Step::InvalidateTag(tag) => {
            lru.invalidate_tag(TAGS[tag], &mut left);
            sorted(model.take_all(Reason::Removed, |entry| entry.tags.contains(&tag)))
        }
        Step::SetDeadline(key, deadline) => {
            if let Some(index) = find(lru, key) {
                lru.set_deadline(index, deadline);
                let place = model.place(key).unwrap();
                model.entries[place].time = deadline.time();
            }
            Vec::new()
        }
        Step::Copy => {
            *lru = lru.copy_with(|key, value| (*key, *value));
            model.counts = [0; 4];
            Vec::new()
        }
        Step::Clear => {
            let all = lru.clear();
            let left = model
                .entries
                .drain(..)
                .map(|entry| (entry.key, entry.value));
            assert_eq!(all, left.collect::<Vec<_>>());
            Vec::new()
        }
    };
    (departures(left), expected)
}

fn check(lru: &Lru<u16, u32>, model: &Model) {
    let order: Vec<u16> = lru
        .in_order_of_use()
        .map(|index| *lru.peek(index).0)
        .collect();
    let expected: Vec<u16> = model.entries.iter().map(|entry| entry.key).collect();
    assert_eq!(order, expected);
    for now in [f64::NEG_INFINITY, 5.0] {
        let inserted = lru.in_order_of_insertion(now);
        let keys: Vec<u16> = inserted.iter().map(|index| *lru.peek(*index).0).collect();
        let live = model.entries.iter().filter(|entry| now < entry.time);
        let mut expected: Vec<(usize, u16)> = live.map(|e| (e.number, e.key)).collect();
        expected.sort_unstable();
        assert_eq!(
            keys,
            expected.into_iter().map(|(_, key)| key).collect::<Vec<_>>()
        );
    }
    for entry in &model.entries {
        let index = lru.find(hash(entry.key), |k| *k == entry.key).unwrap();
        assert_eq!(lru.peek(index), (&entry.key, &entry.value));
        assert_eq!(
            (lru.size_of(index), lru.deadline(index).time()),
            (entry.size, entry.time)
        );
        assert_eq!(lru.is_live(index, 5.0), 5.0 < entry.time);
        let tags: HashSet<&str> = lru.tags(index).collect();
        assert_eq!(tags, entry.tags.iter().map(|tag| TAGS[*tag]).collect());
    }
    assert_eq!((lru.len(), lru.size()), (model.entries.len(), model.size()));
    assert!(lru.size() <= lru.max_size());
    let stats = lru.stats();
    let counts = [stats.hits, stats.misses, stats.evictions, stats.expirations];
    assert_eq!((counts, stats.len), (model.counts, model.entries.len()));
}

proptest! {
    #[test]
    fn every_step_has_the_result_it_has_on_a_queue(
        steps in steps(), max_size in 1..9_i32, sized in any::<bool>()
    ) {
        let max_size = f64::from(max_size);
        let mut lru = Lru::new(max_size, sized);
        let mut model = Model { entries: VecDeque::new(), max_size, number: 0, counts: [0; 4] };
        for step in steps {
            let in_order = !matches!(step, Step::Expire(_) | Step::InvalidateTag(_));
            let (left, expected) = step_both(&mut lru, &mut model, sized, step);
            prop_assert_eq!(if in_order { left } else { sorted(left) }, expected);
            check(&lru, &model);
        }
    }
}

fn put(lru: &mut Lru<u16, u32>, key: u16) -> Departures<u16, u32> {
    let mut left = Departures::new();
    let put = Put {
        value: 0,
        size: 1.0,
        deadline: Deadline::Never,
        tags: &[],
    };
    let found = lru.find(hash(key), |k| *k == key);
    lru.put(found, hash(key), || key, put, &mut left);
    left
}

#[test]
fn what_is_swapped_counts_as_used_and_as_changed() {
    let mut lru = Lru::new(2.0, false);
    put(&mut lru, 1);
    put(&mut lru, 2);
    let ticket = lru.begin_load();
    assert!(lru.is_plain());
    let first = lru.find(hash(1), |k| *k == 1).unwrap();
    assert_eq!(lru.swap(first, 7), 0);
    assert!(!lru.is_current(ticket, hash(1), &[]));
    assert!(lru.is_current(ticket, hash(2), &[]));
    assert_eq!(
        departures(put(&mut lru, 3)),
        [(Some(2), 0, Reason::Evicted)]
    );
}

#[test]
fn whatever_changes_a_key_makes_its_loads_stale() {
    let changes: [fn(&mut Lru<u16, u32>); 5] = [
        |lru| drop(put(lru, 1)),
        |lru| drop(lru.remove(lru.find(hash(1), |k| *k == 1).unwrap())),
        |lru| lru.forget(hash(1)),
        |lru| drop(lru.clear()),
        |lru| lru.invalidate_tag("tag", &mut Departures::new()),
    ];
    for change in changes {
        let mut lru = Lru::new(9.0, false);
        put(&mut lru, 1);
        let ticket = lru.begin_load();
        let tags = ["tag".into()];
        assert!(lru.is_current(ticket, hash(1), &tags));
        change(&mut lru);
        assert!(!lru.is_current(ticket, hash(1), &tags));
        lru.end_load();
    }
}

#[test]
fn departures_of_all_kinds_are_counted() {
    let mut lru = Lru::new(2.0, false);
    for key in 0..5 {
        put(&mut lru, key);
    }
    assert_eq!(lru.departed(), 3);
    put(&mut lru, 4);
    assert_eq!(lru.departed(), 3);
    drop(lru.pop_oldest());
    drop(lru.clear());
    assert_eq!((lru.departed(), lru.is_empty()), (5, true));
}
