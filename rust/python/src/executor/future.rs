//! The future of a call: a `concurrent.futures.Future` whose usual life is native.
//!
//! `overdrive.executor.Future` inherits from this class and then from the standard library's. As
//! long as nobody asks for the private attributes that the standard library's `wait` and
//! `as_completed` work with, no condition variable is made, and all transitions happen here. The
//! first use of `_condition` makes one and gives the promise away: from then on the standard
//! library's own methods run, on the attributes that this class keeps for them.

use std::sync::{Arc, OnceLock};

use overdrive_core::executor::{Aftermath, Begin, Phase, Promise, Waiting};
use pyo3::exceptions::{PyException, PyTimeoutError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyString, PyTuple, PyType};

use super::call::{working_for, Call, Wakes};
use super::gate::{after, now, Gate};

/// What a call ended with.
pub enum Outcome {
    Value(Py<PyAny>),
    Error(Py<PyAny>),
}

type CallPromise = Promise<Call, Outcome, Py<PyAny>, Arc<Gate>>;
type CallAftermath = Aftermath<Call, Py<PyAny>, Arc<Gate>>;

/// What the standard library's methods work with.
struct Foreign {
    condition: Py<PyAny>,
    waiters: Py<PyList>,
    callbacks: Py<PyList>,
}

#[pyclass(frozen, subclass, module = "overdrive._core", name = "CallFuture")]
#[derive(Default)]
pub struct PyFuture {
    promise: CallPromise,
    foreign: OnceLock<Foreign>,
}

/// `concurrent.futures.Future`.
fn standard(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static STANDARD: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    STANDARD.import(py, "concurrent.futures", "Future")
}

fn log_failed_callback(future: &Bound<'_, PyAny>, error: &PyErr) -> PyResult<()> {
    static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = future.py();
    let kwargs = pyo3::types::PyDict::new(py);
    kwargs.set_item("exc_info", error.value(py))?;
    LOGGER
        .import(py, "concurrent.futures._base", "LOGGER")?
        .call_method(
            "error",
            ("exception calling callback for %r", future),
            Some(&kwargs),
        )
        .map(drop)
}

/// Call a callback as the standard library does: what it raises is logged, unless it is meant for
/// the thread.
fn call_back(future: &Bound<'_, PyAny>, callback: &Py<PyAny>) -> PyResult<()> {
    let py = future.py();
    match callback.call1(py, (future,)) {
        Err(error) if error.is_instance_of::<PyException>(py) => {
            log_failed_callback(future, &error)
        }
        other => other.map(drop),
    }
}

/// Make a future for a call.
pub fn make<'py>(future_type: &Bound<'py, PyType>, call: Call) -> PyResult<Bound<'py, PyFuture>> {
    let future = allocate(future_type)?.cast_into::<PyFuture>()?;
    future.get().promise.prepare(call);
    Ok(future)
}

/// Make an instance without calling `__init__`, which would set up what is not needed.
fn allocate<'py>(future_type: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
    let py = future_type.py();
    let arguments = PyTuple::empty(py);
    let raw = future_type.as_type_ptr();
    // SAFETY: the thread is attached and `raw` is a live type, whose slot takes a type, a tuple and
    // a dict or null, and returns a new reference or null with an error set.
    unsafe {
        let Some(new) = (*raw).tp_new else {
            return Err(PyValueError::new_err("the type makes no instances"));
        };
        Bound::from_owned_ptr_or_err(py, new(raw, arguments.as_ptr(), std::ptr::null_mut()))
    }
}

impl PyFuture {
    /// Take the call in order to run it; `None` if it must not run.
    pub fn begin(slf: &Bound<'_, Self>, allowed: impl Fn(&Call) -> bool) -> PyResult<Option<Call>> {
        let promise = &slf.get().promise;
        match promise.begin(&allowed) {
            Begin::Run(call) => Ok(Some(call)),
            Begin::Cancelled | Begin::Gone => Ok(None),
            Begin::GivenAway => {
                if !promise.ask(&allowed).unwrap_or(false) {
                    // Without a call it may still have been cancelled, which is to be announced.
                    if promise.read(|phase, _| phase == Phase::Cancelled) {
                        Self::standard_begin(slf)?;
                    }
                    return Ok(None);
                }
                Ok(Self::standard_begin(slf)?
                    .then(|| promise.take_call())
                    .flatten())
            }
        }
    }

    fn standard_begin(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let name = intern!(slf.py(), "set_running_or_notify_cancel");
        standard(slf.py())?.call_method1(name, (slf,))?.is_truthy()
    }

    /// Settle the future, wake those who wait and call those who listen.
    pub fn settle(
        slf: &Bound<'_, Self>,
        result: PyResult<Bound<'_, PyAny>>,
        wakes: &Wakes,
    ) -> PyResult<()> {
        let py = slf.py();
        let outcome = match result {
            Ok(value) => Outcome::Value(value.unbind()),
            Err(error) => Outcome::Error(error.into_value(py).into_any()),
        };
        match slf.get().promise.finish(outcome) {
            Ok(after) => Self::conclude(slf, after, wakes),
            Err(Outcome::Value(value)) => {
                let name = intern!(py, "set_result");
                standard(py)?.call_method1(name, (slf, value)).map(drop)
            }
            Err(Outcome::Error(error)) => {
                let name = intern!(py, "set_exception");
                standard(py)?.call_method1(name, (slf, error)).map(drop)
            }
        }
    }

    fn conclude(slf: &Bound<'_, Self>, after: CallAftermath, wakes: &Wakes) -> PyResult<()> {
        wakes.add(after.waiters);
        drop(after.call);
        if after.listeners.is_empty() {
            return Ok(());
        }
        wakes.flush();
        let mut listeners = after.listeners.iter();
        listeners.try_for_each(|listener| call_back(slf.as_any(), listener))
    }

    /// Settle from a thread that has nothing else to do with it.
    fn settle_here(slf: &Bound<'_, Self>, result: PyResult<Bound<'_, PyAny>>) -> PyResult<()> {
        let wakes = Wakes::default();
        let settled = Self::settle(slf, result, &wakes);
        wakes.flush();
        settled
    }

    /// Wait until the call is done. `false`: the promise was given away.
    ///
    /// A worker of the same executor runs the call itself if no other has begun it.
    fn wait_until_done(slf: &Bound<'_, Self>, deadline: Option<u64>, help: bool) -> PyResult<bool> {
        let this = slf.get();
        loop {
            match this.promise.look(|phase, _| phase.is_done()) {
                None if help => return Self::run_awaited(slf).map(|_| false),
                None => return Ok(false),
                Some(true) => return Ok(true),
                Some(false) => {}
            }
            if help && Self::run_awaited(slf)? {
                continue;
            }
            let gate = Arc::new(Gate::new()?);
            if !matches!(this.promise.wait(Arc::clone(&gate)), Waiting::Added) {
                continue;
            }
            let opened = gate.wait(slf.py(), deadline);
            if !matches!(opened, Ok(true)) {
                this.promise
                    .stop_waiting(|waiter| Arc::ptr_eq(waiter, &gate));
            }
            if !opened? && this.promise.look(|phase, _| !phase.is_done()) == Some(true) {
                return Err(PyTimeoutError::new_err(()));
            }
        }
    }

    /// Run the call on this thread, if that is a worker which would otherwise wait for it.
    fn run_awaited(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let promise = &slf.get().promise;
        let owner = promise.ask(|call| call.terms.claimable.then_some(call.terms.owner));
        let Some(owner) = owner.flatten().and_then(working_for) else {
            return Ok(false);
        };
        let Some(call) = Self::begin(slf, |call| call.terms.claimable)? else {
            return Ok(false);
        };
        let began = now();
        let queue_wait = began.saturating_sub(call.terms.submitted);
        let result = call.invoke(slf.py(), began);
        owner.note_claimed(queue_wait, now().saturating_sub(began));
        Self::settle_here(slf, result)?;
        Ok(true)
    }

    /// Make the attributes of the standard library, and let its methods run from now on.
    fn foreign<'a>(
        slf: &'a Bound<'_, Self>,
        condition: Option<Py<PyAny>>,
    ) -> PyResult<&'a Foreign> {
        let (this, py) = (slf.get(), slf.py());
        if let Some(foreign) = this.foreign.get() {
            return Ok(foreign);
        }
        let condition = match condition {
            Some(condition) => condition,
            None => py.import("threading")?.call_method0("Condition")?.unbind(),
        };
        // Nobody sees the callbacks before they are all there.
        condition.call_method0(py, "acquire")?;
        let made = Foreign {
            condition: condition.clone_ref(py),
            waiters: PyList::empty(py).unbind(),
            callbacks: PyList::empty(py).unbind(),
        };
        let filled = if this.foreign.set(made).is_ok() {
            this.give_away(py)
        } else {
            Ok(())
        };
        condition.call_method0(py, "release")?;
        filled?;
        this.foreign
            .get()
            .ok_or_else(|| PyValueError::new_err("the future has no condition"))
    }

    fn give_away(&self, py: Python<'_>) -> PyResult<()> {
        let finished = |phase, _: Option<&_>| matches!(phase, Phase::Finished | Phase::Notified);
        if self.promise.read(finished) {
            return Ok(());
        }
        let (listeners, waiters) = self.promise.give_away().unwrap_or_default();
        for gate in waiters {
            gate.open();
        }
        let Some(foreign) = self.foreign.get() else {
            return Ok(());
        };
        let callbacks = foreign.callbacks.bind(py);
        listeners.into_iter().try_for_each(|l| callbacks.append(l))
    }

    fn value(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.promise.read(|_, outcome| match outcome {
            Some(Outcome::Value(value)) => Some(value.clone_ref(py)),
            _ => None,
        })
    }

    fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.promise.read(|_, outcome| match outcome {
            Some(Outcome::Error(error)) => Some(error.clone_ref(py)),
            _ => None,
        })
    }

    /// The outcome if the call succeeded and its promise was not given away.
    fn ready(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let ready = self.promise.look(|_, outcome| match outcome {
            Some(Outcome::Value(value)) => Some(value.clone_ref(py)),
            _ => None,
        });
        ready.flatten()
    }

    /// Whether the call is to count as holding the interpreter lock.
    pub fn holds(&self) -> bool {
        self.promise
            .ask(|call| call.terms.holds)
            .unwrap_or_default()
    }
}

/// What is left of a timeout for the standard library.
#[allow(clippy::cast_precision_loss)] // nobody waits for 2^53 nanoseconds
fn left(deadline: Option<u64>) -> Option<f64> {
    deadline.map(|at| at.saturating_sub(now()) as f64 / 1e9)
}

#[pymethods]
impl PyFuture {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, pyo3::types::PyDict>>) -> Self {
        Self::default()
    }

    #[pyo3(signature = (timeout=None, *, help=true))]
    fn result(slf: &Bound<'_, Self>, timeout: Option<f64>, help: bool) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if let Some(value) = slf.get().ready(py) {
            return Ok(value);
        }
        let deadline = timeout.and_then(after);
        if Self::wait_until_done(slf, deadline, help)? {
            if let Some(value) = slf.get().ready(py) {
                return Ok(value);
            }
        }
        let result = standard(py)?.call_method1(intern!(py, "result"), (slf, left(deadline)))?;
        Ok(result.unbind())
    }

    #[pyo3(signature = (timeout=None, *, help=true))]
    fn exception(slf: &Bound<'_, Self>, timeout: Option<f64>, help: bool) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let deadline = timeout.and_then(after);
        Self::wait_until_done(slf, deadline, help)?;
        let known = slf.get().promise.look(|_, outcome| match outcome {
            Some(Outcome::Error(error)) => Some(error.clone_ref(py)),
            Some(Outcome::Value(_)) => Some(py.None()),
            None => None,
        });
        if let Some(exception) = known.flatten() {
            return Ok(exception);
        }
        let name = intern!(py, "exception");
        let exception = standard(py)?.call_method1(name, (slf, left(deadline)))?;
        Ok(exception.unbind())
    }

    fn done(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::asks(slf, intern!(slf.py(), "done"), Phase::is_done)
    }

    fn running(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::asks(slf, intern!(slf.py(), "running"), |phase| {
            phase == Phase::Running
        })
    }

    fn cancelled(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::asks(slf, intern!(slf.py(), "cancelled"), |phase| {
            matches!(phase, Phase::Cancelled | Phase::Notified)
        })
    }

    fn cancel(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let promise = &slf.get().promise;
        match promise.cancel() {
            Some(Ok(after)) => {
                let wakes = Wakes::default();
                let concluded = Self::conclude(slf, after, &wakes);
                wakes.flush();
                concluded.map(|()| true)
            }
            Some(Err(phase)) => Ok(matches!(phase, Phase::Cancelled | Phase::Notified)),
            None => {
                let name = intern!(slf.py(), "cancel");
                let done = standard(slf.py())?
                    .call_method1(name, (slf,))?
                    .is_truthy()?;
                if done {
                    drop(promise.take_call());
                }
                Ok(done)
            }
        }
    }

    fn add_done_callback(slf: &Bound<'_, Self>, r#fn: Py<PyAny>) -> PyResult<()> {
        match slf.get().promise.listen(r#fn) {
            Waiting::Added => Ok(()),
            Waiting::Done(callback) => call_back(slf.as_any(), &callback),
            Waiting::GivenAway(callback) => {
                let name = intern!(slf.py(), "add_done_callback");
                let standard = standard(slf.py())?;
                standard.call_method1(name, (slf, callback)).map(drop)
            }
        }
    }

    fn set_running_or_notify_cancel(slf: &Bound<'_, Self>) -> PyResult<bool> {
        match slf.get().promise.announce() {
            Some(running) => Ok(running),
            None => Self::standard_begin(slf),
        }
    }

    fn set_result(slf: &Bound<'_, Self>, result: Bound<'_, PyAny>) -> PyResult<()> {
        Self::settle_here(slf, Ok(result))
    }

    fn set_exception(slf: &Bound<'_, Self>, exception: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let py = slf.py();
        let Some(exception) = exception else {
            return Self::settle_here(slf, Ok(py.None().into_bound(py)));
        };
        Self::settle_here(slf, Err(PyErr::from_value(exception)))
    }

    #[getter(_state)]
    fn state(&self) -> &'static str {
        self.promise.read(|phase, _| match phase {
            Phase::Pending => "PENDING",
            Phase::Running => "RUNNING",
            Phase::Cancelled => "CANCELLED",
            Phase::Notified => "CANCELLED_AND_NOTIFIED",
            Phase::Finished => "FINISHED",
        })
    }

    #[setter(_state)]
    fn set_state(slf: &Bound<'_, Self>, state: &Bound<'_, PyString>) -> PyResult<()> {
        let phase = match &*state.to_cow()? {
            "PENDING" => Phase::Pending,
            "RUNNING" => Phase::Running,
            "CANCELLED" => Phase::Cancelled,
            "CANCELLED_AND_NOTIFIED" => Phase::Notified,
            "FINISHED" => Phase::Finished,
            other => return Err(PyValueError::new_err(format!("unknown state {other:?}"))),
        };
        Self::foreign(slf, None)?;
        slf.get().promise.set_phase(phase);
        Ok(())
    }

    #[getter(_result)]
    fn get_result(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.value(py)
    }

    #[setter(_result)]
    fn put_result(&self, py: Python<'_>, value: Py<PyAny>) {
        if !value.is_none(py) || self.error(py).is_none() {
            drop(self.promise.set_outcome(Some(Outcome::Value(value))));
        }
    }

    #[getter(_exception)]
    fn get_exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.error(py)
    }

    #[setter(_exception)]
    fn put_exception(&self, py: Python<'_>, error: Py<PyAny>) {
        if !error.is_none(py) {
            drop(self.promise.set_outcome(Some(Outcome::Error(error))));
        } else if self.error(py).is_some() {
            drop(self.promise.set_outcome(None));
        }
    }

    #[getter(_condition)]
    fn condition(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Ok(Self::foreign(slf, None)?.condition.clone_ref(slf.py()))
    }

    #[setter(_condition)]
    fn set_condition(slf: &Bound<'_, Self>, condition: Py<PyAny>) -> PyResult<()> {
        Self::foreign(slf, Some(condition)).map(drop)
    }

    #[getter(_waiters)]
    fn waiters(slf: &Bound<'_, Self>) -> PyResult<Py<PyList>> {
        Ok(Self::foreign(slf, None)?.waiters.clone_ref(slf.py()))
    }

    #[setter(_waiters)]
    fn set_waiters(slf: &Bound<'_, Self>, waiters: &Bound<'_, PyAny>) -> PyResult<()> {
        let list = Self::foreign(slf, None)?.waiters.bind(slf.py());
        list.set_slice(0, list.len(), waiters)
    }

    #[getter(_done_callbacks)]
    fn callbacks(slf: &Bound<'_, Self>) -> PyResult<Py<PyList>> {
        Ok(Self::foreign(slf, None)?.callbacks.clone_ref(slf.py()))
    }

    #[setter(_done_callbacks)]
    fn set_callbacks(slf: &Bound<'_, Self>, callbacks: &Bound<'_, PyAny>) -> PyResult<()> {
        let list = Self::foreign(slf, None)?.callbacks.bind(slf.py());
        list.set_slice(0, list.len(), callbacks)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(foreign) = self.foreign.get() {
            visit.call(&foreign.condition)?;
            visit.call(&foreign.waiters)?;
            visit.call(&foreign.callbacks)?;
        }
        self.promise.visit(
            |call| call.traverse(&visit),
            |outcome| match outcome {
                Outcome::Value(value) => visit.call(value),
                Outcome::Error(error) => visit.call(error),
            },
            |listener| visit.call(listener),
        )
    }

    fn __clear__(&self) {
        drop(self.promise.clear());
    }
}

impl PyFuture {
    /// Answer a question about the phase, or have the standard library answer it.
    fn asks(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyString>,
        answer: impl Fn(Phase) -> bool,
    ) -> PyResult<bool> {
        match slf.get().promise.look(|phase, _| answer(phase)) {
            Some(answer) => Ok(answer),
            None => standard(slf.py())?.call_method1(name, (slf,))?.is_truthy(),
        }
    }
}
