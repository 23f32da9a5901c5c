//! How workers run calls inside the interpreter.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use overdrive_core::executor::{Host, Lease, Tasks, Worker};
use parking_lot::Mutex;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use super::call::{work_for, Owner, Wakes};
use super::future::PyFuture;
use super::gate::now;
use super::map::MapJob;
use super::PyWorker;

/// After so many calls in a row, a thread lets others have the interpreter.
const CALLS_PER_TURN: u32 = 64;

/// What the queues hold.
pub enum Job {
    Call(Py<PyFuture>),
    /// One of the threads that work on a map.
    Map(Arc<MapJob>),
}

impl Job {
    /// Cancel what will not run.
    pub fn cancel(self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Call(future) => {
                future.call_method0(py, "cancel")?;
                // No thread will tell those who wait, so this one does.
                PyFuture::begin(future.bind(py), |_| false).map(drop)
            }
            Self::Map(map) => {
                map.cancel();
                Ok(())
            }
        }
    }
}

/// Runs calls inside the interpreter.
pub struct Interpreter {
    /// Prepares a thread and returns whether that worked.
    pub start: Option<Py<PyAny>>,
    /// Makes the exception of calls that will never run.
    pub abandon: Py<PyAny>,
    /// Starts a thread on which the worker it is given runs.
    pub spawn: Py<PyAny>,
    pub owner: Arc<Owner>,
}

impl Host<Job> for Interpreter {
    fn start(&self) -> bool {
        work_for(&self.owner);
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

    fn run(&self, tasks: &mut Tasks<'_, Job>) {
        let wakes = Wakes::default();
        let asked = now();
        Python::attach(|py| self.run_attached(py, tasks, &wakes, asked));
        wakes.flush();
    }

    fn abandon(&self, jobs: Vec<Job>) {
        Python::attach(|py| {
            for job in jobs {
                if let Err(error) = self.fail(py, job) {
                    error.write_unraisable(py, None);
                }
            }
        });
    }

    fn spawn(&self, worker: Worker<Job>) {
        Python::attach(|py| {
            if let Err(error) = spawn(&self.spawn, py, worker) {
                error.write_unraisable(py, None);
            }
        });
    }

    fn holds(&self, job: &Job) -> bool {
        match job {
            Job::Call(future) => future.get().holds(),
            Job::Map(map) => map.terms.holds,
        }
    }
}

impl Interpreter {
    fn run_attached(&self, py: Python<'_>, tasks: &mut Tasks<'_, Job>, wakes: &Wakes, asked: u64) {
        let mut time = now();
        tasks.note_attach(time - asked);
        let mut turn: u32 = 0;
        while let Some(job) = tasks.next() {
            wakes.flush();
            time = match job {
                Job::Call(future) => self.run_call(future.bind(py), tasks, wakes, time),
                Job::Map(map) => map.work(py, tasks, wakes, time),
            };
            turn = turn.wrapping_add(1);
            if turn % CALLS_PER_TURN == 0 {
                time = give_way(py, tasks, time);
            }
        }
    }

    /// Run a call that was taken at `began`; returns when it was done.
    fn run_call(
        &self,
        future: &Bound<'_, PyFuture>,
        tasks: &Tasks<'_, Job>,
        wakes: &Wakes,
        began: u64,
    ) -> u64 {
        let py = future.py();
        let call = match PyFuture::begin(future, |_| true) {
            Ok(Some(call)) => call,
            Ok(None) => return began,
            Err(error) => {
                error.write_unraisable(py, Some(future.as_any()));
                return began;
            }
        };
        let terms = call.terms;
        if terms.deadline > 0 && began > terms.deadline {
            self.owner.expired.fetch_add(1, Ordering::Relaxed);
        }
        tasks.note_begin(began, terms.tag);
        let result = call.invoke(py, began);
        let end = now();
        tasks.note_end(
            began.saturating_sub(terms.submitted),
            end.saturating_sub(began),
        );
        if let Err(error) = PyFuture::settle(future, result, wakes) {
            error.write_unraisable(py, Some(future.as_any()));
        }
        end
    }

    /// Run a call on a thread that is no worker. Raises what asks that thread to end.
    pub fn run_lease(py: Python<'_>, lease: &mut Lease<Job>) -> PyResult<()> {
        let wakes = Wakes::default();
        let done = match lease.take() {
            Some(Job::Call(future)) => run_leased(future.bind(py), lease, &wakes),
            Some(Job::Map(map)) => {
                map.help(py, &wakes);
                Ok(())
            }
            None => Ok(()),
        };
        wakes.flush();
        done
    }

    /// Run a call that was never queued.
    pub fn run_here(&self, future: &Bound<'_, PyFuture>) -> PyResult<()> {
        let Some(call) = PyFuture::begin(future, |_| true)? else {
            return Ok(());
        };
        let began = now();
        let result = call.invoke(future.py(), began);
        self.owner.note_claimed(0, now().saturating_sub(began));
        let wakes = Wakes::default();
        let settled = PyFuture::settle(future, result, &wakes);
        wakes.flush();
        settled
    }

    fn fail(&self, py: Python<'_>, job: Job) -> PyResult<()> {
        let error = || self.abandon.bind(py).call0().map(PyErr::from_value);
        match job {
            Job::Call(future) => {
                let wakes = Wakes::default();
                let settled = PyFuture::settle(future.bind(py), Err(error()?), &wakes);
                wakes.flush();
                settled
            }
            Job::Map(map) => {
                map.fail(error()?.value(py).as_any());
                Ok(())
            }
        }
    }
}

fn run_leased(future: &Bound<'_, PyFuture>, lease: &Lease<Job>, wakes: &Wakes) -> PyResult<()> {
    let py = future.py();
    let Some(call) = PyFuture::begin(future, |_| true)? else {
        return Ok(());
    };
    let terms = call.terms;
    let began = now();
    let result = call.invoke(py, began);
    lease.note_end(
        began.saturating_sub(terms.submitted),
        now().saturating_sub(began),
    );
    let ending = match &result {
        Err(error) if !error.is_instance_of::<PyException>(py) => Some(error.clone_ref(py)),
        _ => None,
    };
    PyFuture::settle(future, result, wakes)?;
    ending.map_or(Ok(()), Err)
}

/// Let other threads have the interpreter; returns the time when it is had again.
pub fn give_way(py: Python<'_>, tasks: &Tasks<'_, Job>, time: u64) -> u64 {
    py.detach(|| ());
    let again = now();
    tasks.note_attach(again.saturating_sub(time));
    again
}

/// Have a thread started. Without one, other threads do the work if there are any.
pub fn spawn(spawn: &Py<PyAny>, py: Python<'_>, worker: Worker<Job>) -> PyResult<()> {
    let worker = PyWorker {
        worker: Mutex::new(Some(worker)),
    };
    spawn.call1(py, (worker,)).map(drop)
}
