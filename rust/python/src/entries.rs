//! The entries of a registry, whose every change is noted for its watchers.
//!
//! A change is noted under the lock of its shard, and told when the lock is released, as is every
//! drop of what the change removed.

use overdrive_core::registry::Entry;
use pyo3::prelude::*;

use crate::key::Key;
use crate::table::Table;
use crate::watch::Watchers;

type Pair = (Py<PyAny>, Py<PyAny>);

pub struct Entries {
    pub table: Table<Py<PyAny>>,
    pub watchers: Watchers,
}

impl Entries {
    pub fn new(num_shards: usize) -> PyResult<Self> {
        Ok(Self {
            table: Table::new(num_shards)?,
            watchers: Watchers::default(),
        })
    }

    #[inline]
    pub fn find(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        self.table.find(key, |value| value.clone_ref(key.py()))
    }

    /// Store a value and return what it replaced.
    pub fn put(&self, key: &Bound<'_, PyAny>, value: Py<PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let py = key.py();
        let old = self.table.edit(key, |entry, probe| match entry {
            Entry::Occupied(mut entry) => {
                let (stored, old) = (entry.key().object(), entry.value());
                self.watchers.note(py, stored, Some(old), Some(&value));
                Some(entry.replace(value))
            }
            Entry::Vacant(place) => {
                self.watchers.note(py, key.as_unbound(), None, Some(&value));
                place.insert(probe.key(), value);
                None
            }
        })?;
        self.watchers.tell(py);
        Ok(old)
    }

    /// Store a value unless the key is taken; then return the stored and the given value.
    pub fn add(&self, key: &Bound<'_, PyAny>, value: Py<PyAny>) -> PyResult<Option<Pair>> {
        let py = key.py();
        let refused = self.table.edit(key, |entry, probe| match entry {
            Entry::Occupied(entry) => Some((entry.value().clone_ref(py), value)),
            Entry::Vacant(place) => {
                self.watchers.note(py, key.as_unbound(), None, Some(&value));
                place.insert(probe.key(), value);
                None
            }
        })?;
        self.watchers.tell(py);
        Ok(refused)
    }

    /// Take an entry out if its value is as it should be, which is asked under the lock.
    pub fn take_if(
        &self,
        key: &Bound<'_, PyAny>,
        condition: impl Fn(&Py<PyAny>) -> bool,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = key.py();
        let taken = self.table.edit(key, |entry, _| match entry {
            Entry::Occupied(entry) if condition(entry.value()) => {
                let (stored, old) = (entry.key().object(), entry.value());
                self.watchers.note(py, stored, Some(old), None);
                Some(entry.remove())
            }
            _ => None,
        })?;
        self.watchers.tell(py);
        Ok(taken.map(|(_, value)| value))
    }

    pub fn take(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        self.take_if(key, |_| true)
    }

    /// Put a value in the place of one that must still be there, this very object.
    pub fn swap(
        &self,
        key: &Bound<'_, PyAny>,
        expected: &Py<PyAny>,
        new: Py<PyAny>,
    ) -> PyResult<bool> {
        let py = key.py();
        let old = self.table.edit(key, |entry, _| match entry {
            Entry::Occupied(mut entry) if entry.value().is(expected) => {
                let stored = entry.key().object();
                self.watchers.note(py, stored, Some(expected), Some(&new));
                Ok(entry.replace(new))
            }
            _ => Err(new),
        })?;
        self.watchers.tell(py);
        Ok(old.is_ok())
    }

    /// Take some entry out.
    pub fn take_any(&self, py: Python<'_>) -> Option<Pair> {
        let taken = self
            .table
            .inner
            .take_any(|key, old| self.watchers.note(py, key.object(), Some(old), None));
        self.watchers.tell(py);
        taken.map(|(key, value)| (key.object().clone_ref(py), value))
    }

    /// Take everything out at one moment.
    pub fn clear(&self, py: Python<'_>) {
        let taken = self
            .table
            .inner
            .clear(|key, old| self.watchers.note(py, key.object(), Some(old), None));
        drop(taken);
        self.watchers.tell(py);
    }

    /// Copy all pairs of one moment.
    pub fn pairs(&self, py: Python<'_>) -> Vec<Pair> {
        let copy = |key: &Key, value: &Py<PyAny>| (key.object().clone_ref(py), value.clone_ref(py));
        self.table.inner.snapshot(copy)
    }

    /// Copy all keys of one moment.
    pub fn keys(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.table
            .inner
            .snapshot(|key, _| key.object().clone_ref(py))
    }
}
