//! `ObjectPool` and `MemoryPool`.

use overdrive_core::pool::{Pool, Stats};
use parking_lot::Mutex;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use pyo3::{ffi, import_exception};

use crate::argument::{alias, size};
use crate::call::call;
use crate::lock::ExclusiveLock;
use crate::reset::{Plan, Reset};

import_exception!(overdrive.errors, PoolExhaustedError);

/// An object of a pool.
struct Pooled {
    object: Py<PyAny>,
    /// For `reset="auto"`.
    plan: Plan,
}

impl Pooled {
    /// Whether nobody but the pool has a reference.
    fn is_abandoned(&self) -> bool {
        // SAFETY: the object is alive. The count may be out of date at once; then the pool only
        // forgets an object that somebody still has, and says so when it is released.
        unsafe { ffi::Py_REFCNT(self.object.as_ptr()) == 1 }
    }
}

#[pyclass(
    frozen,
    subclass,
    weakref,
    module = "overdrive.pools",
    name = "ObjectPool"
)]
pub struct PyPool {
    pool: Pool<Pooled, ExclusiveLock>,
    factory: Py<PyAny>,
    reset: Reset,
}

fn foreign(object: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    Ok(PyValueError::new_err(format!(
        "this {} is not lent by the pool: it is foreign, or was released before",
        object.get_type().name()?
    )))
}

fn check_callable(value: &Bound<'_, PyAny>, name: &str) -> PyResult<()> {
    if value.is_callable() {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "{name} must be callable, got {}",
        value.repr()?
    )))
}

impl PyPool {
    #[inline]
    fn lend(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.pool.take(|pooled| pooled.object.clone_ref(py)) {
            Some(object) => Ok(object),
            None => self.make(py),
        }
    }

    #[cold]
    fn make(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        drop(self.pool.sweep_if_grown(Pooled::is_abandoned));
        let object = call(self.factory.bind(py), [])?.unbind();
        let plan = match &self.reset {
            Reset::Auto => {
                let mut plan = Plan::of(object.bind(py))?;
                // So that what is lent first is as what is lent again.
                plan.apply(object.bind(py))?;
                plan
            }
            _ => Plan::Keep,
        };
        let address = object.as_ptr() as usize;
        let pooled = Pooled {
            object: object.clone_ref(py),
            plan,
        };
        match self.pool.lend(address, pooled) {
            Ok(()) => Ok(object),
            Err(_) => Err(PyRuntimeError::new_err(
                "the factory returned an object that the pool has already",
            )),
        }
    }

    #[inline]
    fn give_back(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(mut returned) = self.pool.begin_return(object.as_ptr() as usize) else {
            return Err(foreign(object)?);
        };
        let reset = match &self.reset {
            Reset::Nothing => Ok(()),
            Reset::Call(function) => call(function.bind(object.py()), [object]).map(drop),
            Reset::Auto => returned.item.plan.apply(object),
        };
        match reset {
            Ok(()) => drop(self.pool.end_return(returned)),
            Err(error) => {
                drop(self.pool.discard(returned));
                return Err(error);
            }
        }
        Ok(())
    }

    fn counts(&self) -> Stats {
        drop(self.pool.sweep(Pooled::is_abandoned));
        self.pool.stats()
    }
}

#[pymethods]
impl PyPool {
    #[new]
    #[pyo3(signature = (factory, max_size=None, reset_func=None, *, reset=None))]
    fn new(
        factory: &Bound<'_, PyAny>,
        max_size: Option<&Bound<'_, PyAny>>,
        reset_func: Option<&Bound<'_, PyAny>>,
        reset: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        const DEFAULT_SIZE: usize = 100;
        check_callable(factory, "factory")?;
        let max_size = max_size.map_or(Ok(DEFAULT_SIZE), |n| size(n, "max_size"))?;
        let reset = match (reset_func, reset) {
            (None, None) => Reset::Nothing,
            (Some(function), None) => {
                check_callable(function, "reset_func")?;
                Reset::Call(function.clone().unbind())
            }
            (None, Some(reset)) if reset.eq("auto")? => Reset::Auto,
            (None, Some(reset)) => {
                return Err(PyValueError::new_err(format!(
                    "reset must be None or \"auto\", got {}",
                    reset.repr()?
                )))
            }
            (Some(_), Some(_)) => {
                return Err(PyValueError::new_err(
                    "give either reset_func or reset, not both",
                ))
            }
        };
        Ok(Self {
            pool: Pool::new(max_size),
            factory: factory.clone().unbind(),
            reset,
        })
    }

    /// Makes `ObjectPool[T]` an alias for type checkers.
    #[classmethod]
    fn __class_getitem__<'py>(
        cls: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        alias(cls, item)
    }

    #[getter]
    fn max_size(&self) -> usize {
        self.pool.max_idle()
    }

    fn acquire(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.lend(py)
    }

    fn release(&self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        self.give_back(obj)
    }

    fn borrow(slf: Py<Self>) -> Borrow {
        Borrow {
            pool: slf,
            object: Mutex::new(None),
        }
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let class = py.import("overdrive.pools")?.getattr("PoolStats")?;
        class.call((), Some(&self.get_stats(py)?))
    }

    fn get_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.counts();
        let dict = PyDict::new(py);
        dict.set_item("pool_size", stats.idle)?;
        dict.set_item("max_size", self.pool.max_idle())?;
        dict.set_item("created_count", stats.created)?;
        dict.set_item("reused_count", stats.reused)?;
        dict.set_item("reuse_rate", rate(stats.reused, stats.created))?;
        dict.set_item("in_use", stats.lent)?;
        dict.set_item("discarded_count", stats.discarded)?;
        dict.set_item("dropped_count", stats.dropped)?;
        dict.set_item("leaked_count", stats.leaked)?;
        Ok(dict)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let pool = &slf.get().pool;
        let stats = pool.stats();
        let (name, lent, max) = (slf.get_type().name()?, stats.lent, pool.max_idle());
        Ok(format!(
            "<{name}: {lent} in use, {} of {max} idle>",
            stats.idle
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.factory)?;
        if let Reset::Call(function) = &self.reset {
            visit.call(function)?;
        }
        self.pool.try_visit(|pooled| {
            visit.call(&pooled.object)?;
            pooled.plan.visit(&mut |object| visit.call(object))
        })
    }

    fn __clear__(&self) {
        drop(self.pool.try_clear());
    }
}

#[allow(clippy::cast_precision_loss)] // a rate
fn rate(part: u64, rest: u64) -> f64 {
    if part == 0 {
        0.0
    } else {
        part as f64 / (part + rest) as f64
    }
}

/// One object, from the beginning of a `with` block to its end.
#[pyclass(frozen, module = "overdrive.pools", name = "Borrow")]
pub struct Borrow {
    pool: Py<PyPool>,
    object: Mutex<Option<Py<PyAny>>>,
}

#[pymethods]
impl Borrow {
    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let object = self.pool.get().lend(py)?;
        let mut place = self.object.lock();
        if place.is_some() {
            drop(place);
            self.pool.get().give_back(object.bind(py))?;
            return Err(PyRuntimeError::new_err("this borrow is in use already"));
        }
        *place = Some(object.clone_ref(py));
        Ok(object)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        let object = self.object.lock().take();
        match object {
            Some(object) => self.pool.get().give_back(object.bind(py)),
            None => Err(PyRuntimeError::new_err("this borrow is not in use")),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)?;
        match self.object.try_lock() {
            Some(object) => visit.call(&*object),
            None => Ok(()),
        }
    }
}

/// One row of the slab.
struct Block {
    row: Py<PyAny>,
    index: usize,
}

#[pyclass(
    frozen,
    subclass,
    weakref,
    module = "overdrive.pools",
    name = "MemoryPool"
)]
pub struct PyMemoryPool {
    pool: Pool<Block, ExclusiveLock>,
    slab: Py<PyAny>,
    memory: PyBuffer<f32>,
    /// The number of rows that were handed out at least once.
    fresh: Mutex<usize>,
    pool_size: usize,
    state_size: usize,
}

impl PyMemoryPool {
    fn zero(&self, py: Python<'_>, index: usize) {
        let start = index * self.state_size;
        if let Some(cells) = self.memory.as_mut_slice(py) {
            for cell in &cells[start..start + self.state_size] {
                cell.set(0.0);
            }
        }
    }

    /// Lend a row for the first time.
    fn lend_fresh(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let index = {
            let mut fresh = self.fresh.lock();
            if *fresh == self.pool_size {
                drop(fresh);
                return Err(PoolExhaustedError::new_err(format!(
                    "all {} blocks are in use",
                    self.pool_size
                )));
            }
            *fresh += 1;
            *fresh - 1
        };
        let row = self.slab.bind(py).get_item(index)?.unbind();
        let block = Block {
            row: row.clone_ref(py),
            index,
        };
        // The row was made now, so that it cannot be in the pool.
        drop(self.pool.lend(row.as_ptr() as usize, block));
        Ok(row)
    }
}

#[pymethods]
impl PyMemoryPool {
    #[new]
    fn new(pool_size: &Bound<'_, PyAny>, state_size: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = pool_size.py();
        let (pool_size, state_size) = (
            size(pool_size, "pool_size")?,
            size(state_size, "state_size")?,
        );
        let slab = py
            .import("overdrive._numpy")?
            .call_method1("zeros", ((pool_size, state_size),))?;
        Ok(Self {
            pool: Pool::new(pool_size),
            memory: PyBuffer::get(&slab)?,
            slab: slab.unbind(),
            fresh: Mutex::new(0),
            pool_size,
            state_size,
        })
    }

    #[getter]
    fn pool_size(&self) -> usize {
        self.pool_size
    }

    #[getter]
    fn state_size(&self) -> usize {
        self.state_size
    }

    fn acquire(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let used = self
            .pool
            .take(|block| (block.row.clone_ref(py), block.index));
        match used {
            Some((row, index)) => {
                self.zero(py, index);
                Ok(row)
            }
            None => self.lend_fresh(py),
        }
    }

    fn release(&self, block: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.pool.begin_return(block.as_ptr() as usize) {
            Some(returned) => {
                drop(self.pool.end_return(returned));
                Ok(())
            }
            None => Err(foreign(block)?),
        }
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let class = py.import("overdrive.pools")?.getattr("MemoryPoolStats")?;
        class.call((), Some(&self.get_stats(py)?))
    }

    fn get_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let lent = self.pool.stats().lent;
        let dict = PyDict::new(py);
        dict.set_item("available", self.pool_size - lent)?;
        dict.set_item("in_use", lent)?;
        dict.set_item(
            "utilization",
            rate(lent as u64, (self.pool_size - lent) as u64),
        )?;
        Ok(dict)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let pool = slf.get();
        Ok(format!(
            "<{}: {} of {} blocks of {} in use>",
            slf.get_type().name()?,
            pool.pool.stats().lent,
            pool.pool_size,
            pool.state_size
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.slab)?;
        self.pool.try_visit(|block| visit.call(&block.row))
    }

    fn __clear__(&self) {
        drop(self.pool.try_clear());
    }
}
