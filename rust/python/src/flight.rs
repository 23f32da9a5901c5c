//! One call per key at a time: whoever comes later waits for it to end.
//!
//! The first thread that wants a key takes off: its flight goes into the table. Others that want
//! the same key wait until it has landed, and look again. They wait in `acquire` of a lock of
//! Python's that is held during the flight, which detaches and wakes for signals.
//!
//! A thread that would wait for itself gets an error instead, also if the circle goes through other
//! threads: before a thread waits it writes down for which flight, and follows from the owner of
//! that flight to what the owner waits for, and so on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, ThreadId};

use overdrive_core::registry::Entry;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::table::Table;

struct Flight {
    owner: ThreadId,
    /// The flights of a forked process's parent never land in the child.
    process: u32,
    landed: AtomicBool,
    /// A `_thread.lock`, held until the flight has landed.
    gate: Py<PyAny>,
}

impl Flight {
    fn take_off(py: Python<'_>) -> PyResult<Self> {
        static ALLOCATE_LOCK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let gate = ALLOCATE_LOCK
            .import(py, "_thread", "allocate_lock")?
            .call0()?;
        gate.call_method0(intern!(py, "acquire"))?;
        Ok(Self {
            owner: thread::current().id(),
            process: std::process::id(),
            landed: AtomicBool::new(false),
            gate: gate.unbind(),
        })
    }

    /// Whether it makes no sense for a thread to wait for this flight.
    fn is_over(&self, thread: ThreadId) -> bool {
        self.landed.load(Ordering::Acquire)
            || (self.process != std::process::id() && self.owner != thread)
    }

    fn wait(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let waiting = Waiting::begin(self)?;
        let gate = self.gate.bind(py);
        let passed = gate
            .call_method0(intern!(py, "acquire"))
            .and_then(|_| gate.call_method0(intern!(py, "release")));
        drop(waiting);
        passed.map(drop)
    }
}

/// Who waits for which flight, in the whole process.
static WAITING: Mutex<Vec<(ThreadId, Arc<Flight>)>> = Mutex::new(Vec::new());

/// The current thread's entry in [`WAITING`].
struct Waiting {
    thread: ThreadId,
}

impl Waiting {
    fn begin(flight: &Arc<Flight>) -> PyResult<Self> {
        let thread = thread::current().id();
        let mut waiting = WAITING.lock();
        let mut blocker = Some(flight);
        while let Some(flight) = blocker.filter(|flight| !flight.is_over(thread)) {
            if flight.owner == thread {
                drop(waiting);
                return Err(PyRuntimeError::new_err(
                    "the factory of a key waits, directly or through other threads, for itself",
                ));
            }
            let last = waiting.iter().rfind(|(other, _)| *other == flight.owner);
            blocker = last.map(|(_, flight)| flight);
        }
        waiting.push((thread, Arc::clone(flight)));
        Ok(Self { thread })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = WAITING.lock();
        let last = waiting.iter().rposition(|(other, _)| *other == self.thread);
        let ended = last.map(|place| waiting.remove(place));
        drop(waiting);
        drop(ended);
    }
}

pub struct Flights {
    table: Table<Arc<Flight>>,
}

/// The right to make the value of a key, until dropped.
pub struct Landing<'a, 'py> {
    flights: &'a Flights,
    flight: Arc<Flight>,
    /// The object that is the key of the flight in the table.
    key: Bound<'py, PyAny>,
    hash: u64,
}

/// What [`Flights::take_off`] decides under the lock.
enum Departure {
    /// The flight of this thread is in the table, under this key of this hash.
    Mine(Py<PyAny>, u64),
    Other(Arc<Flight>),
}

impl Flights {
    pub fn new() -> PyResult<Self> {
        Ok(Self {
            table: Table::new(1)?,
        })
    }

    /// Take off for a key, or wait until the flight of another thread for it has landed.
    pub fn take_off<'a, 'py>(
        &'a self,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Landing<'a, 'py>>> {
        let py = key.py();
        let flight = Arc::new(Flight::take_off(py)?);
        let (departure, over) = self.table.edit(key, |entry, probe| match entry {
            Entry::Vacant(place) => {
                place.insert(probe.key(), Arc::clone(&flight));
                (Departure::Mine(key.clone().unbind(), probe.hash()), None)
            }
            Entry::Occupied(mut entry) => {
                let other = entry.value();
                if other.is_over(flight.owner) {
                    let key = entry.key().object().clone_ref(py);
                    let over = entry.replace(Arc::clone(&flight));
                    (Departure::Mine(key, probe.hash()), Some(over))
                } else {
                    (Departure::Other(Arc::clone(other)), None)
                }
            }
        })?;
        drop(over);
        match departure {
            Departure::Mine(key, hash) => Ok(Some(Landing {
                flights: self,
                flight,
                key: key.into_bound(py),
                hash,
            })),
            Departure::Other(other) => other.wait(py).map(|()| None),
        }
    }
}

impl Drop for Landing<'_, '_> {
    fn drop(&mut self) {
        let mine = self.flights.table.inner.entry(
            self.hash,
            |key| key.object().is(&self.key),
            |entry| match entry {
                Entry::Occupied(entry) if Arc::ptr_eq(entry.value(), &self.flight) => {
                    Some(entry.remove())
                }
                _ => None,
            },
        );
        drop(mine);
        self.flight.landed.store(true, Ordering::Release);
        let py = self.key.py();
        if let Err(error) = self.flight.gate.call_method0(py, intern!(py, "release")) {
            error.write_unraisable(py, None);
        }
    }
}
