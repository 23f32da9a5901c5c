//! The executor's numbers as dicts, in seconds.

use overdrive_core::executor::{Histogram, Stats, Totals};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::metrics::PySnapshot;

#[allow(clippy::cast_precision_loss)] // a sum of 2^53 nanoseconds is a hundred days
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

pub fn totals<'py>(py: Python<'py>, totals: &Totals) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("tasks", totals.tasks)?;
    dict.set_item("queue_wait", seconds(totals.queue_wait))?;
    dict.set_item("max_queue_wait", seconds(totals.max_queue_wait))?;
    dict.set_item("run", seconds(totals.run))?;
    Ok(dict)
}

fn summary<'py>(py: Python<'py>, histogram: &Histogram) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("count", histogram.count())?;
    dict.set_item("total", seconds(histogram.total()))?;
    for (name, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
        dict.set_item(name, seconds(histogram.quantile(q)))?;
    }
    dict.set_item("max", seconds(histogram.max()))?;
    Ok(dict)
}

/// The same numbers in the buckets that all other histograms have.
pub fn snapshot(histogram: &Histogram) -> PySnapshot {
    let mut merged = PySnapshot::default();
    for (edge, count) in histogram.buckets() {
        merged.snapshot.add(seconds(edge), count);
    }
    merged
}

pub fn stats<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("workers", stats.workers)?;
    dict.set_item("parked", stats.parked)?;
    dict.set_item("limit", stats.limit)?;
    dict.set_item("queued", stats.queued)?;
    dict.set_item("submitted", stats.submitted)?;
    dict.set_item("started", stats.started)?;
    dict.set_item("steals", stats.steals)?;
    dict.set_item("parks", stats.parks)?;
    dict.set_item("queue_wait", summary(py, &stats.queue_wait)?)?;
    dict.set_item("run", summary(py, &stats.run)?)?;
    dict.set_item("gil_wait", summary(py, &stats.attach_wait)?)?;
    let priorities = PyDict::new(py);
    for (priority, sums) in &stats.priorities {
        priorities.set_item(priority, totals(py, sums)?)?;
    }
    dict.set_item("priorities", priorities)?;
    Ok(dict)
}
