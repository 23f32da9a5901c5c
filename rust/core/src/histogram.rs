//! Histograms of any positive numbers, with a bounded relative error.
//!
//! A bucket is chosen by the exponent of a number and the highest bits of its mantissa, so there
//! are [`PER_OCTAVE`] equally wide ones between a power of two and the next. This is the log-linear
//! layout of HdrHistogram (Tene 2012), read off the bits of an `f64`. A bucket holds its upper bound
//! and not its lower one. All histograms have the same buckets, so any two can be merged.
//!
//! Beside the numbers of each octave are the sums of what they consist of: a duration may be
//! recorded with the parts of it that went into pauses, and [`Snapshot::tail`] says how much of the
//! longest durations those were.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use once_cell::race::OnceBox;

use crate::stats::{Access, Float, Striped};

/// Bits of the mantissa that choose the bucket.
const PRECISION: u32 = 5;

/// Buckets between a power of two and the next.
pub const PER_OCTAVE: usize = 1 << PRECISION;

/// A nanosecond, if the numbers are seconds: what is smaller is in the first bucket.
const LOWEST_EXPONENT: i32 = -30;

/// A terabyte, if the numbers are bytes: what is larger is in the last bucket.
const HIGHEST_EXPONENT: i32 = 40;

/// Octaves in all.
const OCTAVES: usize = HIGHEST_EXPONENT.abs_diff(LOWEST_EXPONENT) as usize;

/// Buckets in all.
pub const BUCKETS: usize = OCTAVES * PER_OCTAVE;

/// How many parts a number can be recorded with.
pub const PARTS: usize = 4;

const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - PRECISION;
const LOWEST: u64 = power(LOWEST_EXPONENT);
const HIGHEST: u64 = power(HIGHEST_EXPONENT);

/// The bits of a power of two: no mantissa, and an exponent that is biased.
#[allow(clippy::cast_sign_loss)] // biased exponents are positive
const fn power(exponent: i32) -> u64 {
    ((exponent + f64::MAX_EXP - 1) as u64) << (f64::MANTISSA_DIGITS - 1)
}

/// The bucket of a number; those that are not positive are in the first.
#[must_use]
#[inline]
#[allow(clippy::cast_possible_truncation)] // below BUCKETS
pub fn bucket_of(value: f64) -> usize {
    let bits = if value > 0.0 { value.to_bits() } else { 0 };
    ((bits.clamp(LOWEST + 1, HIGHEST) - 1 - LOWEST) >> SHIFT) as usize
}

/// The largest number of a bucket.
#[must_use]
pub fn upper_bound(bucket: usize) -> f64 {
    f64::from_bits(LOWEST + ((bucket as u64 + 1) << SHIFT))
}

fn lower_bound(bucket: usize) -> f64 {
    f64::from_bits(LOWEST + ((bucket as u64) << SHIFT))
}

/// The buckets between two powers of two.
struct Octave<A> {
    counts: [AtomicU64; PER_OCTAVE],
    sum: Float<A>,
    parts: [Float<A>; PARTS],
}

impl<A: Access> Default for Octave<A> {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: Float::default(),
            parts: std::array::from_fn(|_| Float::default()),
        }
    }
}

/// What the threads of one stripe recorded. Octaves exist once something is in them.
struct Stripe<A> {
    octaves: [OnceBox<Octave<A>>; OCTAVES],
    least: AtomicU64,
    greatest: AtomicU64,
    rejected: AtomicU64,
}

impl<A: Access> Default for Stripe<A> {
    fn default() -> Self {
        Self {
            octaves: std::array::from_fn(|_| OnceBox::new()),
            least: AtomicU64::new(f64::INFINITY.to_bits()),
            greatest: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
            rejected: AtomicU64::new(0),
        }
    }
}

/// Records numbers from many threads.
pub struct Histogram<A> {
    stripes: Striped<Stripe<A>, A>,
}

impl<A: Access> Default for Histogram<A> {
    fn default() -> Self {
        Self {
            stripes: Striped::default(),
        }
    }
}

impl<A: Access> Histogram<A> {
    /// Record a number.
    #[inline]
    pub fn record(&self, value: f64) {
        self.record_parts(value, [0.0; PARTS]);
    }

    /// Record a number and what it consists of. What is not finite is counted as rejected.
    #[inline]
    pub fn record_parts(&self, value: f64, parts: [f64; PARTS]) {
        self.record_times(value, 1, parts);
    }

    /// Record a number so many times, and what all of those together consist of.
    #[inline]
    #[allow(clippy::cast_precision_loss)] // counts are far below 2^53
    pub fn record_times(&self, value: f64, times: u64, parts: [f64; PARTS]) {
        let stripe = self.stripes.mine();
        if !value.is_finite() {
            A::update(&stripe.rejected, |count| count + times);
            return;
        }
        let bucket = bucket_of(value);
        let octave = stripe.octaves[bucket / PER_OCTAVE].get_or_init(Box::default);
        A::update(&octave.counts[bucket % PER_OCTAVE], |count| count + times);
        octave.sum.add(value * times as f64);
        for (sum, part) in octave.parts.iter().zip(parts) {
            if part != 0.0 {
                sum.add(part);
            }
        }
        if value < f64::from_bits(stripe.least.load(Relaxed)) {
            A::update(&stripe.least, |least| {
                f64::from_bits(least).min(value).to_bits()
            });
        }
        if value > f64::from_bits(stripe.greatest.load(Relaxed)) {
            A::update(&stripe.greatest, |greatest| {
                f64::from_bits(greatest).max(value).to_bits()
            });
        }
    }

    /// Add the stripes up. What is recorded meanwhile may be in it or not.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for stripe in self.stripes.each() {
            stripe.add_to(&mut snapshot);
        }
        snapshot
    }

    /// Forget everything. What is recorded meanwhile may be lost.
    pub fn reset(&self) {
        self.stripes.each().for_each(Stripe::reset);
    }
}

impl<A: Access> Stripe<A> {
    fn add_to(&self, snapshot: &mut Snapshot) {
        for (index, octave) in self.octaves.iter().enumerate() {
            let Some(octave) = octave.get() else { continue };
            let counts = &mut snapshot.counts[index * PER_OCTAVE..][..PER_OCTAVE];
            for (count, cell) in counts.iter_mut().zip(&octave.counts) {
                *count += cell.load(Relaxed);
            }
            let sums = &mut snapshot.sums[index];
            sums.sum += octave.sum.get();
            for (part, cell) in sums.parts.iter_mut().zip(&octave.parts) {
                *part += cell.get();
            }
        }
        snapshot.least = snapshot.least.min(f64::from_bits(self.least.load(Relaxed)));
        snapshot.greatest = snapshot
            .greatest
            .max(f64::from_bits(self.greatest.load(Relaxed)));
        snapshot.rejected += self.rejected.load(Relaxed);
    }

    fn reset(&self) {
        for octave in self.octaves.iter().filter_map(OnceBox::get) {
            for cell in &octave.counts {
                cell.store(0, Relaxed);
            }
            octave.sum.set(0.0);
            octave.parts.iter().for_each(|part| part.set(0.0));
        }
        self.least.store(f64::INFINITY.to_bits(), Relaxed);
        self.greatest.store(f64::NEG_INFINITY.to_bits(), Relaxed);
        self.rejected.store(0, Relaxed);
    }
}

/// What the numbers of an octave add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sums {
    sum: f64,
    parts: [f64; PARTS],
}

/// The longest of what was recorded, and what it consists of on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tail {
    /// How many numbers these are.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The means of their parts.
    pub parts: [f64; PARTS],
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    counts: Box<[u64]>,
    sums: Box<[Sums]>,
    least: f64,
    greatest: f64,
    rejected: u64,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS].into(),
            sums: vec![Sums::default(); OCTAVES].into(),
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
            rejected: 0,
        }
    }
}

impl Snapshot {
    /// Add numbers that another histogram has in one of its buckets.
    #[allow(clippy::cast_precision_loss)] // counts are far below 2^53
    pub fn add(&mut self, value: f64, count: u64) {
        if count == 0 {
            return;
        }
        if !value.is_finite() {
            self.rejected += count;
            return;
        }
        let bucket = bucket_of(value);
        self.counts[bucket] += count;
        self.sums[bucket / PER_OCTAVE].sum += value * count as f64;
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }

    /// How many numbers were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What they add up to.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sums.iter().map(|sums| sums.sum).sum()
    }

    /// The least, or `None` if there is nothing.
    #[must_use]
    pub fn least(&self) -> Option<f64> {
        self.least.is_finite().then_some(self.least)
    }

    /// The greatest, or `None` if there is nothing.
    #[must_use]
    pub fn greatest(&self) -> Option<f64> {
        self.greatest.is_finite().then_some(self.greatest)
    }

    /// How many numbers were not finite, and are not counted otherwise.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// The buckets that are not empty, each as its upper bound and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, &count)| count > 0)
            .map(|(bucket, &count)| (upper_bound(bucket), count))
    }

    /// Count the numbers up to a bound, which is exact if the bound is one of a bucket.
    #[must_use]
    pub fn at_most(&self, bound: f64) -> u64 {
        self.buckets()
            .take_while(|&(upper, _)| upper <= bound)
            .map(|(_, count)| count)
            .sum()
    }

    /// The number below or at which a share of all are; off by no more than a 64th of it.
    ///
    /// `None` if there is nothing. Outside of the range of the buckets, the error is not bounded.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let bucket = self.bucket_at(share)?;
        let middle = lower_bound(bucket) / 2.0 + upper_bound(bucket) / 2.0;
        Some(middle.clamp(self.least, self.greatest))
    }

    #[allow(
        clippy::cast_precision_loss, // counts are far below 2^53
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    fn bucket_at(&self, share: f64) -> Option<usize> {
        let count = self.count();
        let rank = ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut below = 0;
        self.counts.iter().position(|count| {
            below += count;
            below >= rank
        })
    }

    /// What is in the octave of a quantile and above.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // counts are far below 2^53
    pub fn tail(&self, share: f64) -> Option<Tail> {
        let octave = self.bucket_at(share)? / PER_OCTAVE;
        let count: u64 = self.counts[octave * PER_OCTAVE..].iter().sum();
        let mean = |of: &dyn Fn(&Sums) -> f64| {
            self.sums[octave..].iter().map(of).sum::<f64>() / count as f64
        };
        Some(Tail {
            count,
            mean: mean(&|sums| sums.sum),
            parts: std::array::from_fn(|part| mean(&|sums| sums.parts[part])),
        })
    }

    /// Add what is in another.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        for (sums, more) in self.sums.iter_mut().zip(&other.sums) {
            sums.sum += more.sum;
            for (part, more) in sums.parts.iter_mut().zip(more.parts) {
                *part += more;
            }
        }
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
        self.rejected += other.rejected;
    }

    /// Take away what was there earlier, which leaves what came since. The extremes stay.
    pub fn subtract(&mut self, earlier: &Self) {
        for (count, less) in self.counts.iter_mut().zip(&earlier.counts) {
            *count = count.saturating_sub(*less);
        }
        for (sums, less) in self.sums.iter_mut().zip(&earlier.sums) {
            sums.sum -= less.sum;
            for (part, less) in sums.parts.iter_mut().zip(less.parts) {
                *part -= less;
            }
        }
        self.rejected = self.rejected.saturating_sub(earlier.rejected);
    }
}
