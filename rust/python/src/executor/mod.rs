//! The native part of `overdrive.executor`.

mod call;
mod context;
mod future;
pub mod gate;
mod host;
mod lanes;
mod map;
mod queue;
mod sampler;
mod stats;

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use overdrive_core::executor::Worker;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

pub use future::PyFuture;
use gate::after;
use host::Job;
pub use lanes::PyCallOptions;
pub use map::PyMapResults;
use queue::{tag, Overflow, Queue, Setup, EXITING};
pub use sampler::{thread_seconds, PyCallSample, PyCallSampler};

/// The base class of `WorkStealingExecutor`.
///
/// The queue is replaced only in the child of a fork, and then the old one is left alone for ever:
/// any lock of it may be held by a thread that does not exist there.
#[pyclass(frozen, subclass, module = "overdrive._core", name = "CallExecutor")]
#[derive(Default)]
pub struct PyCallExecutor {
    queue: AtomicPtr<Queue>,
}

impl PyCallExecutor {
    fn queue(&self) -> PyResult<&Queue> {
        // SAFETY: the pointer is null or came from `Box::into_raw`, and what it points to is freed
        // by `drop` only, which has exclusive access.
        unsafe { self.queue.load(Ordering::Acquire).as_ref() }.ok_or_else(|| {
            PyRuntimeError::new_err("the executor was not set up; call super().__init__()")
        })
    }
}

impl Drop for PyCallExecutor {
    fn drop(&mut self) {
        let queue = self.queue.swap(ptr::null_mut(), Ordering::AcqRel);
        if !queue.is_null() {
            // SAFETY: the pointer came from `Box::into_raw` and is not used after the swap.
            drop(unsafe { Box::from_raw(queue) });
        }
    }
}

#[pymethods]
impl PyCallExecutor {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::default()
    }

    /// Begins with an empty queue and no thread.
    #[pyo3(signature = (*, limit, capacity, bound, local_queues, overflow, future_type, spawn, abandon, start))]
    #[allow(clippy::too_many_arguments)] // named ones
    fn _open(
        &self,
        limit: usize,
        capacity: usize,
        bound: Option<usize>,
        local_queues: bool,
        overflow: &str,
        future_type: Py<PyType>,
        spawn: Py<PyAny>,
        abandon: Py<PyAny>,
        start: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let queue = Queue::new(Setup {
            limit,
            capacity,
            bound,
            local_queues,
            overflow: Overflow::parse(overflow)?,
            future_type,
            spawn,
            abandon,
            start,
        })?;
        let old = self
            .queue
            .swap(Box::into_raw(Box::new(queue)), Ordering::AcqRel);
        // Left to the parent process, if there was one.
        let _ = old;
        Ok(())
    }

    #[pyo3(signature = (r#fn, /, *args, **kwargs))]
    fn submit(
        &self,
        py: Python<'_>,
        r#fn: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Option<Py<PyDict>>,
    ) -> PyResult<Py<PyFuture>> {
        let queue = self.queue()?;
        let call = queue.call(py, r#fn, args, kwargs, None)?;
        queue.submit(py, call, None)
    }

    fn _submit_with(
        &self,
        py: Python<'_>,
        options: &Bound<'_, PyCallOptions>,
        function: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Option<Py<PyDict>>,
    ) -> PyResult<Py<PyFuture>> {
        let queue = self.queue()?;
        let call = queue.call(py, function, args, kwargs, Some(options.get()))?;
        queue.submit(py, call, Some(options))
    }

    /// Submits a call for each tuple of arguments.
    fn _submit_many(
        &self,
        py: Python<'_>,
        options: Option<&Bound<'_, PyCallOptions>>,
        function: &Bound<'_, PyAny>,
        arguments: &Bound<'_, PyAny>,
        unary: bool,
    ) -> PyResult<Vec<Py<PyFuture>>> {
        self.queue()?
            .submit_many(py, options, function, arguments, unary)
    }

    /// Begins a map over tuples of arguments.
    #[pyo3(signature = (options, function, arguments, unary, timeout))]
    fn _map(
        &self,
        py: Python<'_>,
        options: Option<&Bound<'_, PyCallOptions>>,
        function: Py<PyAny>,
        arguments: &Bound<'_, PyAny>,
        unary: bool,
        timeout: Option<f64>,
    ) -> PyResult<PyMapResults> {
        let deadline = timeout.and_then(after);
        let options = options.map(Bound::get);
        let job = self.queue()?.map(py, options, function, arguments, unary)?;
        Ok(PyMapResults {
            job,
            deadline,
            next: AtomicUsize::new(0),
        })
    }

    /// Accepts no more calls. With `cancel`, cancels those that no thread has taken.
    fn _close(&self, py: Python<'_>, cancel: bool) -> PyResult<()> {
        self.queue()?.close(py, cancel)
    }

    fn help(&self, py: Python<'_>) -> PyResult<bool> {
        self.queue()?.help(py)
    }

    fn _set_limit(&self, py: Python<'_>, limit: usize) -> PyResult<()> {
        self.queue()?.set_limit(py, limit)
    }

    fn _limit_holders(&self, limit: usize) -> PyResult<()> {
        self.queue()?.limit_holders(limit);
        Ok(())
    }

    fn _set_blocked(&self, py: Python<'_>, blocked: bool) -> PyResult<bool> {
        self.queue()?.set_blocked(py, blocked)
    }

    fn _queued(&self) -> PyResult<usize> {
        Ok(self.queue()?.queued())
    }

    fn _is_closed(&self) -> PyResult<bool> {
        Ok(self.queue()?.is_closed())
    }

    fn _is_broken(&self) -> PyResult<bool> {
        Ok(self.queue()?.is_broken())
    }

    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.queue()?.stats(py)
    }

    fn _lane_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.queue()?.lane_stats(py)
    }

    fn _sampler(&self) -> PyResult<PyCallSampler> {
        Ok(self.queue()?.sampler())
    }

    /// Sets which functions are taken to hold the interpreter lock, by tag.
    fn _set_holding(&self, tags: Vec<u64>) -> PyResult<()> {
        self.queue()?.set_holding(tags);
        Ok(())
    }
}

/// From now on no executor takes calls; the interpreter exits.
#[pyfunction]
pub fn refuse_calls() {
    EXITING.store(true, Ordering::Relaxed);
}

/// What a function is known as in the measurements of a sampler.
#[pyfunction]
pub fn call_tag(function: &Bound<'_, PyAny>) -> u64 {
    tag(function)
}

/// A thread's place in the executor.
#[pyclass(frozen, module = "overdrive._core", name = "CallWorker")]
pub struct PyWorker {
    worker: Mutex<Option<Worker<Job>>>,
}

#[pymethods]
impl PyWorker {
    fn run(&self, py: Python<'_>) {
        let worker = self.worker.lock().take();
        // The worker is dropped attached: it may be the last owner of the executor's references.
        if let Some(mut worker) = worker {
            py.detach(|| worker.run());
        }
    }
}
