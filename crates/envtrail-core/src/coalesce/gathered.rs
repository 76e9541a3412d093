//! The records of one event as they came, how it ended, and what is counted.

use crate::event::{Key, Record};
use crate::fault::FaultKind;
use crate::parse::Stamp;
use crate::types;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Records that are compared one by one with a new one.
const FEW: usize = 64;

/// In the order of the alphabet it is the last word of its column: a reader that looks for it alone passes over blocks without it.
pub const SUPPLEMENTED: &str = "supplemented";

/// How an event ended, as its records say: reading them again says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    Eoe,
    Proctitle,
    Single,
    Arrival,
    Late,
    Supplemented,
}

impl EndedBy {
    pub fn as_str(self) -> &'static str {
        match self {
            EndedBy::Eoe => "eoe",
            EndedBy::Proctitle => "proctitle",
            EndedBy::Single => "single",
            EndedBy::Arrival => "arrival",
            EndedBy::Late => "late",
            EndedBy::Supplemented => SUPPLEMENTED,
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
    /// It is given out again, with records that were not there before.
    pub is_supplemented: bool,
    /// Nothing more of it is awaited.
    pub(super) is_ended: bool,
    pub(super) has_proctitle: bool,
    pub(super) has_message: bool,
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
        let (mut has_end, mut has_title) = (false, false);
        for record in &self.records {
            has_end |= record.record_type == types::EOE;
            has_title |= record.record_type == types::PROCTITLE;
        }
        let first = self.records.first().map(|record| record.record_type);
        if self.is_supplemented {
            EndedBy::Supplemented
        } else if self.is_late {
            EndedBy::Late
        } else if has_end {
            EndedBy::Eoe
        } else if has_title {
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
        if self.is_repeated(line, stamp.record_type) {
            counters.duplicate += 1;
            return None;
        }
        if self.bytes.len() + line.len() + 1 > limits.max_event_bytes {
            self.truncated = true;
            return Some(FaultKind::EventTooLong);
        }
        self.append(line, stamp.record_type, stamp.body);
        None
    }

    #[inline(always)]
    pub(super) fn append(&mut self, line: &[u8], record_type: u16, body: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(line);
        let end = self.bytes.len();
        self.bytes.push(b'\n');
        self.records.push(Record {
            record_type,
            start: start as u32,
            body: (end - body.len()) as u32,
            end: end as u32,
        });
    }

    /// A record of this type was read: it was this line of its node, at this moment of the wall clock.
    #[inline(always)]
    pub(super) fn note_read(&mut self, record_type: u16, line: u64, now_ms: u64) {
        (self.read_line, self.read_ms) = (line, now_ms);
        self.has_proctitle |= record_type == types::PROCTITLE;
        self.has_call |= types::is_of_call(record_type);
    }

    /// Whether the event has this line. Of many the time must not grow with their number.
    #[inline(always)]
    pub(super) fn is_repeated(&mut self, line: &[u8], record_type: u16) -> bool {
        if self.records.len() >= FEW {
            return !self.is_unseen(line);
        }
        let is_it = |record: &Record| {
            (record.end - record.start) as usize == line.len()
                && record.record_type == record_type
                && line_of(&self.bytes, record) == line
        };
        self.records.iter().any(is_it)
    }

    #[cold]
    fn is_unseen(&mut self, line: &[u8]) -> bool {
        let all = || {
            let mut seen = Seen::default();
            for record in &self.records {
                seen.insert(line_of(&self.bytes, record));
            }
            Box::new(seen)
        };
        self.seen.get_or_insert_with(all).insert(line)
    }
}

fn line_of<'a>(bytes: &'a [u8], record: &Record) -> &'a [u8] {
    let line = bytes.get(record.start as usize..record.end as usize);
    line.unwrap_or_default()
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
    /// Records that name no machine.
    pub unnamed: u64,
    pub events: u64,
    pub complete: u64,
    pub late: u64,
    pub lost: u64,
    pub duplicate: u64,
    /// Events that were in the trail before, and added nothing.
    pub repeated: u64,
    /// Events of which a part was in the trail before, and that have more records now.
    pub supplemented: u64,
    pub faults: u64,
    pub in_flight: u64,
}
