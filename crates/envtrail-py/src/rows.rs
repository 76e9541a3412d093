//! The rows of a batch that are looked at one by one.

use crate::arrow::{batch_of, ArrowBatch};
use arrow_array::RecordBatch;
use envtrail_core::columns::{close, Column, Columns};
use envtrail_core::json::push_text;
use envtrail_core::rows;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySet};
use std::collections::HashSet;

#[pyfunction]
pub fn rows_as_json<'py>(
    py: Python<'py>,
    batch: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let json = with_batch(batch, rows::rows_as_json)?;
    Ok(PyBytes::new(py, &json))
}

/// Rows with a hint, rows of some types, and ends in tracked trees: those of the processes that are waited for, and of those that
/// begin here.
#[pyfunction]
pub fn interesting_rows<'py>(
    py: Python<'py>,
    batch: &Bound<'py, PyAny>,
    columns: Vec<String>,
    types: HashSet<String>,
    waited: Option<&Bound<'py, PySet>>,
) -> PyResult<Bound<'py, PyBytes>> {
    // What is no pid ends nothing.
    let waited = waited.map(|pids| pids.iter().filter_map(|pid| pid.extract::<u32>().ok()));
    let waited = waited.map(|pids| pids.map(i128::from).collect());
    let json = with_batch(batch, |batch| select(batch, &columns, &types, waited))?;
    Ok(PyBytes::new(py, &json))
}

/// A batch of the core is at hand; another library's is taken through its interface.
fn with_batch<T>(given: &Bound<'_, PyAny>, read: impl FnOnce(&RecordBatch) -> T) -> PyResult<T> {
    match given.cast::<ArrowBatch>() {
        Ok(own) => Ok(read(own.get().batch())),
        Err(_) => Ok(read(&batch_of(given)?)),
    }
}

fn select(
    batch: &RecordBatch,
    wanted: &[String],
    types: &HashSet<String>,
    mut waited: Option<HashSet<i128>>,
) -> Vec<u8> {
    let all = Columns::of(batch);
    let columns: Vec<(&str, &Column)> = all
        .iter()
        .filter(|(name, _)| wanted.iter().any(|one| one == name))
        .collect();
    let (kind, record_type, pid) = (all.get("kind"), all.get("type"), all.get("pid"));
    let (hint, tracked) = (all.get("hint"), all.get("tracked_image"));
    if let Some(waited) = &mut waited {
        let hinted = (0..batch.num_rows()).filter(|row| hint.is_valid(*row));
        waited.extend(hinted.filter_map(|row| pid.number(row)));
    }
    let is_waited = |row| match (&waited, pid.number(row)) {
        (None, _) => true,
        (Some(waited), pid) => pid.is_some_and(|pid| waited.contains(&pid)),
    };
    let is_wanted = |row: &usize| {
        hint.is_valid(*row)
            || match kind.text(*row) {
                Some("exit") => tracked.is_valid(*row) && is_waited(*row),
                Some("user") => record_type
                    .text(*row)
                    .is_some_and(|one| types.contains(one)),
                _ => false,
            }
    };
    let mut out = vec![b'['];
    for row in (0..batch.num_rows()).filter(is_wanted) {
        out.push(b'{');
        for (name, column) in &columns {
            push_text(&mut out, name);
            out.push(b':');
            column.push(&mut out, row);
            out.push(b',');
        }
        close(&mut out, b'{', b'}');
        out.push(b',');
    }
    close(&mut out, b'[', b']');
    out
}
