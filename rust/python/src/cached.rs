//! `CachedCall`: a function whose results are in a cache; the way of a hit, from call to return.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyNone, PyString, PyTuple};

use crate::caches::PyCache;
use crate::call::{call, call_with};
use crate::key::Separator;

#[allow(clippy::struct_excessive_bools)] // independent options
#[pyclass(frozen, subclass, module = "overdrive._core", name = "CachedCall")]
pub struct PyCachedCall {
    cache: Py<PyCache>,
    /// Makes keys; without it, arguments are keys.
    key: Option<Py<PyAny>>,
    typed: bool,
    /// Whether a single argument of certain types is its own key.
    bare: bool,
    overridden: bool,
    /// Whether the first argument is the instance that the cache belongs to, and no part of keys.
    method: bool,
    /// Called with the key, the positional and the named arguments if there is no value.
    miss: Py<PyAny>,
}

impl PyCachedCall {
    #[inline]
    fn make_key<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(key) = &self.key {
            return call_with(key.bind(args.py()), args, kwargs);
        }
        let kwargs = kwargs.filter(|kwargs| !kwargs.is_empty());
        if kwargs.is_some() || self.typed {
            return long_key(args, kwargs, self.typed);
        }
        if self.bare && args.len() == 1 {
            let only = args.get_borrowed_item(0)?;
            if is_scalar(&only) {
                return Ok(only.to_owned());
            }
        }
        Ok(args.clone().into_any())
    }

    #[inline]
    fn find<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = key.py();
        if self.overridden {
            let found = self.cache.bind(py).contains(key)?;
            return found.then(|| self.cache.bind(py).get_item(key)).transpose();
        }
        let found = self.cache.get().lookup(key)?;
        Ok(found.map(|value| value.into_bound(py)))
    }
}

type Item<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// The items of a dictionary in the order of their names.
fn sorted<'py>(kwargs: &Bound<'py, PyDict>) -> PyResult<Vec<Item<'py>>> {
    if kwargs.len() == 1 {
        return Ok(kwargs.iter().collect());
    }
    let names = kwargs.keys();
    names.sort()?;
    let mut items = Vec::with_capacity(names.len());
    for name in names {
        let value = kwargs.as_any().get_item(&name)?;
        items.push((name, value));
    }
    Ok(items)
}

/// Whether a single argument can be its own key, because no tuple is equal to it.
#[inline]
fn is_scalar(argument: &Bound<'_, PyAny>) -> bool {
    argument.is_exact_instance_of::<PyString>()
        || argument.is_exact_instance_of::<PyInt>()
        || argument.is_exact_instance_of::<PyFloat>()
        || argument.is_exact_instance_of::<PyBool>()
        || argument.is_exact_instance_of::<PyBytes>()
        || argument.is_none()
}

/// The positional arguments, the named ones by name, and if `typed` the types of all values.
fn long_key<'py>(
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
    typed: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = args.py();
    let named = kwargs.map_or(0, |kwargs| 1 + 2 * kwargs.len());
    let mut parts: Vec<Bound<'py, PyAny>> = Vec::with_capacity(args.len() + named);
    parts.extend(args.iter());
    let mut kinds: Vec<Bound<'py, PyAny>> = Vec::new();
    if typed {
        kinds.extend(parts.iter().map(|part| part.get_type().into_any()));
    }
    if let Some(kwargs) = kwargs {
        parts.push(Separator::get(py)?.clone().into_any());
        for (name, value) in sorted(kwargs)? {
            if typed {
                kinds.push(value.get_type().into_any());
            }
            parts.extend([name, value]);
        }
    }
    if typed {
        parts.push(Separator::get(py)?.clone().into_any());
        parts.extend(kinds);
    }
    Ok(PyTuple::new(py, parts)?.into_any())
}

#[pymethods]
impl PyCachedCall {
    #[new]
    #[pyo3(signature = (cache, miss, *, key=None, typed=false, bare=false, method=false))]
    fn new(
        cache: Py<PyCache>,
        miss: Py<PyAny>,
        key: Option<Py<PyAny>>,
        typed: bool,
        bare: bool,
        method: bool,
    ) -> PyResult<Self> {
        Ok(Self {
            overridden: cache.get().is_overridden()?,
            cache,
            key,
            typed,
            bare,
            method,
            miss,
        })
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let key = if self.method {
            self.make_key(&args.get_slice(1, args.len()), kwargs)?
        } else {
            self.make_key(args, kwargs)?
        };
        if let Some(value) = self.find(&key)? {
            return Ok(value);
        }
        let none = PyNone::get(args.py()).to_owned().into_any();
        let kwargs = kwargs.map_or(&none, |kwargs| kwargs.as_any());
        call(self.miss.bind(args.py()), [&key, args.as_any(), kwargs])
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn cache_key<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.make_key(args, kwargs)
    }

    #[getter]
    fn cache<'py>(&self, py: Python<'py>) -> &Bound<'py, PyCache> {
        self.cache.bind(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.cache)?;
        visit.call(&self.key)?;
        visit.call(&self.miss)
    }
}
