//! What the trail holds already: an import adds no record twice.

use super::{name_of, Assembler};
use crate::coalesce::{Coalescer, Gathered, ARRIVES_WITHIN_LINES};
use crate::event::Record;
use crate::parse::ENRICHMENT;
use crate::types;
use rustc_hash::{FxHashMap, FxHasher};
use std::collections::VecDeque;
use std::hash::Hasher;

/// Records by event, as hashes: 12 bytes an event and 4 a record.
#[derive(Default)]
pub(super) struct Known {
    /// Event → where its newest list of records begins.
    events: FxHashMap<u64, u32>,
    /// Lists: where the list before begins (`u32::MAX`: none), how many records, their hashes.
    lists: Vec<u32>,
    /// The newest events, as many as can still have been in the making when the log ended.
    newest: VecDeque<Gathered>,
    newest_lines: usize,
}

impl Known {
    /// Whether something of an event is new; it is remembered then. What a copy of the log leaves out (EOE) is nothing new.
    pub(super) fn take(&mut self, gathered: &mut Gathered, node: &str) -> bool {
        let event = event_hash(node, gathered.key.time_ms, gathered.key.serial);
        let before = self.events.get(&event).copied();
        let line_of = |record: &Record| {
            let line = gathered
                .bytes
                .get(record.start as usize..record.end as usize);
            record_hash(line.unwrap_or_default())
        };
        let is_new = |record: &Record| {
            record.record_type != types::EOE && !self.is_in(before, line_of(record))
        };
        if before.is_some() && !gathered.records.iter().any(is_new) {
            return false;
        }
        let start = self.lists.len() as u32;
        self.lists.push(before.unwrap_or(u32::MAX));
        self.lists.push(gathered.records.len() as u32);
        self.lists.extend(gathered.records.iter().map(line_of));
        self.events.insert(event, start);
        gathered.is_late |= before.is_some();
        true
    }

    fn keep_newest(&mut self, gathered: Gathered) {
        self.newest_lines += gathered.records.len();
        self.newest.push_back(gathered);
        while let Some(oldest) = self.newest.front() {
            let rest = self.newest_lines - oldest.records.len();
            if (rest as u64) < ARRIVES_WITHIN_LINES {
                break;
            }
            self.newest_lines = rest;
            self.newest.pop_front();
        }
    }

    fn is_in(&self, list: Option<u32>, record: u32) -> bool {
        let mut next = list;
        while let Some(start) = next.map(|start| start as usize) {
            let Some([before, count]) = self.lists.get(start..start + 2) else {
                return false;
            };
            let records = self.lists.get(start + 2..start + 2 + *count as usize);
            if records.is_some_and(|records| records.contains(&record)) {
                return true;
            }
            next = Some(*before).filter(|before| *before != u32::MAX);
        }
        false
    }
}

impl Assembler {
    /// Records that the trail holds: events that repeat them add nothing from now on. Whole lines.
    pub fn remember(&mut self, records: &[u8]) {
        let mut reader = Coalescer::new(self.options.limits);
        reader.set_reread(true);
        let mut ended = Vec::new();
        for line in records
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            // What is no record is none that could be repeated.
            let _ = reader.take_line(line, &mut ended);
            self.know(&mut ended, &reader);
        }
        reader.flush(&mut ended);
        self.know(&mut ended, &reader);
    }

    fn know(&mut self, ended: &mut Vec<Gathered>, reader: &Coalescer) {
        let known = self.known.get_or_insert_default();
        for mut gathered in ended.drain(..) {
            let node = name_of(gathered.key.node, reader, &self.options);
            known.take(&mut gathered, &node);
            known.keep_newest(gathered);
        }
    }

    /// Take again the events in which the log of the import before ended, those of several cores at once: what is missing of them
    /// may stand in its next part.
    pub(super) fn take_up_torn(&mut self) {
        let newest = self
            .known
            .as_mut()
            .map(|known| std::mem::take(&mut known.newest));
        for gathered in newest.unwrap_or_default() {
            self.event
                .read(gathered.key, &gathered.bytes, &gathered.records);
            if self.event.missing != 0 {
                self.push(&gathered.bytes);
            }
        }
    }
}

fn event_hash(node: &str, time_ms: u64, serial: u64) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(node.as_bytes());
    hasher.write_u64(time_ms);
    hasher.write_u64(serial);
    hasher.finish()
}

/// Of what the kernel wrote: neither the node that a daemon put before it nor the names that it added count.
fn record_hash(line: &[u8]) -> u32 {
    let start = match line.starts_with(b"node=") {
        true => memchr::memchr(b' ', line).map_or(0, |at| at + 1),
        false => 0,
    };
    let end = memchr::memchr(ENRICHMENT, line).unwrap_or(line.len());
    let mut hasher = FxHasher::default();
    hasher.write(line.get(start..end).unwrap_or_default());
    (hasher.finish() >> 32) as u32
}
