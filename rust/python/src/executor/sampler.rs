//! Measurements for a controller, taken by a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use overdrive_core::executor::Observer;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::call::Owner;
use super::gate::{now, Gate};
use super::host::Job;
use super::stats::stats;

/// Samples an executor without keeping it alive.
#[pyclass(frozen, module = "overdrive._core", name = "CallSampler")]
pub struct PyCallSampler {
    pub observer: Observer<Job>,
    pub owner: Arc<Owner>,
}

#[pymethods]
impl PyCallSampler {
    /// Sleeps, then takes a sample. `None` means that the executor is shut down.
    ///
    /// Without an interval it sleeps until a call is submitted. What the sample tells of the wait
    /// for the interpreter is how long this very thread waited after its sleep.
    fn sample<'py>(
        &self,
        py: Python<'py>,
        interval: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        if self.owner.is_closed() {
            return Ok(None);
        }
        let gate = Arc::new(Gate::new()?);
        let until_call = interval.is_none();
        let timeout = interval.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let submitted = self.observer.submitted();
        self.owner.watch(Arc::clone(&gate), until_call);
        let (ready, before) = py.detach(|| {
            if !until_call || self.observer.submitted() == submitted {
                gate.wait_detached(timeout);
            }
            (now(), self.observer.running())
        });
        let waited = now().saturating_sub(ready);
        self.owner.stop_watching();
        if self.owner.is_closed() {
            return Ok(None);
        }
        let sample = stats(py, &self.observer.stats())?;
        sample.set_item("time", seconds(ready))?;
        sample.set_item("knock_wait", seconds(waited))?;
        sample.set_item("running", self.running(py, &before)?)?;
        Ok(Some(sample))
    }
}

#[allow(clippy::cast_precision_loss)] // 2^53 nanoseconds are a hundred days
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

impl PyCallSampler {
    /// The tags of the calls that ran all the time while this thread waited for the interpreter.
    fn running(&self, py: Python<'_>, before: &[(usize, u64, u64)]) -> PyResult<Py<PyAny>> {
        let after = self.observer.running();
        let throughout: Vec<(u64, f64)> = before
            .iter()
            .filter(|run| after.contains(run))
            .map(|(_, since, tag)| (*tag, seconds(*since)))
            .collect();
        Ok(throughout.into_pyobject(py)?.into_any().unbind())
    }
}
