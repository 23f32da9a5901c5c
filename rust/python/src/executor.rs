//! The native part of `WorkStealingExecutor`: queues of calls, and the loop of its threads.

use overdrive_core::executor::{Executor, Host, Tasks, Worker};
use parking_lot::Mutex;
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::error::to_python;

/// After so many calls in a row, a thread lets others have the interpreter.
const CALLS_PER_TURN: u32 = 64;

/// One submitted call.
struct Call {
    future: Py<PyAny>,
    context: Py<PyAny>,
    /// The function, then its positional arguments.
    args: Py<PyTuple>,
    kwargs: Option<Py<PyDict>>,
}

impl Call {
    /// Run the function, unless the future was cancelled, and settle the future.
    ///
    /// Returns what the function raised if that asks the thread itself to end.
    fn run(self, py: Python<'_>) -> PyResult<Option<PyErr>> {
        let future = self.future.bind(py);
        if !future
            .call_method0(intern!(py, "set_running_or_notify_cancel"))?
            .is_truthy()?
        {
            return Ok(None);
        }
        let run = self.context.bind(py).getattr(intern!(py, "run"))?;
        let result = run.call(self.args.bind(py), self.kwargs.as_ref().map(|k| k.bind(py)));
        // Whatever the call referred to is gone before anybody sees its result.
        drop((self.context, self.args, self.kwargs));
        let error = match result {
            Ok(value) => {
                future.call_method1(intern!(py, "set_result"), (value,))?;
                return Ok(None);
            }
            Err(error) => error,
        };
        let ending = !error.is_instance_of::<PyException>(py);
        let kept = ending.then(|| error.clone_ref(py));
        future.call_method1(intern!(py, "set_exception"), (error.into_value(py),))?;
        Ok(kept)
    }
}

/// Runs calls inside the interpreter.
struct Interpreter {
    /// Prepares a thread and returns whether that worked.
    start: Option<Py<PyAny>>,
    /// Fails a future that will never run.
    abandon: Py<PyAny>,
}

impl Host<Call> for Interpreter {
    fn start(&self) -> bool {
        let Some(start) = &self.start else {
            return true;
        };
        Python::attach(|py| {
            start
                .call0(py)
                .and_then(|started| started.is_truthy(py))
                .unwrap_or_else(|error| {
                    error.write_unraisable(py, None);
                    false
                })
        })
    }

    fn run(&self, tasks: &mut Tasks<'_, Call>) {
        Python::attach(|py| {
            let mut turn = 0;
            while let Some(call) = tasks.next() {
                if let Err(error) = call.run(py) {
                    error.write_unraisable(py, None);
                }
                turn += 1;
                if turn % CALLS_PER_TURN == 0 {
                    py.detach(|| ());
                }
            }
        });
    }

    fn abandon(&self, calls: Vec<Call>) {
        Python::attach(|py| {
            for call in calls {
                if let Err(error) = self.abandon.call1(py, (call.future,)) {
                    error.write_unraisable(py, None);
                }
            }
        });
    }
}

#[pyclass(frozen, weakref, module = "overdrive._core", name = "CallQueue")]
pub struct PyCallQueue {
    executor: Executor<Call>,
    /// Starts a thread on which the worker it is given runs.
    spawn: Py<PyAny>,
    future_type: Py<PyAny>,
}

impl PyCallQueue {
    /// Have a thread started. Without one, other threads do the work if there are any.
    fn start_worker(&self, py: Python<'_>, worker: Worker<Call>) -> PyResult<()> {
        let worker = PyWorker {
            worker: Mutex::new(Some(worker)),
        };
        self.spawn.call1(py, (worker,)).map(drop)
    }
}

#[pymethods]
impl PyCallQueue {
    #[new]
    fn new(
        max_workers: usize,
        future_type: Py<PyAny>,
        spawn: Py<PyAny>,
        abandon: Py<PyAny>,
        start: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let executor = Executor::new(max_workers, Interpreter { start, abandon });
        Ok(Self {
            executor: executor.map_err(to_python)?,
            spawn,
            future_type,
        })
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn submit(
        &self,
        py: Python<'_>,
        args: Py<PyTuple>,
        kwargs: Option<Py<PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let future = self.future_type.call0(py)?;
        let context = copy_context(py)?;
        let call = Call {
            future: future.clone_ref(py),
            context,
            args,
            kwargs,
        };
        match self.executor.submit(call) {
            Ok(None) => {}
            Ok(Some(worker)) => self.start_worker(py, worker)?,
            Err((_, error)) => return Err(to_python(error)),
        }
        Ok(future)
    }

    /// Returns the futures of the calls that were taken back.
    fn shutdown(&self, cancel: bool) -> Vec<Py<PyAny>> {
        self.executor
            .shutdown(cancel)
            .into_iter()
            .map(|call| call.future)
            .collect()
    }

    /// Runs one queued call on this thread; raises what asks this thread to end.
    fn help(&self, py: Python<'_>) -> PyResult<bool> {
        match self.executor.steal() {
            Some(call) => call.run(py)?.map_or(Ok(true), Err),
            None => Ok(false),
        }
    }

    fn queued(&self) -> usize {
        self.executor.queued()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.executor.stats();
        let dict = PyDict::new(py);
        dict.set_item("workers", stats.workers)?;
        dict.set_item("queued", self.executor.queued())?;
        dict.set_item("submitted", stats.submitted)?;
        dict.set_item("started", stats.started)?;
        dict.set_item("steals", stats.steals)?;
        dict.set_item("parks", stats.parks)?;
        Ok(dict)
    }
}

/// A thread's place in the executor.
#[pyclass(frozen, module = "overdrive._core", name = "CallWorker")]
pub struct PyWorker {
    worker: Mutex<Option<Worker<Call>>>,
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

fn copy_context(py: Python<'_>) -> PyResult<Py<PyAny>> {
    static COPY_CONTEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    COPY_CONTEXT
        .import(py, "contextvars", "copy_context")?
        .call0()
        .map(Bound::unbind)
}
