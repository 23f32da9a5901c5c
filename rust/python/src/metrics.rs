//! Counters, gauges, histograms and the contexts that time into them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use overdrive_core::histogram::{Histogram, Snapshot};
use overdrive_core::stats::{Counter, Float, Shared};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::timer::Clock;

/// Attached threads write one at a time if there is a global interpreter lock.
#[cfg(not(Py_GIL_DISABLED))]
type Writers = overdrive_core::stats::Exclusive;
#[cfg(Py_GIL_DISABLED)]
type Writers = Shared;

/// Seconds that collections have taken since the first meter was used.
static COLLECTING: AtomicU64 = AtomicU64::new(0);

fn collecting() -> f64 {
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
}

#[pymethods]
impl PyHistogram {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[pyo3(signature = (value, /, *, waited = 0.0))]
    fn record(&self, value: f64, waited: f64) {
        self.histogram.record_parts(value, [0.0, waited]);
    }

    fn time(slf: Py<Self>) -> PyTiming {
        PyTiming {
            histogram: slf,
            began: AtomicU64::new(0),
            collecting: AtomicU64::new(0),
        }
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

/// Times one block. While it runs, `began` is when it began; afterwards, how long it took.
#[pyclass(frozen, freelist = 64, module = "overdrive._core", name = "Timing")]
pub struct PyTiming {
    histogram: Py<PyHistogram>,
    began: AtomicU64,
    collecting: AtomicU64,
}

#[pymethods]
impl PyTiming {
    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let timing = slf.get();
        timing.collecting.store(COLLECTING.load(Relaxed), Relaxed);
        let now = Clock::get(slf.py())?.now();
        timing.began.store(now.to_bits(), Relaxed);
        Ok(slf)
    }

    fn __exit__(
        &self,
        exc_type: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let now = Clock::get(exc_type.py())?.now();
        let took = now - f64::from_bits(self.began.load(Relaxed));
        let paused = collecting() - f64::from_bits(self.collecting.load(Relaxed));
        let target = self.histogram.get();
        target.histogram.record_parts(took, [paused.min(took), 0.0]);
        if !exc_type.is_none() {
            target.errors.add(1.0);
        }
        self.began.store(took.to_bits(), Relaxed);
        Ok(())
    }

    #[getter]
    fn seconds(&self) -> f64 {
        f64::from_bits(self.began.load(Relaxed))
    }
}

#[pyclass(frozen, module = "overdrive._core", name = "HistogramSnapshot")]
#[derive(Default)]
pub struct PySnapshot {
    snapshot: Snapshot,
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
        let [collecting, waiting] = tail.parts;
        Some((tail.count, tail.mean, collecting, waiting))
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
