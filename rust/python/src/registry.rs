//! `ShardedRegistry`: the native class.

use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyIterator, PyList, PyMapping, PyTuple, PyType};

use crate::argument::{alias, expected_len, for_each_pair, size, Given};
use crate::call::call;
use crate::entries::Entries;
use crate::flight::Flights;
use crate::table::{attempts, Lookup};
use crate::watch::Watch;

/// Stands for the value of a key that is not there.
#[pyclass(frozen, module = "overdrive.registry", name = "Absent")]
pub struct Absent;

#[pymethods]
impl Absent {
    #[allow(clippy::unused_self)]
    fn __repr__(&self) -> &'static str {
        "ABSENT"
    }

    /// Pickled by name, so that there is one in each process.
    #[allow(clippy::unused_self)]
    fn __reduce__(&self) -> &'static str {
        "ABSENT"
    }
}

#[pyclass(
    frozen,
    subclass,
    weakref,
    mapping,
    module = "overdrive.registry",
    name = "ShardedRegistry"
)]
pub struct PyRegistry {
    pub entries: Entries,
    flights: Flights,
}

impl PyRegistry {
    fn empty(num_shards: usize) -> PyResult<Self> {
        Ok(Self {
            entries: Entries::new(num_shards)?,
            flights: Flights::new()?,
        })
    }

    /// `update(key, function)`: replace a value by what a function makes of it.
    fn transform(
        &self,
        key: &Bound<'_, PyAny>,
        function: &Bound<'_, PyAny>,
        default: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = key.py();
        for attempt in attempts() {
            attempt?;
            let current = self.entries.find(key)?;
            let base = match (&current, default) {
                (Some(current), _) => current.bind(py),
                (None, Some(default)) => default,
                (None, None) => return Err(missing(key)),
            };
            let new = call(function, [base])?.unbind();
            let stored = match &current {
                Some(current) => self.entries.swap(key, current, new.clone_ref(py))?,
                None => self.entries.add(key, new.clone_ref(py))?.is_none(),
            };
            if stored {
                return Ok(new);
            }
        }
        unreachable!("the last attempt is an error")
    }

    /// See [`crate::fastcall`].
    #[inline]
    pub fn find_str(&self, key: &Bound<'_, PyAny>) -> Lookup<Py<PyAny>> {
        let read = |value: &Py<PyAny>| value.clone_ref(key.py());
        self.entries.table.find_str(key, read)
    }

    fn merge(&self, source: &Bound<'_, PyAny>) -> PyResult<()> {
        self.entries.table.inner.reserve(expected_len(source));
        for_each_pair(source, |key, value| {
            self.entries.put(key, value.unbind()).map(drop)
        })
    }

    /// A new registry of the same shape with the content of two mappings, or `NotImplemented`.
    fn union<'py>(
        &self,
        first: &Bound<'py, PyAny>,
        second: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = first.py();
        if first.cast::<PyMapping>().is_err() || second.cast::<PyMapping>().is_err() {
            return Ok(py.NotImplemented().into_bound(py));
        }
        let union = Self::empty(self.num_shards())?;
        union.merge(first)?;
        union.merge(second)?;
        Ok(Bound::new(py, union)?.into_any())
    }
}

/// A `KeyError` with the key as its only argument, also if that is a tuple.
#[cold]
fn missing(key: &Bound<'_, PyAny>) -> PyErr {
    PyKeyError::new_err((key.clone().unbind(),))
}

/// Make a view of a mapping, of a class in `overdrive.registry`.
fn view<'py>(
    class: &'static PyOnceLock<Py<PyAny>>,
    name: &str,
    registry: &Bound<'py, PyRegistry>,
) -> PyResult<Bound<'py, PyAny>> {
    class
        .import(registry.py(), "overdrive.registry", name)?
        .call1((registry,))
}

#[pymethods]
impl PyRegistry {
    #[new]
    #[pyo3(signature = (num_shards=None))]
    fn new(num_shards: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        const DEFAULT_SHARDS: usize = 16;
        Self::empty(num_shards.map_or(Ok(DEFAULT_SHARDS), |n| size(n, "num_shards"))?)
    }

    /// Makes `ShardedRegistry[K, V]` an alias for type checkers.
    #[classmethod]
    fn __class_getitem__<'py>(
        cls: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        alias(cls, item)
    }

    #[getter]
    fn num_shards(&self) -> usize {
        self.entries.table.inner.num_shards()
    }

    fn register(&self, key: &Bound<'_, PyAny>, value: Py<PyAny>) -> PyResult<bool> {
        Ok(self.entries.add(key, value)?.is_none())
    }

    fn register_many(&self, agents: &Bound<'_, PyAny>) -> PyResult<usize> {
        let mut stored = 0;
        self.entries.table.inner.reserve(expected_len(agents));
        for_each_pair(agents, |key, value| {
            stored += usize::from(self.entries.add(key, value.unbind())?.is_none());
            Ok(())
        })?;
        Ok(stored)
    }

    #[pyo3(signature = (key, default=None))]
    fn get(
        &self,
        key: &Bound<'_, PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.entries.find(key)?.or(default))
    }

    #[pyo3(signature = (keys, default=None))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let default = default.unwrap_or_else(|| py.None());
        let get = |key: PyResult<Bound<'_, PyAny>>| {
            Ok(self
                .entries
                .find(&key?)?
                .unwrap_or_else(|| default.clone_ref(py)))
        };
        let values = keys.try_iter()?.map(get).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, values)
    }

    #[pyo3(signature = (key, default=None))]
    fn remove(
        &self,
        key: &Bound<'_, PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.entries.take(key)?.or(default))
    }

    #[pyo3(signature = (keys, default=None))]
    fn remove_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let default = default.unwrap_or_else(|| py.None());
        let take = |key: PyResult<Bound<'_, PyAny>>| {
            Ok(self
                .entries
                .take(&key?)?
                .unwrap_or_else(|| default.clone_ref(py)))
        };
        let values = keys.try_iter()?.map(take).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, values)
    }

    fn get_or_create(
        &self,
        key: &Bound<'_, PyAny>,
        factory: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        loop {
            if let Some(found) = self.entries.find(key)? {
                return Ok(found);
            }
            let Some(_landing) = self.flights.take_off(key)? else {
                continue;
            };
            // Another flight may have landed between the two steps above.
            if let Some(found) = self.entries.find(key)? {
                return Ok(found);
            }
            let made = call(factory, [])?.unbind();
            let refused = self.entries.add(key, made.clone_ref(key.py()))?;
            return Ok(refused.map_or(made, |(stored, _)| stored));
        }
    }

    fn compare_and_set(
        &self,
        key: &Bound<'_, PyAny>,
        expected: &Bound<'_, PyAny>,
        new: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let absent = |value: &Bound<'_, PyAny>| value.is_exact_instance_of::<Absent>();
        for attempt in attempts() {
            attempt?;
            let Some(current) = self.entries.find(key)? else {
                return match (absent(expected), absent(new)) {
                    (true, false) => Ok(self.entries.add(key, new.clone().unbind())?.is_none()),
                    (as_expected, _) => Ok(as_expected),
                };
            };
            if absent(expected) || !(current.is(expected) || current.bind(key.py()).eq(expected)?) {
                return Ok(false);
            }
            let done = if absent(new) {
                self.entries
                    .take_if(key, |value| value.is(&current))?
                    .is_some()
            } else {
                self.entries.swap(key, &current, new.clone().unbind())?
            };
            if done {
                return Ok(true);
            }
        }
        unreachable!("the last attempt is an error")
    }

    #[pyo3(signature = (key, predicate, default=None))]
    fn pop_if(
        &self,
        key: &Bound<'_, PyAny>,
        predicate: &Bound<'_, PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        for attempt in attempts() {
            attempt?;
            let Some(current) = self.entries.find(key)? else {
                return Ok(default);
            };
            if !call(predicate, [current.bind(key.py())])?.is_truthy()? {
                return Ok(default);
            }
            if let Some(taken) = self.entries.take_if(key, |value| value.is(&current))? {
                return Ok(Some(taken));
            }
        }
        unreachable!("the last attempt is an error")
    }

    fn watch(slf: Py<Self>, callback: &Bound<'_, PyAny>) -> PyResult<Watch> {
        if !callback.is_callable() {
            return Err(PyTypeError::new_err(format!(
                "the callback must be callable, got {}",
                callback.repr()?
            )));
        }
        let id = slf.get().entries.watchers.add(callback.clone().unbind());
        Ok(Watch { registry: slf, id })
    }

    fn size(&self) -> usize {
        self.entries.table.inner.len()
    }

    fn get_all<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for (key, value) in self.entries.pairs(py) {
            all.set_item(key, value)?;
        }
        Ok(all)
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.get_all(py)
    }

    fn get_agent_ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.entries.keys(py))
    }

    fn clear(&self, py: Python<'_>) {
        self.entries.clear(py);
    }

    #[pyo3(signature = (key, default=Given::NOTHING), text_signature = "($self, key, default=...)")]
    fn pop(&self, key: &Bound<'_, PyAny>, default: Given) -> PyResult<Py<PyAny>> {
        self.entries
            .take(key)?
            .or(default.0)
            .ok_or_else(|| missing(key))
    }

    fn popitem(&self, py: Python<'_>) -> PyResult<(Py<PyAny>, Py<PyAny>)> {
        self.entries
            .take_any(py)
            .ok_or_else(|| PyKeyError::new_err("popitem(): registry is empty"))
    }

    #[pyo3(signature = (key, default=None))]
    fn setdefault(
        &self,
        key: &Bound<'_, PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = key.py();
        let default = default.unwrap_or_else(|| py.None());
        let refused = self.entries.add(key, default.clone_ref(py))?;
        Ok(refused.map_or(default, |(stored, _)| stored))
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn update<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let named = || kwargs.map_or(Ok(()), |named| self.merge(named));
        match (args.len(), kwargs) {
            (0, _) => named().map(|()| None),
            (1, _) => self
                .merge(&args.get_item(0)?)
                .and_then(|()| named())
                .map(|()| None),
            (2, kwargs) if args.get_item(1)?.is_callable() => {
                let default = kwargs.map_or(Ok(None), |named| named.get_item("default"))?;
                if kwargs.is_some_and(|named| named.len() != usize::from(default.is_some())) {
                    return Err(PyTypeError::new_err(
                        "update(key, function) takes no keyword but default",
                    ));
                }
                self.transform(&args.get_item(0)?, &args.get_item(1)?, default.as_ref())
                    .map(Some)
            }
            _ => Err(PyTypeError::new_err(
                "update takes one mapping or iterable of pairs, or a key and a function",
            )),
        }
    }

    fn keys<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static KEYS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        view(&KEYS, "RegistryKeys", slf)
    }

    fn values<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static VALUES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        view(&VALUES, "RegistryValues", slf)
    }

    fn items<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static ITEMS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        view(&ITEMS, "RegistryItems", slf)
    }

    fn copy(&self, py: Python<'_>) -> PyResult<Self> {
        let copy = Self::empty(self.num_shards())?;
        for (key, value) in self.entries.pairs(py) {
            copy.entries.put(key.bind(py), value)?;
        }
        Ok(copy)
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.entries.find(key)?.ok_or_else(|| missing(key))
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: Py<PyAny>) -> PyResult<()> {
        self.entries.put(key, value).map(drop)
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.entries
            .take(key)?
            .map(drop)
            .ok_or_else(|| missing(key))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.entries.table.find(key, |_| ())?.is_some())
    }

    fn __len__(&self) -> usize {
        self.entries.table.inner.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.get_agent_ids(py)?.try_iter()
    }

    fn __richcmp__<'py>(
        &self,
        other: &Bound<'py, PyAny>,
        op: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        let (CompareOp::Eq | CompareOp::Ne, Ok(_)) = (op, other.cast::<PyMapping>()) else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        let items = PyDict::new(py);
        for_each_pair(other, |key, value| items.set_item(key, value))?;
        self.get_all(py)?.rich_compare(items, op)
    }

    fn __or__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().union(slf, other)
    }

    fn __ror__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().union(other, slf)
    }

    fn __ior__(&self, other: &Bound<'_, PyAny>) -> PyResult<()> {
        self.merge(other)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let name = slf.get_type().name()?;
        let Some(_entered) = crate::repr::enter(slf)? else {
            return Ok(format!("{name}(...)"));
        };
        let registry = slf.get();
        let content = registry.get_all(slf.py())?.repr()?;
        Ok(format!(
            "{name}({content}, num_shards={})",
            registry.num_shards()
        ))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let registry = slf.get();
        let attributes = slf.getattr_opt("__dict__")?;
        let items = registry.get_all(py)?.call_method0("items")?.try_iter()?;
        let arguments = (registry.num_shards(),);
        (slf.get_type(), arguments, attributes, py.None(), items).into_pyobject(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.entries.watchers.visit(&visit)?;
        self.entries.table.inner.try_visit(|key, value| {
            visit.call(key.object())?;
            visit.call(value)
        })
    }

    fn __clear__(&self) {
        drop(self.entries.watchers.clear());
        drop(self.entries.table.inner.try_clear());
    }
}
