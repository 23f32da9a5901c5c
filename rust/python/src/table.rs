//! A registry of the core under keys of any Python type.

use overdrive_core::registry::{Entry, Registry};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::error::to_python;
use crate::key::{frustrated, Key, Probe, StrProbe, MAX_ATTEMPTS};
use crate::lock::ReadersLock;

/// Count attempts, the last of which is an error.
pub fn attempts() -> impl Iterator<Item = PyResult<()>> {
    let fail = || Err(frustrated());
    std::iter::repeat_with(|| Ok(()))
        .take(MAX_ATTEMPTS)
        .chain(std::iter::once_with(fail))
}

/// What an attempt under the lock ended with.
enum Attempt<R> {
    Done(R),
    /// Keys of equal hash must be compared by Python first; nothing was changed.
    Undecided,
}

/// What a look-up without Python's help ended with.
pub enum Lookup<R> {
    Found(R),
    Missing,
    InDoubt,
}

pub struct Table<V> {
    pub inner: Registry<Key, V, ReadersLock>,
}

impl<V> Table<V> {
    pub fn new(num_shards: usize) -> PyResult<Self> {
        let inner = Registry::new(num_shards).map_err(to_python)?;
        Ok(Self { inner })
    }

    /// Look a key up and read its value under the lock.
    #[inline]
    pub fn find<R>(&self, key: &Bound<'_, PyAny>, read: impl Fn(&V) -> R) -> PyResult<Option<R>> {
        let probe = Probe::new(key)?;
        let found = self.look(&probe, &read);
        if found.is_some() || !probe.is_undecided() {
            return Ok(found);
        }
        self.find_undecided(&probe, read)
    }

    /// Look up a key that is exactly a `str`, dropping nothing.
    #[inline]
    pub fn find_str<R>(&self, key: &Bound<'_, PyAny>, read: impl FnOnce(&V) -> R) -> Lookup<R> {
        let Ok(probe) = StrProbe::new(key) else {
            return Lookup::InDoubt;
        };
        let found = self.inner.get(probe.hash(), |k| probe.matches(k), read);
        match found {
            Some(found) => Lookup::Found(found),
            None if probe.is_in_doubt() => Lookup::InDoubt,
            None => Lookup::Missing,
        }
    }

    #[inline]
    fn look<R>(&self, probe: &Probe<'_, '_>, read: impl FnOnce(&V) -> R) -> Option<R> {
        self.inner.get(probe.hash(), |k| probe.matches(k), read)
    }

    #[cold]
    fn find_undecided<R>(
        &self,
        probe: &Probe<'_, '_>,
        read: impl Fn(&V) -> R,
    ) -> PyResult<Option<R>> {
        for attempt in attempts() {
            attempt?;
            if !probe.decide()? {
                break;
            }
            let found = self.look(probe, &read);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Decide in one locked step what becomes of a key; `decide` is called once.
    #[inline]
    pub fn edit<R>(
        &self,
        key: &Bound<'_, PyAny>,
        decide: impl FnOnce(Entry<'_, Key, V>, &Probe<'_, '_>) -> R,
    ) -> PyResult<R> {
        let probe = Probe::new(key)?;
        let mut decide = Some(decide);
        for attempt in attempts() {
            attempt?;
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
            if let Attempt::Done(done) = attempt {
                return Ok(done);
            }
            probe.decide()?;
        }
        Err(PyRuntimeError::new_err("the look-up of a key did not end"))
    }
}
