//! Calls of Python code that may take its time, and may never return.
//!
//! When the interpreter exits, CPython before 3.14 ends every daemon thread that wants to go on by
//! `pthread_exit`, which unwinds its stack. PyO3 declares the functions of CPython as such that
//! never unwind, so one Rust frame in the way is enough to abort the whole process. Calls through
//! this module let the thread hang there instead, for the rest of the exit, as 3.14 does.

use std::hint::black_box;
use std::ptr;
use std::thread;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

mod unwinding {
    use std::ffi::c_int;

    use pyo3::ffi::PyObject;

    extern "C-unwind" {
        pub fn PyObject_Vectorcall(
            callable: *mut PyObject,
            args: *const *mut PyObject,
            count: usize,
            names: *mut PyObject,
        ) -> *mut PyObject;
        pub fn PyObject_Call(
            callable: *mut PyObject,
            args: *mut PyObject,
            kwargs: *mut PyObject,
        ) -> *mut PyObject;
        pub fn PyObject_RichCompare(
            a: *mut PyObject,
            b: *mut PyObject,
            operator: c_int,
        ) -> *mut PyObject;
    }

    pub type Vectorcall = unsafe extern "C-unwind" fn(
        *mut PyObject,
        *const *mut PyObject,
        usize,
        *mut PyObject,
    ) -> *mut PyObject;
    pub type Call =
        unsafe extern "C-unwind" fn(*mut PyObject, *mut PyObject, *mut PyObject) -> *mut PyObject;
    pub type Compare =
        unsafe extern "C-unwind" fn(*mut PyObject, *mut PyObject, c_int) -> *mut PyObject;
}

/// Lets the thread hang when it is unwound.
struct Hang;

impl Drop for Hang {
    fn drop(&mut self) {
        loop {
            thread::park();
        }
    }
}

/// Do what may unwind the thread.
///
/// The functions that it calls must be black boxes: link-time optimization takes PyO3's word, which
/// declares the same functions, that they never unwind.
#[inline]
fn guarded<R>(act: impl FnOnce() -> R) -> R {
    let hang = Hang;
    let result = act();
    std::mem::forget(hang);
    result
}

/// Call with positional arguments.
#[inline]
pub fn call<'py, const N: usize>(
    function: &Bound<'py, PyAny>,
    args: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let args = args.map(Bound::as_ptr);
    let vectorcall = black_box(unwinding::PyObject_Vectorcall as unwinding::Vectorcall);
    // SAFETY: the thread is attached, function and arguments are alive, there are N arguments and
    // no names. The result is a new reference, or null with an exception set.
    unsafe {
        let result = guarded(|| vectorcall(function.as_ptr(), args.as_ptr(), N, ptr::null_mut()));
        Bound::from_owned_ptr_or_err(function.py(), result)
    }
}

/// Call with any arguments.
#[inline]
pub fn call_with<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let kwargs = kwargs.map_or(ptr::null_mut(), Bound::as_ptr);
    let call = black_box(unwinding::PyObject_Call as unwinding::Call);
    // SAFETY: the thread is attached, function and arguments are alive. The result is a new
    // reference, or null with an exception set.
    unsafe {
        let result = guarded(|| call(function.as_ptr(), args.as_ptr(), kwargs));
        Bound::from_owned_ptr_or_err(function.py(), result)
    }
}

/// Compare with `==`.
pub fn eq(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> PyResult<bool> {
    let compare = black_box(unwinding::PyObject_RichCompare as unwinding::Compare);
    // SAFETY: the thread is attached and both objects are alive. The result is a new reference, or
    // null with an exception set.
    let equal = unsafe {
        let result = guarded(|| compare(a.as_ptr(), b.as_ptr(), ffi::Py_EQ));
        Bound::from_owned_ptr_or_err(a.py(), result)?
    };
    equal.is_truthy()
}
