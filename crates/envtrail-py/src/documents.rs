//! Events as documents.

use crate::arrow::batch_of;
use envtrail_core::documents::{event_documents, Tables};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

#[pyclass(frozen, module = "envtrail.core._core")]
pub struct EventDocuments {
    tables: Tables,
}

#[pymethods]
impl EventDocuments {
    #[new]
    #[pyo3(signature = (*, constants, fields, numbers_as_text, record_fields))]
    fn new(
        constants: Vec<(String, String)>,
        fields: Vec<(String, String)>,
        numbers_as_text: Vec<String>,
        record_fields: Vec<String>,
    ) -> Self {
        EventDocuments {
            tables: Tables {
                constants,
                fields,
                numbers_as_text,
                record_fields,
            },
        }
    }

    fn make<'py>(
        &self,
        py: Python<'py>,
        batch: &Bound<'py, PyAny>,
        segment: u64,
    ) -> PyResult<Vec<(String, Bound<'py, PyBytes>)>> {
        let batch = batch_of(batch)?;
        let made = py.detach(|| event_documents(&batch, segment, &self.tables));
        Ok(made
            .map_err(|error| PyValueError::new_err(error.to_string()))?
            .into_iter()
            .map(|document| (document.id, PyBytes::new(py, &document.body)))
            .collect())
    }
}
