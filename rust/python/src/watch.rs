//! Who wants to know of the changes of a registry, and how they are told.

use std::sync::atomic::{AtomicBool, Ordering};

use overdrive_core::outbox::Outbox;
use parking_lot::Mutex;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::call::call;
use crate::registry::PyRegistry;

/// What happened to one key.
#[pyclass(frozen, module = "overdrive.registry", name = "Change")]
pub struct Change {
    #[pyo3(get)]
    key: Py<PyAny>,
    #[pyo3(get)]
    old: Option<Py<PyAny>>,
    #[pyo3(get)]
    new: Option<Py<PyAny>>,
}

#[pymethods]
impl Change {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str, &'static str, &'static str) {
        ("kind", "key", "old", "new")
    }

    #[getter]
    fn kind(&self) -> &'static str {
        match (&self.old, &self.new) {
            (None, _) => "added",
            (Some(_), Some(_)) => "replaced",
            (Some(_), None) => "removed",
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let repr = |value: &Option<Py<PyAny>>| match value {
            Some(value) => value.bind(py).repr().map(|repr| repr.to_string()),
            None => Ok("None".to_owned()),
        };
        Ok(format!(
            "Change(kind='{}', key={}, old={}, new={})",
            self.kind(),
            self.key.bind(py).repr()?,
            repr(&self.old)?,
            repr(&self.new)?
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.key)?;
        visit.call(&self.old)?;
        visit.call(&self.new)
    }
}

/// Ends the calls of one callback.
#[pyclass(frozen, module = "overdrive.registry", name = "Watch")]
pub struct Watch {
    pub registry: Py<PyRegistry>,
    pub id: u64,
}

#[pymethods]
impl Watch {
    fn close(&self) {
        drop(self.registry.get().entries.watchers.remove(self.id));
    }

    #[getter]
    fn closed(&self) -> bool {
        !self.registry.get().entries.watchers.contains(self.id)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyAny>) {
        self.close();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.registry)
    }
}

struct Watcher {
    id: u64,
    /// The number of the first change that it is told.
    since: u64,
    callback: Py<PyAny>,
}

#[derive(Default)]
struct List {
    last_id: u64,
    watchers: Vec<Watcher>,
}

#[derive(Default)]
pub struct Watchers {
    /// Whether the list is not empty.
    watched: AtomicBool,
    list: Mutex<List>,
    outbox: Outbox<Change>,
}

impl Watchers {
    /// Add a callback and return its number.
    pub fn add(&self, callback: Py<PyAny>) -> u64 {
        let mut list = self.list.lock();
        list.last_id += 1;
        let id = list.last_id;
        let since = self.outbox.next_number();
        list.watchers.push(Watcher {
            id,
            since,
            callback,
        });
        self.watched.store(true, Ordering::Relaxed);
        id
    }

    /// Take a callback out, to be dropped by the caller.
    pub fn remove(&self, id: u64) -> Option<Py<PyAny>> {
        let mut list = self.list.lock();
        let place = list.watchers.iter().position(|w| w.id == id)?;
        let watcher = list.watchers.remove(place);
        self.watched
            .store(!list.watchers.is_empty(), Ordering::Relaxed);
        Some(watcher.callback)
    }

    fn contains(&self, id: u64) -> bool {
        self.list.lock().watchers.iter().any(|w| w.id == id)
    }

    /// Note a change, under the lock that ordered it.
    #[inline]
    pub fn note(
        &self,
        py: Python<'_>,
        key: &Py<PyAny>,
        old: Option<&Py<PyAny>>,
        new: Option<&Py<PyAny>>,
    ) {
        if self.watched.load(Ordering::Relaxed) {
            self.outbox.push(Change {
                key: key.clone_ref(py),
                old: old.map(|value| value.clone_ref(py)),
                new: new.map(|value| value.clone_ref(py)),
            });
        }
    }

    /// Tell of the noted changes, with no lock held.
    #[inline]
    pub fn tell(&self, py: Python<'_>) {
        if self.outbox.has_mail() {
            self.outbox
                .deliver(u64::from(std::process::id()), |number, change| {
                    self.tell_one(py, number, change);
                });
        }
    }

    fn tell_one(&self, py: Python<'_>, number: u64, change: Change) {
        let callbacks: Vec<(u64, Py<PyAny>)> = self
            .list
            .lock()
            .watchers
            .iter()
            .filter(|w| w.since <= number)
            .map(|w| (w.id, w.callback.clone_ref(py)))
            .collect();
        let change = Py::new(py, change);
        for (id, callback) in callbacks {
            if !self.contains(id) {
                continue;
            }
            let told = match &change {
                Ok(change) => call(callback.bind(py), [change.bind(py)]).map(drop),
                Err(error) => Err(error.clone_ref(py)),
            };
            if let Err(error) = told {
                error.write_unraisable(py, Some(callback.bind(py)));
            }
        }
    }

    pub fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.list.try_lock() {
            Some(list) => list
                .watchers
                .iter()
                .try_for_each(|w| visit.call(&w.callback)),
            None => Ok(()),
        }
    }

    /// Take all callbacks out, to be dropped by the caller.
    pub fn clear(&self) -> Vec<Py<PyAny>> {
        let mut list = self.list.lock();
        self.watched.store(false, Ordering::Relaxed);
        list.watchers.drain(..).map(|w| w.callback).collect()
    }
}
