//! Submission: from a function and its arguments to a queued job.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use overdrive_core::executor::{Executor, Size, Wake, Worker};
use overdrive_core::Error;
use parking_lot::RwLock;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

use super::call::{working_for, Args, Call, Owner, Terms};
use super::context::Context;
use super::future::{make, PyFuture};
use super::gate::{after, now, Gate};
use super::host::{spawn, Interpreter, Job};
use super::lanes::{KeyedLanes, PyCallOptions};
use super::map::MapJob;
use super::sampler::PyCallSampler;
use super::stats::stats;
use crate::error::to_python;

import_exception!(overdrive.errors, QueueFullError);

/// Set when the interpreter exits: no executor takes calls any more.
pub static EXITING: AtomicBool = AtomicBool::new(false);

/// What happens to a call when the queue is full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    Block,
    Reject,
    CallerRuns,
    DropOldest,
}

impl Overflow {
    pub fn parse(name: &str) -> PyResult<Self> {
        match name {
            "block" => Ok(Self::Block),
            "reject" => Ok(Self::Reject),
            "caller_runs" => Ok(Self::CallerRuns),
            "drop_oldest" => Ok(Self::DropOldest),
            _ => Err(PyValueError::new_err(format!("unknown policy {name:?}"))),
        }
    }
}

/// What a queue is made of.
pub struct Setup {
    pub limit: usize,
    pub capacity: usize,
    pub bound: Option<usize>,
    pub local_queues: bool,
    pub overflow: Overflow,
    pub future_type: Py<PyType>,
    pub spawn: Py<PyAny>,
    pub abandon: Py<PyAny>,
    pub start: Option<Py<PyAny>>,
}

/// Queued calls and what is needed to run them.
pub struct Queue {
    executor: Executor<Job>,
    interpreter: Interpreter,
    owner: Arc<Owner>,
    overflow: Overflow,
    future_type: Py<PyType>,
    lanes: KeyedLanes,
    /// Tags of functions that hold the interpreter lock, once any are known.
    holding: RwLock<HashSet<u64>>,
    measured: AtomicBool,
}

type Submitted = Result<Option<Worker<Job>>, (Job, Error)>;

impl Queue {
    pub fn new(setup: Setup) -> PyResult<Self> {
        let owner: Arc<Owner> = Arc::default();
        let interpreter = |py: Python<'_>| Interpreter {
            start: setup.start.as_ref().map(|start| start.clone_ref(py)),
            abandon: setup.abandon.clone_ref(py),
            spawn: setup.spawn.clone_ref(py),
            owner: Arc::clone(&owner),
        };
        let (host, own) = Python::attach(|py| (interpreter(py), interpreter(py)));
        let size = Size {
            limit: setup.limit,
            capacity: setup.capacity,
            bound: setup.bound,
            local_queues: setup.local_queues,
        };
        let executor = Executor::new(size, host).map_err(to_python)?;
        owner.set_observer(executor.observer());
        Ok(Self {
            executor,
            interpreter: own,
            owner,
            overflow: setup.overflow,
            future_type: setup.future_type,
            lanes: KeyedLanes::new(),
            holding: RwLock::default(),
            measured: AtomicBool::new(false),
        })
    }

    /// Make a call, to be run in a copy of the current context.
    pub fn call(
        &self,
        py: Python<'_>,
        function: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Option<Py<PyDict>>,
        options: Option<&PyCallOptions>,
    ) -> PyResult<Call> {
        if EXITING.load(Ordering::Relaxed) {
            return Err(refusal(Error::Shutdown));
        }
        let terms = self.terms(py, &function, options);
        Ok(Call {
            function,
            args: Args::Tuple(args),
            kwargs,
            context: Context::copy_current(py)?,
            shares_context: false,
            terms,
        })
    }

    fn terms(
        &self,
        py: Python<'_>,
        function: &Py<PyAny>,
        options: Option<&PyCallOptions>,
    ) -> Terms {
        let tag = if self.measured.load(Ordering::Relaxed) {
            tag(function.bind(py))
        } else {
            0
        };
        let announced = options.and_then(|options| options.holds);
        let deadline = options.and_then(|options| options.deadline);
        Terms {
            submitted: now(),
            deadline: deadline.and_then(after).unwrap_or(0),
            owner: self.owner.id(),
            claimable: options.is_none_or(|options| options.key.is_none()),
            holds: announced.unwrap_or_else(|| tag > 0 && self.holding.read().contains(&tag)),
            tag,
        }
    }

    pub fn submit(
        &self,
        py: Python<'_>,
        call: Call,
        options: Option<&Bound<'_, PyCallOptions>>,
    ) -> PyResult<Py<PyFuture>> {
        let future = make(self.future_type.bind(py), call)?.unbind();
        let options = options.map(Bound::get);
        let mut job = Job::Call(future.clone_ref(py));
        let mut force = false;
        loop {
            let error = match self.offer(py, job, options, force)? {
                Ok(worker) => {
                    self.start(py, worker)?;
                    return Ok(future);
                }
                Err((back, error)) => {
                    job = back;
                    error
                }
            };
            match error {
                Error::Closed => {}
                Error::Full => match self.make_room(py, options)? {
                    Room::Retry => {}
                    Room::Force => force = true,
                    Room::RunHere => {
                        drop(job);
                        self.run_here(future.bind(py))?;
                        return Ok(future);
                    }
                },
                error => return Err(refusal(error)),
            }
        }
    }

    /// Offer a job to the queue or to the lane of its key.
    fn offer(
        &self,
        py: Python<'_>,
        job: Job,
        options: Option<&PyCallOptions>,
        force: bool,
    ) -> PyResult<Submitted> {
        let Some(options) = options else {
            return Ok(self.executor.submit(job, 0, force));
        };
        let priority = options.priority;
        Ok(match &options.key {
            None => self.executor.submit(job, priority, force),
            Some(key) => {
                let lane = self.lanes.of(key.bind(py))?;
                self.executor.submit_to(&lane, job, priority, force)
            }
        })
    }

    /// What a full queue asks of the submitter. May wait, help or cancel another call.
    fn make_room(&self, py: Python<'_>, options: Option<&PyCallOptions>) -> PyResult<Room> {
        match self.overflow {
            Overflow::Reject => Err(QueueFullError::new_err(format!(
                "the executor's queue is full: {} calls wait",
                self.executor.bound().unwrap_or(0)
            ))),
            Overflow::CallerRuns if options.is_none_or(|o| o.key.is_none()) => Ok(Room::RunHere),
            Overflow::DropOldest => {
                let oldest = self
                    .executor
                    .steal_least()
                    .and_then(|mut lease| lease.take());
                match oldest {
                    Some(oldest) => oldest.cancel(py).map(|()| Room::Retry),
                    None => Ok(Room::Force),
                }
            }
            Overflow::Block | Overflow::CallerRuns => self.wait_for_room(py),
        }
    }

    /// A worker of this executor must not wait for itself: it works instead.
    fn wait_for_room(&self, py: Python<'_>) -> PyResult<Room> {
        if working_for(self.owner.id()).is_some() {
            return Ok(if self.help(py)? {
                Room::Retry
            } else {
                Room::Force
            });
        }
        let gate = Arc::new(Gate::new()?);
        let waiter = Arc::clone(&gate) as Arc<dyn Wake>;
        self.executor.wait_for_room(Arc::clone(&waiter));
        if self.executor.is_shutdown() {
            gate.open();
        }
        let passed = gate.wait(py, None);
        if passed.is_err() {
            self.executor.stop_waiting(&waiter);
        }
        passed.map(|_| Room::Retry)
    }

    fn run_here(&self, future: &Bound<'_, PyFuture>) -> PyResult<()> {
        if self.executor.is_shutdown() {
            return Err(refusal(Error::Shutdown));
        }
        self.interpreter.run_here(future)
    }

    fn start(&self, py: Python<'_>, worker: Option<Worker<Job>>) -> PyResult<()> {
        worker.map_or(Ok(()), |worker| spawn(&self.interpreter.spawn, py, worker))?;
        self.owner.note_activity();
        Ok(())
    }

    /// Start as many threads as the queued calls want.
    fn start_workers(&self, py: Python<'_>) -> PyResult<()> {
        while let Some(worker) = self.executor.want_worker() {
            spawn(&self.interpreter.spawn, py, worker)?;
        }
        self.owner.note_activity();
        Ok(())
    }

    pub fn submit_many(
        &self,
        py: Python<'_>,
        options: Option<&Bound<'_, PyCallOptions>>,
        function: &Bound<'_, PyAny>,
        arguments: &Bound<'_, PyAny>,
        unary: bool,
    ) -> PyResult<Vec<Py<PyFuture>>> {
        let given = options.map(Bound::get);
        let future_type = self.future_type.bind(py);
        let terms = self.terms(py, function.as_unbound(), given);
        let context = Context::copy_current(py)?;
        let mut futures = Vec::new();
        for argument in arguments.try_iter()? {
            let call = Call {
                function: function.clone().unbind(),
                args: Args::of_many(argument?, unary)?,
                kwargs: None,
                context: context.share(py),
                shares_context: true,
                terms,
            };
            if self.executor.bound().is_some() || given.is_some_and(|o| o.key.is_some()) {
                futures.push(self.submit(py, call, options)?);
            } else {
                futures.push(make(future_type, call)?.unbind());
            }
        }
        if self.executor.bound().is_none() && given.is_none_or(|o| o.key.is_none()) {
            let jobs = futures.iter().map(|future| Job::Call(future.clone_ref(py)));
            let priority = given.map_or(0, |options| options.priority);
            let count = futures.len() as u64;
            self.accept_many(py, jobs, priority, count)?;
        }
        Ok(futures)
    }

    fn accept_many(
        &self,
        py: Python<'_>,
        jobs: impl Iterator<Item = Job>,
        priority: i32,
        count: u64,
    ) -> PyResult<()> {
        self.executor
            .submit_many(jobs, priority, count)
            .map_err(refusal)?;
        self.start_workers(py)
    }

    pub fn map(
        &self,
        py: Python<'_>,
        options: Option<&PyCallOptions>,
        function: Py<PyAny>,
        arguments: &Bound<'_, PyAny>,
        unary: bool,
    ) -> PyResult<Arc<MapJob>> {
        let terms = self.terms(py, &function, options);
        let context = Context::copy_current(py)?;
        let arguments: PyResult<Vec<Py<PyAny>>> = arguments
            .try_iter()?
            .map(|argument| argument.map(Bound::unbind))
            .collect();
        let job = Arc::new(MapJob::new(function, context, unary, arguments?, terms));
        // Threads may be added while the map runs; what is too much finds nothing to do.
        let threads = job.len().min(self.executor.capacity());
        let jobs = (0..threads).map(|_| Job::Map(Arc::clone(&job)));
        let priority = options.map_or(0, |options| options.priority);
        self.accept_many(py, jobs, priority, job.len() as u64)?;
        Ok(job)
    }

    pub fn close(&self, py: Python<'_>, cancel: bool) -> PyResult<()> {
        let cancelled = self.executor.shutdown(cancel);
        self.owner.close();
        let mut done = Ok(());
        for job in cancelled {
            done = done.and(job.cancel(py));
        }
        done
    }

    /// Run one queued call on this thread; raises what asks this thread to end.
    pub fn help(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(mut lease) = self.executor.steal() else {
            return Ok(false);
        };
        Interpreter::run_lease(py, &mut lease).map(|()| true)
    }

    pub fn set_limit(&self, py: Python<'_>, limit: usize) -> PyResult<()> {
        self.executor.set_limit(limit);
        self.start_workers(py)
    }

    pub fn limit_holders(&self, limit: usize) {
        self.measured.store(limit > 0, Ordering::Relaxed);
        self.executor.limit_holders(limit);
    }

    pub fn set_holding(&self, tags: Vec<u64>) {
        *self.holding.write() = tags.into_iter().collect();
    }

    /// Whether the calling thread is a worker and was counted as blocked or no longer.
    pub fn set_blocked(&self, py: Python<'_>, blocked: bool) -> PyResult<bool> {
        if working_for(self.owner.id()).is_none() {
            return Ok(false);
        }
        if blocked {
            self.executor.block();
            self.start_workers(py)?;
        } else {
            self.executor.unblock();
        }
        Ok(true)
    }

    pub fn queued(&self) -> usize {
        self.executor.queued()
    }

    pub fn is_closed(&self) -> bool {
        self.executor.is_shutdown()
    }

    pub fn is_broken(&self) -> bool {
        self.executor.is_broken()
    }

    pub fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = stats(py, &self.executor.stats())?;
        dict.set_item("expired", self.owner.expired.load(Ordering::Relaxed))?;
        Ok(dict)
    }

    pub fn lane_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.lanes.stats(py)
    }

    pub fn sampler(&self) -> PyCallSampler {
        PyCallSampler {
            observer: self.executor.observer(),
            owner: Arc::clone(&self.owner),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.owner.close();
    }
}

/// How a submitter goes on when the queue was full.
enum Room {
    Retry,
    Force,
    RunHere,
}

fn refusal(error: Error) -> PyErr {
    if error == Error::Shutdown && EXITING.load(Ordering::Relaxed) {
        return PyRuntimeError::new_err("cannot schedule new futures after interpreter shutdown");
    }
    to_python(error)
}

/// What a function is known as in measurements: its code, so that closures are known together.
pub fn tag(function: &Bound<'_, PyAny>) -> u64 {
    let code = function.getattr(pyo3::intern!(function.py(), "__code__"));
    let address = match &code {
        Ok(code) => code.as_ptr() as usize,
        Err(_) => function.as_ptr() as usize,
    };
    address as u64
}
