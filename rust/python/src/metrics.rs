//! Counters, gauges and histograms.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use overdrive_core::histogram::{Histogram, Snapshot, PARTS};
use overdrive_core::stats::{Counter, Float, Shared};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::timer::Clock;
use crate::timing::{self, Kind, PyTiming, DATABASE, QUEUE};

/// Attached threads write one at a time if there is a global interpreter lock.
#[cfg(not(Py_GIL_DISABLED))]
type Writers = overdrive_core::stats::Exclusive;
#[cfg(Py_GIL_DISABLED)]
type Writers = Shared;

/// Seconds that collections have taken since the first meter was used.
static COLLECTING: AtomicU64 = AtomicU64::new(0);

pub fn collecting() -> f64 {
    f64::from_bits(COLLECTING.load(Relaxed))
}

#[pyclass(frozen, module = "overdrive._core", name = "Counter")]
#[derive(Default)]
pub struct PyCounter {
    counter: Counter<Writers>,
}

#[pymethods]
impl PyCounter {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[pyo3(signature = (amount = 1.0, /))]
    fn inc(&self, amount: f64) -> PyResult<()> {
        if amount >= 0.0 {
            self.counter.add(amount);
            return Ok(());
        }
        Err(PyValueError::new_err(format!(
            "a counter only grows, by {amount} it cannot"
        )))
    }

    #[getter]
    fn value(&self) -> f64 {
        self.counter.total()
    }

    fn _reset(&self) {
        self.counter.reset();
    }
}

#[pyclass(frozen, module = "overdrive._core", name = "Gauge")]
#[derive(Default)]
pub struct PyGauge {
    number: Float<Shared>,
}

#[pymethods]
impl PyGauge {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[pyo3(signature = (value, /))]
    fn set(&self, value: f64) {
        self.number.set(value);
    }

    #[pyo3(signature = (amount = 1.0, /))]
    fn inc(&self, amount: f64) {
        self.number.add(amount);
    }

    #[pyo3(signature = (amount = 1.0, /))]
    fn dec(&self, amount: f64) {
        self.number.add(-amount);
    }

    #[getter]
    fn value(&self) -> f64 {
        self.number.get()
    }

    fn _reset(&self) {
        self.number.set(0.0);
    }
}

#[pyclass(frozen, module = "overdrive._core", name = "Histogram")]
#[derive(Default)]
pub struct PyHistogram {
    histogram: Histogram<Writers>,
    errors: Counter<Writers>,
    /// What is recorded here.
    pub kind: Kind,
    /// Whether a part of this package records here by itself.
    pub fed: bool,
}

impl PyHistogram {
    /// Record a duration with its parts.
    #[inline]
    pub fn take(&self, value: f64, parts: [f64; PARTS], failed: bool) {
        self.histogram.record_parts(value, parts);
        if failed {
            self.errors.add(1.0);
        }
    }
}

#[pymethods]
impl PyHistogram {
    #[new]
    #[pyo3(signature = (kind = "", /, *, fed = false))]
    fn new(kind: &str, fed: bool) -> PyResult<Self> {
        Ok(Self {
            kind: Kind::parse(kind)?,
            fed,
            ..Self::default()
        })
    }

    #[pyo3(signature = (value, /, *, waited = 0.0))]
    fn record(&self, value: f64, waited: f64) {
        let mut parts = [0.0; PARTS];
        parts[QUEUE] = waited;
        self.histogram.record_parts(value, parts);
    }

    fn time(slf: Py<Self>) -> PyTiming {
        PyTiming::new(slf)
    }

    fn open(slf: Py<Self>, py: Python<'_>) -> PyResult<Bound<'_, PyTiming>> {
        timing::open(slf, py)
    }

    #[pyo3(signature = (value, times = 1, failures = 0, /))]
    fn note(&self, py: Python<'_>, value: f64, times: u64, failures: u64) -> PyResult<()> {
        if timing::is_timed_by_hand(py, self.kind)? {
            return Ok(());
        }
        self.histogram.record_times(value, times, [0.0; PARTS]);
        if failures > 0 {
            #[allow(clippy::cast_precision_loss)] // counts are far below 2^53
            self.errors.add(failures as f64);
        }
        if self.kind == Kind::Database {
            timing::attribute(py, &[(DATABASE, value)])?;
        }
        Ok(())
    }

    fn snapshot(&self) -> PySnapshot {
        PySnapshot {
            snapshot: self.histogram.snapshot(),
        }
    }

    #[getter]
    fn errors(&self) -> f64 {
        self.errors.total()
    }

    fn _reset(&self) {
        self.histogram.reset();
        self.errors.reset();
    }
}

#[pyclass(frozen, module = "overdrive._core", name = "HistogramSnapshot")]
#[derive(Default)]
pub struct PySnapshot {
    pub snapshot: Snapshot,
}

#[pymethods]
impl PySnapshot {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[getter]
    fn count(&self) -> u64 {
        self.snapshot.count()
    }

    #[getter]
    fn sum(&self) -> f64 {
        self.snapshot.sum()
    }

    #[getter]
    fn minimum(&self) -> Option<f64> {
        self.snapshot.least()
    }

    #[getter]
    fn maximum(&self) -> Option<f64> {
        self.snapshot.greatest()
    }

    #[getter]
    fn rejected(&self) -> u64 {
        self.snapshot.rejected()
    }

    fn quantile(&self, share: f64) -> Option<f64> {
        self.snapshot.quantile(share)
    }

    fn at_most(&self, bound: f64) -> u64 {
        self.snapshot.at_most(bound)
    }

    fn buckets(&self) -> Vec<(f64, u64)> {
        self.snapshot.buckets().collect()
    }

    /// Returns count and mean, then the mean seconds of collections and of waiting.
    fn tail(&self, share: f64) -> Option<(u64, f64, f64, f64)> {
        let tail = self.snapshot.tail(share)?;
        let [collecting, waiting, ..] = tail.parts;
        Some((tail.count, tail.mean, collecting, waiting))
    }

    /// Returns count and mean, then the mean seconds of all parts.
    fn parts(&self, share: f64) -> Option<(u64, f64, [f64; PARTS])> {
        let tail = self.snapshot.tail(share)?;
        Some((tail.count, tail.mean, tail.parts))
    }

    fn __add__(&self, other: &Self) -> Self {
        let mut snapshot = self.snapshot.clone();
        snapshot.merge(&other.snapshot);
        Self { snapshot }
    }

    fn __sub__(&self, earlier: &Self) -> Self {
        let mut snapshot = self.snapshot.clone();
        snapshot.subtract(&earlier.snapshot);
        Self { snapshot }
    }
}

/// How many generations the collector of any version reports.
const GENERATIONS: usize = 3;

/// What `gc.callbacks` calls.
///
/// The collector is at work meanwhile: this allocates nothing of Python's and touches no container
/// but the dictionary it is given.
#[pyclass(frozen, module = "overdrive._core", name = "GcMeter")]
#[derive(Default)]
pub struct PyGcMeter {
    pauses: [Histogram<Writers>; GENERATIONS],
    collected: Counter<Writers>,
    uncollectable: Counter<Writers>,
    began: AtomicU64,
}

#[pymethods]
impl PyGcMeter {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn __call__(&self, phase: &Bound<'_, PyString>, info: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = phase.py();
        let now = Clock::get(py)?.now();
        if phase.to_str()? == "start" {
            self.began.store(now.to_bits(), Relaxed);
            return Ok(());
        }
        let began = f64::from_bits(self.began.swap(0, Relaxed));
        if began == 0.0 {
            return Ok(()); // the meter was put in during this collection
        }
        let took = now - began;
        let number = |key: &Bound<'_, PyString>| -> PyResult<usize> {
            info.get_item(key)?
                .map_or(Ok(0), |value| value.extract::<usize>())
        };
        let generation = number(pyo3::intern!(py, "generation"))?;
        self.pauses[generation.min(GENERATIONS - 1)].record(took);
        COLLECTING.store((collecting() + took).to_bits(), Relaxed);
        #[allow(clippy::cast_precision_loss)] // counts are far below 2^53
        {
            let collected = number(pyo3::intern!(py, "collected"))?;
            self.collected.add(collected as f64);
            let uncollectable = number(pyo3::intern!(py, "uncollectable"))?;
            self.uncollectable.add(uncollectable as f64);
        }
        Ok(())
    }

    fn pauses(&self) -> Vec<PySnapshot> {
        self.pauses
            .iter()
            .map(|pauses| PySnapshot {
                snapshot: pauses.snapshot(),
            })
            .collect()
    }

    #[getter]
    fn collected(&self) -> f64 {
        self.collected.total()
    }

    #[getter]
    fn uncollectable(&self) -> f64 {
        self.uncollectable.total()
    }

    fn _reset(&self) {
        self.pauses.iter().for_each(Histogram::reset);
        self.collected.reset();
        self.uncollectable.reset();
        self.began.store(0, Relaxed);
    }
}
