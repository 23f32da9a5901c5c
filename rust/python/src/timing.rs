//! Contexts that time a block, and how what happens inside a block finds it.
//!
//! A context variable holds the innermost timing that wants to know. Parts of this package that do
//! something on behalf of whoever is being timed attribute it to that timing and to those around it:
//! how long a query took, or how long a call waited in a queue. So the durations of a request are
//! recorded with what they consist of, and what was timed by hand is not counted a second time by
//! the part that timed it as well.

use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering::Relaxed};

use overdrive_core::histogram::PARTS;
use overdrive_core::stats::{Float, Shared};
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::lock::Clearable;
use crate::metrics::{collecting, PyHistogram};
use crate::timer::Clock;

/// Parts of a duration, by their place in what is recorded.
pub const COLLECTING: usize = 0;
pub const QUEUE: usize = 1;
pub const DATABASE: usize = 2;
pub const INTERPRETER: usize = 3;

/// What is timed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// Something of the user's, which nothing here times as well.
    #[default]
    Other,
    Api,
    Database,
    Agents,
}

impl Kind {
    pub fn parse(name: &str) -> PyResult<Self> {
        match name {
            "" => Ok(Self::Other),
            "api" => Ok(Self::Api),
            "database" => Ok(Self::Database),
            "agents" => Ok(Self::Agents),
            _ => Err(PyValueError::new_err(format!(
                "kind must be api, database, agents or empty, not {name:?}"
            ))),
        }
    }
}

const NAME: &CStr = c"overdrive_timing";

/// The variable that holds the innermost timing.
fn variable(py: Python<'_>) -> PyResult<&Py<PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    VARIABLE.get_or_try_init(py, || {
        // SAFETY: the thread is attached; the result is a new reference or null with an error set.
        let made = unsafe { ffi::PyContextVar_New(NAME.as_ptr(), ptr::null_mut()) };
        // SAFETY: as above.
        unsafe { Bound::from_owned_ptr_or_err(py, made) }.map(Bound::unbind)
    })
}

/// The innermost timing of the current context.
fn current(py: Python<'_>) -> PyResult<Option<Bound<'_, PyTiming>>> {
    let mut value = ptr::null_mut();
    let variable = variable(py)?.as_ptr();
    // SAFETY: the thread is attached, the first argument is a context variable, and the last one a
    // place to write to; what is written there is a new reference, or null if nothing is set.
    if unsafe { ffi::PyContextVar_Get(variable, ptr::null_mut(), &raw mut value) } < 0 {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: as above.
    let found = unsafe { Bound::from_owned_ptr_or_opt(py, value) };
    Ok(found.and_then(|found| found.cast_into::<PyTiming>().ok()))
}

fn set_current(py: Python<'_>, timing: Option<&Py<PyAny>>) -> PyResult<()> {
    let none = py.None();
    let value = timing.unwrap_or(&none).as_ptr();
    // SAFETY: the thread is attached, and the first argument is a context variable; the result is a
    // new reference or null with an error set.
    let token = unsafe { ffi::PyContextVar_Set(variable(py)?.as_ptr(), value) };
    // SAFETY: as above.
    unsafe { Bound::from_owned_ptr_or_err(py, token) }.map(drop)
}

/// Call a function with the innermost timing and those around it, until it returns `true`.
fn any_around(py: Python<'_>, mut is_it: impl FnMut(&PyTiming) -> bool) -> PyResult<bool> {
    let mut next = current(py)?;
    while let Some(timing) = next {
        if is_it(timing.get()) {
            return Ok(true);
        }
        next = timing
            .get()
            .outer
            .get(py)
            .and_then(|outer| outer.into_bound(py).cast_into().ok());
    }
    Ok(false)
}

/// Attribute seconds to everything that is being timed around here.
pub fn attribute(py: Python<'_>, parts: &[(usize, f64)]) -> PyResult<()> {
    any_around(py, |timing| {
        if timing.state.load(Relaxed) == RUNNING {
            for &(part, seconds) in parts {
                timing.parts[part].add(seconds);
            }
        }
        false
    })
    .map(drop)
}

/// Whether something of a kind is being timed by hand around here.
pub fn is_timed_by_hand(py: Python<'_>, kind: Kind) -> PyResult<bool> {
    any_around(py, |timing| {
        let histogram = timing.histogram.get();
        histogram.kind == kind && !histogram.fed && timing.state.load(Relaxed) == RUNNING
    })
}

fn is_fed(py: Python<'_>, kind: Kind) -> PyResult<bool> {
    any_around(py, |timing| {
        let histogram = timing.histogram.get();
        histogram.kind == kind && histogram.fed
    })
}

const NEW: u8 = 0;
const RUNNING: u8 = 1;
/// It runs, and somebody else counts it.
const COUNTED: u8 = 2;
const DONE: u8 = 3;

/// Times one block. While it runs, `began` is when it began; afterwards, how long it took.
#[pyclass(frozen, freelist = 64, module = "overdrive._core", name = "Timing")]
pub struct PyTiming {
    histogram: Py<PyHistogram>,
    began: AtomicU64,
    collecting: AtomicU64,
    state: AtomicU8,
    /// What happened inside; none of it is collections, which are known at the end.
    parts: [Float<Shared>; PARTS],
    /// The timing around this one, while this one is current.
    outer: Clearable,
}

impl PyTiming {
    pub fn new(histogram: Py<PyHistogram>) -> Self {
        Self {
            histogram,
            began: AtomicU64::new(0),
            collecting: AtomicU64::new(0),
            state: AtomicU8::new(NEW),
            parts: std::array::from_fn(|_| Float::default()),
            outer: Clearable::new(None),
        }
    }

    /// Begin, and if something inside wants to find this, make it current.
    fn begin(slf: &Bound<'_, Self>, opens: bool) -> PyResult<()> {
        let py = slf.py();
        let timing = slf.get();
        let histogram = timing.histogram.get();
        let counted = histogram.kind == Kind::Api && is_fed(py, Kind::Api)?;
        timing
            .state
            .store(if counted { COUNTED } else { RUNNING }, Relaxed);
        if opens && !counted {
            let outer = current(py)?.filter(|outer| !outer.is(slf));
            let outer = outer.map(|outer| outer.into_any().unbind());
            set_current(py, Some(slf.as_any().as_unbound()))?;
            drop(timing.outer.replace(outer));
        }
        timing.collecting.store(collecting().to_bits(), Relaxed);
        let now = Clock::get(py)?.now();
        timing.began.store(now.to_bits(), Relaxed);
        Ok(())
    }

    /// End, and record unless that was done.
    fn finish(&self, py: Python<'_>, failed: bool) -> PyResult<()> {
        let now = Clock::get(py)?.now();
        let state = self.state.swap(DONE, Relaxed);
        if state == DONE {
            return Ok(());
        }
        let took = (now - f64::from_bits(self.began.load(Relaxed))).max(0.0);
        self.began.store(took.to_bits(), Relaxed);
        if state == RUNNING {
            self.histogram
                .get()
                .take(took, self.consists_of(took), failed);
        }
        Ok(())
    }

    /// The parts of a duration. What went on at the same time cannot make up more than all of it.
    fn consists_of(&self, took: f64) -> [f64; PARTS] {
        let mut parts = [0.0; PARTS];
        for (part, cell) in parts.iter_mut().zip(&self.parts) {
            *part = cell.get();
        }
        let paused = collecting() - f64::from_bits(self.collecting.load(Relaxed));
        parts[COLLECTING] = paused.max(0.0);
        let sum: f64 = parts.iter().sum();
        if sum > took {
            for part in &mut parts {
                *part *= took / sum;
            }
        }
        parts
    }

    fn opens(&self) -> bool {
        let kind = self.histogram.get().kind;
        kind == Kind::Database || kind == Kind::Agents
    }
}

#[pymethods]
impl PyTiming {
    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        Self::begin(&slf, slf.get().opens())?;
        Ok(slf)
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        exc_type: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = exc_type.py();
        let timing = slf.get();
        timing.finish(py, !exc_type.is_none())?;
        if timing.opens() {
            return Self::leave(slf);
        }
        Ok(())
    }

    #[pyo3(signature = (failed = false, /))]
    fn stop(&self, py: Python<'_>, failed: bool) -> PyResult<()> {
        self.finish(py, failed)
    }

    fn leave(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, timing) = (slf.py(), slf.get());
        timing.state.store(DONE, Relaxed);
        if current(py)?.is_some_and(|current| current.is(slf)) {
            let outer = timing.outer.take();
            set_current(py, outer.as_ref())?;
        }
        Ok(())
    }

    #[getter]
    fn seconds(&self) -> f64 {
        f64::from_bits(self.began.load(Relaxed))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.histogram)?;
        self.outer.traverse(&visit)
    }

    fn __clear__(&self) {
        self.outer.clear();
    }
}

/// Begins to time by a histogram, and makes the timing current.
pub fn open(histogram: Py<PyHistogram>, py: Python<'_>) -> PyResult<Bound<'_, PyTiming>> {
    let timing = Bound::new(py, PyTiming::new(histogram))?;
    PyTiming::begin(&timing, true)?;
    Ok(timing)
}

#[pyfunction]
#[pyo3(signature = (*, queue = 0.0, database = 0.0, interpreter = 0.0))]
pub fn attribute_seconds(
    py: Python<'_>,
    queue: f64,
    database: f64,
    interpreter: f64,
) -> PyResult<()> {
    attribute(
        py,
        &[
            (QUEUE, queue),
            (DATABASE, database),
            (INTERPRETER, interpreter),
        ],
    )
}

#[pyfunction]
pub fn current_timing(py: Python<'_>) -> PyResult<Option<Bound<'_, PyTiming>>> {
    current(py)
}
