//! What the trail holds already: an import adds no record twice.

use super::{name_of, Assembler};
use crate::coalesce::{Coalescer, Gathered};
use crate::event::Key;
use crate::parse::ENRICHMENT;
use crate::types;
use rustc_hash::FxHashSet;
use std::hash::{BuildHasher, RandomState};

/// Events, and records by event, as hashes whose key nobody knows: no record can be made that is taken for another.
#[derive(Default)]
pub(super) struct Known {
    key: RandomState,
    hashes: FxHashSet<u64>,
}

impl Known {
    /// Whether something of an event is new; `learns`: it is remembered then. What a copy of the log leaves out (EOE) is nothing new.
    pub(super) fn take(&mut self, gathered: &mut Gathered, node: &str, learns: bool) -> bool {
        let Key {
            time_ms, serial, ..
        } = gathered.key;
        let event = self.key.hash_one((node, time_ms, serial));
        let is_known = !self.is_new(event, learns);
        let mut is_new = !is_known;
        for record in &gathered.records {
            let line = gathered
                .bytes
                .get(record.start as usize..record.end as usize);
            let hash = self
                .key
                .hash_one((event, of_kernel(line.unwrap_or_default())));
            is_new |= self.is_new(hash, learns) && record.record_type != types::EOE;
        }
        gathered.is_late |= is_known;
        is_new
    }

    fn is_new(&mut self, hash: u64, learns: bool) -> bool {
        match learns {
            true => self.hashes.insert(hash),
            false => !self.hashes.contains(&hash),
        }
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
