//! The records of one event as they came, how it ended, and what is counted.

use crate::event::{Key, Record};
use crate::fault::FaultKind;
use crate::parse::Stamp;
use crate::types;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Records that are compared one by one with a new one.
const FEW: usize = 64;

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
    /// Of an event of many records.
    pub(super) seen: Option<Box<Seen>>,
}

/// Which lines an event has, by hashes whose key nobody knows: no line can be made that is taken for another.
#[derive(Debug, Default)]
pub(super) struct Seen {
    key: RandomState,
    hashes: HashSet<u64>,
}

impl Seen {
    fn insert(&mut self, line: &[u8]) -> bool {
        self.hashes.insert(self.key.hash_one(line))
    }
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
        if self.is_repeated(line) {
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

    /// Whether the event has this line. Of many the time must not grow with their number.
    fn is_repeated(&mut self, line: &[u8]) -> bool {
        let known = |record: &Record| {
            self.bytes
                .get(record.start as usize..record.end as usize)
                .unwrap_or_default()
        };
        if self.records.len() < FEW {
            let is_as_long = |record: &Record| (record.end - record.start) as usize == line.len();
            let mut as_long = self.records.iter().filter(|record| is_as_long(record));
            return as_long.any(|record| known(record) == line);
        }
        let all = || {
            let mut seen = Seen::default();
            for record in &self.records {
                seen.insert(known(record));
            }
            Box::new(seen)
        };
        !self.seen.get_or_insert_with(all).insert(line)
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
