//! Counters that many threads add to at little cost, and what they are made of.
//!
//! A [`Striped`] value exists several times; each thread writes to the stripe of its number, and a
//! reader adds the stripes up. How the writers of one stripe meet is a type parameter: [`Shared`]
//! stripes are written with atomic read-modify-write operations, which are cheap as long as few
//! threads share one; an [`Exclusive`] one is written by one thread at a time, as its user promises,
//! and needs none.
//!
//! Nothing here locks, so nothing is left locked in the child of a fork.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::available_parallelism;

use crossbeam_utils::CachePadded;

/// How writers of one stripe meet.
pub trait Access: 'static {
    /// Replace the value of a cell by what `next` makes of it.
    fn update(cell: &AtomicU64, next: impl FnMut(u64) -> u64);

    /// How many stripes are worth having.
    fn stripes() -> usize;
}

/// Writers are kept apart by something else, such as an interpreter lock.
pub enum Exclusive {}

impl Access for Exclusive {
    #[inline]
    fn update(cell: &AtomicU64, mut next: impl FnMut(u64) -> u64) {
        cell.store(next(cell.load(Relaxed)), Relaxed);
    }

    fn stripes() -> usize {
        1
    }
}

/// Writers may meet.
pub enum Shared {}

impl Access for Shared {
    #[inline]
    fn update(cell: &AtomicU64, mut next: impl FnMut(u64) -> u64) {
        let mut now = cell.load(Relaxed);
        while let Err(other) = cell.compare_exchange_weak(now, next(now), Relaxed, Relaxed) {
            now = other;
        }
    }

    fn stripes() -> usize {
        available_parallelism()
            .map_or(4, usize::from)
            .next_power_of_two()
            .clamp(2, 64)
    }
}

/// One value per group of threads.
pub struct Striped<T, A> {
    stripes: Box<[CachePadded<T>]>,
    access: PhantomData<A>,
}

impl<T: Default, A: Access> Default for Striped<T, A> {
    fn default() -> Self {
        let stripes = (0..A::stripes()).map(|_| CachePadded::default()).collect();
        Self {
            stripes,
            access: PhantomData,
        }
    }
}

impl<T, A: Access> Striped<T, A> {
    /// The stripe of the calling thread.
    #[inline]
    #[must_use]
    pub fn mine(&self) -> &T {
        if let [only] = &*self.stripes {
            return only;
        }
        &self.stripes[thread_number() & (self.stripes.len() - 1)]
    }

    /// All stripes, to be added up.
    pub fn each(&self) -> impl Iterator<Item = &T> {
        self.stripes.iter().map(|stripe| &**stripe)
    }
}

/// Threads are numbered as they first write, so that neighbours get different stripes.
#[inline]
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Relaxed) & (usize::MAX >> 1));
        }
        number.get()
    })
}

/// A number in a cell.
pub struct Float<A> {
    bits: AtomicU64,
    access: PhantomData<A>,
}

impl<A> Default for Float<A> {
    fn default() -> Self {
        Self {
            bits: AtomicU64::new(0.0_f64.to_bits()),
            access: PhantomData,
        }
    }
}

impl<A: Access> Float<A> {
    /// The number.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.bits.load(Relaxed))
    }

    /// Replace the number.
    pub fn set(&self, value: f64) {
        self.bits.store(value.to_bits(), Relaxed);
    }

    /// Add to the number.
    #[inline]
    pub fn add(&self, amount: f64) {
        A::update(&self.bits, |bits| (f64::from_bits(bits) + amount).to_bits());
    }
}

/// A number that only grows.
pub struct Counter<A> {
    stripes: Striped<Float<A>, A>,
}

impl<A: Access> Default for Counter<A> {
    fn default() -> Self {
        Self {
            stripes: Striped::default(),
        }
    }
}

impl<A: Access> Counter<A> {
    /// Add to it.
    #[inline]
    pub fn add(&self, amount: f64) {
        self.stripes.mine().add(amount);
    }

    /// What all threads have added.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.stripes.each().map(Float::get).sum()
    }

    /// Begin again at zero. What is added meanwhile may be lost.
    pub fn reset(&self) {
        self.stripes.each().for_each(|stripe| stripe.set(0.0));
    }
}

/// What a probe that now and then asks for a lock learns about it.
///
/// The probe comes at irregular times, so the share of probes that found the lock held is the share
/// of time that it is held (arrivals that do not depend on the state see time averages; Wolff 1982).
/// All figures only grow; rates are the reader's to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Probes {
    /// How often it was asked for.
    pub count: u64,
    /// Seconds covered by the probes.
    pub seconds: f64,
    /// Seconds, of those covered, during which the lock was held by others.
    pub held: f64,
    /// Seconds that the probes themselves had to wait.
    pub waited: f64,
}

/// A probe that waits less than this found the lock free, in seconds.
pub const FREE: f64 = 50e-6;

impl Probes {
    /// Take in one probe: `idle` seconds after the last it asked, and had to wait `waited`.
    pub fn add(&mut self, idle: f64, waited: f64) {
        self.count += 1;
        self.seconds += idle + waited;
        if waited > FREE {
            self.held += idle + waited;
            self.waited += waited;
        }
    }
}

/// The share of a processor that the probes may take.
const BUDGET: f64 = 0.002;

impl Probes {
    /// How long to wait before the next, at least `least`, if so far they took `overhead` seconds
    /// of processor time.
    #[must_use]
    pub fn pace(&self, least: f64, overhead: f64) -> f64 {
        #[allow(clippy::cast_precision_loss)] // counts are far below 2^53
        let each = overhead / self.count.max(1) as f64;
        least.max(each / BUDGET)
    }
}

/// Irregular intervals: between half and one and a half times the mean.
pub struct Jitter {
    state: u64,
}

impl Jitter {
    /// Begin with any number.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed | 1 }
    }

    /// The next factor, from 0.5 up to 1.5. The generator is xorshift64 (Marsaglia 2003).
    pub fn factor(&mut self) -> f64 {
        let mut x = self.state;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.state = x;
        #[allow(clippy::cast_precision_loss)] // 53 bits are exact
        let unit = (x >> 11) as f64 / (1_u64 << 53) as f64;
        0.5 + unit
    }
}
