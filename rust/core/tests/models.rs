//! What threads share, under a checker that tries many schedules: `--features shuttle`.
//!
//! The structures take their kind of lock as a parameter. The one here gives the checker the choice
//! of the next thread whenever a lock is taken, tried or given back.
#![cfg(feature = "shuttle")]

use overdrive_core::outbox::Outbox;
use overdrive_core::pool::Pool;
use overdrive_core::queue::Queue;
use overdrive_core::registry::{Entry, Registry};
use parking_lot::lock_api::{GuardNoSend, RawMutex, RawRwLock};
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

const SCHEDULES: usize = 2000;
const WRITING: usize = usize::MAX;

/// Zero if free, the number of readers, or [`WRITING`].
struct ModelLock(AtomicUsize);

impl ModelLock {
    fn take(&self, from: usize, to: usize) -> bool {
        let taken = self
            .0
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        taken.is_ok()
    }
}

// SAFETY: `WRITING` is only set where nobody else has the lock, and a reader is only counted where
// nobody writes, each in one atomic step.
unsafe impl RawRwLock for ModelLock {
    #[allow(clippy::declare_interior_mutable_const)] // the trait asks for it
    const INIT: Self = Self(AtomicUsize::new(0));

    type GuardMarker = GuardNoSend;

    fn lock_shared(&self) {
        while !self.try_lock_shared() {
            thread::yield_now();
        }
    }

    fn try_lock_shared(&self) -> bool {
        let readers = self.0.load(Ordering::SeqCst);
        readers != WRITING && self.take(readers, readers + 1)
    }

    unsafe fn unlock_shared(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn lock_exclusive(&self) {
        while !self.try_lock_exclusive() {
            thread::yield_now();
        }
    }

    fn try_lock_exclusive(&self) -> bool {
        self.take(0, WRITING)
    }

    unsafe fn unlock_exclusive(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

// SAFETY: as above.
unsafe impl RawMutex for ModelLock {
    #[allow(clippy::declare_interior_mutable_const)] // the trait asks for it
    const INIT: Self = <Self as RawRwLock>::INIT;

    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        self.lock_exclusive();
    }

    fn try_lock(&self) -> bool {
        self.try_lock_exclusive()
    }

    unsafe fn unlock(&self) {
        // SAFETY: the caller holds the lock.
        unsafe { self.unlock_exclusive() }
    }
}

fn together(threads: Vec<Box<dyn FnOnce() + Send>>) {
    let handles: Vec<_> = threads.into_iter().map(thread::spawn).collect();
    for handle in handles {
        handle.join().unwrap();
    }
}

fn add(registry: &Registry<u64, u64, ModelLock>, key: u64, value: u64) -> bool {
    registry.entry(
        key,
        |stored| *stored == key,
        |entry| match entry {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(key, value);
                true
            }
        },
    )
}

#[test]
fn one_of_several_threads_registers_a_key() {
    shuttle::check_random(
        || {
            let registry = Arc::new(Registry::new(2).unwrap());
            let stored = Arc::new(AtomicUsize::new(0));
            let threads = (0..3).map(|value| {
                let (registry, stored) = (Arc::clone(&registry), Arc::clone(&stored));
                Box::new(move || {
                    let won = add(&registry, 7, value);
                    stored.fetch_add(usize::from(won), Ordering::SeqCst);
                }) as Box<dyn FnOnce() + Send>
            });
            together(threads.collect());
            assert_eq!(stored.load(Ordering::SeqCst), 1);
            assert_eq!(registry.len(), 1);
        },
        SCHEDULES,
    );
}

#[test]
fn a_snapshot_never_shows_a_later_key_without_an_earlier_one() {
    shuttle::check_random(
        || {
            let registry = Arc::new(Registry::new(3).unwrap());
            let writer = Arc::clone(&registry);
            let reader = Arc::clone(&registry);
            together(vec![
                Box::new(move || {
                    for key in 0..4 {
                        add(&writer, key, key);
                    }
                }),
                Box::new(move || {
                    let mut keys = reader.snapshot(|key, _| *key);
                    keys.sort_unstable();
                    assert!(keys.iter().copied().eq(0..keys.len() as u64), "{keys:?}");
                }),
            ]);
        },
        SCHEDULES,
    );
}

#[test]
fn every_item_of_a_queue_is_taken_once_and_stolen_in_order() {
    shuttle::check_random(
        || {
            let queue = Arc::new(Queue::<u32, ModelLock>::default());
            let taken = Arc::new(Mutex::new(Vec::new()));
            let (owner, thief) = (Arc::clone(&queue), Arc::clone(&queue));
            let (popped, stolen) = (Arc::clone(&taken), Arc::clone(&taken));
            together(vec![
                Box::new(move || {
                    owner.push_many(vec![1, 2, 3]);
                    popped.lock().unwrap().extend(owner.pop());
                    owner.push(4);
                }),
                Box::new(move || {
                    let first = thief.steal();
                    let rest = thief.steal_many(2);
                    let all: Vec<u32> = first.into_iter().chain(rest).collect();
                    assert!(all.is_sorted(), "{all:?}");
                    stolen.lock().unwrap().extend(all);
                }),
            ]);
            let mut all = std::mem::take(&mut *taken.lock().unwrap());
            all.extend(std::iter::from_fn(|| queue.pop()));
            all.sort_unstable();
            assert_eq!(all, [1, 2, 3, 4]);
        },
        SCHEDULES,
    );
}

#[test]
fn no_object_of_a_pool_is_lent_to_two_threads() {
    shuttle::check_random(
        || {
            let pool = Arc::new(Pool::<usize, ModelLock>::new(2));
            for object in [10, 20] {
                pool.lend(object, object).unwrap();
                let returned = pool.begin_return(object).unwrap();
                assert!(pool.end_return(returned).is_none());
            }
            let lent = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
            let threads = (0..3).map(|_| {
                let (pool, lent) = (Arc::clone(&pool), Arc::clone(&lent));
                Box::new(move || {
                    let Some(object) = pool.take(|object| *object) else {
                        return;
                    };
                    let users = &lent[object / 10 - 1];
                    assert_eq!(users.fetch_add(1, Ordering::SeqCst), 0);
                    users.fetch_sub(1, Ordering::SeqCst);
                    let returned = pool.begin_return(object).unwrap();
                    assert!(pool.begin_return(object).is_none());
                    assert!(pool.end_return(returned).is_none());
                }) as Box<dyn FnOnce() + Send>
            });
            together(threads.collect());
            assert!(pool.take(|_| ()).is_some());
            assert!(pool.take(|_| ()).is_some());
            assert!(pool.take(|_| ()).is_none());
        },
        SCHEDULES,
    );
}

#[test]
fn news_are_delivered_once_and_in_order_whoever_carries_them() {
    shuttle::check_random(
        || {
            let outbox = Arc::new(Outbox::default());
            let received = Arc::new(Mutex::new(Vec::new()));
            let threads = (0..3).map(|_| {
                let (outbox, received) = (Arc::clone(&outbox), Arc::clone(&received));
                Box::new(move || {
                    outbox.push(());
                    thread::yield_now();
                    outbox.deliver(0, |number, ()| {
                        thread::yield_now();
                        received.lock().unwrap().push(number);
                    });
                }) as Box<dyn FnOnce() + Send>
            });
            together(threads.collect());
            assert!(!outbox.has_mail());
            assert_eq!(*received.lock().unwrap(), [0, 1, 2]);
        },
        SCHEDULES,
    );
}
