//! Measurements for a controller, taken by a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use overdrive_core::executor::Observer;
use pyo3::prelude::*;

use super::call::Owner;
use super::gate::{now, Gate};
use super::host::Job;
use super::stats::snapshot;
use crate::metrics::PySnapshot;

/// What an executor was doing at one moment.
#[pyclass(frozen, get_all, module = "overdrive._core", name = "CallSample")]
pub struct PyCallSample {
    time: f64,
    knock_wait: f64,
    submitted: u64,
    started: u64,
    queued: usize,
    run: f64,
    running: Vec<u64>,
}

/// Samples an executor without keeping it alive.
#[pyclass(frozen, module = "overdrive._core", name = "CallSampler")]
pub struct PyCallSampler {
    pub observer: Observer<Job>,
    pub owner: Arc<Owner>,
}

/// By worker, when its call was begun, and the tag.
type Running = Vec<(usize, u64, u64)>;

#[pymethods]
impl PyCallSampler {
    /// Sleeps, then takes a sample. `None` means that the executor is shut down.
    ///
    /// Without an interval it sleeps until a call is submitted. The wait for the interpreter is
    /// that of this very thread after its sleep.
    fn sample(&self, py: Python<'_>, interval: Option<f64>) -> PyResult<Option<PyCallSample>> {
        if self.owner.is_closed() {
            return Ok(None);
        }
        let gate = Arc::new(Gate::new()?);
        let (ready, before) = py.detach(|| self.sleep(&gate, interval));
        let knock_wait = now().saturating_sub(ready);
        self.owner.stop_watching();
        if self.owner.is_closed() {
            return Ok(None);
        }
        Ok(Some(self.take(ready, knock_wait, &before)))
    }

    /// Returns how long calls waited, how long they ran, and how long threads waited for the
    /// interpreter; also when the executor is gone.
    fn durations(&self) -> [PySnapshot; 3] {
        let stats = self.observer.stats();
        [&stats.queue_wait, &stats.run, &stats.attach_wait].map(snapshot)
    }
}

#[allow(clippy::cast_precision_loss)] // 2^53 nanoseconds are a hundred days
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

impl PyCallSampler {
    /// Sleep detached; returns when that was over and what ran then.
    fn sleep(&self, gate: &Arc<Gate>, interval: Option<f64>) -> (u64, Running) {
        let until_call = interval.is_none();
        let timeout = interval.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let submitted = self.observer.submitted();
        self.owner.watch(Arc::clone(gate), until_call);
        if !until_call || self.observer.submitted() == submitted {
            gate.wait_detached(timeout);
        }
        (now(), self.observer.running())
    }

    fn take(&self, ready: u64, knock_wait: u64, before: &[(usize, u64, u64)]) -> PyCallSample {
        let after = self.observer.running();
        let time = now();
        let (started, ended_run) = self.observer.progress();
        let unended: u64 = after.iter().map(|run| time.saturating_sub(run.1)).sum();
        PyCallSample {
            time: seconds(ready),
            knock_wait: seconds(knock_wait),
            submitted: self.observer.submitted(),
            started,
            queued: self.observer.queued(),
            run: seconds(ended_run + unended),
            running: before.iter().map(|run| run.2).collect(),
        }
    }
}

/// For how long some threads of this process have computed or been ready to, by their numbers of
/// the operating system; zero where that is not known. Reads detached, all at once.
#[pyfunction]
pub fn thread_seconds(py: Python<'_>, numbers: Vec<u64>) -> Vec<f64> {
    py.detach(|| numbers.into_iter().map(processor_seconds).collect())
}

/// The first two numbers of a thread's `schedstat` are the nanoseconds that it ran, and that it
/// waited for a processor.
fn processor_seconds(number: u64) -> f64 {
    let path = format!("/proc/self/task/{number}/schedstat");
    let Ok(content) = std::fs::read_to_string(path) else {
        return 0.0;
    };
    let times = content.split_ascii_whitespace().take(2);
    seconds(times.filter_map(|time| time.parse::<u64>().ok()).sum())
}
