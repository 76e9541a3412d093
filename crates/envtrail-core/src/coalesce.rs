//! Records that share node, time and serial become an event.
//!
//! An event ends as auditd.conf(5) says: with EOE, with PROCTITLE (auditd's file on disk holds no EOE; one that follows at once still
//! joins), by a type that comes alone, or by a timeout, on event time and on a wall tick. What arrives later is *late*: an event of
//! its own with the same identity.

mod gathered;

pub use gathered::{Counters, EndedBy, Gathered, Limits};

use crate::event::{Key, Record};
use crate::fault::FaultKind;
use crate::parse::{parse_stamp, LastStamp};
use crate::types;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Lines that an event may still wait for its EOE after its PROCTITLE.
const EOE_WITHIN_LINES: u64 = 64;
/// Wall time that it may wait.
const EOE_WITHIN_MS: u64 = 50;
/// Size of the memory of what is done; late records of older events are taken for new ones.
const DONE: usize = 1 << 16;

/// Events in the making.
pub struct Coalescer {
    limits: Limits,
    nodes: Vec<Vec<u8>>,
    slots: Vec<Gathered>,
    free: Vec<usize>,
    spare: Vec<(Vec<u8>, Vec<Record>)>,
    open: FxHashMap<Key, usize>,
    last: Option<usize>,
    last_stamp: LastStamp,
    arrivals: VecDeque<(usize, u64)>,
    lingering: VecDeque<(usize, u64)>,
    done: Vec<Key>,
    uses: u64,
    now_ms: u64,
    newest_ms: u64,
    pub counters: Counters,
}

impl Coalescer {
    pub fn new(limits: Limits) -> Self {
        Coalescer {
            limits,
            nodes: vec![Vec::new()],
            slots: Vec::new(),
            free: Vec::new(),
            spare: Vec::new(),
            open: FxHashMap::default(),
            last: None,
            last_stamp: LastStamp::default(),
            arrivals: VecDeque::new(),
            lingering: VecDeque::new(),
            done: vec![Key::default(); DONE],
            uses: 0,
            now_ms: 0,
            newest_ms: 0,
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

    pub fn in_flight(&self) -> usize {
        self.open.len()
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
            node: self.number_of_node(stamp.node),
            time_ms: stamp.time_ms,
            serial: stamp.serial,
        };
        if types::is_single(stamp.record_type) {
            let mut alone = self.take_slot(key);
            alone.add(line, &stamp, &self.limits, &mut self.counters);
            alone.ended_by = Some(if self.is_done(&key) {
                EndedBy::Late
            } else {
                EndedBy::Single
            });
            self.finish(alone, out);
            return Ok(Some(key));
        }
        let found = self.find(&key);
        let slot = match found {
            Some(slot) => slot,
            None if stamp.record_type == types::EOE && self.is_done(&key) => return Ok(None),
            None => self.open_slot(key, out)?,
        };
        let Some(gathered) = self.slots.get_mut(slot) else {
            return Ok(None);
        };
        let fault = gathered.add(line, &stamp, &self.limits, &mut self.counters);
        match stamp.record_type {
            types::EOE => {
                let gathered = std::mem::take(gathered);
                self.leave(slot, gathered, EndedBy::Eoe, out);
            }
            types::PROCTITLE => {
                gathered.ended_line = Some(self.counters.lines);
                self.lingering.push_back((slot, gathered.use_number));
            }
            _ => {}
        }
        fault.map_or(Ok(found.is_none().then_some(key)), Err)
    }

    /// The wall clock says `now_ms`.
    pub fn tick(&mut self, now_ms: u64, out: &mut Vec<Gathered>) {
        let before = self.now_ms;
        self.now_ms = now_ms;
        if before == 0 {
            return;
        }
        self.release_lingering(out, |gathered, now, _| {
            gathered.arrived_ms + EOE_WITHIN_MS <= now
        });
        self.expire(out);
    }

    /// Nothing more will come: let everything go.
    pub fn flush(&mut self, out: &mut Vec<Gathered>) {
        while let Some((slot, use_number)) = self.arrivals.pop_front() {
            if let Some(gathered) = self.take_if(slot, use_number) {
                let ended = if gathered.ended_line.is_some() {
                    EndedBy::Proctitle
                } else {
                    EndedBy::Flush
                };
                self.leave(slot, gathered, ended, out);
            }
        }
        self.lingering.clear();
    }

    /// Give back an event's allocations.
    pub fn recycle(&mut self, mut gathered: Gathered) {
        if self.spare.len() < 64 && gathered.bytes.capacity() <= 1 << 16 {
            gathered.bytes.clear();
            gathered.records.clear();
            self.spare.push((gathered.bytes, gathered.records));
        }
    }

    fn find(&mut self, key: &Key) -> Option<usize> {
        if let Some(last) = self.last {
            if self
                .slots
                .get(last)
                .is_some_and(|slot| slot.key == *key && slot.use_number != 0)
            {
                return Some(last);
            }
        }
        let found = self.open.get(key).copied();
        self.last = found.or(self.last);
        found
    }

    fn open_slot(&mut self, key: Key, out: &mut Vec<Gathered>) -> Result<usize, FaultKind> {
        self.newest_ms = self.newest_ms.max(key.time_ms);
        let lines = self.counters.lines;
        self.release_lingering(out, |gathered, _, _| {
            gathered
                .ended_line
                .is_some_and(|ended| ended + EOE_WITHIN_LINES < lines)
        });
        self.expire(out);
        let mut crowded = false;
        while self.open.len() >= self.limits.max_in_flight {
            let Some((slot, use_number)) = self.arrivals.pop_front() else {
                break;
            };
            if let Some(gathered) = self.take_if(slot, use_number) {
                crowded = true;
                self.leave(slot, gathered, EndedBy::Timeout, out);
            }
        }
        if crowded {
            self.counters.faults += 1;
        }
        let mut gathered = self.take_slot(key);
        gathered.late = self.is_done(&key);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Gathered::default());
                self.slots.len() - 1
            }
        };
        self.arrivals.push_back((slot, gathered.use_number));
        self.put_back(slot, gathered);
        self.open.insert(key, slot);
        self.last = Some(slot);
        Ok(slot)
    }

    fn take_slot(&mut self, key: Key) -> Gathered {
        self.uses += 1;
        let (bytes, records) = self.spare.pop().unwrap_or_default();
        Gathered {
            key,
            bytes,
            records,
            arrived_ms: self.now_ms,
            use_number: self.uses,
            ..Gathered::default()
        }
    }

    fn put_back(&mut self, slot: usize, gathered: Gathered) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = gathered;
        }
    }

    fn take_if(&mut self, slot: usize, use_number: u64) -> Option<Gathered> {
        let place = self.slots.get_mut(slot)?;
        (place.use_number == use_number).then(|| std::mem::take(place))
    }

    fn release_lingering(
        &mut self,
        out: &mut Vec<Gathered>,
        is_due: impl Fn(&Gathered, u64, u64) -> bool,
    ) {
        while let Some((slot, use_number)) = self.lingering.front().copied() {
            let due = match self.slots.get(slot) {
                Some(gathered) if gathered.use_number == use_number => {
                    is_due(gathered, self.now_ms, self.newest_ms)
                }
                _ => true,
            };
            if !due {
                return;
            }
            self.lingering.pop_front();
            if let Some(gathered) = self.take_if(slot, use_number) {
                self.leave(slot, gathered, EndedBy::Proctitle, out);
            }
        }
    }

    fn expire(&mut self, out: &mut Vec<Gathered>) {
        while let Some((slot, use_number)) = self.arrivals.front().copied() {
            let timeout_ms = self.limits.timeout_ms;
            let due = match self.slots.get(slot) {
                Some(gathered) if gathered.use_number == use_number => {
                    gathered.key.time_ms + timeout_ms < self.newest_ms
                        || (gathered.arrived_ms > 0
                            && gathered.arrived_ms + timeout_ms < self.now_ms)
                }
                _ => true,
            };
            if !due {
                return;
            }
            self.arrivals.pop_front();
            if let Some(gathered) = self.take_if(slot, use_number) {
                let ended = if gathered.ended_line.is_some() {
                    EndedBy::Proctitle
                } else {
                    EndedBy::Timeout
                };
                self.leave(slot, gathered, ended, out);
            }
        }
    }

    fn leave(
        &mut self,
        slot: usize,
        mut gathered: Gathered,
        ended_by: EndedBy,
        out: &mut Vec<Gathered>,
    ) {
        gathered.ended_by = Some(ended_by);
        self.close(slot, gathered, out);
    }

    fn close(&mut self, slot: usize, mut gathered: Gathered, out: &mut Vec<Gathered>) {
        self.open.remove(&gathered.key);
        self.free.push(slot);
        if self.last == Some(slot) {
            self.last = None;
        }
        if gathered.late {
            gathered.ended_by = Some(EndedBy::Late);
        }
        self.finish(gathered, out);
    }

    fn finish(&mut self, gathered: Gathered, out: &mut Vec<Gathered>) {
        if gathered.ended_by == Some(EndedBy::Late) {
            self.counters.late += 1;
        }
        self.counters.events += 1;
        if let Some(place) = self.done.get_mut(gathered.key.serial as usize % DONE) {
            *place = gathered.key;
        }
        out.push(gathered);
    }

    fn is_done(&self, key: &Key) -> bool {
        self.done.get(key.serial as usize % DONE) == Some(key)
    }

    fn number_of_node(&mut self, node: &[u8]) -> u32 {
        if node.is_empty() {
            return 0;
        }
        match self.nodes.iter().position(|known| known == node) {
            Some(at) => at as u32,
            None if self.nodes.len() < 65_536 => {
                self.nodes.push(node.to_vec());
                (self.nodes.len() - 1) as u32
            }
            None => 0,
        }
    }
}
