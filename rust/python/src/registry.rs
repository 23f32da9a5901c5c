//! `ShardedRegistry`: the native part.

use overdrive_core::registry::{Entry, Registry};
use pyo3::exceptions::{PyKeyError, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyType};

use crate::error::to_python;
use crate::key::{Key, Probe};
use crate::lock::Lock;

#[pyclass(
    frozen,
    subclass,
    weakref,
    module = "overdrive._core",
    name = "ShardedRegistry"
)]
pub struct PyRegistry {
    inner: Registry<Key, Py<PyAny>, Lock>,
}

/// What an attempt under the lock ended with.
enum Attempt<R> {
    Done(R),
    /// Keys of equal hash must be compared by Python first; nothing was changed.
    Undecided,
}

impl PyRegistry {
    fn find(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let probe = Probe::new(key)?;
        let py = key.py();
        loop {
            let found = self.inner.get(
                probe.hash(),
                |k| probe.matches(k),
                |value| value.clone_ref(py),
            );
            if found.is_some() || !probe.decide()? {
                return Ok(found);
            }
        }
    }

    /// Decide in one locked step what becomes of a key; `decide` is called at most once.
    fn edit<R>(
        &self,
        key: &Bound<'_, PyAny>,
        decide: impl FnOnce(Entry<'_, Key, Py<PyAny>>, &Probe<'_, '_>) -> R,
    ) -> PyResult<R> {
        let probe = Probe::new(key)?;
        let mut decide = Some(decide);
        loop {
            let attempt = self.inner.entry(
                probe.hash(),
                |k| probe.matches(k),
                |entry| {
                    let decided = matches!(entry, Entry::Occupied(_)) || !probe.is_undecided();
                    match decide.take_if(|_| decided) {
                        Some(decide) => Attempt::Done(decide(entry, &probe)),
                        None => Attempt::Undecided,
                    }
                },
            );
            match attempt {
                Attempt::Done(done) => return Ok(done),
                Attempt::Undecided if probe.decide()? => {}
                Attempt::Undecided => {
                    return Err(PyRuntimeError::new_err("the look-up of a key did not end"))
                }
            }
        }
    }

    fn take(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<(Key, Py<PyAny>)>> {
        self.edit(key, |entry, _| match entry {
            Entry::Occupied(entry) => Some(entry.remove()),
            Entry::Vacant(_) => None,
        })
    }
}

#[pymethods]
impl PyRegistry {
    #[new]
    #[pyo3(signature = (num_shards=16))]
    fn new(num_shards: usize) -> PyResult<Self> {
        Ok(Self {
            inner: Registry::new(num_shards).map_err(to_python)?,
        })
    }

    /// Makes `ShardedRegistry[K, V]` an alias for type checkers.
    #[classmethod]
    fn __class_getitem__<'py>(
        cls: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        cls.py()
            .import("types")?
            .getattr("GenericAlias")?
            .call1((cls, item))
    }

    #[getter]
    fn num_shards(&self) -> usize {
        self.inner.num_shards()
    }

    fn register(&self, key: &Bound<'_, PyAny>, value: Py<PyAny>) -> PyResult<bool> {
        // The value that is not stored leaves the closure, to be dropped outside the lock.
        let rejected = self.edit(key, |entry, probe| match entry {
            Entry::Occupied(_) => Some(value),
            Entry::Vacant(place) => {
                place.insert(probe.key(), value);
                None
            }
        })?;
        Ok(rejected.is_none())
    }

    #[pyo3(signature = (key, default=None))]
    fn get(
        &self,
        key: &Bound<'_, PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.find(key)?.or(default))
    }

    #[pyo3(signature = (key, default=None))]
    fn remove(
        &self,
        key: &Bound<'_, PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.take(key)?.map(|(_, value)| value).or(default))
    }

    fn size(&self) -> usize {
        self.inner.len()
    }

    fn get_all<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for (key, value) in self
            .inner
            .snapshot(|k, v| (k.object().clone_ref(py), v.clone_ref(py)))
        {
            all.set_item(key, value)?;
        }
        Ok(all)
    }

    fn get_agent_ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.inner.snapshot(|key, _| key.object().clone_ref(py)))
    }

    fn clear(&self) {
        drop(self.inner.clear());
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.find(key)?
            .ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: Py<PyAny>) -> PyResult<()> {
        let replaced = self.edit(key, |entry, probe| match entry {
            Entry::Occupied(mut entry) => Some(entry.replace(value)),
            Entry::Vacant(place) => {
                place.insert(probe.key(), value);
                None
            }
        })?;
        drop(replaced);
        Ok(())
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.take(key)? {
            Some(_) => Ok(()),
            None => Err(PyKeyError::new_err(key.clone().unbind())),
        }
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.find(key)?.is_some())
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.get_agent_ids(py)?.try_iter()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.inner.try_visit(|key, value| {
            visit.call(key.object())?;
            visit.call(value)
        })
    }

    fn __clear__(&self) {
        drop(self.inner.try_clear());
    }
}
