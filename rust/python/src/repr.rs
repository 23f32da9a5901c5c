//! The guard of the standard containers against a `repr` that contains itself.

use pyo3::ffi;
use pyo3::prelude::*;

/// An object whose `repr` is being made on this thread.
pub struct Entered<'a, 'py>(&'a Bound<'py, PyAny>);

/// Begin the `repr` of an object; `None` if that is in progress already.
pub fn enter<'a, 'py, T>(object: &'a Bound<'py, T>) -> PyResult<Option<Entered<'a, 'py>>> {
    let object = object.as_any();
    // SAFETY: the object is alive and this thread is attached.
    match unsafe { ffi::Py_ReprEnter(object.as_ptr()) } {
        0 => Ok(Some(Entered(object))),
        1 => Ok(None),
        _ => Err(PyErr::fetch(object.py())),
    }
}

impl Drop for Entered<'_, '_> {
    fn drop(&mut self) {
        // SAFETY: the object is alive, this thread is attached, and the call belongs to the
        // successful Py_ReprEnter that made this guard.
        unsafe { ffi::Py_ReprLeave(self.0.as_ptr()) }
    }
}
