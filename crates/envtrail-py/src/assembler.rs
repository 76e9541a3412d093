//! The assembler as a Python object.

use crate::arrow::{failed, ArrowBatch};
use crate::functions::by_kind;
use crate::values::{
    counters, process_event, serial_gap, text_of, Batch, Counters, Fault, Process, SerialGap,
};
use crate::watch::FileGroup;
use envtrail_core::assembler::{self, Options, ReadHeld};
use envtrail_core::coalesce::Limits;
use envtrail_core::process;
use envtrail_core::procevent::Frame;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

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

    fn late_ends(&mut self) -> Vec<(u64, u64, Option<i32>, u64, u64)> {
        let ends = self.inner.late_ends().into_iter();
        ends.map(|end| {
            (
                end.image,
                end.time_ms,
                end.exit_code,
                end.serial,
                end.segment,
            )
        })
        .collect()
    }

    #[pyo3(signature = (records, segment = 0))]
    fn remember(&mut self, py: Python<'_>, records: &[u8], segment: u64) {
        py.detach(|| self.inner.remember(segment, records));
    }

    fn read_held_with(&mut self, read: Py<PyAny>) {
        self.inner.read_held_with(held_reader(read));
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
            newest_ms: batch.newest_ms,
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

    #[pyo3(signature = (number, records_bytes = 0))]
    fn set_segment(&mut self, number: u64, records_bytes: u64) {
        self.inner.set_segment(number, records_bytes);
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

    /// The nearest image above one that is a key of a dictionary.
    fn first_above(&self, image: u64, among: &Bound<'_, PyDict>) -> PyResult<Option<u64>> {
        for above in self.inner.lineage(image).into_iter().skip(1) {
            if among.contains(above.id)? {
                return Ok(Some(above.id));
            }
        }
        Ok(None)
    }

    /// The uids of a session along the line of an image, itself first, and whether the line has an image with this hint.
    fn uids_above(&self, image: u64, ses: Option<u32>, hint: &str) -> (Vec<u32>, bool) {
        let line = self.inner.lineage(image);
        let is_hinted = line
            .iter()
            .any(|above| self.inner.hint_label(above.hint) == Some(hint));
        let in_session = line
            .iter()
            .filter(|above| ses.is_some() && above.ses == ses);
        (
            in_session.filter_map(|above| above.uid).collect(),
            is_hinted,
        )
    }

    fn set_roots(&mut self, roots: Vec<String>) {
        self.inner.set_roots(roots);
    }

    fn holder_of(&self, pid: u32, until_ms: u64, within_ms: u64) -> Option<u64> {
        self.inner.holder_of(pid, until_ms, within_ms)
    }

    fn words_of(&self, image: u64) -> Option<Vec<String>> {
        self.inner.words_of(image)
    }

    fn program_of(&self, image: u64) -> Option<String> {
        self.inner.program_of(image)
    }

    fn image_of(&self, pid: u32) -> Option<u64> {
        self.inner.image_of(pid)
    }

    fn descendants(&self, image: u64) -> u32 {
        self.inner.descendants(image)
    }

    fn counters(&self) -> Counters {
        counters(self.inner.counters())
    }

    fn take_serial_gaps(&mut self) -> Vec<SerialGap> {
        let gaps = self.inner.take_serial_gaps().into_iter();
        gaps.map(|(node, gap)| serial_gap(node, &gap)).collect()
    }
}

/// A function of Python that reads what the trail holds: (segment, offset, length) → bytes, or None.
fn held_reader(read: Py<PyAny>) -> ReadHeld {
    Box::new(move |segment, offset, length| {
        Python::attach(|py| {
            let found = read.call1(py, (segment, offset, length)).ok()?;
            found.extract::<Option<Vec<u8>>>(py).ok()?
        })
    })
}
