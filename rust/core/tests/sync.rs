//! The striped lock lets readers in together and writers alone.

use std::sync::Barrier;
use std::thread;

use overdrive_core::registry::Registry;
use overdrive_core::sync::StripedLock;
use parking_lot::lock_api::RwLock;

const THREADS: usize = 6; // more than there are stripes

#[test]
fn writers_exclude_each_other_and_all_readers() {
    const ROUNDS: usize = if cfg!(miri) { 20 } else { 2000 };
    let pair = RwLock::<StripedLock, _>::new((0_usize, 0_usize));
    thread::scope(|scope| {
        for number in 0..THREADS {
            let pair = &pair;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    if (round + number) % 4 == 0 {
                        let mut pair = pair.write();
                        pair.0 += 1;
                        thread::yield_now();
                        pair.1 += 1;
                    } else {
                        let pair = pair.read();
                        assert_eq!(pair.0, pair.1);
                    }
                }
            });
        }
    });
    assert_eq!(*pair.read(), (THREADS * ROUNDS / 4, THREADS * ROUNDS / 4));
}

#[test]
fn readers_of_all_threads_are_in_at_the_same_time() {
    let lock = RwLock::<StripedLock, _>::new(());
    let together = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let _inside = lock.read();
                together.wait();
                assert!(lock.try_write().is_none());
                together.wait();
            });
        }
    });
    assert!(lock.try_write().is_some());
}

#[test]
fn a_writer_that_does_not_wait_leaves_nothing_locked_behind() {
    let lock = RwLock::<StripedLock, _>::new(());
    for _ in 0..THREADS {
        thread::scope(|scope| {
            scope.spawn(|| {
                let reading = lock.read();
                assert!(lock.try_write().is_none());
                drop(reading);
                let writing = lock.try_write();
                assert!(writing.is_some());
                assert!(lock.try_read().is_none());
            });
        });
    }
}

#[test]
fn a_registry_may_have_such_locks() {
    let registry = Registry::<u8, u8, StripedLock>::new(2).unwrap();
    registry.entry(1, |_| true, |_| ());
    assert!(registry.get(1, |_| true, |value| *value).is_none());
    assert!(registry.is_empty());
}
