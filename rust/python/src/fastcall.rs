//! The methods that are called most, without the general handling of arguments.
//!
//! In a look-up by a `str`, parsing arguments by the general rules and accounting for the attached
//! thread take a third of the time. The functions here take the common calls, and leave all others
//! to the methods that PyO3 generates.
//!
//! Outside a method of PyO3 an owned reference that is dropped would be leaked, so nothing here is
//! dropped: references are borrowed, or handed over. A panic is left to the general method, which
//! will panic likewise and can raise it.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::OnceLock;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use crate::queue::PyQueue;
use crate::registry::PyRegistry;
use crate::table::Lookup;

type General = OnceLock<ffi::PyCFunctionFastWithKeywords>;

static GENERAL_GET: General = OnceLock::new();
static GENERAL_PUSH: General = OnceLock::new();

/// Put the fast methods in the place of the general ones.
pub fn install(py: Python<'_>) -> PyResult<()> {
    let get = ffi::PyMethodDefPointer {
        PyCFunctionFastWithKeywords: get,
    };
    let flags = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    replace(
        &py.get_type::<PyRegistry>(),
        "get",
        &GENERAL_GET,
        get,
        flags,
    )?;
    let push = ffi::PyMethodDefPointer { PyCFunction: push };
    replace(
        &py.get_type::<PyQueue>(),
        "push",
        &GENERAL_PUSH,
        push,
        ffi::METH_O,
    )
}

/// Replace one method, whose function must have the form that the flags say, and keep the old one.
fn replace(
    class: &Bound<'_, PyType>,
    name: &str,
    general: &General,
    function: ffi::PyMethodDefPointer,
    flags: i32,
) -> PyResult<()> {
    let mut definition = definition(&class.getattr(name)?)?;
    // SAFETY: `definition` has checked that the function is of this form.
    let _ = general.set(unsafe { definition.ml_meth.PyCFunctionFastWithKeywords });
    definition.ml_meth = function;
    definition.ml_flags = flags;
    // SAFETY: the definition lives for ever, as it must, and describes a function of its flags.
    let method = unsafe {
        let definition = Box::leak(Box::new(definition));
        let method = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
        Bound::from_owned_ptr_or_err(class.py(), method)?
    };
    class.setattr(name, method)
}

/// Copy the definition of a method that takes an array of arguments and names.
fn definition(method: &Bound<'_, PyAny>) -> PyResult<ffi::PyMethodDef> {
    // SAFETY: the object is alive, and its type is checked before it is read as one of that type.
    let definition = unsafe {
        (ffi::Py_TYPE(method.as_ptr()) == &raw mut ffi::PyMethodDescr_Type)
            .then(|| *(*method.as_ptr().cast::<ffi::PyMethodDescrObject>()).d_method)
    };
    definition
        .filter(|found| found.ml_flags == ffi::METH_FASTCALL | ffi::METH_KEYWORDS)
        .ok_or_else(|| PyRuntimeError::new_err("PyO3 generates methods in an unexpected form"))
}

/// Call a general method.
///
/// # Safety
/// The arguments are those of a call by CPython of a method of this form.
unsafe fn call(
    general: &General,
    object: *mut PyObject,
    args: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    match general.get() {
        // SAFETY: by the contract of this function.
        Some(general) => unsafe { general(object, args, count, names) },
        None => ptr::null_mut(), // cannot be: the fast method is not there before
    }
}

/// `ShardedRegistry.get` of a `str`, with at most one more positional argument.
///
/// # Safety
/// CPython calls this attached, with an instance of the class and as many arguments as it says.
unsafe extern "C" fn get(
    registry: *mut PyObject,
    args: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: by the contract of this function; without a second argument the default is `None`.
    unsafe {
        if names.is_null() && (count == 1 || count == 2) {
            match look_up(registry, *args) {
                Lookup::Found(value) => return value.into_ptr(),
                Lookup::Missing if count == 1 => return ffi::Py_NewRef(ffi::Py_None()),
                Lookup::Missing => return ffi::Py_NewRef(*args.add(1)),
                Lookup::InDoubt => {}
            }
        }
        call(&GENERAL_GET, registry, args, count, names)
    }
}

/// # Safety
/// The thread is attached, `registry` is a live `ShardedRegistry` and `key` a live object.
unsafe fn look_up(registry: *mut PyObject, key: *mut PyObject) -> Lookup<Py<PyAny>> {
    // SAFETY: by the contract of this function; both outlive it.
    let (registry, key) = unsafe {
        let py = Python::assume_attached();
        let registry = Borrowed::from_ptr(py, registry);
        let registry = registry.cast_unchecked::<PyRegistry>();
        (registry, Borrowed::from_ptr(py, key))
    };
    if !key.is_exact_instance_of::<PyString>() {
        return Lookup::InDoubt;
    }
    catch_unwind(AssertUnwindSafe(|| registry.get().find_str(&key))).unwrap_or(Lookup::InDoubt)
}

/// `WorkStealingQueue.push` of anything but `None`.
///
/// # Safety
/// CPython calls this attached, with an instance of the class and one argument.
unsafe extern "C" fn push(queue: *mut PyObject, item: *mut PyObject) -> *mut PyObject {
    // SAFETY: by the contract of this function; both outlive it.
    unsafe {
        let py = Python::assume_attached();
        let object = Borrowed::from_ptr(py, queue);
        let object = object.cast_unchecked::<PyQueue>();
        let item = Borrowed::from_ptr(py, item);
        if !item.is_none() {
            let push = || object.get().push_some(item.to_owned().unbind());
            if catch_unwind(AssertUnwindSafe(push)).is_ok() {
                return ffi::Py_NewRef(ffi::Py_None());
            }
        }
        call(&GENERAL_PUSH, queue, &item.as_ptr(), 1, ptr::null_mut())
    }
}
