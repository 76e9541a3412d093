//! The reader of lines as a Python object.

use envtrail_core::heads::{FORMS, REASONS};
use envtrail_core::line_reader;
use envtrail_core::text;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::borrow::Cow;
use std::collections::BTreeMap;

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
#[derive(Clone)]
pub struct LineFault {
    kind: &'static str,
    line: u64,
    excerpt: String,
}

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
pub struct LineFigures {
    lines: u64,
    forms: BTreeMap<&'static str, u64>,
    without: BTreeMap<&'static str, u64>,
    nul_bytes: u64,
    faults: Vec<LineFault>,
    last_ms: u64,
    node: String,
}

/// Blocks of a log in, blocks of records out.
#[pyclass(module = "envtrail.core._core")]
#[derive(Default)]
pub struct LineReader {
    inner: line_reader::LineReader,
}

#[pymethods]
impl LineReader {
    #[new]
    fn new() -> Self {
        LineReader::default()
    }

    fn read<'py>(&mut self, block: Bound<'py, PyBytes>) -> Bound<'py, PyBytes> {
        let py = block.py();
        let bytes = block.as_bytes();
        match py.detach(|| self.inner.read(bytes)) {
            Cow::Borrowed(_) => block.clone(),
            Cow::Owned(made) => PyBytes::new(py, &made),
        }
    }

    fn finish<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.finish())
    }

    fn figures(&self) -> LineFigures {
        let all = self.inner.figures();
        let faults = all.faults.into_iter().map(|fault| LineFault {
            kind: fault.why.as_str(),
            line: fault.line,
            excerpt: fault.excerpt,
        });
        LineFigures {
            lines: all.lines,
            forms: by_name(FORMS.map(|form| form.as_str()), all.forms),
            without: by_name(REASONS.map(|why| why.as_str()), all.without),
            nul_bytes: all.nul_bytes,
            faults: faults.collect(),
            last_ms: all.last_ms,
            node: text::printable(&all.node).into_owned(),
        }
    }
}

fn by_name<const N: usize>(
    names: [&'static str; N],
    counts: [u64; N],
) -> BTreeMap<&'static str, u64> {
    names
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .collect()
}
