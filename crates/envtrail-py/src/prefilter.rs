//! The prefilter of detections as a Python object.

use crate::rows::with_batch;
use envtrail_core::prefilter;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::collections::HashMap;

#[pyfunction]
pub fn texts_of_expression(expression: &str) -> Option<Vec<String>> {
    prefilter::texts_of(expression)
}

#[pyclass(module = "envtrail.core._core", frozen)]
pub struct Prefilter {
    inner: prefilter::Prefilter,
}

#[pymethods]
impl Prefilter {
    #[new]
    fn new(needed: HashMap<String, Vec<String>>) -> PyResult<Self> {
        let inner = prefilter::Prefilter::new(&needed);
        let inner = inner.map_err(|fault| PyValueError::new_err(fault.to_string()))?;
        Ok(Prefilter { inner })
    }

    fn rows(&self, batch: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
        with_batch(batch, |batch| self.inner.rows(batch))
    }
}
