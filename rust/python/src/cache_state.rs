//! The contents of a cache as plain objects, for pickling.

use overdrive_core::lru::{Departures, Put};
use overdrive_core::slab_list::Index;
use overdrive_core::ttl::Deadline;
use pyo3::prelude::*;

use crate::caches::PyCache;
use crate::key::Probe;

/// Key, value, size, deadline with whether it is the entry's own (`None`: never), tags.
type Entry = (Py<PyAny>, Py<PyAny>, f64, Option<(f64, bool)>, Vec<String>);

/// The entries in the order of insertion, and their places in the order of use.
type State = (Vec<Entry>, Vec<usize>);

/// Takes the contents of a cache down.
#[pyfunction]
#[pyo3(name = "_cache_state")]
pub fn cache_state(cache: &Bound<'_, PyCache>) -> State {
    let py = cache.py();
    let engine = cache.get().engine();
    // What has expired goes along, and expires when it is loaded.
    let indices = engine.in_order_of_insertion(f64::NEG_INFINITY);
    let entries = indices.iter().map(|&index| {
        let (key, value) = engine.peek(index);
        let deadline = match engine.deadline(index) {
            Deadline::Never => None,
            Deadline::Common(time) => Some((time, false)),
            Deadline::Own(time) => Some((time, true)),
        };
        (
            key.object().clone_ref(py),
            value.clone_ref(py),
            engine.size_of(index),
            deadline,
            engine.tags(index).map(Into::into).collect(),
        )
    });
    let entries = entries.collect();
    let mut places: Vec<(Index, usize)> = indices.into_iter().zip(0..).collect();
    places.sort_unstable();
    let place_of = |index| {
        let found = places.binary_search_by_key(&index, |&(index, _)| index);
        found.ok().map(|at| places[at].1)
    };
    let order = engine.in_order_of_use().filter_map(place_of).collect();
    (entries, order)
}

/// Puts contents into a cache that was just set up.
#[pyfunction]
#[pyo3(name = "_restore_cache")]
pub fn restore_cache(cache: &Bound<'_, PyCache>, state: State) -> PyResult<()> {
    let py = cache.py();
    let (entries, order) = state;
    let this = cache.get();
    let mut left = Departures::new();
    for (key, value, size, _, tags) in &entries {
        let tags: Vec<Box<str>> = tags.iter().map(|tag| tag.as_str().into()).collect();
        this.at(key.bind(py), |engine, found, probe: &Probe<'_, '_>| {
            let put = Put {
                value: value.clone_ref(py),
                size: *size,
                deadline: Deadline::Never,
                tags: &tags,
            };
            engine.put(found, probe.hash(), || probe.key(), put, &mut left);
        })?;
    }
    let known = order.iter().filter_map(|&place| {
        let (time, own) = entries.get(place)?.3?;
        Some((time, own, place))
    });
    // The list of common deadlines is in the order of time, then of use.
    let mut deadlines: Vec<(f64, bool, usize)> = known.collect();
    deadlines.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (time, own, place) in deadlines {
        let deadline = if own {
            Deadline::Own(time)
        } else {
            Deadline::Common(time)
        };
        this.at(entries[place].0.bind(py), |engine, found, _| {
            if let Some(index) = found {
                engine.set_deadline(index, deadline);
            }
        })?;
    }
    for place in order {
        let Some((key, ..)) = entries.get(place) else {
            continue;
        };
        this.at(key.bind(py), |engine, found, _| {
            if let Some(index) = found {
                engine.touch(index);
            }
        })?;
    }
    Ok(())
}
