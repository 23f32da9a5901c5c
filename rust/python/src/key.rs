//! Keys of any Python type, compared without running Python code under a lock.
//!
//! A *plain* key is exactly a `str`, `bytes`, `int` of at most 64 bits, `None`, a class without a
//! metaclass of its own, or a tuple of those: two plain keys are compared right where they are found, by C functions that neither allocate nor
//! call back. For any other pair the table's lock must be released first, because `__eq__` may do
//! anything, also use the same table. A look-up is therefore a loop:
//!
//! 1. Under the lock, stored keys of equal hash are decided if possible; the others are noted
//!    (with a strong reference, so that their addresses stay theirs) and count as different.
//! 2. If the key was not found and some were noted, they are compared with the lock released, and
//!    the verdicts are kept by address; then the look-up is repeated.
//!
//! An insertion happens in the same locked step that found every stored key of equal hash decided
//! and different, so no key is ever stored twice. Each repetition needs a key of equal hash that
//! somebody stored in between; a table at rest is searched at most twice.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::slice;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple, PyType};

use crate::call;

/// An operation that other code frustrated so many times in a row is given up.
pub const MAX_ATTEMPTS: usize = 1000;

/// The error of such an operation.
///
/// No thread is so unlucky by chance: the code that the operation itself calls, such as an
/// `__eq__`, changes what the operation is about.
pub fn frustrated() -> PyErr {
    PyRuntimeError::new_err(
        "the entry changed during each attempt to use it; does a function called for it change the \
         same key?",
    )
}

/// Tuples nested deeper than this are compared by Python.
const MAX_DEPTH: u32 = 4;

/// A stored key.
pub struct Key {
    object: Py<PyAny>,
}

impl Key {
    /// The Python object.
    pub fn object(&self) -> &Py<PyAny> {
        &self.object
    }

    /// Another reference to the same key.
    pub fn copy(&self, py: Python<'_>) -> Self {
        Self {
            object: self.object.clone_ref(py),
        }
    }
}

/// A `str` that is looked for, without what other keys need.
pub struct StrProbe<'a, 'py> {
    object: &'a Bound<'py, PyAny>,
    hash: u64,
    /// Whether a stored key was met that is not plain, and may be equal nevertheless.
    in_doubt: Cell<bool>,
}

impl<'a, 'py> StrProbe<'a, 'py> {
    /// Hash an object whose type is exactly `str`.
    #[inline]
    pub fn new(object: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        #[allow(clippy::cast_sign_loss)] // a hash is a bit pattern
        let hash = object.hash()? as u64;
        let in_doubt = Cell::new(false);
        Ok(Self {
            object,
            hash,
            in_doubt,
        })
    }

    /// Python's hash of the key.
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Decide, under the lock, whether a stored key of equal hash is this one, or note the doubt.
    #[inline]
    pub fn matches(&self, stored: &Key) -> bool {
        if stored.object.is(self.object) {
            return true;
        }
        let stored = stored.object.bind(self.object.py());
        if stored.is_exact_instance_of::<PyString>() {
            return str_eq(stored, self.object);
        }
        self.in_doubt.set(true);
        false
    }

    /// Whether a key that was not found may be there nevertheless.
    #[inline]
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt.get()
    }
}

/// A key that is looked for, with what is known about stored keys that are not plain.
pub struct Probe<'a, 'py> {
    object: &'a Bound<'py, PyAny>,
    hash: u64,
    plain: bool,
    /// Made when the first stored key cannot be decided at once, which is rare.
    foreign: RefCell<Option<Box<Foreign>>>,
}

/// Stored keys of equal hash that only Python can compare.
#[derive(Default)]
struct Foreign {
    verdicts: Vec<(Py<PyAny>, bool)>,
    /// How many times keys were found that could not be decided.
    rounds: usize,
    /// Where the next verdict is: a look-up asks for them in the order of the one before.
    cursor: usize,
    undecided: Vec<Py<PyAny>>,
}

impl Foreign {
    fn verdict(&mut self, stored: &Py<PyAny>) -> Option<bool> {
        let known = |(known, _): &(Py<PyAny>, bool)| known.is(stored);
        let place = match self.verdicts.get(self.cursor) {
            Some(next) if known(next) => self.cursor,
            _ => self.verdicts.iter().position(known)?,
        };
        self.cursor = place + 1;
        Some(self.verdicts[place].1)
    }
}

impl<'a, 'py> Probe<'a, 'py> {
    /// Hash the key, which may run Python code and raise.
    #[inline]
    pub fn new(object: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        #[allow(clippy::cast_sign_loss)] // a hash is a bit pattern
        let hash = object.hash()? as u64;
        Ok(Self {
            object,
            hash,
            plain: object.is_exact_instance_of::<PyString>() || is_plain(object, 0),
            foreign: RefCell::default(),
        })
    }

    /// Python's hash of the key.
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Make the key to store.
    #[inline]
    pub fn key(&self) -> Key {
        Key {
            object: self.object.clone().unbind(),
        }
    }

    /// Decide, under the lock, whether a stored key of equal hash is this one.
    #[inline]
    pub fn matches(&self, stored: &Key) -> bool {
        if stored.object.is(self.object) {
            return true;
        }
        let object = stored.object.bind(self.object.py());
        if are_str(object, self.object) {
            return str_eq(object, self.object);
        }
        self.matches_other(object)
    }

    /// [`Probe::matches`] for keys that are not both `str`.
    fn matches_other(&self, stored: &Bound<'_, PyAny>) -> bool {
        if self.plain && is_plain(stored, 0) {
            plain_eq(stored, self.object)
        } else {
            self.recall(stored.as_unbound())
        }
    }

    /// Answer from the comparisons made so far, or note that one is missing.
    #[cold]
    fn recall(&self, stored: &Py<PyAny>) -> bool {
        let mut foreign = self.foreign.borrow_mut();
        let foreign = foreign.get_or_insert_with(Box::default);
        if let Some(equal) = foreign.verdict(stored) {
            return equal;
        }
        foreign.undecided.push(stored.clone_ref(self.object.py()));
        false
    }

    /// Whether the last look-up met keys that it could not decide.
    #[inline]
    pub fn is_undecided(&self) -> bool {
        let foreign = self.foreign.borrow();
        foreign.as_ref().is_some_and(|f| !f.undecided.is_empty())
    }

    /// Compare, with no lock held, what was left undecided. `true` means: look again.
    #[inline]
    pub fn decide(&self) -> PyResult<bool> {
        if self.is_undecided() {
            self.compare()?;
            return Ok(true);
        }
        Ok(false)
    }

    #[cold]
    fn compare(&self) -> PyResult<()> {
        // The comparisons may come back to the code that holds this probe, not to the probe.
        let mut foreign = self.foreign.take().unwrap_or_default();
        foreign.rounds += 1;
        if foreign.rounds > MAX_ATTEMPTS {
            return Err(frustrated());
        }
        for stored in foreign.undecided.drain(..) {
            let equal = call::eq(stored.bind(self.object.py()), self.object)?;
            foreign.verdicts.push((stored, equal));
        }
        foreign.cursor = 0;
        self.foreign.replace(Some(foreign));
        Ok(())
    }
}

fn is_plain(object: &Bound<'_, PyAny>, depth: u32) -> bool {
    if object.is_exact_instance_of::<PyString>() || object.is_exact_instance_of::<PyBytes>() {
        return true;
    }
    if object.is_exact_instance_of::<PyInt>() {
        return small_int(object).is_some();
    }
    match object.cast_exact::<PyTuple>() {
        Ok(tuple) if depth < MAX_DEPTH => tuple.iter_borrowed().all(|i| is_plain(&i, depth + 1)),
        _ => is_unique(object),
    }
}

/// Whether an object is equal to itself only, among plain ones.
fn is_unique(object: &Bound<'_, PyAny>) -> bool {
    object.is_none()
        || object.is_exact_instance_of::<Separator>()
        || object.is_exact_instance_of::<PyType>()
}

/// Separates parts of a key that is made of several things; there is one.
#[pyclass(frozen, module = "overdrive._core")]
pub struct Separator;

impl Separator {
    /// The one.
    pub fn get(py: Python<'_>) -> PyResult<&Bound<'_, Self>> {
        static SEPARATOR: PyOnceLock<Py<Separator>> = PyOnceLock::new();
        let separator = SEPARATOR.get_or_try_init(py, || Py::new(py, Separator))?;
        Ok(separator.bind(py))
    }
}

/// Compare two plain keys without allocating, raising or calling back.
fn plain_eq(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> bool {
    if are_str(a, b) {
        return str_eq(a, b);
    }
    if a.get_type_ptr() != b.get_type_ptr() {
        return false;
    }
    if let (Ok(a), Ok(b)) = (a.cast_exact::<PyTuple>(), b.cast_exact::<PyTuple>()) {
        return a.len() == b.len()
            && a.iter_borrowed()
                .zip(b.iter_borrowed())
                .all(|(a, b)| a.is(&*b) || plain_eq(&a, &b));
    }
    if let (Ok(a), Ok(b)) = (a.cast_exact::<PyBytes>(), b.cast_exact::<PyBytes>()) {
        return a.as_bytes() == b.as_bytes();
    }
    !is_unique(a) && small_int(a) == small_int(b)
}

#[inline]
fn are_str(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> bool {
    a.is_exact_instance_of::<PyString>() && b.is_exact_instance_of::<PyString>()
}

/// Compare two objects whose type is exactly `str` and whose hash is known.
#[inline]
fn str_eq(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> bool {
    match (str_content(a), str_content(b)) {
        ((kind, _), (other, _)) if kind != other => false,
        ((_, content), (_, other)) => content == other,
    }
}

/// The bytes in each character of an object whose type is exactly `str`, and the bytes of all.
///
/// Equal strings have the same of both: a string is kept in the narrowest form that can hold it.
#[inline]
fn str_content<'a>(text: &'a Bound<'_, PyAny>) -> (u32, &'a [u8]) {
    let text = text.as_ptr();
    // SAFETY: this is a live `str`, in canonical form, because computing its hash has made it so;
    // its content does not change while `text` is borrowed.
    unsafe {
        let kind = ffi::PyUnicode_KIND(text);
        let length = ffi::PyUnicode_GET_LENGTH(text).unsigned_abs();
        let content = ffi::PyUnicode_DATA(text).cast::<u8>();
        (kind, slice::from_raw_parts(content, length * kind as usize))
    }
}

/// The value of an object whose type is exactly `int`, if it fits 64 bits.
fn small_int(object: &Bound<'_, PyAny>) -> Option<i64> {
    let mut overflow: c_int = 0;
    // SAFETY: the object is a live `int`; the function reports overflow by its argument and raises
    // only for objects that are no integers.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(object.as_ptr(), &raw mut overflow) };
    (overflow == 0).then_some(value)
}
