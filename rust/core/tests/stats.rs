//! Counters lose nothing, and probes add up to shares of time.

use std::thread;

use overdrive_core::stats::{Counter, Exclusive, Float, Jitter, Probes, Shared};

fn same(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9
}

#[test]
fn many_threads_count_together() {
    const EACH: u32 = if cfg!(miri) { 50 } else { 20_000 };
    let counter = Counter::<Shared>::default();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..EACH).for_each(|_| counter.add(0.5)));
        }
    });
    assert!(same(counter.total(), 2.0 * f64::from(EACH)));
    counter.reset();
    assert!(same(counter.total(), 0.0));
}

#[test]
fn one_writer_at_a_time_needs_no_atomic_operation() {
    let counter = Counter::<Exclusive>::default();
    counter.add(1.0);
    counter.add(2.5);
    assert!(same(counter.total(), 3.5));
}

#[test]
fn a_number_can_be_set_and_added_to() {
    let number = Float::<Shared>::default();
    number.set(3.0);
    number.add(-1.0);
    assert!(same(number.get(), 2.0));
}

#[test]
fn probes_that_wait_stand_for_the_time_since_the_last() {
    let mut probes = Probes::default();
    probes.add(0.02, 0.000_001);
    probes.add(0.02, 0.005);
    assert_eq!(probes.count, 2);
    assert!(same(probes.held, 0.025));
    assert!(same(probes.waited, 0.005));
    assert!(same(probes.seconds, 0.045_001));
}

#[test]
fn dear_probes_become_rare() {
    let probes = Probes {
        count: 100,
        ..Probes::default()
    };
    assert!(same(probes.pace(0.02, 0.0005), 0.02));
    assert!(same(probes.pace(0.02, 0.1), 0.5));
}

#[test]
fn intervals_vary_around_their_mean() {
    let mut jitter = Jitter::new(7);
    let factors: Vec<f64> = (0..1000).map(|_| jitter.factor()).collect();
    assert!(factors.iter().all(|factor| (0.5..1.5).contains(factor)));
    let mean = factors.iter().sum::<f64>() / 1000.0;
    assert!((0.95..1.05).contains(&mean));
}
