//! The one place where errors of the core become Python exceptions.

use overdrive_core::Error;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::import_exception;
use pyo3::PyErr;

import_exception!(concurrent.futures.thread, BrokenThreadPool);

/// The words of the last two are those of the standard library's executors.
pub fn to_python(error: Error) -> PyErr {
    match error {
        Error::Shutdown => PyRuntimeError::new_err("cannot schedule new futures after shutdown"),
        Error::Broken => BrokenThreadPool::new_err(
            "A thread initializer failed, the thread pool is not usable anymore",
        ),
        _ => PyValueError::new_err(error.to_string()),
    }
}
