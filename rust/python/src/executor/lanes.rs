//! Options of calls, and the lanes that belong to keys.

use std::sync::Arc;

use overdrive_core::executor::{Lane, Lanes};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::host::Job;
use super::stats::totals;
use crate::key::{Key, Probe};

/// About so many idle lanes are kept for their statistics.
const KEPT: usize = 1024;

/// How calls are to be run.
#[pyclass(frozen, module = "overdrive._core", name = "CallOptions")]
pub struct PyCallOptions {
    pub key: Option<Py<PyAny>>,
    pub priority: i32,
    pub deadline: Option<f64>,
    pub holds: Option<bool>,
}

#[pymethods]
impl PyCallOptions {
    #[new]
    fn new(
        key: Option<Py<PyAny>>,
        priority: i32,
        deadline: Option<f64>,
        holds: Option<bool>,
    ) -> Self {
        Self {
            key,
            priority,
            deadline,
            holds,
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.key)
    }
}

/// The lanes by their keys, which are compared as those of a `dict`.
pub struct KeyedLanes(Lanes<Key, Job>);

impl KeyedLanes {
    pub fn new() -> Self {
        Self(Lanes::new(KEPT))
    }

    /// The lane of a key, made if there is none. It may be closed by the time it is used.
    pub fn of(&self, key: &Bound<'_, PyAny>) -> PyResult<Arc<Lane<Job>>> {
        let probe = Probe::new(key)?;
        loop {
            let (lane, removed) = self.0.of(
                probe.hash(),
                |stored| probe.matches(stored),
                || (!probe.is_undecided()).then(|| probe.key()),
            );
            drop(removed);
            if let Some(lane) = lane {
                return Ok(lane);
            }
            if !probe.decide()? {
                return Err(PyRuntimeError::new_err("the look-up of a key did not end"));
            }
        }
    }

    /// Pairs of a key and what its calls did.
    pub fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let lanes = self.0.snapshot(|key, lane| {
            let key = key.object().clone_ref(py);
            (key, lane.queued(), lane.totals())
        });
        let pairs = PyList::empty(py);
        for (key, queued, sums) in lanes {
            let dict = totals(py, &sums)?;
            dict.set_item("queued", queued)?;
            pairs.append((key, dict))?;
        }
        Ok(pairs)
    }
}
