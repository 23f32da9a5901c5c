//! `map`: one function over many arguments, worked on by as many threads as are free.
//!
//! Threads take the next argument by an atomic cursor, so that no thread has work to do while
//! another has none, and nobody decides beforehand who does what.

use std::sync::atomic::{fence, AtomicUsize, Ordering};
use std::sync::Arc;

use overdrive_core::executor::Tasks;
use parking_lot::Mutex;
use pyo3::exceptions::PyTimeoutError;
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::call::{working_for, Terms, Wakes};
use super::context::Context;
use super::gate::{now, Gate};
use super::host::{give_way, Job};

import_exception!(concurrent.futures, CancelledError);

/// After so many items, or so many nanoseconds, a thread looks whether there is other work.
const ITEMS_PER_TURN: u32 = 64;
const TURN: u64 = 1_000_000;

enum Item {
    /// Its argument, or its arguments if the function takes several.
    Waiting(Py<PyAny>),
    Running,
    Value(Py<PyAny>),
    Error(Py<PyAny>),
    Cancelled,
    Taken,
}

impl Item {
    fn is_done(&self) -> bool {
        matches!(self, Self::Value(_) | Self::Error(_) | Self::Cancelled)
    }
}

const NOBODY: usize = usize::MAX;

pub struct MapJob {
    function: Py<PyAny>,
    context: Context,
    /// Each item is one argument, not a tuple of arguments.
    unary: bool,
    items: Box<[Mutex<Item>]>,
    /// The first item that nobody has begun.
    cursor: AtomicUsize,
    /// The item that the consumer waits for, at the gate.
    awaited: AtomicUsize,
    gate: Mutex<Option<Arc<Gate>>>,
    pub terms: Terms,
}

impl MapJob {
    pub fn new(
        function: Py<PyAny>,
        context: Context,
        unary: bool,
        arguments: Vec<Py<PyAny>>,
        terms: Terms,
    ) -> Self {
        let items = arguments.into_iter().map(|a| Mutex::new(Item::Waiting(a)));
        Self {
            function,
            context,
            unary,
            items: items.collect(),
            cursor: AtomicUsize::new(0),
            awaited: AtomicUsize::new(NOBODY),
            gate: Mutex::new(None),
            terms,
        }
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    fn claim(&self) -> Option<usize> {
        if self.cursor.load(Ordering::Relaxed) >= self.items.len() {
            return None;
        }
        let index = self.cursor.fetch_add(1, Ordering::Relaxed);
        (index < self.items.len()).then_some(index)
    }

    /// Work on the items as a worker; returns when that was done.
    pub fn work(
        self: Arc<Self>,
        py: Python<'_>,
        tasks: &Tasks<'_, Job>,
        wakes: &Wakes,
        began: u64,
    ) -> u64 {
        let mut time = began;
        let mut turn: u32 = 0;
        while let Some(index) = self.claim() {
            wakes.flush();
            tasks.note_begin(time, self.terms.tag);
            self.run(py, index, wakes);
            let end = now();
            tasks.note_end(
                time.saturating_sub(self.terms.submitted),
                end.saturating_sub(time),
            );
            time = end;
            turn += 1;
            if turn >= ITEMS_PER_TURN || time - began > TURN {
                tasks.requeue(Job::Map(self));
                return give_way(py, tasks, time);
            }
        }
        time
    }

    /// Work on one item as a thread that would otherwise wait.
    pub fn help(&self, py: Python<'_>, wakes: &Wakes) -> bool {
        let Some(index) = self.claim() else {
            return false;
        };
        self.run(py, index, wakes);
        true
    }

    fn run(&self, py: Python<'_>, index: usize, wakes: &Wakes) {
        let item = std::mem::replace(&mut *self.items[index].lock(), Item::Running);
        let done = match item {
            Item::Waiting(argument) => match self.call(py, argument) {
                Ok(value) => Item::Value(value),
                Err(error) => Item::Error(error.into_value(py).into_any()),
            },
            // Cancelled meanwhile.
            other => other,
        };
        *self.items[index].lock() = done;
        if let Some(gate) = self.awaiting(index) {
            wakes.add(vec![gate]);
        }
    }

    fn call(&self, py: Python<'_>, argument: Py<PyAny>) -> PyResult<Py<PyAny>> {
        let function = self.function.bind(py);
        let argument = argument.into_bound(py);
        let context = self.context.copy(py)?;
        let value = if self.unary {
            context.run(py, || function.call1((argument,)))
        } else {
            context.run(py, || function.call1(argument.cast::<PyTuple>()?))
        };
        value.map(Bound::unbind)
    }

    /// After an item was done: the gate of the consumer, if it waits for this one.
    ///
    /// The consumer says what it waits for and looks at the item afterwards; here it is the other
    /// way round. One of the two sees the other.
    fn awaiting(&self, index: usize) -> Option<Arc<Gate>> {
        fence(Ordering::SeqCst);
        if self.awaited.load(Ordering::SeqCst) != index {
            return None;
        }
        self.gate.lock().take()
    }

    /// Let no further item begin, and wake the consumer.
    pub fn cancel(&self) {
        self.end_rest(|| Item::Cancelled);
    }

    /// Let no further item begin; each has this exception instead of a result.
    pub fn fail(&self, error: &Bound<'_, PyAny>) {
        self.end_rest(|| Item::Error(error.clone().unbind()));
    }

    fn end_rest(&self, outcome: impl Fn() -> Item) {
        let first = self.cursor.swap(self.items.len(), Ordering::SeqCst);
        for item in self.items.get(first..).unwrap_or_default() {
            let old = std::mem::replace(&mut *item.lock(), outcome());
            drop(old);
        }
        let gate = self.gate.lock().take();
        if let Some(gate) = gate {
            gate.open();
        }
    }

    fn is_done(&self, index: usize) -> bool {
        self.items[index].lock().is_done()
    }

    /// Wait for an item. `false`: the deadline came first.
    fn wait(&self, py: Python<'_>, index: usize, deadline: Option<u64>) -> PyResult<bool> {
        let helping = working_for(self.terms.owner).is_some();
        loop {
            if self.is_done(index) {
                return Ok(true);
            }
            if helping && self.help(py, &Wakes::default()) {
                continue;
            }
            let gate = Arc::new(Gate::new()?);
            *self.gate.lock() = Some(Arc::clone(&gate));
            self.awaited.store(index, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let opened = self.is_done(index) || gate.wait(py, deadline)?;
            self.awaited.store(NOBODY, Ordering::SeqCst);
            if !opened {
                return Ok(self.is_done(index));
            }
        }
    }
}

/// The results of a map, in order.
#[pyclass(frozen, module = "overdrive._core", name = "MapResults")]
pub struct PyMapResults {
    pub job: Arc<MapJob>,
    pub deadline: Option<u64>,
    pub next: AtomicUsize,
}

#[pymethods]
impl PyMapResults {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if index >= self.job.len() {
            return Ok(None);
        }
        if !self.job.wait(py, index, self.deadline)? {
            return Err(PyTimeoutError::new_err(()));
        }
        let item = std::mem::replace(&mut *self.job.items[index].lock(), Item::Taken);
        match item {
            Item::Value(value) => Ok(Some(value)),
            Item::Error(error) => Err(PyErr::from_value(error.into_bound(py))),
            _ => Err(CancelledError::new_err(())),
        }
    }

    /// Lets no further call begin.
    fn cancel(&self) {
        self.job.cancel();
    }
}
