//! The assembler and its values as Python objects.

use crate::arrow::{failed, ArrowBatch};
use crate::functions::by_kind;
use crate::watch::FileGroup;
use envtrail_core::assembler::{self, Options};
use envtrail_core::coalesce::Limits;
use envtrail_core::procevent::Frame;
use envtrail_core::{process, text};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::BTreeMap;

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
#[derive(Clone)]
pub struct ProcessEvent {
    kind: &'static str,
    time_ms: u64,
    pid: u32,
    ppid: u32,
    exit_code: Option<i32>,
    signal: Option<i32>,
    image: Option<u64>,
}

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
#[derive(Clone)]
pub struct Process {
    image: u64,
    pid: u32,
    ppid: u32,
    hint: Option<String>,
    time_ms: u64,
    serial: u64,
    segment: u64,
    uid: Option<u32>,
    auid: Option<u32>,
    ses: Option<u32>,
    alive: bool,
    comm: String,
    ended_ms: Option<u64>,
    exit_code: Option<i32>,
    signal: Option<i32>,
}

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
#[derive(Clone)]
pub struct Fault {
    kind: &'static str,
    line: u64,
    excerpt: String,
}

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
pub struct Counters {
    lines: u64,
    records: u64,
    events: u64,
    complete: u64,
    late: u64,
    lost: u64,
    duplicate: u64,
    repeated: u64,
    faults: u64,
    in_flight: u64,
}

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
pub struct SerialGap {
    node: String,
    first: u64,
    last: u64,
    since_ms: u64,
    until_ms: u64,
}

#[pyclass(frozen, module = "envtrail.core._core")]
pub struct Batch {
    rows: usize,
    events: Py<ArrowBatch>,
    records: Py<PyBytes>,
    processes: Vec<ProcessEvent>,
    faults: Vec<Fault>,
    redactions: BTreeMap<&'static str, u32>,
    files: Vec<Py<FileGroup>>,
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

/// Lines of the audit log in, events as Arrow out; holds the process table.
#[pyclass(module = "envtrail.core._core")]
pub struct Assembler {
    inner: assembler::Assembler,
}

#[pymethods]
impl Assembler {
    #[new]
    #[pyo3(signature = (*, node = "", redact = true, hints = None, timeout_ms = 2000, max_in_flight = 65_536, max_event_bytes = 33_554_432))]
    fn new(
        node: &str,
        redact: bool,
        hints: Option<Vec<(String, Vec<String>)>>,
        timeout_ms: u64,
        max_in_flight: usize,
        max_event_bytes: usize,
    ) -> Self {
        let limits = Limits {
            timeout_ms,
            max_in_flight: max_in_flight.max(1),
            max_event_bytes,
        };
        Assembler {
            inner: assembler::Assembler::new(Options {
                node: node.to_owned(),
                redact,
                hints: hints.unwrap_or_default(),
                limits,
            }),
        }
    }

    fn push(&mut self, py: Python<'_>, block: &[u8]) {
        py.detach(|| self.inner.push(block));
    }

    fn reread(&mut self, py: Python<'_>, records: &[u8]) {
        py.detach(|| self.inner.reread(records));
    }

    fn push_process_events(&mut self, block: &[u8]) {
        self.inner.push_process_events(block);
    }

    fn replay_process(
        &mut self,
        kind: &str,
        time_ms: u64,
        pid: u32,
        ppid: u32,
        exit_code: Option<i32>,
        signal: Option<i32>,
    ) {
        self.inner.replay_process(if kind == "fork" {
            Frame::Fork { time_ms, pid, ppid }
        } else {
            Frame::Exit {
                time_ms,
                pid,
                is_first: true,
                exit_code,
                signal,
            }
        });
    }

    #[allow(clippy::too_many_arguments)]
    fn seed_process(
        &mut self,
        time_ms: u64,
        pid: u32,
        ppid: u32,
        exe: Option<String>,
        argv: Vec<String>,
        uid: Option<u32>,
        auid: Option<u32>,
        ses: Option<u32>,
    ) {
        self.inner
            .seed_process(time_ms, pid, ppid, exe.as_deref(), &argv, uid, auid, ses);
    }

    fn doubt_forks(&mut self, since_ms: u64, until_ms: u64) {
        self.inner.doubt_forks(since_ms, until_ms);
    }

    fn forget_processes(&mut self) {
        self.inner.forget_processes();
    }

    fn set_node(&mut self, node: &str) {
        self.inner.set_node(node);
    }

    fn set_log(&mut self, log: Option<&str>) {
        self.inner.set_log(log);
    }

    fn remember(&mut self, py: Python<'_>, records: &[u8]) {
        py.detach(|| self.inner.remember(records));
    }

    fn save_processes(&self) -> PyResult<String> {
        self.inner
            .save_processes()
            .map_err(|fault| PyValueError::new_err(fault.to_string()))
    }

    fn restore_processes(&mut self, text: &str, log: Option<&str>) -> PyResult<()> {
        self.inner
            .restore_processes(text, log)
            .map_err(|fault| PyValueError::new_err(fault.to_string()))
    }

    fn set_clock(&mut self, now_ms: u64) {
        self.inner.set_clock(now_ms);
    }

    fn tick(&mut self, now_ms: u64) {
        self.inner.tick(now_ms);
    }

    fn flush(&mut self) {
        self.inner.flush();
    }

    fn drain(&mut self, py: Python<'_>) -> PyResult<Batch> {
        let batch = self.inner.drain().map_err(failed)?;
        Ok(Batch {
            rows: batch.events.num_rows(),
            events: Py::new(py, ArrowBatch::new(batch.events))?,
            records: PyBytes::new(py, &batch.records).unbind(),
            processes: batch.processes.iter().map(process_event).collect(),
            faults: batch
                .faults
                .into_iter()
                .map(|fault| Fault {
                    kind: fault.kind.as_str(),
                    line: fault.line,
                    excerpt: fault.excerpt,
                })
                .collect(),
            redactions: by_kind(&batch.redactions),
            files: batch
                .files
                .into_iter()
                .map(|group| Py::new(py, FileGroup::new(py, group)?))
                .collect::<PyResult<_>>()?,
        })
    }

    fn set_segment(&mut self, number: u64) {
        self.inner.set_segment(number);
    }

    fn lineage(&self, image: u64) -> Vec<Process> {
        let one = |image: &process::Image| Process {
            image: image.id,
            pid: image.pid,
            ppid: image.ppid,
            hint: self.inner.hint_label(image.hint).map(str::to_owned),
            time_ms: image.time_ms,
            serial: image.serial,
            segment: image.segment,
            uid: image.uid,
            auid: image.auid,
            ses: image.ses,
            alive: image.ended_ms.is_none(),
            comm: text_of(&image.comm),
            ended_ms: image.ended_ms,
            exit_code: image.end.0,
            signal: image.end.1,
        };
        self.inner.lineage(image).into_iter().map(one).collect()
    }

    fn set_roots(&mut self, roots: Vec<String>) {
        self.inner.set_roots(roots);
    }

    fn holder_of(&self, pid: u32, until_ms: u64, within_ms: u64) -> Option<u64> {
        self.inner.holder_of(pid, until_ms, within_ms)
    }

    fn image_of(&self, pid: u32) -> Option<u64> {
        self.inner.image_of(pid)
    }

    fn descendants(&self, image: u64) -> u32 {
        self.inner.descendants(image)
    }

    fn counters(&self) -> Counters {
        let all = self.inner.counters();
        Counters {
            lines: all.lines,
            records: all.records,
            events: all.events,
            complete: all.complete,
            late: all.late,
            lost: all.lost,
            duplicate: all.duplicate,
            repeated: all.repeated,
            faults: all.faults,
            in_flight: all.in_flight,
        }
    }

    fn take_serial_gaps(&mut self) -> Vec<SerialGap> {
        let gaps = self.inner.take_serial_gaps().into_iter();
        gaps.map(|(node, gap)| SerialGap {
            node,
            first: gap.first,
            last: gap.last,
            since_ms: gap.since_ms,
            until_ms: gap.until_ms,
        })
        .collect()
    }
}

fn text_of(comm: &[u8]) -> String {
    let end = comm.iter().position(|byte| *byte == 0);
    text::printable(comm.get(..end.unwrap_or(comm.len())).unwrap_or_default()).into_owned()
}

fn process_event(event: &process::ProcessEvent) -> ProcessEvent {
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
