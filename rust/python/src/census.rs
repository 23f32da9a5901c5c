//! `tally`: how many objects of a list are of which type.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple, PyType};

type Counted<'py> = (Bound<'py, PyType>, usize);
type Large<'py> = (Bound<'py, PyAny>, usize);

/// Count the types of some objects of a list, and find large ones among those of some types.
///
/// Runs no code of the user's: types are compared by identity, and `sized` are built-in ones.
#[pyfunction]
pub fn tally<'py>(
    objects: &Bound<'py, PyList>,
    start: usize,
    stop: usize,
    sized: &Bound<'py, PyTuple>,
    least: usize,
) -> PyResult<(Vec<Counted<'py>>, Vec<Large<'py>>)> {
    let mut counts: HashMap<usize, Counted<'py>> = HashMap::new();
    let mut large = Vec::new();
    let sized: Vec<usize> = sized.iter().map(|kind| kind.as_ptr() as usize).collect();
    for index in start..stop.min(objects.len()) {
        let object = objects.get_item(index)?;
        let kind = object.get_type_ptr() as usize;
        counts
            .entry(kind)
            .or_insert_with(|| (object.get_type(), 0))
            .1 += 1;
        if sized.contains(&kind) {
            let size = object.len()?;
            if size >= least {
                large.push((object, size));
            }
        }
    }
    Ok((counts.into_values().collect(), large))
}
