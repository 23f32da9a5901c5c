//! `GilSampler`: a thread that now and then asks for the interpreter, to see how long that takes.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use overdrive_core::stats::{Jitter, Probes};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::executor::gate::Gate;

/// What the thread and its owner share. No lock is held while the thread attaches.
///
/// The thread sleeps nearly always, so also when the process forks. It does so at a gate because
/// that keeps its sleepers to itself: `parking_lot` has one table of those of all, where the thread
/// would be found in the child too, though it is no more.
struct State {
    /// Opened when the thread is to end.
    end: Gate,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    probes: Probes,
    /// Processor time of the thread in seconds, where the system tells.
    overhead: Option<f64>,
}

impl State {
    fn run(&self, interval: f64) {
        let mut jitter = Jitter::new(u64::from(std::process::id()));
        let mut pause = interval;
        let mut last = Instant::now();
        while !self.end.wait_detached(Some(Duration::from_secs_f64(pause))) {
            let asked = Instant::now();
            if Python::try_attach(|_| ()).is_none() {
                return;
            }
            let waited = asked.elapsed();
            let idle = asked - last;
            last = asked + waited;
            let mut seen = self.seen.lock();
            seen.probes.add(idle.as_secs_f64(), waited.as_secs_f64());
            seen.overhead = processor_time();
            let overhead = seen.overhead.unwrap_or(0.0);
            pause = seen.probes.pace(interval, overhead) * jitter.factor();
        }
    }
}

/// The processor time of the calling thread in seconds.
#[cfg(target_os = "linux")]
#[allow(clippy::unnecessary_wraps)] // elsewhere it is not known
fn processor_time() -> Option<f64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place to write to, and every Linux has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    #[allow(clippy::cast_precision_loss)] // below 2^53 for longer than machines run
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9;
    Some(seconds)
}

#[cfg(not(target_os = "linux"))]
fn processor_time() -> Option<f64> {
    None
}

#[pyclass(frozen, module = "overdrive._core", name = "GilSampler")]
pub struct PyGilSampler {
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The process that has the thread; a forked child does not.
    process: u32,
}

#[pymethods]
impl PyGilSampler {
    #[new]
    fn new(interval: f64) -> PyResult<Self> {
        if !(1e-4..=3600.0).contains(&interval) {
            return Err(PyValueError::new_err(format!(
                "interval must be between 0.0001 and 3600 seconds, not {interval}"
            )));
        }
        let state = Arc::new(State {
            end: Gate::new()?,
            seen: Mutex::default(),
        });
        let seen = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("overdrive-gil".to_owned())
            .spawn(move || seen.run(interval))?;
        Ok(Self {
            state,
            thread: Mutex::new(Some(thread)),
            process: std::process::id(),
        })
    }

    /// Ends the thread, and returns when it has ended.
    fn stop(&self, py: Python<'_>) {
        if self.process != std::process::id() {
            return;
        }
        py.detach(|| {
            let thread = self.thread.lock().take();
            self.state.end.open();
            if let Some(thread) = thread {
                // It panicked if this fails, and has ended all the same.
                drop(thread.join());
            }
        });
    }

    /// Returns count, covered, held and waited seconds, and the processor time of the thread.
    fn read(&self) -> (u64, f64, f64, f64, Option<f64>) {
        let seen = *self.state.seen.lock();
        let probes = seen.probes;
        (
            probes.count,
            probes.seconds,
            probes.held,
            probes.waited,
            seen.overhead,
        )
    }
}

impl Drop for PyGilSampler {
    /// Let the thread end by itself: waiting for it here might be while attached.
    fn drop(&mut self) {
        if self.process == std::process::id() {
            self.state.end.open();
        }
    }
}
