//! The logins of a trail as a Python object.

use crate::rows::with_batch;
use envtrail_core::logins;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

#[pyfunction]
pub fn service_of(exe: &str) -> Option<&str> {
    logins::service_of(exe)
}

#[pyclass(module = "envtrail.core._core")]
pub struct Logins {
    inner: logins::Logins,
}

#[pymethods]
impl Logins {
    #[new]
    #[pyo3(signature = (most = 4096))]
    fn new(most: usize) -> Self {
        Logins {
            inner: logins::Logins::new(most),
        }
    }

    fn begin(&mut self, batch: &Bound<'_, PyAny>, node: &str, segment: u64) -> PyResult<()> {
        with_batch(batch, |batch| self.inner.begin(batch, node, segment))
    }

    fn take_until(&mut self, row: usize) {
        self.inner.take_until(row);
    }

    fn take_rest(&mut self) {
        self.inner.take_until(usize::MAX);
    }

    fn turn(&mut self) {
        self.inner.turn();
    }

    fn unplaced(&self) -> usize {
        self.inner.unplaced()
    }

    fn take_given<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.take_given())
    }

    #[allow(clippy::type_complexity)]
    fn find(
        &self,
        node: &str,
        number: u32,
        auid: Option<u32>,
        time_ms: i64,
    ) -> Option<(Option<u32>, Option<String>, Option<String>)> {
        let found = self.inner.find(node, number, auid, time_ms)?;
        Some((found.auid, found.user, found.remote))
    }

    fn save(&self) -> PyResult<String> {
        let saved = self.inner.save();
        saved.map_err(|fault| PyValueError::new_err(fault.to_string()))
    }

    fn restore(&mut self, text: &str) -> PyResult<()> {
        let restored = self.inner.restore(text);
        restored.map_err(|fault| PyValueError::new_err(fault.to_string()))
    }
}
