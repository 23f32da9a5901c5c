//! How an object is brought back to its first state, without calling Python where possible.
//!
//! `reset="auto"` knows what it can reset by looking at the object when it is made: buffers are
//! filled with zero bytes, containers emptied, dictionaries reset member by member. The plan for a
//! dictionary keeps its members; at each reset a member that is still the same object is treated as
//! planned, any other is looked at anew.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyInt, PyList, PySet, PyString};

use crate::buffer::{self, Memory};

/// Dictionaries nested deeper than this are refused; they may contain themselves.
const MAX_DEPTH: usize = 16;

/// What a pool does to an object that comes back.
pub enum Reset {
    Nothing,
    Call(Py<PyAny>),
    Auto,
}

/// What `reset="auto"` does to one object.
pub enum Plan {
    /// A value that cannot change.
    Keep,
    List,
    Set,
    Dict,
    /// A `collections.deque`.
    Deque,
    /// Call its method `clear`.
    Clear,
    Buffer(buffer::Order),
    /// Call its method `fill` with zero: an array whose elements are objects or not contiguous.
    Fill,
    Members(Vec<Member>),
}

pub struct Member {
    key: Py<PyAny>,
    value: Py<PyAny>,
    plan: Plan,
}

impl Plan {
    /// Look at an object.
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::within(object, 0)
    }

    fn within(object: &Bound<'_, PyAny>, depth: usize) -> PyResult<Self> {
        if let Ok(dict) = object.cast_exact::<PyDict>() {
            return if dict.is_empty() {
                Ok(Self::Dict)
            } else {
                Self::of_members(dict, depth)
            };
        }
        if object.is_exact_instance_of::<PyList>() {
            return Ok(Self::List);
        }
        if object.is_exact_instance_of::<PySet>() {
            return Ok(Self::Set);
        }
        if depth > 0 && is_constant(object) {
            return Ok(Self::Keep);
        }
        if object.get_type().is(deque_type(object.py())?) {
            return Ok(Self::Deque);
        }
        let py = object.py();
        match buffer::memory(object) {
            Some(Memory::Zeroable(order)) => return Ok(Self::Buffer(order)),
            Some(Memory::Other) if object.hasattr(intern!(py, "fill"))? => return Ok(Self::Fill),
            _ => {}
        }
        let container = object.is_instance_of::<PyDict>()
            || object.is_instance_of::<PyList>()
            || object.is_instance_of::<PySet>()
            || object.is_instance(deque_type(py)?)?;
        if container {
            return Ok(Self::Clear);
        }
        Err(PyTypeError::new_err(format!(
            "reset=\"auto\" does not know how to reset {}; give the pool a reset_func",
            object.get_type().repr()?
        )))
    }

    fn of_members(dict: &Bound<'_, PyDict>, depth: usize) -> PyResult<Self> {
        if depth == MAX_DEPTH {
            return Err(PyValueError::new_err(format!(
                "reset=\"auto\" found dicts more than {MAX_DEPTH} deep; is one inside itself?"
            )));
        }
        let members = dict.items().into_iter().map(|item| {
            let (key, value) = item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
            Ok(Member {
                plan: Self::within(&value, depth + 1)?,
                key: key.unbind(),
                value: value.unbind(),
            })
        });
        members.collect::<PyResult<_>>().map(Self::Members)
    }

    /// Reset the object that the plan was made for.
    pub fn apply(&mut self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        match self {
            Self::Keep => Ok(()),
            Self::List => clear_list(object.cast::<PyList>()?),
            Self::Set => {
                object.cast::<PySet>()?.clear();
                Ok(())
            }
            Self::Dict => {
                object.cast::<PyDict>()?.clear();
                Ok(())
            }
            Self::Deque => clear_deque(object),
            Self::Clear => object.call_method0(intern!(py, "clear")).map(drop),
            Self::Buffer(order) => buffer::zero(object, *order),
            Self::Fill => object.call_method1(intern!(py, "fill"), (0,)).map(drop),
            Self::Members(members) => reset_members(object.cast::<PyDict>()?, members),
        }
    }

    /// Visit what the plan refers to.
    pub fn visit<E>(&self, visit: &mut impl FnMut(&Py<PyAny>) -> Result<(), E>) -> Result<(), E> {
        let Self::Members(members) = self else {
            return Ok(());
        };
        members.iter().try_for_each(|member| {
            visit(&member.key)?;
            visit(&member.value)?;
            member.plan.visit(visit)
        })
    }
}

fn reset_members(dict: &Bound<'_, PyDict>, members: &mut [Member]) -> PyResult<()> {
    let py = dict.py();
    for member in members.iter_mut() {
        let Some(value) = dict.get_item(&member.key)? else {
            return Err(PyValueError::new_err(format!(
                "reset=\"auto\" misses the member {} that the factory made",
                member.key.bind(py).repr()?
            )));
        };
        if !value.is(&member.value) {
            if matches!(member.plan, Plan::Keep) {
                dict.set_item(&member.key, &member.value)?;
                continue;
            }
            member.plan = Plan::within(&value, 1)?;
            member.value = value.clone().unbind();
        }
        member.plan.apply(&value)?;
    }
    if dict.len() != members.len() {
        remove_others(dict, members)?;
    }
    Ok(())
}

/// Leave only the planned members.
fn remove_others(dict: &Bound<'_, PyDict>, members: &[Member]) -> PyResult<()> {
    dict.clear();
    members
        .iter()
        .try_for_each(|member| dict.set_item(&member.key, &member.value))
}

fn is_constant(object: &Bound<'_, PyAny>) -> bool {
    object.is_none()
        || object.is_exact_instance_of::<PyBool>()
        || object.is_exact_instance_of::<PyInt>()
        || object.is_exact_instance_of::<PyFloat>()
        || object.is_exact_instance_of::<PyComplex>()
        || object.is_exact_instance_of::<PyString>()
        || object.is_exact_instance_of::<PyBytes>()
}

fn clear_list(list: &Bound<'_, PyList>) -> PyResult<()> {
    match list.len() {
        0 => Ok(()),
        len => list.del_slice(0, len),
    }
}

fn deque_type(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static DEQUE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    DEQUE.import(py, "collections", "deque")
}

fn clear_deque(deque: &Bound<'_, PyAny>) -> PyResult<()> {
    static CLEAR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = deque.py();
    if deque.len()? == 0 {
        return Ok(());
    }
    let clear = CLEAR.get_or_try_init(py, || {
        let clear = deque_type(py)?.getattr("clear")?;
        Ok::<_, PyErr>(clear.unbind())
    })?;
    clear.bind(py).call1((deque,)).map(drop)
}
