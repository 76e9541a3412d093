//! The records of one event as they came, how it ended, and what is counted.

use crate::event::{Key, Record};
use crate::fault::FaultKind;
use crate::parse::Stamp;
use crate::types;

/// How an event ended, as its records say: reading them again says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    Eoe,
    Proctitle,
    Single,
    Arrival,
    Late,
}

impl EndedBy {
    pub fn as_str(self) -> &'static str {
        match self {
            EndedBy::Eoe => "eoe",
            EndedBy::Proctitle => "proctitle",
            EndedBy::Single => "single",
            EndedBy::Arrival => "arrival",
            EndedBy::Late => "late",
        }
    }
}

/// An event's bytes, as they came.
#[derive(Debug, Default)]
pub struct Gathered {
    pub key: Key,
    pub bytes: Vec<u8>,
    pub records: Vec<Record>,
    pub truncated: bool,
    /// Where its first line lay in what was read.
    pub position: u64,
    /// Something of this identity was given out before.
    pub is_late: bool,
    /// Nothing more of it is awaited.
    pub(super) is_ended: bool,
    pub(super) has_proctitle: bool,
    /// Some of its records are of a system call, which ends with PROCTITLE or EOE.
    pub(super) has_call: bool,
    /// When its last record was read: line of its node, wall clock (0: not known).
    pub(super) read_line: u64,
    pub(super) read_ms: u64,
}

impl Gathered {
    pub fn ended_by(&self) -> EndedBy {
        let has = |wanted: u16| {
            let mut newest_first = self.records.iter().rev();
            newest_first.any(|record| record.record_type == wanted)
        };
        let first = self.records.first().map(|record| record.record_type);
        if self.is_late {
            EndedBy::Late
        } else if has(types::EOE) {
            EndedBy::Eoe
        } else if has(types::PROCTITLE) {
            EndedBy::Proctitle
        } else if first.is_some_and(types::is_single) {
            EndedBy::Single
        } else {
            EndedBy::Arrival
        }
    }

    /// Append a record; a repetition is counted and left out.
    pub(super) fn add(
        &mut self,
        line: &[u8],
        stamp: &Stamp<'_>,
        limits: &Limits,
        counters: &mut Counters,
    ) -> Option<FaultKind> {
        let repeated = self.records.iter().any(|record| {
            record.record_type == stamp.record_type
                && self.bytes.get(record.start as usize..record.end as usize) == Some(line)
        });
        if repeated {
            counters.duplicate += 1;
            return None;
        }
        if self.bytes.len() + line.len() + 1 > limits.max_event_bytes {
            self.truncated = true;
            return Some(FaultKind::EventTooLong);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(line);
        let end = self.bytes.len();
        self.bytes.push(b'\n');
        self.records.push(Record {
            record_type: stamp.record_type,
            start: start as u32,
            body: (end - stamp.body.len()) as u32,
            end: end as u32,
        });
        None
    }
}

/// Bounds and times.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub timeout_ms: u64,
    pub max_in_flight: usize,
    pub max_event_bytes: usize,
}

/// Since the coalescer was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub lines: u64,
    pub records: u64,
    pub events: u64,
    pub complete: u64,
    pub late: u64,
    pub lost: u64,
    pub duplicate: u64,
    /// Events that were in the trail before, and added nothing.
    pub repeated: u64,
    pub faults: u64,
    pub in_flight: u64,
}
