//! What several constructors and methods expect of their arguments.

use std::cell::RefCell;
use std::convert::Infallible;

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

/// A number of things, at least one. One too large for the machine is the largest there is.
pub fn size(value: &Bound<'_, PyAny>, name: &str) -> PyResult<usize> {
    let number = match value.extract::<isize>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
            if value.lt(0)? {
                isize::MIN
            } else {
                isize::MAX
            }
        }
        number => number?,
    };
    match usize::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(PyValueError::new_err(format!(
            "{name} must be at least 1, got {}",
            value.repr()?
        ))),
    }
}

/// An argument for which `None` is a value as any other.
pub struct Given(pub Option<Py<PyAny>>);

impl Given {
    pub const NOTHING: Self = Self(None);
}

impl<'py> FromPyObject<'_, 'py> for Given {
    type Error = Infallible;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self(Some(object.to_owned().unbind())))
    }
}

/// How many items a container of the standard kinds has; zero for all others.
pub fn expected_len(source: &Bound<'_, PyAny>) -> usize {
    let known = source.is_exact_instance_of::<PyDict>()
        || source.is_exact_instance_of::<PyList>()
        || source.is_exact_instance_of::<PyTuple>();
    if known {
        source.len().unwrap_or(0)
    } else {
        0
    }
}

/// A number of any kind. An integer that is too large for a float is infinite.
pub fn number(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    match value.extract::<f64>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => Ok(if value.lt(0)? {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        }),
        number => number,
    }
}

/// Call `each` for the pairs of what `dict.update` accepts.
pub fn for_each_pair<'py>(
    source: &Bound<'py, PyAny>,
    mut each: impl FnMut(&Bound<'py, PyAny>, Bound<'py, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    if let Ok(dict) = source.cast_exact::<PyDict>() {
        // A copy, because `each` may run code that changes the dict.
        let pairs = RefCell::new(Vec::with_capacity(dict.len()));
        dict.locked_for_each(|key, value| {
            pairs.borrow_mut().push((key, value));
            Ok(())
        })?;
        return pairs
            .into_inner()
            .into_iter()
            .try_for_each(|(key, value)| each(&key, value));
    }
    if source.hasattr("keys")? {
        for key in source.call_method0("keys")?.try_iter()? {
            let key = key?;
            let value = source.get_item(&key)?;
            each(&key, value)?;
        }
        return Ok(());
    }
    for (index, pair) in source.try_iter()?.enumerate() {
        let (key, value) = split(&pair?, index)?;
        each(&key, value)?;
    }
    Ok(())
}

fn split<'py>(
    pair: &Bound<'py, PyAny>,
    index: usize,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let items = match pair.cast_exact::<PyTuple>() {
        Ok(tuple) => tuple.clone(),
        Err(_) => PyTuple::new(
            pair.py(),
            pair.try_iter()
                .map_err(|_| {
                    PyTypeError::new_err(format!(
                        "cannot convert update sequence element #{index} to a sequence"
                    ))
                })?
                .collect::<PyResult<Vec<_>>>()?,
        )?,
    };
    if items.len() != 2 {
        return Err(PyValueError::new_err(format!(
            "update sequence element #{index} has length {}; 2 is required",
            items.len()
        )));
    }
    Ok((items.get_item(0)?, items.get_item(1)?))
}

/// Make `Class[item]`, an alias for type checkers.
pub fn alias<'py>(
    class: &Bound<'py, PyType>,
    item: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    class
        .py()
        .import("types")?
        .getattr("GenericAlias")?
        .call1((class, item))
}
