//! `contextvars` by CPython's C functions.

use pyo3::ffi;
use pyo3::prelude::*;

/// A `contextvars.Context`.
pub struct Context(Py<PyAny>);

impl Context {
    /// Copy the context of the current thread.
    pub fn copy_current(py: Python<'_>) -> PyResult<Self> {
        // SAFETY: the thread is attached; the result is a new reference or null with an error set.
        let copy = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) };
        copy.map(|copy| Self(copy.unbind()))
    }

    pub fn copy(&self, py: Python<'_>) -> PyResult<Self> {
        // SAFETY: the thread is attached and the argument is a context; the result is a new
        // reference or null with an error set.
        let copy =
            unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_Copy(self.0.as_ptr())) };
        copy.map(|copy| Self(copy.unbind()))
    }

    /// Another reference to the same context.
    pub fn share(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    pub fn object(&self) -> &Py<PyAny> {
        &self.0
    }

    /// Do something within this context, which must not be entered already.
    pub fn run<R>(&self, py: Python<'_>, inside: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        // SAFETY: the thread is attached and the argument is a context.
        if unsafe { ffi::PyContext_Enter(self.0.as_ptr()) } < 0 {
            return Err(PyErr::fetch(py));
        }
        let result = inside();
        // SAFETY: as above; no error is set, since `inside` returned its error.
        if unsafe { ffi::PyContext_Exit(self.0.as_ptr()) } < 0 {
            let error = PyErr::fetch(py);
            return result.and(Err(error));
        }
        result
    }
}
