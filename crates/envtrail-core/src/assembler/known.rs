//! What the trail holds already: an import adds no record twice, and completes an event of which it has another part.

mod joining;
mod line_hash;

use super::{name_of, Assembler};
use crate::coalesce::{Coalescer, Gathered};
use crate::event::Key;
use crate::parse::ENRICHMENT;
use crate::types;
use joining::Joined;
use line_hash::LineHash;
use rustc_hash::FxHashSet;
use std::collections::btree_map::{BTreeMap, Entry};

/// Gives the bytes of a trail's records: segment, offset, length; fewer where there are no more. None where they cannot be read.
pub type ReadHeld = Box<dyn FnMut(u64, u64, u64) -> Option<Vec<u8>> + Send + Sync>;

/// Events by their identity, and records as hashes whose key nobody knows: no record can be made that is taken for another.
#[derive(Default)]
pub(super) struct Known {
    hash: LineHash,
    /// Machines by name: the number of a `Key` here.
    nodes: BTreeMap<String, u32>,
    /// Where in `held` what is known of an event is. A log has its events in order: in a table of hashes each would be far from the last.
    events: BTreeMap<Key, usize>,
    held: Vec<Held>,
    /// Where in `held` the event is that was taken last.
    last: Option<usize>,
    /// Records of events of which another part, or another form, was read: nobody queries the records of most events.
    apart: FxHashSet<u64>,
    read_held: Option<ReadHeld>,
    /// What it gave last.
    held_bytes: HeldBytes,
    /// The segment that is remembered.
    segment: u64,
}

/// What the trail holds of an event.
#[derive(Clone, Copy)]
struct Held {
    /// Where the newest of its rows lies; segments are numbered from 1 on.
    segment: u64,
    offset: u64,
    length: u32,
    /// How often it was completed.
    times: u8,
    /// Its records are `apart`.
    is_apart: bool,
}

/// Bytes of a segment from an offset on.
#[derive(Default)]
struct HeldBytes {
    segment: u64,
    since: u64,
    bytes: Vec<u8>,
}

/// The end of a segment that is at hand: the rest of it is read from the trail.
#[derive(Clone, Copy)]
struct AtHand<'a> {
    segment: u64,
    since: u64,
    records: &'a [u8],
}

/// What an event is beside those that the trail holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    First,
    Nothing,
    /// It has records that the trail's copy lacks.
    More,
}

/// What is longer, or came in more parts, is not completed: each time all of it is written again.
const MOST_BYTES: usize = 1 << 20;
const MOST_TIMES: u8 = 8;

impl Known {
    /// What of an event is new; `learns`: it is remembered then. What a copy of the log leaves out (EOE) is nothing new.
    fn take(
        &mut self,
        gathered: &Gathered,
        node: &str,
        learns: bool,
        at_hand: AtHand<'_>,
    ) -> Novelty {
        let event = self.key_of(gathered.key, node);
        let at = match self.events.entry(event) {
            Entry::Occupied(at) => *at.get(),
            Entry::Vacant(_) if !learns => return Novelty::First,
            Entry::Vacant(at) => {
                at.insert(self.held.len());
                self.last = Some(self.held.len());
                self.learn(event, gathered, at_hand.segment);
                return Novelty::First;
            }
        };
        self.last = Some(at);
        let held = self.held.get(at).copied();
        if let Some(held) = held.filter(|held| !held.is_apart) {
            let text = self.read(&held, at_hand).unwrap_or_default();
            if text == gathered.bytes {
                return Novelty::Nothing;
            }
            for line in text.split(|byte| *byte == b'\n') {
                self.apart
                    .insert(self.hash.of_line(&event, of_kernel(line)));
            }
            if let Some(held) = self.held.get_mut(at) {
                held.is_apart = true;
            }
        }
        let mut is_new = false;
        for line in lines_of(gathered) {
            let hash = self.hash.of_line(&event, line);
            is_new |= match learns {
                true => self.apart.insert(hash),
                false => !self.apart.contains(&hash),
            };
        }
        match is_new {
            true => Novelty::More,
            false => Novelty::Nothing,
        }
    }

    /// Remember an event; and its records, where they cannot be read again.
    fn learn(&mut self, event: Key, gathered: &Gathered, segment: u64) {
        let is_read = segment > 0 && gathered.bytes.len() <= MOST_BYTES;
        let is_apart = !is_read || self.read_held.is_none();
        if is_apart {
            let hashes = lines_of(gathered).map(|line| self.hash.of_line(&event, line));
            self.apart.extend(hashes);
        }
        self.held.push(Held {
            segment: 0,
            offset: 0,
            length: 0,
            times: 0,
            is_apart,
        });
    }

    /// The identity of an event of a machine of this name.
    fn key_of(&mut self, key: Key, node: &str) -> Key {
        let number = match self.nodes.get(node) {
            Some(number) => *number,
            None => {
                let number = self.nodes.len() as u32;
                self.nodes.insert(node.to_owned(), number);
                number
            }
        };
        Key {
            node: number,
            ..key
        }
    }

    /// Note where the records of the event lie that was taken last: the newest of its rows counts.
    fn note_place(&mut self, gathered: &Gathered, segment: u64, offset: u64) {
        let length = gathered.bytes.len();
        if let Some(held) = self.last.and_then(|at| self.held.get_mut(at)) {
            held.segment = if length > MOST_BYTES { 0 } else { segment };
            held.offset = offset;
            held.length = length.min(MOST_BYTES) as u32;
            let times = held.times + u8::from(gathered.is_supplemented);
            held.times = times.min(MOST_TIMES);
        }
    }

    /// What the trail holds of the event that was taken last, if it may be completed.
    fn text_of_last(&mut self, at_hand: AtHand<'_>) -> Option<Vec<u8>> {
        let held = *self.held.get(self.last?)?;
        (held.times < MOST_TIMES).then(|| self.read(&held, at_hand))?
    }

    fn read(&mut self, held: &Held, at_hand: AtHand<'_>) -> Option<Vec<u8>> {
        if held.segment == 0 {
            return None;
        }
        let length = held.length as usize;
        if held.segment == at_hand.segment {
            if let Some(start) = held.offset.checked_sub(at_hand.since) {
                let start = start as usize;
                return Some(at_hand.records.get(start..start + length)?.to_vec());
            }
        }
        self.read_of_trail(held.segment, held.offset, length)
    }

    /// What follows is read too: a copy of a log has its events in their order.
    fn read_of_trail(&mut self, segment: u64, offset: u64, length: usize) -> Option<Vec<u8>> {
        let of = |known: &HeldBytes| {
            let start = offset.checked_sub(known.since)? as usize;
            let bytes = known.bytes.get(start..start + length)?;
            (known.segment == segment).then(|| bytes.to_vec())
        };
        if let Some(found) = of(&self.held_bytes) {
            return Some(found);
        }
        self.held_bytes = HeldBytes {
            segment,
            since: offset,
            bytes: self.read_held.as_mut()?(segment, offset, MOST_BYTES as u64)?,
        };
        of(&self.held_bytes)
    }
}

/// What the kernel wrote of an event's records. Some logs leave out EOE.
fn lines_of(gathered: &Gathered) -> impl Iterator<Item = &[u8]> {
    let records = gathered.records.iter();
    let records = records.filter(|record| record.record_type != types::EOE);
    records.map(|record| {
        let lines = record.start as usize..record.end as usize;
        of_kernel(gathered.bytes.get(lines).unwrap_or_default())
    })
}

impl Assembler {
    /// Records that the trail holds in a segment, from its beginning on: events that repeat them add nothing from now on. Whole lines.
    pub fn remember(&mut self, segment: u64, records: &[u8]) {
        let mut reader = Coalescer::new(self.options.limits);
        reader.set_reread(true);
        self.known.get_or_insert_default().segment = segment;
        let mut ended = Vec::new();
        let mut position = 0;
        for line in records.split(|byte| *byte == b'\n') {
            reader.set_position(position);
            position += line.len() as u64 + 1;
            match line {
                [] => reader.take_empty(&mut ended),
                _ => {
                    // What is no record is none that could be repeated.
                    let _ = reader.take_line(line, &mut ended);
                }
            }
            self.know(&mut ended, &reader, records);
        }
        reader.flush(&mut ended);
        self.know(&mut ended, &reader, records);
    }

    /// What the trail holds is read by this where an event of which it has a part is completed.
    pub fn read_held_with(&mut self, read: ReadHeld) {
        self.known.get_or_insert_default().read_held = Some(read);
    }

    fn know(&mut self, ended: &mut Vec<Gathered>, reader: &Coalescer, records: &[u8]) {
        let known = self.known.get_or_insert_default();
        let at_hand = AtHand {
            segment: known.segment,
            since: 0,
            records,
        };
        for gathered in ended.drain(..) {
            let node = name_of(gathered.key.node, reader, &self.options);
            let novelty = known.take(&gathered, &node, true, at_hand);
            if novelty == Novelty::First || gathered.is_supplemented {
                known.note_place(&gathered, known.segment, gathered.position);
            }
        }
    }

    /// Compare an event with what the trail holds. Where each has records that the other lacks, it has those of both then.
    pub(super) fn compare_with_known(&mut self, gathered: &mut Gathered) -> Novelty {
        let Some(known) = &mut self.known else {
            return Novelty::First;
        };
        let node = name_of(gathered.key.node, &self.coalescer, &self.options);
        let at_hand = AtHand {
            segment: self.segment,
            since: self.segment_bytes,
            records: &self.records,
        };
        let novelty = known.take(gathered, &node, self.tables.is_import(), at_hand);
        if novelty == Novelty::More {
            let number = gathered.key.node;
            let name = self.coalescer.node(number);
            let is_anothers =
                self.tables
                    .is_anothers(number, &self.event, name, &self.options.node);
            let held = known.text_of_last(at_hand);
            match held.map_or(Joined::Apart, |held| {
                joining::join(gathered, &held, is_anothers)
            }) {
                Joined::Nothing => return Novelty::Nothing,
                Joined::Whole => (gathered.is_supplemented, gathered.is_late) = (true, false),
                Joined::Apart => (gathered.is_supplemented, gathered.is_late) = (false, true),
            }
        }
        novelty
    }

    /// An event's records will lie there in the open segment.
    pub(super) fn note_place(&mut self, gathered: &Gathered, offset: u64) {
        if let Some(known) = self.known.as_mut().filter(|_| self.tables.is_import()) {
            if !gathered.is_late {
                if gathered.is_supplemented {
                    // With its other part, more of it may have been redacted.
                    let node = name_of(gathered.key.node, &self.coalescer, &self.options);
                    let at_hand = AtHand {
                        segment: self.segment,
                        since: self.segment_bytes,
                        records: &self.records,
                    };
                    known.take(gathered, &node, true, at_hand);
                }
                known.note_place(gathered, self.segment, offset);
            }
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
