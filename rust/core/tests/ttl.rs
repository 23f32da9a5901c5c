//! Deadlines come due in their order, whatever the clock does.

// Times are copied, not computed.
#![allow(clippy::float_cmp)]

use std::collections::HashMap;

use overdrive_core::ttl::{Deadline, Deadlines};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Set(u32, Deadline),
    Remove(u32),
    Expire(f64),
    Copy,
}

/// Few times, so that many are equal; now and then one that is no time at all.
fn time() -> impl Strategy<Value = f64> {
    prop_oneof![
        20 => (-3..12_i32).prop_map(f64::from),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(f64::NAN),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let deadline = prop_oneof![
        1 => Just(Deadline::Never),
        4 => time().prop_map(Deadline::Common),
        4 => time().prop_map(Deadline::Own),
    ];
    let step = prop_oneof![
        8 => (0..12_u32, deadline).prop_map(|(index, deadline)| Step::Set(index, deadline)),
        2 => (0..12_u32).prop_map(Step::Remove),
        4 => time().prop_map(Step::Expire),
        1 => Just(Step::Copy),
    ];
    prop::collection::vec(step, 0..120)
}

/// The time in the model: what cannot be compared is long past.
fn known(deadline: Deadline) -> f64 {
    let time = deadline.time();
    if time.is_nan() {
        f64::NEG_INFINITY
    } else {
        time
    }
}

fn is_past(time: f64, now: f64) -> bool {
    time != f64::INFINITY && (now.is_nan() || time <= now)
}

proptest! {
    #[test]
    fn what_is_past_is_found_in_order_and_nothing_else(steps in steps()) {
        let mut deadlines = Deadlines::default();
        let mut model: HashMap<u32, f64> = HashMap::new();
        for step in steps {
            match step {
                Step::Set(index, deadline) => {
                    deadlines.set(index, deadline);
                    model.insert(index, known(deadline));
                }
                Step::Remove(index) => {
                    deadlines.remove(index);
                    model.remove(&index);
                }
                Step::Expire(now) => {
                    let mut last = f64::NEG_INFINITY;
                    while let Some(index) = deadlines.next_past(now) {
                        deadlines.remove(index);
                        let time = model.remove(&index).unwrap();
                        prop_assert!(last <= time && is_past(time, now));
                        last = time;
                    }
                    prop_assert!(model.values().all(|time| !is_past(*time, now)));
                }
                Step::Copy => deadlines = deadlines.clone(),
            }
            for index in 0..13 {
                let time = model.get(&index).copied().unwrap_or(f64::INFINITY);
                prop_assert_eq!(deadlines.time(index), time);
                prop_assert_eq!(deadlines.get(index).time(), time);
            }
        }
    }
}

#[test]
fn an_entry_that_is_set_anew_for_ever_takes_no_more_room() {
    let mut deadlines = Deadlines::default();
    let rounds = if cfg!(miri) { 500 } else { 100_000 };
    for round in 0..rounds {
        deadlines.set(0, Deadline::Own(f64::from(round)));
    }
    assert_eq!(deadlines.next_past(f64::from(rounds - 2)), None);
    assert_eq!(deadlines.next_past(f64::from(rounds - 1)), Some(0));
}

#[test]
fn times_are_past_from_their_moment_on() {
    for deadline in [Deadline::Common(5.0), Deadline::Own(5.0)] {
        assert!(!deadline.is_past(4.9));
        assert!(deadline.is_past(5.0));
        assert!(deadline.is_past(f64::NAN));
    }
    assert!(!Deadline::Never.is_past(f64::INFINITY));
}
