//! What the executor counts. Durations are in nanoseconds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

use parking_lot::Mutex;

/// Each power of two is divided into this many buckets, so that a bucket is at most an eighth of
/// its value wide.
const SUB_BITS: u32 = 3;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUB;

fn bucket(value: u64) -> usize {
    if value < SUB as u64 {
        return usize::try_from(value).unwrap_or(0);
    }
    let exponent = value.ilog2();
    let sub = usize::try_from((value >> (exponent - SUB_BITS)) & (SUB as u64 - 1)).unwrap_or(0);
    ((exponent - SUB_BITS + 1) as usize) * SUB + sub
}

/// The largest value that falls into a bucket.
fn upper_edge(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let exponent = u32::try_from(bucket / SUB).unwrap_or(0) + SUB_BITS - 1;
    let sub = (bucket % SUB) as u64;
    let edge = ((u128::from(sub) + SUB as u128 + 1) << (exponent - SUB_BITS)) - 1;
    u64::try_from(edge).unwrap_or(u64::MAX)
}

/// A histogram of durations that one thread at a time writes and any thread reads.
struct Recorder {
    counts: Box<[AtomicU64]>,
    total: AtomicU64,
    max: AtomicU64,
}

/// Add to a counter that has a single writer, without a read-modify-write.
fn add(counter: &AtomicU64, amount: u64) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(amount);
    counter.store(sum, Ordering::Relaxed);
}

impl Recorder {
    fn new() -> Self {
        Self {
            counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            total: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    fn record(&self, value: u64) {
        add(&self.counts[bucket(value)], 1);
        add(&self.total, value);
        if value > self.max.load(Ordering::Relaxed) {
            self.max.store(value, Ordering::Relaxed);
        }
    }

    fn merge_into(&self, histogram: &mut Histogram) {
        for (sum, count) in histogram.counts.iter_mut().zip(&self.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
        histogram.total += self.total.load(Ordering::Relaxed);
        histogram.max = histogram.max.max(self.max.load(Ordering::Relaxed));
    }
}

/// The distribution of some durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all durations.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The longest duration.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The buckets that are not empty, each as its upper edge and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let counts = self.counts.iter().enumerate();
        counts
            .filter(|(_, &count)| count > 0)
            .map(|(index, &count)| (upper_edge(index).min(self.max), count))
    }

    /// A duration that is not less than the fraction `q` of all, and at most an eighth too long.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a rank among fewer than 2^53 durations
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = q * self.count() as f64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= rank {
                return upper_edge(index).min(self.max);
            }
        }
        self.max
    }
}

/// How long the tasks of one kind waited and ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tasks that have run.
    pub tasks: u64,
    /// The sum of their waits.
    pub queue_wait: u64,
    /// The longest wait.
    pub max_queue_wait: u64,
    /// The sum of their run times.
    pub run: u64,
}

impl Totals {
    pub(super) fn add(&mut self, queue_wait: u64, run: u64) {
        self.tasks += 1;
        self.queue_wait += queue_wait;
        self.max_queue_wait = self.max_queue_wait.max(queue_wait);
        self.run += run;
    }
}

/// Counters of one worker, written by it alone.
pub(super) struct Counters {
    started: AtomicU64,
    steals: AtomicU64,
    parks: AtomicU64,
    queue_wait: Recorder,
    run: Recorder,
    attach: Recorder,
    /// When the task that runs now was begun, or zero.
    busy_since: AtomicU64,
    /// What that task is known as.
    tag: AtomicU64,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            started: AtomicU64::new(0),
            steals: AtomicU64::new(0),
            parks: AtomicU64::new(0),
            queue_wait: Recorder::new(),
            run: Recorder::new(),
            attach: Recorder::new(),
            busy_since: AtomicU64::new(0),
            tag: AtomicU64::new(0),
        }
    }

    pub(super) fn count_steal(&self) {
        add(&self.steals, 1);
    }

    pub(super) fn count_park(&self) {
        add(&self.parks, 1);
    }

    pub(super) fn begin(&self, now: u64, tag: u64) {
        add(&self.started, 1);
        self.tag.store(tag, Ordering::Relaxed);
        self.busy_since.store(now, Ordering::Relaxed);
    }

    pub(super) fn running(&self) -> Option<(u64, u64)> {
        let since = self.busy_since.load(Ordering::Relaxed);
        (since > 0).then(|| (since, self.tag.load(Ordering::Relaxed)))
    }

    pub(super) fn record(&self, queue_wait: u64, run: u64) {
        self.busy_since.store(0, Ordering::Relaxed);
        self.queue_wait.record(queue_wait);
        self.run.record(run);
    }

    pub(super) fn record_attach(&self, wait: u64) {
        self.attach.record(wait);
    }

    pub(super) fn merge_into(&self, stats: &mut Stats) {
        stats.started += self.started.load(Ordering::Relaxed);
        stats.steals += self.steals.load(Ordering::Relaxed);
        stats.parks += self.parks.load(Ordering::Relaxed);
        self.queue_wait.merge_into(&mut stats.queue_wait);
        self.run.merge_into(&mut stats.run);
        self.attach.merge_into(&mut stats.attach_wait);
    }
}

/// What tasks did that no worker ran, and what is rarely counted.
#[derive(Default)]
pub(super) struct Ledger {
    outside: Mutex<Option<Box<Counters>>>,
    priorities: Mutex<BTreeMap<i32, Totals>>,
}

impl Ledger {
    pub(super) fn record_outside(&self, queue_wait: u64, run: u64) {
        let mut outside = self.outside.lock();
        let counters = outside.get_or_insert_with(|| Box::new(Counters::new()));
        add(&counters.started, 1);
        counters.record(queue_wait, run);
    }

    pub(super) fn record_priority(&self, priority: i32, queue_wait: u64, run: u64) {
        let mut priorities = self.priorities.lock();
        priorities.entry(priority).or_default().add(queue_wait, run);
    }

    pub(super) fn merge_into(&self, stats: &mut Stats) {
        if let Some(counters) = &*self.outside.lock() {
            counters.merge_into(stats);
        }
        stats.priorities.clone_from(&self.priorities.lock());
    }
}

/// Everything that an executor counts; holds no task and no host.
pub(super) struct Meters {
    pub(super) submitted: AtomicU64,
    /// By worker index, once there was such a worker.
    counters: Box<[OnceLock<Box<Counters>>]>,
    pub(super) ledger: Ledger,
}

impl Meters {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            submitted: AtomicU64::new(0),
            counters: (0..capacity).map(|_| OnceLock::new()).collect(),
            ledger: Ledger::default(),
        }
    }

    pub(super) fn of(&self, worker: usize) -> &Counters {
        self.counters[worker].get_or_init(|| Box::new(Counters::new()))
    }

    /// By worker, when the task that runs now was begun and its tag.
    pub(super) fn running(&self) -> Vec<(usize, u64, u64)> {
        let workers = self.counters.iter().enumerate();
        workers
            .filter_map(|(index, counters)| Some((index, counters.get()?.running()?)))
            .map(|(index, (since, tag))| (index, since, tag))
            .collect()
    }

    /// Tasks begun, and nanoseconds of tasks that ended.
    pub(super) fn progress(&self) -> (u64, u64) {
        let mut sums = (0, 0);
        for counters in self.counters.iter().filter_map(OnceLock::get) {
            sums.0 += counters.started.load(Ordering::Relaxed);
            sums.1 += counters.run.total.load(Ordering::Relaxed);
        }
        sums
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats {
            submitted: self.submitted.load(Ordering::Relaxed),
            ..Stats::default()
        };
        for counters in self.counters.iter().filter_map(OnceLock::get) {
            counters.merge_into(&mut stats);
        }
        self.ledger.merge_into(&mut stats);
        stats
    }
}

/// Cumulative counts since the executor was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tasks accepted by `submit`.
    pub submitted: u64,
    /// Tasks that a thread began to run.
    pub started: u64,
    /// Times that a worker took tasks from another worker's deque.
    pub steals: u64,
    /// Times that a worker went to sleep.
    pub parks: u64,
    /// Threads that were wanted so far and have not ended.
    pub workers: usize,
    /// The threads among them that sleep.
    pub parked: usize,
    /// How many workers may be awake at a time.
    pub limit: usize,
    /// An estimate of the tasks that wait in queues and lanes.
    pub queued: usize,
    /// How long tasks waited until a thread took them.
    pub queue_wait: Histogram,
    /// How long tasks ran.
    pub run: Histogram,
    /// How long threads waited until their host let them in.
    pub attach_wait: Histogram,
    /// What the tasks did whose priority is not zero.
    pub priorities: BTreeMap<i32, Totals>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_at_most_an_eighth_wider() {
        for shift in 0..64_u32 {
            for offset in [0_u64, 1, 7] {
                let value = (1_u64 << shift).wrapping_add(offset << shift.saturating_sub(3));
                let edge = upper_edge(bucket(value));
                assert!(edge >= value, "{value} above {edge}");
                assert!(edge - value <= value / 8, "{value} far below {edge}");
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_close_to_the_exact_ones() {
        let counters = Counters::new();
        for value in 1..=1000 {
            counters.record(value * 1000, value);
        }
        let mut stats = Stats::default();
        counters.merge_into(&mut stats);
        assert_eq!(stats.run.count(), 1000);
        assert_eq!(stats.run.max(), 1000);
        assert_eq!(stats.run.quantile(1.0), 1000);
        assert!((500..=563).contains(&stats.run.quantile(0.5)));
        assert!((990_000..=1_000_000).contains(&stats.queue_wait.quantile(0.99)));
        assert_eq!(Histogram::default().quantile(0.5), 0);
        assert_eq!(
            stats.run.buckets().map(|(_, count)| count).sum::<u64>(),
            1000
        );
        assert_eq!(stats.run.buckets().last().map(|(edge, _)| edge), Some(1000));
    }
}
