//! News are handed over in order, by one at a time, also if a receiver panics.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::thread;

use overdrive_core::outbox::Outbox;

#[test]
fn news_that_a_receiver_causes_come_after_it() {
    let outbox = Outbox::default();
    outbox.push(3);
    let mut received = Vec::new();
    outbox.deliver(0, |number, news| {
        received.push((number, news));
        if news > 0 {
            outbox.push(news - 1);
            outbox.deliver(0, |_, _| panic!("two deliveries at once"));
        }
    });
    assert_eq!(received, [(0, 3), (1, 2), (2, 1), (3, 0)]);
    assert_eq!(outbox.next_number(), 4);
    assert!(!outbox.has_mail());
}

#[test]
fn a_receiver_that_panics_loses_one_news_and_no_more() {
    let outbox = Outbox::default();
    outbox.push("bad");
    outbox.push("good");
    let panicked = catch_unwind(AssertUnwindSafe(|| outbox.deliver(0, |_, _| panic!("bad"))));
    assert!(panicked.is_err());
    let mut received = Vec::new();
    outbox.deliver(0, |number, news| received.push((number, news)));
    assert_eq!(received, [(1, "good")]);
}

#[test]
fn a_delivery_of_another_epoch_does_not_count() {
    let outbox = Outbox::default();
    outbox.push("first");
    outbox.push("second");
    let mut received = Vec::new();
    outbox.deliver(0, |_, _| outbox.deliver(1, |_, news| received.push(news)));
    assert_eq!(received, ["second"]);
}

#[test]
fn news_of_many_threads_come_in_the_order_of_the_lock_they_were_put_in_under() {
    const PER_THREAD: u32 = if cfg!(miri) { 20 } else { 2000 };
    let outbox = Outbox::default();
    let source = Mutex::new(0);
    let received = Mutex::new(Vec::new());
    let receiving = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..PER_THREAD {
                    {
                        let mut next = source.lock().unwrap();
                        outbox.push(*next);
                        *next += 1;
                    }
                    outbox.deliver(0, |_, news| {
                        assert!(!receiving.swap(true, Ordering::Relaxed));
                        received.lock().unwrap().push(news);
                        receiving.store(false, Ordering::Relaxed);
                    });
                }
            });
        }
    });
    assert_eq!(
        received.into_inner().unwrap(),
        (0..3 * PER_THREAD).collect::<Vec<_>>()
    );
}
