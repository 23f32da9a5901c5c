//! One submitted call, and what becomes of it.

use std::cell::RefCell;
use std::sync::atomic::{fence, AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use overdrive_core::executor::Observer;
use parking_lot::Mutex;
use pyo3::exceptions::PyTimeoutError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::context::Context;
use super::gate::Gate;
use super::host::Job;

/// A function with its arguments, and how it is to be run.
pub struct Call {
    pub function: Py<PyAny>,
    pub args: Args,
    pub kwargs: Option<Py<PyDict>>,
    pub context: Context,
    /// The context is that of many calls, each of which runs in a copy. It is made by who runs the
    /// call, in whose cache it then is.
    pub shares_context: bool,
    pub terms: Terms,
}

/// The positional arguments of a call.
pub enum Args {
    /// Exactly one, kept without a tuple.
    One(Py<PyAny>),
    Tuple(Py<PyTuple>),
}

impl Args {
    /// The arguments of one call of many: a single one, or a tuple of all.
    pub fn of_many(argument: Bound<'_, PyAny>, unary: bool) -> PyResult<Self> {
        if unary {
            return Ok(Self::One(argument.unbind()));
        }
        Ok(Self::Tuple(argument.cast_into::<PyTuple>()?.unbind()))
    }

    fn object(&self) -> &Py<PyAny> {
        match self {
            Self::One(argument) => argument,
            Self::Tuple(arguments) => arguments.as_any(),
        }
    }
}

/// How a call is to be run.
#[derive(Clone, Copy)]
pub struct Terms {
    /// When it was submitted.
    pub submitted: u64,
    /// When it is too late to begin it; zero means never.
    pub deadline: u64,
    /// The executor, by the address of its [`Owner`].
    pub owner: usize,
    /// Whether a worker that waits for the call may run it at once.
    pub claimable: bool,
    /// Whether it counts as holding the interpreter lock.
    pub holds: bool,
    /// What its function is known as in the measurements; zero if nothing is measured.
    pub tag: u64,
}

impl Call {
    /// Run the function, unless it is too late. Drops everything that the call refers to.
    pub fn invoke(self, py: Python<'_>, began: u64) -> PyResult<Bound<'_, PyAny>> {
        let terms = self.terms;
        if terms.deadline > 0 && began > terms.deadline {
            return Err(too_late(terms, began));
        }
        let function = self.function.bind(py);
        let kwargs = self.kwargs.as_ref().map(|kwargs| kwargs.bind(py));
        let copy = if self.shares_context {
            Some(self.context.copy(py)?)
        } else {
            None
        };
        let context = copy.as_ref().unwrap_or(&self.context);
        context.run(py, || match &self.args {
            Args::One(argument) => function.call1((argument,)),
            Args::Tuple(arguments) => function.call(arguments.bind(py), kwargs),
        })
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.function)?;
        visit.call(self.args.object())?;
        visit.call(&self.kwargs)?;
        visit.call(self.context.object())
    }
}

#[allow(clippy::cast_precision_loss)] // for people to read
fn too_late(terms: Terms, began: u64) -> PyErr {
    let seconds = (began - terms.submitted) as f64 / 1e9;
    PyTimeoutError::new_err(format!(
        "the call waited {seconds:.3} seconds in the queue, beyond its deadline"
    ))
}

/// The identity of an executor for the threads that work for it.
#[derive(Default)]
pub struct Owner {
    observer: Mutex<Option<Observer<Job>>>,
    /// Calls that were not run because it was too late.
    pub expired: AtomicU64,
    closed: AtomicBool,
    /// The gate of a sampler, and whether a submission opens it.
    watcher: Mutex<Option<Arc<Gate>>>,
    watching: AtomicBool,
}

impl Owner {
    pub fn id(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self) as usize
    }

    pub fn set_observer(&self, observer: Observer<Job>) {
        *self.observer.lock() = Some(observer);
    }

    /// Open a gate when the executor is closed and, if asked for, when a call was submitted.
    pub fn watch(&self, gate: Arc<Gate>, until_call: bool) {
        *self.watcher.lock() = Some(gate);
        self.watching.store(until_call, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.is_closed() {
            self.open_gate();
        }
    }

    pub fn stop_watching(&self) {
        self.watching.store(false, Ordering::Relaxed);
        *self.watcher.lock() = None;
    }

    fn open_gate(&self) {
        let gate = self.watcher.lock().take();
        if let Some(gate) = gate {
            gate.open();
        }
    }

    /// A call was submitted, counted, and announced to the workers, which includes a fence. A
    /// watcher looks at the count after it has said that it watches: one of the two sees the other.
    pub fn note_activity(&self) {
        if self.watching.load(Ordering::SeqCst) {
            self.open_gate();
        }
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.open_gate();
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Count a call that was run without being taken from a queue.
    pub fn note_claimed(&self, queue_wait: u64, run: u64) {
        if let Some(observer) = &*self.observer.lock() {
            observer.note_claimed(queue_wait, run);
        }
    }
}

thread_local! {
    /// The executor that the current thread works for.
    static HERE: RefCell<Option<Arc<Owner>>> = const { RefCell::new(None) };
}

/// Note that the current thread works for an executor.
pub fn work_for(owner: &Arc<Owner>) {
    HERE.with_borrow_mut(|here| *here = Some(Arc::clone(owner)));
}

/// The executor that the current thread works for, if it has the given id.
pub fn working_for(id: usize) -> Option<Arc<Owner>> {
    HERE.with_borrow(|here| here.as_ref().filter(|owner| owner.id() == id).cloned())
}

/// Gates to be opened by this thread, when it is detached or before it does something long.
///
/// Whoever waits needs the interpreter next: woken while this thread still has it, they would only
/// go back to sleep.
#[derive(Default)]
pub struct Wakes(RefCell<Vec<Arc<Gate>>>);

impl Wakes {
    pub fn add(&self, gates: Vec<Arc<Gate>>) {
        if !gates.is_empty() {
            self.0.borrow_mut().extend(gates);
        }
    }

    pub fn flush(&self) {
        if self.0.borrow().is_empty() {
            return;
        }
        for gate in self.0.take() {
            gate.open();
        }
    }
}
