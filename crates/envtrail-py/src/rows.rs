//! The rows of a batch that are looked at one by one.

use crate::arrow::{batch_of, ArrowBatch};
use arrow_array::RecordBatch;
use envtrail_core::rows::{select, Wanted};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySet};
use std::collections::HashMap;

#[pyfunction]
pub fn interesting_rows<'py>(
    py: Python<'py>,
    batch: &Bound<'py, PyAny>,
    columns: HashMap<String, Vec<String>>,
    members: HashMap<String, Vec<String>>,
    waited: Option<&Bound<'py, PySet>>,
) -> PyResult<Bound<'py, PyBytes>> {
    // What is no pid ends nothing.
    let waited = waited.map(|pids| pids.iter().filter_map(|pid| pid.extract::<u32>().ok()));
    let waited = waited.map(|pids| pids.map(i128::from).collect());
    let wanted = Wanted { columns, members };
    let json = with_batch(batch, |batch| select(batch, &wanted, waited))?;
    Ok(PyBytes::new(py, &json))
}

/// A batch of the core is at hand; another library's is taken through its interface.
pub fn with_batch<T>(
    given: &Bound<'_, PyAny>,
    read: impl FnOnce(&RecordBatch) -> T,
) -> PyResult<T> {
    match given.cast::<ArrowBatch>() {
        Ok(own) => Ok(read(own.get().batch())),
        Err(_) => Ok(read(&batch_of(given)?)),
    }
}
