//! A pool lends each object to one borrower at a time and counts what becomes of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use overdrive_core::pool::{Pool, Stats};
use proptest::prelude::*;

/// Lend an idle object, or a new one of the given address.
fn acquire(pool: &Pool<usize>, fresh: usize) -> usize {
    pool.take(|item| *item).unwrap_or_else(|| {
        pool.lend(fresh, fresh).unwrap();
        fresh
    })
}

#[derive(Debug, PartialEq)]
enum Released {
    Unknown,
    Kept,
    Dropped(usize),
}

fn release(pool: &Pool<usize>, address: usize) -> Released {
    let Some(returned) = pool.begin_return(address) else {
        return Released::Unknown;
    };
    pool.end_return(returned)
        .map_or(Released::Kept, Released::Dropped)
}

#[derive(Clone, Debug)]
enum Step {
    Acquire,
    Release(usize),
    Fail(usize),
    Sweep(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Acquire),
        4 => (0_usize..12).prop_map(Step::Release),
        1 => (0_usize..12).prop_map(Step::Fail),
        1 => (0_usize..12).prop_map(Step::Sweep),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn the_pool_knows_what_is_lent_and_what_is_idle(steps in steps(), max_idle in 1_usize..4) {
        let pool: Pool<usize> = Pool::new(max_idle);
        let mut idle: Vec<usize> = Vec::new();
        let mut lent = BTreeSet::new();
        let mut expected = Stats::default();
        for step in steps {
            match step {
                Step::Acquire => {
                    let fresh = (0..99).find(|a| !idle.contains(a) && !lent.contains(a)).unwrap();
                    let last = idle.pop();
                    expected.reused += u64::from(last.is_some());
                    expected.created += u64::from(last.is_none());
                    let got = acquire(&pool, fresh);
                    prop_assert_eq!(got, last.unwrap_or(fresh));
                    prop_assert!(lent.insert(got));
                    prop_assert_eq!(pool.lend(got, got), Err(got));
                }
                Step::Release(address) => {
                    let kept = idle.len() < max_idle;
                    let result = release(&pool, address);
                    if !lent.remove(&address) {
                        prop_assert_eq!(result, Released::Unknown);
                    } else if kept {
                        prop_assert_eq!(result, Released::Kept);
                        idle.push(address);
                    } else {
                        prop_assert_eq!(result, Released::Dropped(address));
                        expected.dropped += 1;
                    }
                }
                Step::Fail(address) => {
                    let returned = pool.begin_return(address);
                    prop_assert_eq!(returned.is_some(), lent.remove(&address));
                    if let Some(returned) = returned {
                        prop_assert!(pool.begin_return(address).is_none());
                        prop_assert_eq!(pool.lend(address, address), Err(address));
                        prop_assert_eq!(pool.discard(returned), address);
                        expected.discarded += 1;
                    }
                }
                Step::Sweep(below) => {
                    let swept: BTreeSet<usize> = pool.sweep(|item| *item < below).into_iter().collect();
                    let (gone, stay) = lent.iter().partition(|item| **item < below);
                    lent = stay;
                    expected.leaked += swept.len() as u64;
                    prop_assert_eq!(swept, gone);
                }
            }
            expected.idle = idle.len();
            expected.lent = lent.len();
            prop_assert_eq!(pool.stats(), expected);
        }
        let mut held = BTreeSet::new();
        let visited: Result<(), ()> = pool.try_visit(|item| { held.insert(*item); Ok(()) });
        prop_assert_eq!(visited, Ok(()));
        prop_assert_eq!(&held, &lent.iter().chain(&idle).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(pool.try_clear().into_iter().collect::<BTreeSet<_>>(), held);
        prop_assert_eq!(pool.stats().idle + pool.stats().lent, 0);
        prop_assert!(pool.take(|_| ()).is_none());
    }
}

#[test]
fn abandoned_objects_are_looked_for_when_twice_as_many_are_lent() {
    let pool: Pool<usize> = Pool::new(1);
    let mut sweeps = 0;
    for address in 0..1000 {
        let swept = pool.sweep_if_grown(|_| {
            sweeps += 1;
            false
        });
        assert!(swept.is_empty());
        pool.lend(address, address).unwrap();
    }
    assert_eq!(sweeps, 64 + 128 + 256 + 512);
    assert_eq!(pool.sweep(|item| item % 2 == 0).len(), 500);
    assert_eq!(pool.stats().leaked, 500);
    assert!(pool.begin_return(2).is_none());
    assert_eq!(release(&pool, 3), Released::Kept);
}

#[test]
fn an_object_is_never_with_two_borrowers() {
    const ROUNDS: usize = if cfg!(miri) { 50 } else { 5000 };
    let pool: Pool<usize> = Pool::new(2);
    let next = AtomicUsize::new(0);
    let busy: Vec<AtomicBool> = (0..3 * ROUNDS).map(|_| AtomicBool::new(false)).collect();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let fresh = next.fetch_add(1, Ordering::Relaxed);
                    let mine = acquire(&pool, fresh);
                    assert!(!busy[mine].swap(true, Ordering::Relaxed));
                    assert!(busy[mine].swap(false, Ordering::Relaxed));
                    assert!(release(&pool, mine) != Released::Unknown);
                }
            });
        }
    });
    let stats = pool.stats();
    assert_eq!(stats.lent, 0);
    assert_eq!(stats.created + stats.reused, 3 * ROUNDS as u64);
    assert_eq!(stats.created, stats.dropped + stats.idle as u64);
}
