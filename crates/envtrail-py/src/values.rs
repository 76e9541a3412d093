//! What the assembler gives, as Python objects.

use crate::arrow::ArrowBatch;
use crate::watch::FileGroup;
use envtrail_core::coalesce;
use envtrail_core::gaps;
use envtrail_core::{process, text};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::BTreeMap;

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
#[derive(Clone)]
pub struct ProcessEvent {
    pub(crate) kind: &'static str,
    pub(crate) time_ms: u64,
    pub(crate) pid: u32,
    pub(crate) ppid: u32,
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) image: Option<u64>,
}

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
#[derive(Clone)]
pub struct Process {
    pub(crate) image: u64,
    pub(crate) pid: u32,
    pub(crate) ppid: u32,
    pub(crate) hint: Option<String>,
    pub(crate) time_ms: u64,
    pub(crate) serial: u64,
    pub(crate) segment: u64,
    pub(crate) uid: Option<u32>,
    pub(crate) auid: Option<u32>,
    pub(crate) ses: Option<u32>,
    pub(crate) alive: bool,
    pub(crate) comm: String,
    pub(crate) ended_ms: Option<u64>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
}

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
#[derive(Clone)]
pub struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) line: u64,
    pub(crate) excerpt: String,
}

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
pub struct Counters {
    pub(crate) lines: u64,
    pub(crate) records: u64,
    pub(crate) unnamed: u64,
    pub(crate) events: u64,
    pub(crate) complete: u64,
    pub(crate) late: u64,
    pub(crate) lost: u64,
    pub(crate) duplicate: u64,
    pub(crate) repeated: u64,
    pub(crate) supplemented: u64,
    pub(crate) faults: u64,
    pub(crate) in_flight: u64,
}

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
pub struct SerialGap {
    pub(crate) node: String,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) since_ms: u64,
    pub(crate) until_ms: u64,
}

#[pyclass(frozen, module = "envtrail.core._core")]
pub struct Batch {
    pub(crate) rows: usize,
    pub(crate) newest_ms: Option<i64>,
    pub(crate) events: Py<ArrowBatch>,
    pub(crate) records: Py<PyBytes>,
    pub(crate) processes: Vec<ProcessEvent>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) redactions: BTreeMap<&'static str, u32>,
    pub(crate) files: Vec<Py<FileGroup>>,
}

#[pymethods]
impl Batch {
    fn __len__(&self) -> usize {
        self.rows
    }

    fn events(&self, py: Python<'_>) -> Py<ArrowBatch> {
        self.events.clone_ref(py)
    }

    #[getter]
    fn newest_ms(&self) -> Option<i64> {
        self.newest_ms
    }

    #[getter]
    fn records(&self, py: Python<'_>) -> Py<PyBytes> {
        self.records.clone_ref(py)
    }

    #[getter]
    fn processes(&self, py: Python<'_>) -> PyResult<Vec<Py<ProcessEvent>>> {
        self.processes
            .iter()
            .map(|event| Py::new(py, event.clone()))
            .collect()
    }

    #[getter]
    fn faults(&self, py: Python<'_>) -> PyResult<Vec<Py<Fault>>> {
        self.faults
            .iter()
            .map(|fault| Py::new(py, fault.clone()))
            .collect()
    }

    #[getter]
    fn files(&self, py: Python<'_>) -> Vec<Py<FileGroup>> {
        self.files.iter().map(|group| group.clone_ref(py)).collect()
    }

    #[getter]
    fn redactions(&self) -> BTreeMap<&'static str, u32> {
        self.redactions.clone()
    }
}

pub(crate) fn text_of(comm: &[u8]) -> String {
    let end = comm.iter().position(|byte| *byte == 0);
    text::printable(comm.get(..end.unwrap_or(comm.len())).unwrap_or_default()).into_owned()
}

pub(crate) fn process_event(event: &process::ProcessEvent) -> ProcessEvent {
    ProcessEvent {
        kind: if event.is_exit { "exit" } else { "fork" },
        time_ms: event.time_ms,
        pid: event.pid,
        ppid: event.ppid,
        exit_code: event.exit_code,
        signal: event.signal,
        image: event.image,
    }
}

pub(crate) fn counters(all: coalesce::Counters) -> Counters {
    Counters {
        lines: all.lines,
        records: all.records,
        unnamed: all.unnamed,
        events: all.events,
        complete: all.complete,
        late: all.late,
        lost: all.lost,
        duplicate: all.duplicate,
        repeated: all.repeated,
        supplemented: all.supplemented,
        faults: all.faults,
        in_flight: all.in_flight,
    }
}

pub(crate) fn serial_gap(node: String, gap: &gaps::SerialGap) -> SerialGap {
    SerialGap {
        node,
        first: gap.first,
        last: gap.last,
        since_ms: gap.since_ms,
        until_ms: gap.until_ms,
    }
}
