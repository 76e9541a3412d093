//! What needs no state: redaction of text, seals, the schema and the tables.

use crate::arrow::ArrowSchema;
use envtrail_core::redact::{self, Counts, Form, KINDS};
use envtrail_core::rewrite::redact_arguments;
use envtrail_core::{schema, seal, syscalls, text, types};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::BTreeMap;

/// The counts of what was redacted, without zeros.
pub fn by_kind(counts: &Counts) -> BTreeMap<&'static str, u32> {
    KINDS
        .into_iter()
        .zip(*counts)
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[pyfunction]
pub fn redact_argv(argv: Vec<String>) -> (Vec<String>, BTreeMap<&'static str, u32>) {
    let mut counts = Counts::default();
    let clean = redact_arguments(&argv, &mut counts);
    (clean, by_kind(&counts))
}

#[pyfunction]
pub fn redact_text(text: String) -> (String, BTreeMap<&'static str, u32>) {
    redacted(text, Form::Text)
}

#[pyfunction]
pub fn redact_path(path: String) -> (String, BTreeMap<&'static str, u32>) {
    redacted(path, Form::Path)
}

fn redacted(text: String, form: Form) -> (String, BTreeMap<&'static str, u32>) {
    let mut counts = Counts::default();
    let clean = redact::redact(text.as_bytes(), form, &mut counts)
        .map(|bytes| text::printable(&bytes).into_owned());
    (clean.unwrap_or(text), by_kind(&counts))
}

/// What is redacted: sections, and the lines of each.
#[pyfunction]
pub fn redaction_tables() -> Vec<(&'static str, Vec<String>)> {
    redact::describe()
}

#[pyfunction]
pub fn merkle_root<'py>(py: Python<'py>, block: &[u8], seed: &[u8]) -> (Bound<'py, PyBytes>, u64) {
    let (root, lines) = py.detach(|| seal::merkle_root(block, seed));
    (PyBytes::new(py, &root), lines)
}

#[pyfunction]
pub fn event_schema() -> ArrowSchema {
    ArrowSchema::new(schema::schema())
}

#[pyfunction]
pub fn record_type_name(number: u16) -> String {
    types::record_type_name(number)
}

#[pyfunction]
pub fn architectures() -> BTreeMap<&'static str, u32> {
    syscalls::architectures().collect()
}

#[pyfunction]
pub fn system_calls(arch: u32) -> Vec<(u32, &'static str)> {
    syscalls::all(arch).collect()
}
