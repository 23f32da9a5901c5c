//! Histograms agree with the sorted list of what was recorded, within their error.

use std::thread;

use overdrive_core::histogram::{bucket_of, upper_bound, Histogram, Snapshot, BUCKETS};
use overdrive_core::stats::{Exclusive, Shared};
use proptest::prelude::*;

const ERROR: f64 = 1.0 / 64.0;

fn filled(values: &[f64]) -> Histogram<Exclusive> {
    let histogram = Histogram::default();
    for &value in values {
        histogram.record(value);
    }
    histogram
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() <= 1e-9 * left.abs().max(right.abs())
}

#[test]
fn a_bucket_holds_its_upper_bound_and_nothing_above() {
    for bucket in 0..BUCKETS {
        let bound = upper_bound(bucket);
        assert_eq!(bucket_of(bound), bucket);
        let above = f64::from_bits(bound.to_bits() + 1);
        assert_eq!(bucket_of(above), (bucket + 1).min(BUCKETS - 1));
    }
}

#[test]
fn what_is_out_of_range_is_in_the_outer_buckets() {
    for tiny in [0.0, -0.0, -1.0, f64::MIN, f64::MIN_POSITIVE, 1e-300] {
        assert_eq!(bucket_of(tiny), 0);
    }
    assert_eq!(bucket_of(f64::MAX), BUCKETS - 1);
}

#[test]
fn what_is_not_finite_is_counted_apart() {
    let snapshot = filled(&[f64::NAN, f64::INFINITY, 1.0]).snapshot();
    assert_eq!((snapshot.count(), snapshot.rejected()), (1, 2));
    assert!(close(snapshot.sum(), 1.0));
}

#[test]
fn an_empty_histogram_has_no_quantiles() {
    let snapshot = Snapshot::default();
    assert_eq!(snapshot.quantile(0.5), None);
    assert_eq!(snapshot.tail(0.99), None);
    assert_eq!((snapshot.least(), snapshot.greatest()), (None, None));
}

#[test]
fn many_at_once_are_as_many_one_by_one() {
    let (together, apart) = (filled(&[]), filled(&[0.25; 7]));
    together.record_times(0.25, 7, [0.7, 0.0, 0.0, 0.0]);
    let snapshot = together.snapshot();
    assert_eq!(snapshot.count(), apart.snapshot().count());
    assert!(close(snapshot.sum(), apart.snapshot().sum()));
    assert!(close(snapshot.tail(0.5).unwrap().parts[0], 0.1));
}

#[test]
fn what_another_histogram_counted_can_be_added() {
    let mut snapshot = filled(&[1.0]).snapshot();
    snapshot.add(4.0, 3);
    snapshot.add(9.0, 0);
    snapshot.add(f64::NAN, 2);
    assert_eq!((snapshot.count(), snapshot.rejected()), (4, 2));
    assert!(close(snapshot.sum(), 13.0));
    assert_eq!(
        (snapshot.least(), snapshot.greatest()),
        (Some(1.0), Some(4.0))
    );
}

#[test]
fn the_tail_says_what_the_longest_consist_of() {
    let histogram = Histogram::<Exclusive>::default();
    for _ in 0..99 {
        histogram.record_parts(0.001, [0.0001, 0.0, 0.0, 0.0]);
    }
    histogram.record_parts(1.0, [0.25, 0.5, 0.1, 0.0]);
    let tail = histogram.snapshot().tail(0.999).unwrap();
    assert_eq!(tail.count, 1);
    assert!(close(tail.mean, 1.0));
    for (part, expected) in tail.parts.into_iter().zip([0.25, 0.5, 0.1, 0.0]) {
        assert!(close(part, expected));
    }
}

#[test]
fn many_threads_lose_nothing() {
    const EACH: u32 = if cfg!(miri) { 50 } else { 20_000 };
    let histogram = Histogram::<Shared>::default();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..EACH {
                    histogram.record(f64::from(i % 100));
                }
            });
        }
    });
    let snapshot = histogram.snapshot();
    assert_eq!(snapshot.count(), 4 * u64::from(EACH));
    let sum: u32 = (0..EACH).map(|i| i % 100).sum();
    assert!(close(snapshot.sum(), 4.0 * f64::from(sum)));
}

#[test]
fn a_reset_histogram_is_empty() {
    let histogram = filled(&[1.0, 2.0, f64::NAN]);
    histogram.reset();
    assert_eq!(histogram.snapshot(), Snapshot::default());
}

proptest! {
    #[test]
    fn quantiles_are_those_of_the_sorted_list(
        mut values in prop::collection::vec(1e-9_f64..1e9, 1..200),
        share in 0.0_f64..=1.0,
    ) {
        let snapshot = filled(&values).snapshot();
        values.sort_by(f64::total_cmp);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = ((share * values.len() as f64).ceil() as usize).max(1);
        let exact = values[rank - 1];
        let found = snapshot.quantile(share).unwrap();
        prop_assert!((found - exact).abs() <= exact * ERROR, "{found} is not {exact}");
        prop_assert_eq!(snapshot.least(), values.first().copied());
        prop_assert_eq!(snapshot.greatest(), values.last().copied());
        prop_assert!(close(snapshot.sum(), values.iter().sum()));
    }

    #[test]
    fn merging_is_recording_both(
        left in prop::collection::vec(1e-6_f64..1e3, 0..50),
        right in prop::collection::vec(1e-6_f64..1e3, 0..50),
    ) {
        let mut merged = filled(&left).snapshot();
        merged.merge(&filled(&right).snapshot());
        let both = filled(&[left, right].concat()).snapshot();
        prop_assert!(merged.buckets().eq(both.buckets()));
        prop_assert_eq!(merged.least(), both.least());
        prop_assert_eq!(merged.greatest(), both.greatest());
        prop_assert!(close(merged.sum(), both.sum()));
    }

    #[test]
    fn subtracting_leaves_what_came_since(
        early in prop::collection::vec(1e-6_f64..1e3, 0..50),
        late in prop::collection::vec(1e-6_f64..1e3, 0..50),
    ) {
        let histogram = filled(&early);
        let before = histogram.snapshot();
        for &value in &late {
            histogram.record(value);
        }
        let mut since = histogram.snapshot();
        since.subtract(&before);
        prop_assert!(since.buckets().eq(filled(&late).snapshot().buckets()));
    }

    #[test]
    fn counts_up_to_the_bound_of_a_bucket_are_exact(
        values in prop::collection::vec(1e-6_f64..1e3, 0..50),
        bucket in 0..BUCKETS,
    ) {
        let bound = upper_bound(bucket);
        let exact = values.iter().filter(|&&value| value <= bound).count();
        prop_assert_eq!(filled(&values).snapshot().at_most(bound), exact as u64);
    }
}
