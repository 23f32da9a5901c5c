//! The primitives of the protocol, which the model checker replaces by its own.

#[cfg(not(feature = "shuttle"))]
mod real {
    pub(in crate::executor) use crossbeam_utils::sync::{Parker, Unparker};
    pub(in crate::executor) use parking_lot::{Mutex, RwLock};
    pub(in crate::executor) use std::sync::atomic;
    pub(in crate::executor) use std::thread_local;
}

#[cfg(feature = "shuttle")]
mod real {
    pub(in crate::executor) use shuttle::sync::atomic;
    pub(in crate::executor) use shuttle::thread_local;
    use std::sync::{Arc, PoisonError};

    /// A mutex with the interface of `parking_lot`'s.
    #[derive(Default)]
    pub(in crate::executor) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(in crate::executor) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(in crate::executor) fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// A lock with the interface of `parking_lot`'s.
    pub(in crate::executor) struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(in crate::executor) fn new(value: T) -> Self {
            Self(shuttle::sync::RwLock::new(value))
        }

        pub(in crate::executor) fn read(&self) -> shuttle::sync::RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(in crate::executor) fn write(&self) -> shuttle::sync::RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Sleeps until there is a token, which it takes.
    pub(in crate::executor) struct Parker(Unparker);

    /// Gives a parker its token.
    #[derive(Clone)]
    pub(in crate::executor) struct Unparker(
        Arc<(shuttle::sync::Mutex<bool>, shuttle::sync::Condvar)>,
    );

    impl Parker {
        pub(in crate::executor) fn new() -> Self {
            Self(Unparker(Arc::default()))
        }

        pub(in crate::executor) fn unparker(&self) -> &Unparker {
            &self.0
        }

        pub(in crate::executor) fn park(&self) {
            let (token, changed) = &*self.0 .0;
            let mut token = token.lock().unwrap_or_else(PoisonError::into_inner);
            while !*token {
                token = changed.wait(token).unwrap_or_else(PoisonError::into_inner);
            }
            *token = false;
        }
    }

    impl Unparker {
        pub(in crate::executor) fn unpark(&self) {
            let (token, changed) = &*self.0;
            *token.lock().unwrap_or_else(PoisonError::into_inner) = true;
            changed.notify_one();
        }
    }
}

pub(super) use real::*;
