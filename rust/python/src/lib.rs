//! The native module `overdrive._core`: what Python sees of `overdrive-core`.

// PyO3 hands arguments over by value.
#![allow(clippy::needless_pass_by_value)]

mod error;
mod executor;
mod key;
mod lock;
mod registry;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::executor::{PyCallQueue, PyWorker};
    #[pymodule_export]
    use crate::registry::PyRegistry;

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
