//! Filling the memory of arrays with zeros through the buffer protocol.

use std::ffi::{c_int, CStr};
use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;

/// How the memory of an array is asked for.
#[derive(Clone, Copy)]
pub enum Order {
    /// In the order of C, which every array with one dimension has.
    C,
    /// In the order of Fortran.
    Fortran,
}

impl Order {
    const fn flags(self) -> c_int {
        match self {
            Self::C => ffi::PyBUF_WRITABLE,
            Self::Fortran => ffi::PyBUF_WRITABLE | ffi::PyBUF_F_CONTIGUOUS,
        }
    }
}

/// A view of an object's memory.
struct View(ffi::Py_buffer);

impl View {
    fn get(object: &Bound<'_, PyAny>, flags: c_int) -> PyResult<Self> {
        let mut view = MaybeUninit::uninit();
        // SAFETY: the object is alive; the function fills the view in or raises.
        let status = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), flags) };
        if status == -1 {
            return Err(PyErr::fetch(object.py()));
        }
        // SAFETY: the function did not raise.
        Ok(Self(unsafe { view.assume_init() }))
    }

    /// Whether elements may be references, which zero bytes are not.
    fn may_hold_objects(&self) -> bool {
        if self.0.format.is_null() {
            return false;
        }
        // SAFETY: a format that was asked for is a string that lives as long as the view.
        let format = unsafe { CStr::from_ptr(self.0.format) };
        // Also true of a field whose name has that letter, which is then only slower.
        format.to_bytes().contains(&b'O')
    }

    fn fill_with_zeros(&mut self) {
        if let Ok(len) = usize::try_from(self.0.len) {
            // SAFETY: the view is writable and contiguous, so that `buf` begins `len` bytes that
            // its owner keeps in place until the view is released; all bit patterns of elements
            // that are no references are values.
            unsafe { self.0.buf.cast::<u8>().write_bytes(0, len) }
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the view was filled in by PyObject_GetBuffer and is released once, attached.
        unsafe { ffi::PyBuffer_Release(&raw mut self.0) }
    }
}

/// Memory that can be written to.
pub enum Memory {
    /// Zero bytes are a value of it, and it is in one piece.
    Zeroable(Order),
    Other,
}

/// Look at the memory of an object, if it has any that can be written to.
pub fn memory(object: &Bound<'_, PyAny>) -> Option<Memory> {
    // SAFETY: the object is alive.
    if unsafe { ffi::PyObject_CheckBuffer(object.as_ptr()) == 0 } {
        return None;
    }
    View::get(object, ffi::PyBUF_WRITABLE | ffi::PyBUF_STRIDES).ok()?;
    // There are formats that cannot be told.
    let told = View::get(object, ffi::PyBUF_FULL_RO);
    if told.map_or(true, |view| view.may_hold_objects()) {
        return Some(Memory::Other);
    }
    let order = [Order::C, Order::Fortran]
        .into_iter()
        .find(|order| View::get(object, order.flags()).is_ok());
    Some(order.map_or(Memory::Other, Memory::Zeroable))
}

/// Fill the memory of an object with zeros.
///
/// # Errors
/// What the object raises when its memory cannot be had any more as it could before.
pub fn zero(object: &Bound<'_, PyAny>, order: Order) -> PyResult<()> {
    View::get(object, order.flags()).map(|mut view| view.fill_with_zeros())
}
