//! Records that share node, time and serial become an event.
//!
//! An event is complete with EOE, with a type that comes alone, with PROCTITLE (auditd's file on disk holds no EOE; one that follows
//! soon still joins), or by *arrival*: so many lines of its node, or so long, after its last record was read; sooner where its records
//! are of no system call. Its stamp never ends it:
//! the kernel stamps at the entry of a system call and writes at its exit, clocks are set, and older files are read after newer ones.
//!
//! Events of a node are given out in the order of their first records, whatever completes them: the order is the same with and without
//! EOE. What arrives after an event was given out is *late*: an event of its own with the same identity.
//!
//! What was given out before (a segment) is read again in that order: there an event ends where the next one begins.

mod gathered;

pub use gathered::{Counters, EndedBy, Gathered, Limits};

use crate::event::{Key, Record};
use crate::fault::FaultKind;
use crate::parse::{parse_stamp, LastStamp};
use crate::types;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Lines of its node that an event waits for its EOE after its PROCTITLE, and a record that may come alone (LOGIN, CONFIG_CHANGE, AVC)
/// for its system call.
const ENDS_WITHIN_LINES: u64 = 64;
/// Wall time that they wait.
const ENDS_WITHIN_MS: u64 = 50;
/// Lines of its node after which a system call without an end is given out: the cores of a large machine mix their records far less.
pub const ARRIVES_WITHIN_LINES: u64 = 1024;
/// Size of the memory of what is done; late records of older events are taken for new ones.
const DONE: usize = 1 << 16;
/// Names of machines that are told apart.
const MOST_NODES: usize = 1 << 16;

/// Events of one node that were not given out yet, in the order of their first records.
#[derive(Default)]
struct Queue {
    events: VecDeque<Gathered>,
    /// Number of the front; those behind it count on.
    first: u64,
    lines: u64,
}

impl Queue {
    fn get_mut(&mut self, number: u64) -> Option<&mut Gathered> {
        let at = number.checked_sub(self.first)?;
        self.events.get_mut(usize::try_from(at).ok()?)
    }

    fn pop(&mut self) -> Option<Gathered> {
        let front = self.events.pop_front()?;
        self.first += 1;
        Some(front)
    }

    /// Whether what is at the front is complete.
    #[inline]
    fn is_due(&self, limits: &Limits, now_ms: u64) -> bool {
        let Some(front) = self.events.front() else {
            return false;
        };
        let is_awaited = front.has_call && !front.has_proctitle;
        let (lines, wait_ms) = if is_awaited {
            (ARRIVES_WITHIN_LINES, limits.timeout_ms)
        } else {
            (ENDS_WITHIN_LINES, ENDS_WITHIN_MS)
        };
        front.is_ended
            || front.read_line + lines < self.lines
            || (front.read_ms > 0 && front.read_ms + wait_ms <= now_ms)
    }
}

/// Events in the making.
pub struct Coalescer {
    limits: Limits,
    /// What is read was given out before, event by event.
    is_reread: bool,
    nodes: Vec<Vec<u8>>,
    numbers: FxHashMap<Vec<u8>, u32>,
    last_node: u32,
    queues: Vec<Queue>,
    in_flight: usize,
    bytes: usize,
    spare: Vec<(Vec<u8>, Vec<Record>)>,
    open: FxHashMap<Key, u64>,
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
            nodes: vec![Vec::new()],
            numbers: FxHashMap::default(),
            last_node: 0,
            queues: vec![Queue::default()],
            in_flight: 0,
            bytes: 0,
            spare: Vec::new(),
            open: FxHashMap::default(),
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
        self.nodes
            .get(number as usize)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    pub fn is_reread(&self) -> bool {
        self.is_reread
    }

    /// The lines that follow were given out before; nothing is in flight.
    pub fn set_reread(&mut self, is_reread: bool) {
        self.is_reread = is_reread;
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms
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
        let key = Key {
            node: self.number_of_node(stamp.node)?,
            time_ms: stamp.time_ms,
            serial: stamp.serial,
        };
        let known = self.find(&key);
        if known.is_none() && self.is_reread {
            self.end_current(out);
        }
        let number = match known {
            Some(number) => number,
            None if stamp.record_type == types::EOE && self.is_done(&key) => return Ok(None),
            None => self.open(key, out),
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
        (gathered.read_line, gathered.read_ms) = (read_line, self.now_ms);
        gathered.has_proctitle |= stamp.record_type == types::PROCTITLE;
        gathered.has_call |= types::is_of_call(stamp.record_type);
        let is_alone = known.is_none() && types::is_single(stamp.record_type);
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

    /// Nothing more will come: let everything go.
    pub fn flush(&mut self, out: &mut Vec<Gathered>) {
        for node in 0..self.queues.len() {
            while self.give_out(node, out) {}
        }
    }

    /// The event that is read again ends here, whatever follows.
    pub fn end_current(&mut self, out: &mut Vec<Gathered>) {
        if let Some((key, _)) = self.last.filter(|_| self.is_reread) {
            self.give_out(key.node as usize, out);
        }
    }

    /// Give back an event's allocations.
    pub fn recycle(&mut self, mut gathered: Gathered) {
        if self.spare.len() < 64 && gathered.bytes.capacity() <= 1 << 16 {
            gathered.bytes.clear();
            gathered.records.clear();
            self.spare.push((gathered.bytes, gathered.records));
        }
    }

    #[inline]
    fn find(&mut self, key: &Key) -> Option<u64> {
        if let Some((last, number)) = self.last {
            if last == *key {
                return Some(number);
            }
        }
        let number = *self.open.get(key)?;
        self.last = Some((*key, number));
        Some(number)
    }

    fn open(&mut self, key: Key, out: &mut Vec<Gathered>) -> u64 {
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
            is_late: self.is_done(&key),
            ..Gathered::default()
        };
        let Some(queue) = self.queues.get_mut(key.node as usize) else {
            return 0;
        };
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
        if node.is_empty() {
            return Ok(0);
        }
        if self.node(self.last_node) == node {
            return Ok(self.last_node);
        }
        let number = match self.numbers.get(node) {
            Some(number) => *number,
            None if self.nodes.len() < MOST_NODES => {
                let number = self.nodes.len() as u32;
                self.nodes.push(node.to_vec());
                self.numbers.insert(node.to_vec(), number);
                self.queues.push(Queue::default());
                number
            }
            None => return Err(FaultKind::TooManyNodes),
        };
        self.last_node = number;
        Ok(number)
    }
}
