//! One process table a machine: this one's, one for each log that names no machine, and those that records name.

mod carried;
mod kept;
mod names;
#[cfg(test)]
mod tests;

use super::places::image_id;
use crate::event::Event;
use crate::process::{LateEnd, ProcessTable};
use kept::Kept;
use names::{is_same_machine, salt_of};
use rustc_hash::FxHashMap;

/// Process tables by machine.
#[derive(Default)]
pub(super) struct Tables {
    tables: Kept,
    /// When those of machines that records name were used last, by count.
    used: FxHashMap<usize, u64>,
    turn: u64,
    /// What is known of the coalescer's nodes.
    nodes: Vec<Option<Node>>,
    /// Those that were read last, by their places.
    logs: Vec<Log>,
    /// Records come from this log, which was written before.
    log: Option<usize>,
    /// How many commands have read logs.
    reading: u32,
    /// Ends that were found when a reading ended.
    late_ends: Vec<LateEnd>,
    /// Image → the table that holds it, or held it; but for this machine's.
    holders: FxHashMap<u64, usize>,
    /// From so many on those that are held no longer are left out.
    most_holders: usize,
}

struct Log {
    name: String,
    turn: u64,
}

/// Whether nothing is known of a log.
pub(super) struct Entered {
    pub(super) is_new: bool,
}

#[derive(Clone, Copy)]
struct Node {
    is_own: bool,
    salt: u64,
}

/// This machine's table; those of logs that name no machine follow, then those of machines by the coalescer's number (from 1 on).
const OWN: usize = 0;
const LOGS: usize = 1;
const NAMED: usize = LOGS + MOST_LOGS - 1;

/// Logs whose processes are known, and images of each but the one that is read.
const MOST_LOGS: usize = 16;
const MOST_OF_LOG: usize = 4096;
/// How many numbers are tried for an image whose own is another machine's.
const MOST_TRIES: u64 = 64;
const FEW_HOLDERS: usize = 1 << 16;

/// Machines that records name whose tables are kept, and images in all of these together: anybody may write names into a log.
const MOST_NAMED: usize = 4096;
const MOST_IMAGES: usize = 1 << 18;

impl Tables {
    /// This machine's.
    pub(super) fn own(&mut self) -> &mut ProcessTable {
        self.at(OWN)
    }

    pub(super) fn own_ref(&self) -> Option<&ProcessTable> {
        self.tables.get(OWN)
    }

    /// That of an event's machine, and what distinguishes its images from those of others.
    ///
    /// A machine that forwards its records to itself names itself (auditd.conf(5) `name_format`): its table is this machine's.
    pub(super) fn of_node(
        &mut self,
        number: u32,
        name: &[u8],
        own_name: &str,
    ) -> (&mut ProcessTable, u64) {
        let at = number as usize;
        let known = self.nodes.get(at).copied().flatten();
        let node = known.unwrap_or_else(|| self.note_node(at, name, own_name));
        let reading = self.log.map_or(0, |_| self.reading);
        let (table, salt) = match (node.is_own, self.log) {
            (true, None) => (self.at(OWN), 0),
            (true, Some(log)) => (self.at(LOGS + log), 0),
            (false, _) => (self.at_named(NAMED + at), node.salt),
        };
        table.set_reading(reading);
        (table, salt)
    }

    #[cold]
    fn note_node(&mut self, at: usize, name: &[u8], own_name: &str) -> Node {
        let node = Node {
            is_own: name.is_empty() || is_same_machine(name, own_name.as_bytes()),
            salt: salt_of(name),
        };
        self.nodes.resize(self.nodes.len().max(at + 1), None);
        if let Some(place) = self.nodes.get_mut(at) {
            *place = Some(node);
        }
        node
    }

    /// The image that an exec begins: its own number, or the next that is not another machine's.
    pub(super) fn image_for(
        &mut self,
        number: u32,
        event: &Event,
        name: &[u8],
        own_name: &str,
    ) -> u64 {
        let (_, salt) = self.of_node(number, name, own_name);
        let at = self.place_of_node(number);
        let id_of = |more: u64| image_id(event.time_ms, (event.serial ^ salt).wrapping_add(more));
        let found = (0..MOST_TRIES).map(id_of).find(|id| self.is_free(*id, at));
        let id = found.unwrap_or_else(|| id_of(0));
        if at != OWN {
            self.note_holder(id, at);
        }
        id
    }

    /// Whether an event is the exec of a process of another log: of it, this one cannot go on.
    pub(super) fn is_anothers(
        &mut self,
        number: u32,
        event: &Event,
        name: &[u8],
        own_name: &str,
    ) -> bool {
        let (_, salt) = self.of_node(number, name, own_name);
        let image = image_id(event.time_ms, event.serial ^ salt);
        !self.is_free(image, self.place_of_node(number))
    }

    fn place_of_node(&self, number: u32) -> usize {
        let at = number as usize;
        let known = self.nodes.get(at).copied().flatten();
        match (known.is_none_or(|node| node.is_own), self.log) {
            (true, None) => OWN,
            (true, Some(log)) => LOGS + log,
            (false, _) => NAMED + at,
        }
    }

    fn is_free(&self, image: u64, at: usize) -> bool {
        let holds = |at: usize| self.tables.get(at).is_some_and(|table| table.holds(image));
        if at != OWN && holds(OWN) {
            return false;
        }
        let holder = self.holders.get(&image);
        holder.is_none_or(|holder| *holder == at || !holds(*holder))
    }

    fn note_holder(&mut self, image: u64, at: usize) {
        if self.holders.len() >= self.most_holders.max(FEW_HOLDERS) {
            let tables = &self.tables;
            self.holders
                .retain(|image, at| tables.get(*at).is_some_and(|table| table.holds(*image)));
            self.most_holders = self.holders.len() * 2;
        }
        self.holders.insert(image, at);
    }

    /// Whether an event of this machine is of now and here: what it names can be looked up.
    pub(super) fn is_here(&self, number: u32) -> bool {
        let known = self.nodes.get(number as usize).copied().flatten();
        self.log.is_none() && known.is_none_or(|node| node.is_own)
    }

    /// The table that holds an image.
    pub(super) fn holder(&self, image: u64) -> Option<&ProcessTable> {
        let own = self.tables.get(OWN).filter(|own| own.holds(image));
        own.or_else(|| self.tables.get(*self.holders.get(&image)?))
    }

    /// This machine has another name from now on.
    pub(super) fn forget_names(&mut self) {
        self.nodes.clear();
    }

    pub(super) fn is_import(&self) -> bool {
        self.log.is_some()
    }

    /// The log that is read.
    pub(super) fn log(&self) -> Option<usize> {
        self.log
    }

    /// Records come from a log that was written before, or live again. What follows one another of one log is one reading.
    pub(super) fn set_log(&mut self, name: Option<&str>) -> Entered {
        let is_other = |log: usize| self.logs.get(log).map(|log| log.name.as_str()) != name;
        if self.log.is_some_and(is_other) {
            let mut tables: Vec<_> = self.tables.iter_mut().collect();
            tables.sort_unstable_by_key(|(at, _)| *at);
            let read = tables
                .into_iter()
                .filter(|(at, table)| *at != OWN && table.is_of(self.reading));
            let found = read.flat_map(|(_, table)| table.find_ends());
            self.late_ends.extend(found);
        }
        if self.log.is_none_or(is_other) && name.is_some() {
            self.reading += 1;
        }
        self.turn_to(name)
    }

    /// Ends that were found since the last call, of what stands before them in a log that was read after them.
    pub(super) fn take_late_ends(&mut self) -> Vec<LateEnd> {
        std::mem::take(&mut self.late_ends)
    }

    fn turn_to(&mut self, name: Option<&str>) -> Entered {
        let Some(name) = name else {
            self.log = None;
            return Entered { is_new: false };
        };
        self.turn += 1;
        let known = self.logs.iter().position(|log| log.name == name);
        let at = known.unwrap_or_else(|| self.place_for_log());
        let is_new = known.is_none() || name.is_empty();
        let log = Log {
            name: name.to_owned(),
            turn: self.turn,
        };
        match self.logs.get_mut(at) {
            Some(one) if is_new => *one = log,
            Some(one) => one.turn = self.turn,
            None => self.logs.push(log),
        }
        if let Some(left) = self.log.filter(|left| *left != at) {
            self.at(LOGS + left).set_most(MOST_OF_LOG);
        }
        if is_new {
            self.at(LOGS + at).forget();
        }
        self.at(LOGS + at).set_most(usize::MAX);
        self.log = Some(at);
        Entered { is_new }
    }

    /// A place for one log more: that of the one that was read longest ago, where there is none left.
    fn place_for_log(&self) -> usize {
        if self.logs.len() < MOST_LOGS {
            return self.logs.len();
        }
        let oldest = (0..).zip(&self.logs).min_by_key(|(_, log)| log.turn);
        oldest.map_or(0, |(at, _)| at)
    }

    /// That of a machine that records name.
    fn at_named(&mut self, at: usize) -> &mut ProcessTable {
        self.turn += 1;
        if self.used.insert(at, self.turn).is_none() {
            self.make_room();
            let share = self.share();
            self.at(at).set_most(share);
        }
        self.at(at)
    }

    /// One machine more was heard of. Past the bound, those that were heard of longest ago are forgotten.
    fn make_room(&mut self) {
        if self.used.len() > MOST_NAMED {
            for at in self.in_order().into_iter().take(MOST_NAMED / 2) {
                self.used.remove(&at);
                self.tables.remove(at);
            }
        }
        if (self.used.len() - 1).is_power_of_two() {
            self.set_shares();
        }
    }

    fn set_shares(&mut self) {
        let share = self.share();
        for at in self.used.keys() {
            self.tables.at(*at).set_most(share);
        }
    }

    /// How many images each may hold.
    fn share(&self) -> usize {
        MOST_IMAGES / self.used.len().next_power_of_two()
    }

    /// Those of machines that records name, the one that was heard of longest ago first.
    fn in_order(&self) -> Vec<usize> {
        let mut all: Vec<(u64, usize)> = self.used.iter().map(|(at, turn)| (*turn, *at)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, at)| at).collect()
    }

    fn at(&mut self, at: usize) -> &mut ProcessTable {
        self.tables.at(at)
    }
}
