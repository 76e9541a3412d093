//! Records that share node, time and serial become an event.
//!
//! An event is complete with EOE, with a type that comes alone, with PROCTITLE (auditd's file on disk holds no EOE; one that follows
//! soon still joins), or by *arrival*: so many lines of its node, or so long, after its last record was read; sooner where its records
//! are of no system call. Its stamp never ends it:
//! the kernel stamps at the entry of a system call and writes at its exit, clocks are set, and older files are read after newer ones.
//!
//! Events of a node are given out in the order of their first records, whatever completes them: the order is the same with and without
//! EOE. What arrives after an event was given out is *late*: a separate event with the same identity.
//!
//! What was given out before (a segment) is read again in that order: there an event ends where the next one begins. Empty lines before
//! an event say what it is: one, that it is late; two, that it is there again, with records that it lacked.

mod gathered;
mod nodes;
mod open;
mod queue;

pub use gathered::{Counters, EndedBy, Gathered, Limits, SUPPLEMENTED};
pub use queue::ARRIVES_WITHIN_LINES;

use crate::event::{Key, Record};
use crate::fault::FaultKind;
use crate::parse::{parse_stamp, split, LastStamp};
use crate::types;
use memchr::memchr;
use nodes::Nodes;
use open::Open;
use queue::Queue;
use std::mem::take;

/// Size of the memory of what is done; late records of older events are taken for new ones.
const DONE: usize = 1 << 16;

/// Events in the making.
pub struct Coalescer {
    limits: Limits,
    /// What is read was given out before, event by event.
    is_reread: bool,
    /// Empty lines before what is read again.
    marks: u8,
    nodes: Nodes,
    queues: Vec<Queue>,
    in_flight: usize,
    bytes: usize,
    spare: Vec<(Vec<u8>, Vec<Record>)>,
    open: Open,
    last: Option<(Key, u64)>,
    last_stamp: LastStamp,
    done: Vec<Key>,
    position: u64,
    now_ms: u64,
    pub counters: Counters,
}

impl Coalescer {
    pub fn new(limits: Limits) -> Self {
        Coalescer {
            limits,
            is_reread: false,
            marks: 0,
            nodes: Nodes::default(),
            queues: vec![Queue::default()],
            in_flight: 0,
            bytes: 0,
            spare: Vec::new(),
            open: Open::default(),
            last: None,
            last_stamp: LastStamp::default(),
            done: vec![Key::default(); DONE],
            position: 0,
            now_ms: 0,
            counters: Counters::default(),
        }
    }

    /// Name of a node; empty for records without `node=`.
    pub fn node(&self, number: u32) -> &[u8] {
        self.nodes.name(number)
    }

    pub fn is_reread(&self) -> bool {
        self.is_reread
    }

    /// The lines that follow were given out before; nothing is in flight.
    pub fn set_reread(&mut self, is_reread: bool) {
        self.is_reread = is_reread;
        self.marks = 0;
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Take what more there is of the event of the line before: the whole lines at the beginning of `block` that `take_line` would add to it,
    /// all at once. Gives how many bytes they are; what ends an event, or may be something else, is left.
    pub fn take_more(&mut self, block: &[u8], out: &mut Vec<Gathered>) -> usize {
        let Some((key, number)) = self.last.filter(|(key, _)| key.node == 0) else {
            return 0;
        };
        if (key.time_ms, key.serial) != self.last_stamp.identity() {
            return 0;
        }
        let Some(queue) = self.queues.first_mut() else {
            return 0;
        };
        let mut lines = queue.lines;
        let Some(gathered) = queue.get_mut(number) else {
            return 0;
        };
        let before = gathered.bytes.len();
        let mut rest = block;
        while let Some((record_type, body)) = self.last_stamp.repeated(rest) {
            let Some(end) = memchr(b'\n', body) else {
                break;
            };
            let (line, after) = split(rest, rest.len() - body.len() + end);
            let body = body.get(..end).unwrap_or_default();
            let is_too_long = gathered.bytes.len() + line.len() >= self.limits.max_event_bytes;
            let may_end = record_type == types::EOE || types::is_single(record_type);
            if is_too_long || may_end || body.ends_with(b"\r") {
                break;
            }
            if gathered.is_repeated(line, record_type) {
                self.counters.duplicate += 1;
            } else {
                gathered.append(line, record_type, body);
            }
            lines += 1;
            gathered.note_read(record_type, lines, self.now_ms);
            rest = after;
        }
        self.bytes += gathered.bytes.len() - before;
        let count = lines - queue.lines;
        queue.lines = lines;
        self.counters.lines += count;
        self.counters.records += count;
        self.counters.unnamed += count;
        if count > 0 && !self.is_reread && queue.is_due(&self.limits, self.now_ms) {
            self.release(0, out);
        }
        block.len() - rest.len()
    }

    /// Take one line without its newline. Ended events go to `out`; hand each back with `recycle`.
    /// Gives the key of an event that begins with this line.
    pub fn take_line(
        &mut self,
        line: &[u8],
        out: &mut Vec<Gathered>,
    ) -> Result<Option<Key>, FaultKind> {
        self.counters.lines += 1;
        let stamp = parse_stamp(line, &mut self.last_stamp)?;
        self.counters.records += 1;
        self.counters.unnamed += u64::from(stamp.node.is_empty());
        let key = Key {
            node: self.number_of_node(stamp.node)?,
            time_ms: stamp.time_ms,
            serial: stamp.serial,
        };
        let known = self.find(&key);
        let known = known.filter(|number| self.takes(&key, *number, stamp.record_type));
        if known.is_none() && self.is_reread {
            self.end_current(out);
        }
        let number = match known {
            Some(number) => number,
            None if stamp.record_type == types::EOE && self.is_done(&key) => return Ok(None),
            None => self.open(key, stamp.record_type, out),
        };
        let Some(queue) = self.queues.get_mut(key.node as usize) else {
            return Ok(None);
        };
        queue.lines += 1;
        let read_line = queue.lines;
        let Some(gathered) = queue.get_mut(number) else {
            return Ok(None);
        };
        let before = gathered.bytes.len();
        let fault = gathered.add(line, &stamp, &self.limits, &mut self.counters);
        self.bytes += gathered.bytes.len() - before;
        gathered.note_read(stamp.record_type, read_line, self.now_ms);
        let is_alone = known.is_none() && types::is_without_call(stamp.record_type);
        if stamp.record_type == types::EOE || is_alone {
            gathered.is_ended = true;
        }
        let is_ended = gathered.is_ended;
        if !self.is_reread {
            let is_due = queue.is_due(&self.limits, self.now_ms);
            if is_ended {
                self.close(&key);
            }
            if is_due {
                self.release(key.node as usize, out);
            }
        }
        fault.map_or(Ok(known.is_none().then_some(key)), Err)
    }

    /// The next line lies this many bytes behind the beginning of what is read.
    pub fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    /// The lines that follow are read at this moment of the wall clock.
    pub fn set_clock(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// The wall clock says `now_ms`, and all that had arrived by then was taken.
    pub fn tick(&mut self, now_ms: u64, out: &mut Vec<Gathered>) {
        self.set_clock(now_ms);
        for node in 0..self.queues.len() {
            if let Some(front) = self
                .queues
                .get_mut(node)
                .and_then(|queue| queue.events.front_mut())
            {
                if front.read_ms == 0 {
                    front.read_ms = now_ms;
                }
            }
            self.release(node, out);
        }
    }

    /// Nothing more will come: let everything go, in the order of first records.
    pub fn flush(&mut self, out: &mut Vec<Gathered>) {
        let queues = self.queues.iter().enumerate();
        let waiting = queues.flat_map(|(node, queue)| {
            let events = queue.events.iter();
            events.map(move |event| (event.position, node))
        });
        let mut waiting: Vec<(u64, usize)> = waiting.collect();
        waiting.sort_unstable();
        for (_, node) in waiting {
            self.give_out(node, out);
        }
    }

    /// Take an empty line: the event that is read again ends here, whatever follows.
    pub fn take_empty(&mut self, out: &mut Vec<Gathered>) {
        self.end_current(out);
        self.marks = self.marks.saturating_add(u8::from(self.is_reread));
    }

    fn end_current(&mut self, out: &mut Vec<Gathered>) {
        if let Some((key, _)) = self.last.filter(|_| self.is_reread) {
            self.give_out(key.node as usize, out);
        }
    }

    /// Give back an event's allocations.
    pub fn recycle(&mut self, gathered: &mut Gathered) {
        if self.spare.len() < 64 && gathered.bytes.capacity() <= 1 << 16 {
            let (mut bytes, mut records) = (take(&mut gathered.bytes), take(&mut gathered.records));
            bytes.clear();
            records.clear();
            self.spare.push((bytes, records));
        }
    }

    #[inline]
    fn find(&mut self, key: &Key) -> Option<u64> {
        if let Some((last, number)) = self.last {
            if last == *key {
                return Some(number);
            }
        }
        let number = self.open.get(key)?;
        self.last = Some((*key, number));
        Some(number)
    }

    /// Whether an event takes one more record of this type: what two messages of programs say is never mixed.
    fn takes(&mut self, key: &Key, number: u64, record_type: u16) -> bool {
        let queue = self.queues.get_mut(key.node as usize);
        let Some(gathered) = queue.and_then(|queue| queue.get_mut(number)) else {
            return true;
        };
        let is_message = types::is_single(record_type);
        if is_message && gathered.has_message {
            gathered.is_ended = true;
            self.close(key);
            return false;
        }
        gathered.has_message |= is_message;
        true
    }

    fn open(&mut self, key: Key, record_type: u16, out: &mut Vec<Gathered>) -> u64 {
        let mut is_crowded = false;
        while self.in_flight >= self.limits.max_in_flight
            || self.bytes > self.limits.max_event_bytes.saturating_mul(2)
        {
            is_crowded = true;
            let own = key.node as usize;
            let given = self.give_out(own, out)
                || (0..self.queues.len()).any(|node| self.give_out(node, out));
            if !given {
                break;
            }
        }
        if is_crowded {
            self.counters.faults += 1;
        }
        let (bytes, records) = self.spare.pop().unwrap_or_default();
        let gathered = Gathered {
            key,
            bytes,
            records,
            position: self.position,
            has_message: types::is_single(record_type),
            is_late: self.marks == 1 || (self.marks == 0 && self.is_done(&key)),
            is_supplemented: self.marks > 1,
            ..Gathered::default()
        };
        let Some(queue) = self.queues.get_mut(key.node as usize) else {
            return 0;
        };
        self.marks = 0;
        let number = queue.first + queue.events.len() as u64;
        queue.events.push_back(gathered);
        self.in_flight += 1;
        self.open.insert(key, number);
        self.last = Some((key, number));
        number
    }

    /// Give out what is complete at the front of a node's queue.
    fn release(&mut self, node: usize, out: &mut Vec<Gathered>) {
        let is_due = |coalescer: &Self| {
            let queue = coalescer.queues.get(node);
            queue.is_some_and(|queue| queue.is_due(&coalescer.limits, coalescer.now_ms))
        };
        while !self.is_reread && is_due(self) {
            self.give_out(node, out);
        }
    }

    fn give_out(&mut self, node: usize, out: &mut Vec<Gathered>) -> bool {
        let Some(gathered) = self.queues.get_mut(node).and_then(Queue::pop) else {
            return false;
        };
        self.in_flight -= 1;
        self.bytes -= gathered.bytes.len().min(self.bytes);
        if !gathered.is_ended || self.is_reread {
            self.close(&gathered.key);
        }
        self.counters.late += u64::from(gathered.is_late);
        self.counters.events += 1;
        out.push(gathered);
        true
    }

    /// What comes under this identity from now on is late.
    fn close(&mut self, key: &Key) {
        self.open.remove(key);
        self.last = self.last.filter(|(last, _)| last != key);
        if let Some(place) = self.done.get_mut(key.serial as usize % DONE) {
            *place = *key;
        }
    }

    fn is_done(&self, key: &Key) -> bool {
        self.done.get(key.serial as usize % DONE) == Some(key)
    }

    /// Number of a node's name, a new one for a new name.
    #[inline]
    pub fn number_of_node(&mut self, node: &[u8]) -> Result<u32, FaultKind> {
        let number = self.nodes.number_of(node)?;
        if number as usize == self.queues.len() {
            self.queues.push(Queue::default());
        }
        Ok(number)
    }
}
