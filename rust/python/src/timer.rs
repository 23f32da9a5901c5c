//! `Timer`: where a cache reads the time, and what makes it stand still.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;
use std::thread::{self, ThreadId};

use parking_lot::Mutex;
use pyo3::exceptions::{PyOverflowError, PyReferenceError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyString, PyTuple};

use crate::argument;
use crate::call::call;
use crate::lock::Clearable;

/// What Python's `time.monotonic` reads, without the call.
#[derive(Clone, Copy)]
pub struct Clock {
    #[cfg(not(target_os = "linux"))]
    began: std::time::Instant,
    #[cfg(not(target_os = "linux"))]
    at: f64,
}

#[cfg(target_os = "linux")]
impl Clock {
    /// The one clock of the process.
    #[allow(clippy::unnecessary_wraps)] // elsewhere it can fail
    pub fn get(_py: Python<'_>) -> PyResult<Self> {
        Ok(Self {})
    }

    /// Seconds.
    #[allow(clippy::unused_self)] // elsewhere it is needed
    #[inline]
    pub fn now(self) -> f64 {
        read(libc::CLOCK_MONOTONIC)
    }

    /// Whether a time is still to come.
    ///
    /// The kernel keeps a copy of the clock that it renews at every tick, some milliseconds apart.
    /// It takes a third of the time to read, and is enough unless the time is near.
    #[inline]
    pub fn is_before(self, time: f64) -> bool {
        let coarse = read(libc::CLOCK_MONOTONIC_COARSE);
        coarse + COARSENESS < time || (coarse < time && self.now() < time)
    }
}

/// Many times what the coarse clock may be late, in seconds.
#[cfg(target_os = "linux")]
const COARSENESS: f64 = 1.0;

#[cfg(target_os = "linux")]
#[inline]
fn read(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place to write to. The call cannot fail: both clocks exist on every
    // Linux, and if they did not, the time would stay 0.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    #[allow(clippy::cast_precision_loss)] // below 2^53 for longer than machines run
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9;
    seconds
}

#[cfg(not(target_os = "linux"))]
impl Clock {
    /// The one clock of the process.
    pub fn get(py: Python<'_>) -> PyResult<Self> {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        if let Some(clock) = CLOCK.get() {
            return Ok(*clock);
        }
        let began = std::time::Instant::now();
        let at = monotonic(py)?.call0()?.extract()?;
        Ok(*CLOCK.get_or_init(|| Self { began, at }))
    }

    /// Seconds.
    #[inline]
    pub fn now(self) -> f64 {
        self.at + self.began.elapsed().as_secs_f64()
    }

    /// Whether a time is still to come.
    pub fn is_before(self, time: f64) -> bool {
        self.now() < time
    }
}

/// The present, read as late as possible and only as exactly as needed.
#[derive(Clone, Copy)]
pub enum Moment {
    /// It was read, by Python code, or stands still.
    At(f64),
    Now(Clock),
}

impl Moment {
    #[inline]
    pub fn number(self) -> f64 {
        match self {
            Self::At(time) => time,
            Self::Now(clock) => clock.now(),
        }
    }

    #[inline]
    pub fn is_before(self, time: f64) -> bool {
        match self {
            Self::At(now) => now < time,
            Self::Now(clock) => clock.is_before(time),
        }
    }
}

fn monotonic(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("time")?.getattr("monotonic")
}

/// One thread for which time stands still.
struct Frozen {
    time: Py<PyAny>,
    number: f64,
    nesting: usize,
}

/// The timer and its origin.
type State = (Py<PyAny>, Option<Py<PyAny>>);

#[pyclass(frozen, weakref, module = "overdrive._core", name = "Timer")]
pub struct PyTimer {
    timer: Clearable,
    /// Read instead of `timer` where that is `time.monotonic`.
    clock: Option<Clock>,
    /// The first time seen, if times are no numbers: they are counted in seconds from there.
    origin: OnceLock<Py<PyAny>>,
    frozen: Mutex<HashMap<ThreadId, Frozen>>,
    /// The length of `frozen`, readable without the lock.
    freezes: AtomicUsize,
}

impl PyTimer {
    pub fn new(timer: &Bound<'_, PyAny>) -> PyResult<Self> {
        if !timer.is_callable() {
            return Err(PyTypeError::new_err(format!(
                "timer must be callable, got {}",
                timer.repr()?
            )));
        }
        let py = timer.py();
        let clock = if timer.is(&monotonic(py)?) {
            Some(Clock::get(py)?)
        } else {
            None
        };
        Ok(Self {
            timer: Clearable::new(Some(timer.clone().unbind())),
            clock,
            origin: OnceLock::new(),
            frozen: Mutex::default(),
            freezes: AtomicUsize::new(0),
        })
    }

    /// The present.
    #[inline]
    pub fn now(&self, py: Python<'_>) -> PyResult<Moment> {
        match self.clock {
            Some(clock) if self.freezes.load(Ordering::Acquire) == 0 => Ok(Moment::Now(clock)),
            _ => self.read(py).map(|(_, number)| Moment::At(number)),
        }
    }

    fn read(&self, py: Python<'_>) -> PyResult<(Py<PyAny>, f64)> {
        if self.freezes.load(Ordering::Acquire) > 0 {
            let frozen = self.frozen.lock();
            if let Some(frozen) = frozen.get(&thread::current().id()) {
                return Ok((frozen.time.clone_ref(py), frozen.number));
            }
        }
        if let Some(clock) = self.clock {
            let number = clock.now();
            return Ok((PyFloat::new(py, number).into_any().unbind(), number));
        }
        let time = call(self.function(py)?.bind(py), [])?;
        let number = self.number(&time)?;
        Ok((time.unbind(), number))
    }

    /// The function that is called, unless this timer is being collected.
    fn function(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.timer
            .get(py)
            .ok_or_else(|| PyReferenceError::new_err("the timer is being collected"))
    }

    /// What a time of this timer is as a number.
    pub fn number(&self, time: &Bound<'_, PyAny>) -> PyResult<f64> {
        let py = time.py();
        let number = match time.extract::<f64>() {
            Err(error)
                if error.is_instance_of::<PyTypeError>(py)
                    || error.is_instance_of::<PyOverflowError>(py) =>
            {
                self.since_origin(time)?
            }
            number => number?,
        };
        if number.is_nan() {
            return Err(PyValueError::new_err(format!(
                "a time must come before or after others, got {}",
                time.repr()?
            )));
        }
        Ok(number)
    }

    /// The seconds from the first time seen to another.
    fn since_origin(&self, time: &Bound<'_, PyAny>) -> PyResult<f64> {
        let since = |origin| seconds(&time.sub(origin)?, "the difference of two times");
        if self.origin.get().is_none() {
            // What is no time must not become the origin.
            since(time)?;
        }
        let origin = self.origin.get_or_init(|| time.clone().unbind());
        since(origin.bind(time.py()))
    }
}

/// A duration in the unit that times are counted in.
pub fn seconds(duration: &Bound<'_, PyAny>, name: &str) -> PyResult<f64> {
    match argument::number(duration) {
        Err(error) if error.is_instance_of::<PyTypeError>(duration.py()) => {}
        number => return number,
    }
    if duration.hasattr("total_seconds")? {
        return duration.call_method0("total_seconds")?.extract();
    }
    Err(PyTypeError::new_err(format!(
        "{name} must be a number or a timedelta, got {}",
        duration.repr()?
    )))
}

#[pymethods]
impl PyTimer {
    #[new]
    fn py_new(timer: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::new(timer)
    }

    fn __call__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.read(py).map(|(time, _)| time)
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (time, number) = self.read(py)?;
        let mut frozen = self.frozen.lock();
        let here = frozen
            .entry(thread::current().id())
            .or_insert_with(|| Frozen {
                time: time.clone_ref(py),
                number,
                nesting: 0,
            });
        here.nesting += 1;
        self.freezes.store(frozen.len(), Ordering::Release);
        Ok(time)
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, PyTuple>) {
        let here = thread::current().id();
        let mut frozen = self.frozen.lock();
        let Some(held) = frozen.get_mut(&here) else {
            return;
        };
        held.nesting -= 1;
        // Dropped after the lock.
        let thawed = (held.nesting == 0).then(|| frozen.remove(&here));
        self.freezes.store(frozen.len(), Ordering::Release);
        drop(frozen);
        drop(thawed);
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        let copy = Self::new(self.function(py)?.bind(py))?;
        if let Some(origin) = self.origin.get() {
            // The copy is new, so nobody else has set its origin.
            let _ = copy.origin.set(origin.clone_ref(py));
        }
        Ok(copy)
    }

    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<(Py<PyAny>, State)> {
        let py = slf.py();
        let this = slf.get();
        let restore = slf.get_type().getattr("_restore")?.unbind();
        let origin = this.origin.get().map(|origin| origin.clone_ref(py));
        Ok((restore, (this.function(py)?, origin)))
    }

    #[staticmethod]
    #[pyo3(signature = (timer, origin))]
    fn _restore(timer: &Bound<'_, PyAny>, origin: Option<Py<PyAny>>) -> PyResult<Self> {
        let this = Self::new(timer)?;
        if let Some(origin) = origin {
            // Nobody else knows this timer yet.
            let _ = this.origin.set(origin);
        }
        Ok(this)
    }

    fn __getattr__<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.function(py)?
            .into_bound(py)
            .getattr(name.cast::<PyString>()?)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.timer.traverse(&visit)?;
        visit.call(self.origin.get())
    }

    fn __clear__(&self) {
        self.timer.clear();
    }
}
