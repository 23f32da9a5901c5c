//! The native module `overdrive._core`: what Python sees of `overdrive-core`.

// PyO3 hands arguments over by value.
#![allow(clippy::needless_pass_by_value)]

mod argument;
mod buffer;
mod cache_state;
mod cached;
mod caches;
mod call;
mod census;
mod entries;
mod error;
mod executor;
mod fastcall;
mod flight;
mod gil;
mod key;
mod lock;
mod metrics;
mod pools;
mod queue;
mod registry;
mod repr;
mod reset;
mod table;
mod timer;
mod timing;
mod watch;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::cache_state::{cache_state, restore_cache};
    #[pymodule_export]
    use crate::cached::PyCachedCall;
    #[pymodule_export]
    use crate::caches::PyCache;
    #[pymodule_export]
    use crate::census::tally;
    #[pymodule_export]
    use crate::executor::{
        call_tag, refuse_calls, thread_seconds, PyCallExecutor, PyCallOptions, PyCallSample,
        PyCallSampler, PyFuture, PyMapResults, PyWorker,
    };
    #[pymodule_export]
    use crate::gil::PyGilSampler;
    #[pymodule_export]
    use crate::metrics::{PyCounter, PyGauge, PyGcMeter, PyHistogram, PySnapshot};
    #[pymodule_export]
    use crate::pools::{Borrow, PyMemoryPool, PyPool};
    #[pymodule_export]
    use crate::queue::PyQueue;
    #[pymodule_export]
    use crate::registry::{Absent, PyRegistry};
    #[pymodule_export]
    use crate::timer::PyTimer;
    #[pymodule_export]
    use crate::timing::{attribute_seconds, current_timing, PyTiming};
    #[pymodule_export]
    use crate::watch::{Change, Watch};

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
    #[pymodule_export]
    const ABSENT: Absent = Absent;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::fastcall::install(module.py())
    }
}
