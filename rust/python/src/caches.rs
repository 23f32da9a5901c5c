//! `Cache`: the native part of `LRUCache` and `TTLCache`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

use overdrive_core::loads::Ticket;
use overdrive_core::lru::{Departure, Departures, Lru, Put, Reason, Stats};
use overdrive_core::slab_list::Index;
use overdrive_core::ttl::Deadline;
use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

use crate::argument::{alias, number, Given};
use crate::call::call;
use crate::key::{Key, Probe, MAX_ATTEMPTS};
use crate::lock::{Clearable, Guard, Locked};
use crate::timer::{seconds, Clock, Moment, PyTimer};

pub type Engine = Lru<Key, Py<PyAny>>;
type Pair = (Py<PyAny>, Py<PyAny>);

/// Methods of a subclass that must be called where the class itself would not. Keep in step with
/// `overdrive.caches`.
mod hook {
    pub const GETITEM: u8 = 1;
    pub const SETITEM: u8 = 2;
    pub const DELITEM: u8 = 4;
    pub const CONTAINS: u8 = 8;
    pub const MISSING: u8 = 16;
    pub const POPITEM: u8 = 32;
    /// Bit 6 stands for `getsizeof`, which is called whenever sizes are kept.
    pub const EXPIRE: u8 = 128;
}

/// What does not change after `__init__`.
struct Setup {
    max_size: Py<PyAny>,
    limit: f64,
    hooks: u8,
    sized: bool,
    clock: Clock,
    timer: Option<Py<PyTimer>>,
    ttl: Option<(Py<PyAny>, f64)>,
    listens: bool,
    listener: Clearable,
}

impl Setup {
    /// Whether storing takes neither Python code nor the time.
    fn is_plain(&self) -> bool {
        self.hooks == 0 && !self.sized && self.timer.is_none() && self.limit >= 1.0
    }

    fn calls(&self, hooks: u8) -> bool {
        self.hooks & hooks != 0
    }

    /// The present by the cache's own timer, which may be Python code.
    #[inline]
    fn now(&self, py: Python<'_>) -> PyResult<Moment> {
        match &self.timer {
            None => Ok(Moment::Now(self.clock)),
            Some(timer) => timer.get().now(py),
        }
    }

    /// When an entry expires that is set now, with a time to live of its own or that of all.
    fn deadline(&self, now: Moment, ttl: Option<f64>) -> Deadline {
        match (ttl, &self.ttl) {
            (Some(ttl), _) => Deadline::Own(now.number() + ttl),
            (None, Some((_, ttl))) => Deadline::Common(now.number() + ttl),
            (None, None) => Deadline::Never,
        }
    }
}

/// The present as a number, if it matters to anything in the cache.
fn now_number(now: Moment, engine: &Engine) -> f64 {
    if engine.is_timed() {
        now.number()
    } else {
        0.0
    }
}

/// How a value is stored.
#[derive(Default)]
struct Terms {
    ttl: Option<f64>,
    tags: Vec<Box<str>>,
    /// Only if nothing has changed since.
    ticket: Option<Ticket>,
    /// Only if the key is absent.
    only_new: bool,
}

/// What became of a value.
enum Stored {
    Yes,
    /// Something has changed since the load began, or it is too large.
    Refused,
    Present(Py<PyAny>),
}

#[pyclass(frozen, subclass, weakref, module = "overdrive._core", name = "Cache")]
pub struct PyCache {
    engine: Locked<Engine>,
    setup: OnceLock<Setup>,
    /// Whether all sizes were integers so far.
    whole: AtomicBool,
}

impl PyCache {
    fn setup(&self) -> PyResult<&Setup> {
        self.setup.get().ok_or_else(|| {
            PyRuntimeError::new_err("the cache is not initialised: call super().__init__(maxsize)")
        })
    }

    /// The engine, locked.
    pub fn engine(&self) -> Guard<'_, Engine> {
        self.engine.write()
    }

    /// Find a key under the lock, and go on there.
    pub fn at<R>(
        &self,
        key: &Bound<'_, PyAny>,
        go_on: impl FnOnce(&mut Engine, Option<Index>, &Probe<'_, '_>) -> R,
    ) -> PyResult<R> {
        let probe = Probe::new(key)?;
        loop {
            let mut engine = self.engine.write();
            let found = engine.find(probe.hash(), |k| probe.matches(k));
            if found.is_some() || !probe.is_undecided() {
                return Ok(go_on(&mut engine, found, &probe));
            }
            drop(engine);
            probe.decide()?;
        }
    }

    /// Use an entry, if it is there and has not expired.
    #[inline]
    pub fn lookup(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let py = key.py();
        let setup = self.setup()?;
        let now = setup.now(py)?;
        self.at(key, |engine, found, _| {
            let value = engine.hit(found, |time| now.is_before(time));
            value.map(|value| value.clone_ref(py))
        })
    }

    /// Whether a subclass changes how entries are looked up.
    pub fn is_overridden(&self) -> PyResult<bool> {
        Ok(self.setup()?.calls(hook::GETITEM | hook::CONTAINS))
    }

    fn is_present(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let setup = self.setup()?;
        let now = setup.now(key.py())?;
        self.at(key, |engine, found, _| {
            let now = now_number(now, engine);
            found.is_some_and(|index| engine.is_live(index, now))
        })
    }

    /// The size of a value; `None` if no cache of this size can hold it.
    fn size(
        slf: &Bound<'_, Self>,
        setup: &Setup,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<Option<f64>> {
        if !setup.sized {
            return Ok((setup.limit >= 1.0).then_some(1.0));
        }
        let given = call(&slf.getattr(intern!(slf.py(), "getsizeof"))?, [value])?;
        let size = number(&given)?;
        if size.is_nan() || size < 0.0 {
            return Err(PyValueError::new_err("value size must be non-negative"));
        }
        // The rest of an infinite size could not be told.
        if size > setup.limit || size == f64::INFINITY {
            return Ok(None);
        }
        if !given.is_instance_of::<PyInt>() {
            slf.get().whole.store(false, Ordering::Relaxed);
        }
        Ok(Some(size))
    }

    fn store(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        terms: &Terms,
    ) -> PyResult<Stored> {
        let py = slf.py();
        let this = slf.get();
        let setup = this.setup()?;
        let mut now = setup.now(py)?;
        if setup.ttl.is_some() || terms.ttl.is_some() {
            now = Moment::At(now.number());
        }
        let Some(size) = Self::size(slf, setup, value)? else {
            return if terms.ticket.is_some() {
                Ok(Stored::Refused)
            } else {
                Err(PyValueError::new_err("value too large"))
            };
        };
        if setup.calls(hook::EXPIRE) {
            call(&slf.getattr(intern!(py, "expire"))?, [])?;
        }
        let probe = Probe::new(key)?;
        let mut fruitless = 0;
        loop {
            let mut left = Departures::new();
            let mut engine = this.engine.write();
            let at = now_number(now, &engine);
            engine.expire(at, &mut left);
            let found = engine.find(probe.hash(), |k| probe.matches(k));
            let undecided = found.is_none() && probe.is_undecided();
            let mut full = false;
            let mut stored = None;
            if !undecided {
                full = setup.calls(hook::POPITEM | hook::DELITEM) && !engine.has_room(found, size);
                if let Some(index) = found.filter(|_| terms.only_new) {
                    engine.touch(index);
                    stored = Some(Stored::Present(engine.peek(index).1.clone_ref(py)));
                } else if terms
                    .ticket
                    .is_some_and(|t| !engine.is_current(t, probe.hash(), &terms.tags))
                {
                    stored = Some(Stored::Refused);
                } else if !full {
                    let put = Put {
                        value: value.clone().unbind(),
                        size,
                        deadline: setup.deadline(now, terms.ttl),
                        tags: &terms.tags,
                    };
                    engine.put(found, probe.hash(), || probe.key(), put, &mut left);
                    stored = Some(Stored::Yes);
                }
            }
            drop(engine);
            this.depart(py, left, Some(key));
            if let Some(stored) = stored {
                return Ok(stored);
            }
            if full {
                fruitless += usize::from(!Self::make_room(slf)?);
                if fruitless > MAX_ATTEMPTS {
                    return Err(no_room(slf));
                }
            } else {
                probe.decide()?;
            }
        }
    }

    /// Store a value in a cache without sizes, times and tags; `false` if it has some after all.
    #[inline]
    fn store_plain(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = key.py();
        let probe = Probe::new(key)?;
        loop {
            let mut engine = self.engine.write();
            if !engine.is_plain() {
                return Ok(false);
            }
            let new = || value.clone().unbind();
            if let Some(index) = engine.find(probe.hash(), |k| probe.matches(k)) {
                let value = engine.swap(index, new());
                drop(engine);
                self.depart_replaced(py, key, value);
                return Ok(true);
            }
            if !probe.is_undecided() {
                let mut left = Departures::new();
                let put = Put {
                    value: new(),
                    size: 1.0,
                    deadline: Deadline::Never,
                    tags: &[],
                };
                engine.put(None, probe.hash(), || probe.key(), put, &mut left);
                drop(engine);
                self.depart(py, left, None);
                return Ok(true);
            }
            drop(engine);
            probe.decide()?;
        }
    }

    #[inline]
    fn depart_replaced(&self, py: Python<'_>, key: &Bound<'_, PyAny>, value: Py<PyAny>) {
        if self.setup.get().is_some_and(|setup| setup.listens) {
            let left = Departure {
                key: None,
                value,
                reason: Reason::Replaced,
            };
            self.depart(py, Departures::from_buf([left]), Some(key));
        }
    }

    /// Have a subclass evict; `false` if there are as many entries as before.
    ///
    /// Other threads may remove entries before it can, or fill the place of the one that it removed.
    fn make_room(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let py = slf.py();
        let state = || {
            let engine = slf.get().engine.write();
            (engine.len(), engine.departed())
        };
        let (len_before, departed_before) = state();
        let popped = slf
            .getattr(intern!(py, "popitem"))
            .and_then(|popitem| call(&popitem, []));
        let (len, departed) = state();
        if departed == departed_before {
            popped?;
            return Err(no_room(slf));
        }
        match popped {
            Err(error) if !error.is_instance_of::<PyKeyError>(py) => Err(error),
            _ => Ok(len < len_before),
        }
    }

    /// Tell the listener what left, and drop it. No lock is held.
    #[inline]
    fn depart(
        &self,
        py: Python<'_>,
        left: Departures<Key, Py<PyAny>>,
        replaced: Option<&Bound<'_, PyAny>>,
    ) {
        let setup = self.setup.get().filter(|setup| setup.listens);
        let Some(listener) = setup.and_then(|setup| setup.listener.get(py)) else {
            return;
        };
        let listener = listener.bind(py);
        for Departure { key, value, reason } in left {
            let key = match (&key, replaced) {
                (Some(key), _) => key.object().bind(py),
                (None, Some(key)) => key,
                (None, None) => continue,
            };
            let reason = name(py, reason);
            if let Err(error) = call(listener, [key, &value.into_bound(py), reason.as_any()]) {
                error.write_unraisable(py, Some(listener));
            }
        }
    }

    fn depart_one(&self, py: Python<'_>, left: Departure<Key, Py<PyAny>>) -> Pair {
        let value = left.value.clone_ref(py);
        let key = left
            .key
            .as_ref()
            .map_or_else(|| py.None(), |key| key.object().clone_ref(py));
        self.depart(py, Departures::from_buf([left]), None);
        (key, value)
    }

    /// Remove what has expired, by the method of a subclass if it has one.
    fn expire_first(slf: &Bound<'_, Self>, setup: &Setup) -> PyResult<()> {
        let py = slf.py();
        if setup.calls(hook::EXPIRE) {
            return call(&slf.getattr(intern!(py, "expire"))?, []).map(drop);
        }
        let this = slf.get();
        let now = setup.now(py)?;
        let mut left = Departures::new();
        let mut engine = this.engine.write();
        let at = now_number(now, &engine);
        engine.expire(at, &mut left);
        drop(engine);
        this.depart(py, left, None);
        Ok(())
    }

    /// The keys and values that are there, in the order of insertion.
    fn entries(&self, py: Python<'_>) -> PyResult<Vec<Pair>> {
        let setup = self.setup()?;
        let now = setup.now(py)?;
        let engine = self.engine.write();
        let at = now_number(now, &engine);
        let entries = engine.in_order_of_insertion(at).into_iter().map(|index| {
            let (key, value) = engine.peek(index);
            (key.object().clone_ref(py), value.clone_ref(py))
        });
        Ok(entries.collect())
    }

    fn terms(ttl: Option<&Bound<'_, PyAny>>, tags: Option<&Bound<'_, PyAny>>) -> PyResult<Terms> {
        let mut terms = Terms::default();
        if let Some(ttl) = ttl {
            let number = seconds(ttl, "ttl")?;
            if number.is_nan() || number <= 0.0 {
                return Err(PyValueError::new_err(format!(
                    "ttl must be positive, got {}",
                    ttl.repr()?
                )));
            }
            terms.ttl = Some(number);
        }
        if let Some(tags) = tags {
            terms.tags = tag_names(tags)?;
        }
        Ok(terms)
    }

    pub fn visit_locked(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Whoever holds the lock is inside this cache, which is therefore alive.
        let Some(engine) = self.engine.try_write() else {
            return Ok(());
        };
        for index in engine.in_order_of_use() {
            let (key, value) = engine.peek(index);
            visit.call(key.object())?;
            visit.call(value)?;
        }
        Ok(())
    }
}

fn name(py: Python<'_>, reason: Reason) -> &Bound<'_, PyString> {
    match reason {
        Reason::Evicted => intern!(py, "evicted"),
        Reason::Expired => intern!(py, "expired"),
        Reason::Replaced => intern!(py, "replaced"),
        Reason::Removed => intern!(py, "removed"),
    }
}

/// How long all entries live. None at all is not refused, though nothing is then kept.
fn common_ttl(ttl: &Bound<'_, PyAny>) -> PyResult<f64> {
    let number = seconds(ttl, "ttl")?;
    if number.is_nan() {
        return Err(PyValueError::new_err("ttl must be a number, got nan"));
    }
    Ok(number)
}

/// One tag, or several.
fn tag_names(tags: &Bound<'_, PyAny>) -> PyResult<Vec<Box<str>>> {
    if let Ok(tag) = tags.extract::<&str>() {
        return Ok(vec![tag.into()]);
    }
    let tags = tags.try_iter()?;
    tags.map(|tag| Ok(tag?.extract::<&str>()?.into())).collect()
}

/// A number as Python would have it: whole if all its parts were.
fn python_number(py: Python<'_>, number: f64, whole: bool) -> PyResult<Py<PyAny>> {
    let float = PyFloat::new(py, number);
    if whole {
        return Ok(float.call_method0("__int__")?.unbind());
    }
    Ok(float.into_any().unbind())
}

fn no_room(cache: &Bound<'_, PyCache>) -> PyErr {
    match cache.get_type().name() {
        Ok(name) => {
            PyRuntimeError::new_err(format!("{name}.popitem() makes no room for another entry"))
        }
        Err(error) => error,
    }
}

fn missing(key: &Bound<'_, PyAny>) -> PyErr {
    PyKeyError::new_err((key.clone().unbind(),))
}

#[pymethods]
impl PyCache {
    /// Takes and ignores what a subclass's `__init__` takes.
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyAny>>) -> Self {
        Self {
            engine: Locked::new(Engine::new(0.0, false)),
            setup: OnceLock::new(),
            whole: AtomicBool::new(true),
        }
    }

    #[pyo3(signature = (max_size, *, hooks, sized, timer=None, ttl=None, listener=None))]
    #[allow(clippy::too_many_arguments)] // keyword arguments of our own Python layer
    fn _set_up(
        &self,
        py: Python<'_>,
        max_size: &Bound<'_, PyAny>,
        hooks: u8,
        sized: bool,
        timer: Option<Py<PyTimer>>,
        ttl: Option<&Bound<'_, PyAny>>,
        listener: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let limit = number(max_size)?;
        if limit.is_nan() || limit < 0.0 {
            return Err(PyValueError::new_err("maxsize must be non-negative"));
        }
        let ttl = match ttl {
            Some(ttl) => Some((ttl.clone().unbind(), common_ttl(ttl)?)),
            None => None,
        };
        let setup = Setup {
            max_size: max_size.clone().unbind(),
            limit,
            hooks,
            sized,
            clock: Clock::get(py)?,
            timer,
            ttl,
            listens: listener.is_some(),
            listener: Clearable::new(listener),
        };
        if self.setup.set(setup).is_err() {
            return Err(PyRuntimeError::new_err("the cache is already initialised"));
        }
        *self.engine.write() = Engine::new(limit, sized);
        Ok(())
    }

    #[classmethod]
    fn __class_getitem__<'py>(
        cls: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        alias(cls, item)
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        if let Some(value) = this.lookup(key)? {
            return Ok(value.into_bound(slf.py()));
        }
        if this.setup()?.calls(hook::MISSING) {
            return call(&slf.getattr(intern!(slf.py(), "__missing__"))?, [key]);
        }
        Err(missing(key))
    }

    fn __setitem__(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let this = slf.get();
        if this.setup()?.is_plain() && this.store_plain(key, value)? {
            return Ok(());
        }
        Self::store(slf, key, value, &Terms::default()).map(drop)
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = key.py();
        let setup = self.setup()?;
        let now = setup.now(py)?;
        let left = self.at(key, |engine, found, probe| {
            let now = now_number(now, engine);
            let Some(index) = found else {
                engine.forget(probe.hash());
                return None;
            };
            Some((engine.is_live(index, now), engine.remove(index)))
        })?;
        let Some((live, left)) = left else {
            return Err(missing(key));
        };
        self.depart(py, Departures::from_buf([left]), None);
        live.then_some(()).ok_or_else(|| missing(key))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.is_present(key)
    }

    fn __len__(slf: &Bound<'_, Self>) -> PyResult<usize> {
        Self::expire_first(slf, slf.get().setup()?)?;
        Ok(slf.get().engine.write().len())
    }

    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let this = slf.get();
        if this.is_overridden()? {
            return if slf.contains(key)? {
                slf.get_item(key).map(Some)
            } else {
                Ok(default)
            };
        }
        let value = this.lookup(key)?;
        Ok(value.map(|value| value.into_bound(slf.py())).or(default))
    }

    #[pyo3(signature = (key, default=Given::NOTHING), text_signature = "($self, key, default=...)")]
    fn pop<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: Given,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let setup = this.setup()?;
        let fallback = || match default.0 {
            Some(default) => Ok(default.into_bound(py)),
            None => Err(missing(key)),
        };
        if setup.calls(hook::GETITEM | hook::CONTAINS | hook::DELITEM) {
            if !slf.contains(key)? {
                return fallback();
            }
            let value = slf.get_item(key)?;
            slf.del_item(key)?;
            return Ok(value);
        }
        let now = setup.now(py)?;
        let left = this.at(key, |engine, found, probe| {
            let now = now_number(now, engine);
            let live = found.filter(|&index| engine.is_live(index, now));
            if live.is_none() {
                engine.forget(probe.hash());
            }
            live.map(|index| engine.remove(index))
        })?;
        match left {
            Some(left) => Ok(this.depart_one(py, left).1.into_bound(py)),
            None => fallback(),
        }
    }

    #[pyo3(signature = (key, default=None))]
    fn setdefault<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let default = default.unwrap_or_else(|| py.None().into_bound(py));
        let setup = slf.get().setup()?;
        if setup.calls(hook::GETITEM | hook::CONTAINS | hook::SETITEM) {
            if slf.contains(key)? {
                return slf.get_item(key);
            }
            slf.set_item(key, &default)?;
            return Ok(default);
        }
        // Storing would refuse a value that is too large even if the key is present.
        if let Some(value) = slf.get().lookup(key)? {
            return Ok(value.into_bound(py));
        }
        let terms = Terms {
            only_new: true,
            ..Terms::default()
        };
        match Self::store(slf, key, &default, &terms)? {
            Stored::Present(value) => Ok(value.into_bound(py)),
            Stored::Yes | Stored::Refused => Ok(default),
        }
    }

    fn popitem(slf: &Bound<'_, Self>) -> PyResult<Pair> {
        let py = slf.py();
        let this = slf.get();
        let setup = this.setup()?;
        Self::expire_first(slf, setup)?;
        let empty = || match slf.get_type().name() {
            Ok(name) => PyKeyError::new_err(format!("{name} is empty")),
            Err(error) => error,
        };
        if setup.calls(hook::DELITEM) {
            let oldest = {
                let engine = this.engine.write();
                engine.oldest().map(|index| {
                    let (key, value) = engine.peek(index);
                    (key.object().clone_ref(py), value.clone_ref(py))
                })
            };
            let (key, value) = oldest.ok_or_else(empty)?;
            slf.del_item(&key)?;
            return Ok((key, value));
        }
        let left = this.engine.write().pop_oldest();
        let left = left.ok_or_else(empty)?;
        Ok(this.depart_one(py, left))
    }

    fn clear(&self, py: Python<'_>) {
        let left = self.engine.write().clear();
        let left = left.into_iter().map(|(key, value)| Departure {
            key: Some(key),
            value,
            reason: Reason::Removed,
        });
        self.depart(py, left.collect(), None);
    }

    #[pyo3(signature = (time=None))]
    fn expire<'py>(
        &self,
        py: Python<'py>,
        time: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let setup = self.setup()?;
        let now = match (time, &setup.timer) {
            (Some(time), Some(timer)) => Moment::At(timer.get().number(time)?),
            (Some(time), None) => Moment::At(seconds(time, "time")?),
            (None, _) => setup.now(py)?,
        };
        let mut left = Departures::new();
        let mut engine = self.engine.write();
        let at = now_number(now, &engine);
        engine.expire(at, &mut left);
        drop(engine);
        let pairs = left.iter().filter_map(|left| {
            let key = left.key.as_ref()?;
            Some((key.object().clone_ref(py), left.value.clone_ref(py)))
        });
        let expired = PyList::new(py, pairs.collect::<Vec<_>>())?;
        self.depart(py, left, None);
        Ok(expired)
    }

    #[pyo3(signature = (key, value, *, ttl=None, tags=None))]
    fn set(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Self::store(slf, key, value, &Self::terms(ttl, tags)?).map(drop)
    }

    fn invalidate_tag(&self, py: Python<'_>, tag: &str) -> usize {
        let mut left = Departures::new();
        self.engine.write().invalidate_tag(tag, &mut left);
        let count = left.len();
        self.depart(py, left, None);
        count
    }

    #[getter]
    fn maxsize(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.setup()?.max_size.clone_ref(py))
    }

    #[getter]
    fn currsize(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let this = slf.get();
        Self::expire_first(slf, this.setup()?)?;
        let size = this.engine.write().size();
        python_number(slf.py(), size, this.whole.load(Ordering::Relaxed))
    }

    #[getter]
    fn _timer(&self, py: Python<'_>) -> PyResult<Option<Py<PyTimer>>> {
        Ok(self
            .setup()?
            .timer
            .as_ref()
            .map(|timer| timer.clone_ref(py)))
    }

    #[getter]
    fn _ttl(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let ttl = self.setup()?.ttl.as_ref();
        Ok(ttl.map(|(ttl, _)| ttl.clone_ref(py)))
    }

    #[getter]
    fn _listener(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.setup()?.listener.get(py))
    }

    fn _keys(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let entries = self.entries(py)?;
        Ok(entries.into_iter().map(|(key, _)| key).collect())
    }

    fn _entries(&self, py: Python<'_>) -> PyResult<Vec<Pair>> {
        self.entries(py)
    }

    fn _stats(&self) -> (u64, u64, u64, u64, usize) {
        let Stats {
            hits,
            misses,
            evictions,
            expirations,
            len,
        } = self.engine.write().stats();
        (hits, misses, evictions, expirations, len)
    }

    /// The ticket of a load that begins; ended by `_end_load`.
    fn _begin_load(&self) -> u64 {
        self.engine.write().begin_load().number()
    }

    fn _end_load(&self) {
        self.engine.write().end_load();
    }

    /// Whether a load with this ticket is still about what the cache would hold.
    fn _is_current(
        &self,
        key: &Bound<'_, PyAny>,
        ticket: u64,
        tags: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        #[allow(clippy::cast_sign_loss)] // a hash is a bit pattern
        let hash = key.hash()? as u64;
        let ticket = Ticket::from_number(ticket);
        let tags = tag_names(tags)?;
        Ok(self.engine.write().is_current(ticket, hash, &tags))
    }

    /// Stores a loaded value, unless it is stale; says whether it did.
    #[pyo3(signature = (key, value, ticket, ttl=None, tags=None))]
    fn _store_loaded(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ticket: u64,
        ttl: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let terms = Terms {
            ticket: Some(Ticket::from_number(ticket)),
            ..Self::terms(ttl, tags)?
        };
        Ok(matches!(Self::store(slf, key, value, &terms)?, Stored::Yes))
    }

    /// Takes over the entries of another cache, and its options.
    fn _copy_from(
        &self,
        py: Python<'_>,
        other: &Bound<'_, Self>,
        timer: Option<Py<PyTimer>>,
    ) -> PyResult<()> {
        let other = other.get();
        let from = other.setup()?;
        let setup = Setup {
            max_size: from.max_size.clone_ref(py),
            limit: from.limit,
            hooks: from.hooks,
            sized: from.sized,
            clock: from.clock,
            timer,
            ttl: from.ttl.as_ref().map(|(ttl, n)| (ttl.clone_ref(py), *n)),
            listens: from.listens,
            listener: Clearable::new(from.listener.get(py)),
        };
        let copy = other
            .engine
            .write()
            .copy_with(|key, value| (key.copy(py), value.clone_ref(py)));
        if self.setup.set(setup).is_err() {
            return Err(PyRuntimeError::new_err("the cache is already initialised"));
        }
        let whole = other.whole.load(Ordering::Relaxed);
        self.whole.store(whole, Ordering::Relaxed);
        let old = std::mem::replace(&mut *self.engine.write(), copy);
        drop(old);
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(setup) = self.setup.get() {
            visit.call(&setup.max_size)?;
            visit.call(&setup.timer)?;
            setup.listener.traverse(&visit)?;
            if let Some((ttl, _)) = &setup.ttl {
                visit.call(ttl)?;
            }
        }
        self.visit_locked(&visit)
    }

    fn __clear__(&self) {
        let left = self.engine.try_write().map(|mut engine| engine.clear());
        drop(left);
        if let Some(setup) = self.setup.get() {
            setup.listener.clear();
        }
    }
}
