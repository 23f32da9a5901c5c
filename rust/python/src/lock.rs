//! The kind of lock around what is only ever used while attached to the interpreter.
//!
//! Under a global interpreter lock, attached threads run one at a time, and hand over only where
//! Python code runs or a thread detaches. Both are ruled out while one of our locks is held, so
//! that such a lock is never waited for: it is a mark, set and taken off without atomic
//! read-modify-write operations, which would make up a third of a look-up. The mark is still needed,
//! because the garbage collector may visit an object in the middle of its own operation, and it
//! turns a breach of the rule into a panic instead of a data race.
//!
//! On a free-threaded build the locks are real ones.

use parking_lot::lock_api;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

/// A value behind such a lock.
pub type Locked<T> = lock_api::RwLock<Lock, T>;

/// A reference that the garbage collector can take away, to break a circle.
pub struct Clearable(Locked<Option<Py<PyAny>>>);

impl Clearable {
    pub fn new(object: Option<Py<PyAny>>) -> Self {
        Self(Locked::new(object))
    }

    /// The object, unless it was taken away.
    pub fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.read().as_ref().map(|object| object.clone_ref(py))
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.try_read() {
            Some(object) => visit.call(&*object),
            // Whoever holds the lock is using the object, which is therefore alive.
            None => Ok(()),
        }
    }

    /// Put another object in its place and return the old one, to be dropped outside.
    pub fn replace(&self, object: Option<Py<PyAny>>) -> Option<Py<PyAny>> {
        std::mem::replace(&mut *self.0.write(), object)
    }

    pub fn take(&self) -> Option<Py<PyAny>> {
        self.replace(None)
    }

    pub fn clear(&self) {
        let object = self.0.try_write().and_then(|mut object| object.take());
        drop(object);
    }
}

/// Exclusive use of one.
pub type Guard<'a, T> = lock_api::RwLockWriteGuard<'a, Lock, T>;

#[cfg(Py_GIL_DISABLED)]
pub type Lock = parking_lot::RawRwLock;
/// For what is read much more often than it is changed.
#[cfg(Py_GIL_DISABLED)]
pub type ReadersLock = overdrive_core::sync::StripedLock;
#[cfg(Py_GIL_DISABLED)]
pub type ExclusiveLock = parking_lot::RawMutex;

#[cfg(not(Py_GIL_DISABLED))]
pub use attached::{Lock, Lock as ExclusiveLock, Lock as ReadersLock};

#[cfg(not(Py_GIL_DISABLED))]
mod attached {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use parking_lot::lock_api::{GuardNoSend, RawMutex, RawRwLock};

    const WRITING: usize = usize::MAX;

    /// Zero if free, the number of readers, or [`WRITING`].
    pub struct Lock(AtomicUsize);

    // SAFETY: all uses are attached, hence ordered by the interpreter lock, and no thread gives that
    // up between the load and the store of one method; so the mark excludes as a lock must.
    unsafe impl RawRwLock for Lock {
        #[allow(clippy::declare_interior_mutable_const)] // the trait asks for it
        const INIT: Self = Self(AtomicUsize::new(0));

        type GuardMarker = GuardNoSend;

        fn lock_shared(&self) {
            if !self.try_lock_shared() {
                held();
            }
        }

        fn try_lock_shared(&self) -> bool {
            let mark = self.0.load(Relaxed);
            let free = mark < WRITING - 1;
            if free {
                self.0.store(mark + 1, Relaxed);
            }
            free
        }

        unsafe fn unlock_shared(&self) {
            self.0.store(self.0.load(Relaxed) - 1, Relaxed);
        }

        fn lock_exclusive(&self) {
            if !self.try_lock_exclusive() {
                held();
            }
        }

        fn try_lock_exclusive(&self) -> bool {
            let free = self.0.load(Relaxed) == 0;
            if free {
                self.0.store(WRITING, Relaxed);
            }
            free
        }

        unsafe fn unlock_exclusive(&self) {
            self.0.store(0, Relaxed);
        }
    }

    // SAFETY: as above.
    unsafe impl RawMutex for Lock {
        #[allow(clippy::declare_interior_mutable_const)] // the trait asks for it
        const INIT: Self = <Self as RawRwLock>::INIT;

        type GuardMarker = GuardNoSend;

        fn lock(&self) {
            self.lock_exclusive();
        }

        fn try_lock(&self) -> bool {
            self.try_lock_exclusive()
        }

        unsafe fn unlock(&self) {
            // SAFETY: the caller holds the lock.
            unsafe { self.unlock_exclusive() }
        }
    }

    #[cold]
    fn held() -> ! {
        panic!("an object was used inside its own operation, or by a thread that is not attached");
    }
}
