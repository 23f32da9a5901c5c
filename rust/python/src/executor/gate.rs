//! Something a thread can wait at, detached from the interpreter, until another opens it.

use std::time::Duration;

use overdrive_core::executor::Wake;
use pyo3::prelude::*;

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passage {
    Open,
    TimedOut,
    Interrupted,
}

/// Closed at first; stays open once opened.
pub struct Gate(imp::Lock);

impl Gate {
    pub fn new() -> PyResult<Self> {
        Ok(Self(imp::Lock::new()?))
    }

    /// Let the one who waits go on. Needs no interpreter.
    pub fn open(&self) {
        self.0.open();
    }

    /// Wait detached until the gate is open; signal handlers run meanwhile and may raise.
    ///
    /// Returns `false` if `deadline`, a time as of [`now`], came first.
    pub fn wait(&self, py: Python<'_>, deadline: Option<u64>) -> PyResult<bool> {
        loop {
            let left = deadline.map(|at| Duration::from_nanos(at.saturating_sub(now())));
            match py.detach(|| self.0.wait(left)) {
                Passage::Open => return Ok(true),
                Passage::TimedOut => return Ok(false),
                Passage::Interrupted => py.check_signals()?,
            }
        }
    }

    /// Wait on a thread that is detached and receives no signals. `false`: the time is over.
    pub fn wait_detached(&self, timeout: Option<Duration>) -> bool {
        loop {
            match self.0.wait(timeout) {
                Passage::Open => return true,
                Passage::TimedOut => return false,
                Passage::Interrupted => {}
            }
        }
    }
}

impl Wake for Gate {
    fn wake(&self) {
        self.open();
    }
}

/// Nanoseconds on a monotonic clock, never zero.
pub fn now() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static BASE: OnceLock<Instant> = OnceLock::new();
    let elapsed = BASE.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX - 1) + 1
}

/// The time as of [`now`] in so many seconds; `None` if that is too far to matter.
pub fn after(seconds: f64) -> Option<u64> {
    let wait = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    now().checked_add(u64::try_from(wait.as_nanos()).ok()?)
}

/// CPython's own lock: a wait for it returns when a signal arrives.
#[cfg(unix)]
mod imp {
    use std::ffi::{c_int, c_longlong, c_void};
    use std::ptr::NonNull;
    use std::time::Duration;

    use pyo3::exceptions::PyMemoryError;
    use pyo3::PyResult;

    use super::Passage;

    // Part of the stable ABI since 3.2; may be called detached.
    extern "C" {
        fn PyThread_allocate_lock() -> *mut c_void;
        fn PyThread_free_lock(lock: *mut c_void);
        fn PyThread_acquire_lock_timed(
            lock: *mut c_void,
            microseconds: c_longlong,
            interruptible: c_int,
        ) -> c_int;
        fn PyThread_release_lock(lock: *mut c_void);
    }

    /// A day: long enough to wait again afterwards, short enough for every platform.
    const LONGEST: c_longlong = 86_400_000_000;

    pub(super) struct Lock(NonNull<c_void>);

    // SAFETY: the functions above may be called from any thread, concurrently.
    unsafe impl Send for Lock {}
    // SAFETY: as above.
    unsafe impl Sync for Lock {}

    impl Lock {
        pub(super) fn new() -> PyResult<Self> {
            // SAFETY: has no preconditions; null means that there was no memory.
            let lock = NonNull::new(unsafe { PyThread_allocate_lock() })
                .ok_or_else(|| PyMemoryError::new_err("cannot allocate a lock"))?;
            // SAFETY: the lock was allocated just now, so this does not wait.
            unsafe { PyThread_acquire_lock_timed(lock.as_ptr(), 0, 0) };
            Ok(Self(lock))
        }

        pub(super) fn open(&self) {
            // SAFETY: the lock is allocated. Whether it is held or not, a try-acquire followed by a
            // release leaves it released, and only openers and the one who waits use it.
            unsafe {
                PyThread_acquire_lock_timed(self.0.as_ptr(), 0, 0);
                PyThread_release_lock(self.0.as_ptr());
            }
        }

        /// Acquire the lock, and release it again so that the gate stays open.
        pub(super) fn wait(&self, timeout: Option<Duration>) -> Passage {
            let microseconds = timeout.map_or(LONGEST, |timeout| {
                let nanoseconds = timeout.as_nanos().div_ceil(1000);
                c_longlong::try_from(nanoseconds).map_or(LONGEST, |us| us.min(LONGEST))
            });
            // SAFETY: the lock is allocated, and the caller is detached.
            match unsafe { PyThread_acquire_lock_timed(self.0.as_ptr(), microseconds, 1) } {
                1 => {
                    // SAFETY: this thread acquired it just now.
                    unsafe { PyThread_release_lock(self.0.as_ptr()) };
                    Passage::Open
                }
                0 if microseconds < LONGEST => Passage::TimedOut,
                _ => Passage::Interrupted,
            }
        }
    }

    impl Drop for Lock {
        fn drop(&mut self) {
            // SAFETY: nobody else has a reference any more.
            unsafe { PyThread_free_lock(self.0.as_ptr()) };
        }
    }
}

/// Where waits for locks are not interrupted by signals anyway.
#[cfg(not(unix))]
mod imp {
    use std::time::{Duration, Instant};

    use parking_lot::{Condvar, Mutex};
    use pyo3::PyResult;

    use super::Passage;

    #[derive(Default)]
    pub(super) struct Lock {
        open: Mutex<bool>,
        opened: Condvar,
    }

    impl Lock {
        #[allow(clippy::unnecessary_wraps)] // as elsewhere
        pub(super) fn new() -> PyResult<Self> {
            Ok(Self::default())
        }

        pub(super) fn open(&self) {
            *self.open.lock() = true;
            self.opened.notify_all();
        }

        pub(super) fn wait(&self, timeout: Option<Duration>) -> Passage {
            let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            let mut open = self.open.lock();
            while !*open {
                match until {
                    None => self.opened.wait(&mut open),
                    Some(until) => {
                        if self.opened.wait_until(&mut open, until).timed_out() {
                            return Passage::TimedOut;
                        }
                    }
                }
            }
            Passage::Open
        }
    }
}
