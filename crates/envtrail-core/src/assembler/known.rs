//! What the trail holds already: an import adds no record twice.

use super::{name_of, Assembler};
use crate::coalesce::{Coalescer, Gathered};
use crate::event::{Key, Record};
use crate::parse::ENRICHMENT;
use crate::types;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};

/// Events, and records by event, as hashes whose key nobody knows: no record can be made that is taken for another.
#[derive(Default)]
pub(super) struct Known {
    key: RandomState,
    /// Where in `records` those of an event lie, or `APART`.
    events: FxHashMap<u64, usize>,
    /// Of each event how many there are, then they: most events never come again, and nobody looks for their records.
    records: Vec<u64>,
    /// Those of the events that came again.
    apart: FxHashSet<u64>,
}

const APART: usize = usize::MAX;

impl Known {
    /// Whether something of an event is new; `learns`: it is remembered then. What a copy of the log leaves out (EOE) is nothing new.
    pub(super) fn take(&mut self, gathered: &mut Gathered, node: &str, learns: bool) -> bool {
        let Key {
            time_ms, serial, ..
        } = gathered.key;
        let event = self.key.hash_one((node, time_ms, serial));
        let hash_of = |record: &Record| {
            let line = gathered
                .bytes
                .get(record.start as usize..record.end as usize);
            self.key
                .hash_one((event, of_kernel(line.unwrap_or_default())))
        };
        let start = match self.events.entry(event) {
            Entry::Occupied(mut place) => place.insert(APART),
            Entry::Vacant(_) if !learns => return true,
            Entry::Vacant(place) => {
                place.insert(self.records.len());
                self.records.push(gathered.records.len() as u64);
                self.records.extend(gathered.records.iter().map(hash_of));
                return true;
            }
        };
        let count = self.records.get(start).map_or(0, |count| *count as usize);
        let before = self.records.iter().skip(start).skip(1).take(count);
        self.apart.extend(before);
        let mut is_new = false;
        for record in &gathered.records {
            let hash = hash_of(record);
            let is_first = match learns {
                true => self.apart.insert(hash),
                false => !self.apart.contains(&hash),
            };
            is_new |= is_first && record.record_type != types::EOE;
        }
        gathered.is_late = true;
        is_new
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
            known.take(&mut gathered, &node, true);
        }
    }
}

/// What the kernel wrote of a line: neither the node that a daemon put before it nor the names that it added.
fn of_kernel(line: &[u8]) -> &[u8] {
    let start = match line.starts_with(b"node=") {
        true => memchr::memchr(b' ', line).map_or(0, |at| at + 1),
        false => 0,
    };
    let end = memchr::memchr(ENRICHMENT, line).unwrap_or(line.len());
    line.get(start..end).unwrap_or_default()
}
