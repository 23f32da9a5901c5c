//! `WorkStealingQueue`.

use overdrive_core::queue::Queue;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyType};

use crate::argument::alias;
use crate::lock::ExclusiveLock;

#[pyclass(
    frozen,
    subclass,
    weakref,
    module = "overdrive.queues",
    name = "WorkStealingQueue"
)]
pub struct PyQueue {
    queue: Queue<Py<PyAny>, ExclusiveLock>,
}

/// A number of items, where one too large for the machine is the largest there is.
fn count(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let error = match value.extract::<usize>() {
        Ok(count) => return Ok(count),
        Err(error) => error,
    };
    if !error.is_instance_of::<PyOverflowError>(value.py()) {
        return Err(error);
    }
    if value.lt(0)? {
        return Err(PyValueError::new_err(format!(
            "n must be at least 0, got {}",
            value.repr()?
        )));
    }
    Ok(usize::MAX)
}

/// Refuse the item that could not be told from the lack of one.
fn some(item: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    if item.is_none() {
        return Err(PyValueError::new_err(
            "None cannot be an item: pop and steal return it when the queue is empty",
        ));
    }
    Ok(item.clone().unbind())
}

impl PyQueue {
    /// See [`crate::fastcall`].
    #[inline]
    pub fn push_some(&self, item: Py<PyAny>) {
        self.queue.push(item);
    }
}

#[pymethods]
impl PyQueue {
    #[new]
    fn new() -> Self {
        Self {
            queue: Queue::default(),
        }
    }

    /// Makes `WorkStealingQueue[T]` an alias for type checkers.
    #[classmethod]
    fn __class_getitem__<'py>(
        cls: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        alias(cls, item)
    }

    #[pyo3(signature = (item, /))]
    fn push(&self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        self.push_some(some(item)?);
        Ok(())
    }

    fn push_many(&self, items: &Bound<'_, PyAny>) -> PyResult<()> {
        let items = items.try_iter()?.map(|item| some(&item?));
        self.queue.push_many(items.collect::<PyResult<_>>()?);
        Ok(())
    }

    fn pop(&self) -> Option<Py<PyAny>> {
        self.queue.pop()
    }

    fn steal(&self) -> Option<Py<PyAny>> {
        self.queue.steal()
    }

    fn steal_many<'py>(
        &self,
        py: Python<'py>,
        n: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.queue.steal_many(count(n)?))
    }

    fn clear(&self) {
        drop(self.queue.clear());
    }

    fn size(&self) -> usize {
        self.queue.len()
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn __len__(&self) -> usize {
        self.queue.len()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let size = slf.get().queue.len();
        Ok(format!("<{} of {size} items>", slf.get_type().name()?))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.queue.try_visit(|item| visit.call(item))
    }

    fn __clear__(&self) {
        drop(self.queue.try_clear());
    }
}
