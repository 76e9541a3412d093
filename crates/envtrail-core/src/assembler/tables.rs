//! One process table a machine: this one's, one for each log that names no machine, and those that records name.

#[cfg(test)]
mod tests;

use super::places::image_id;
use crate::event::Event;
use crate::process::ProcessTable;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Process tables by machine.
#[derive(Default)]
pub(super) struct Tables {
    tables: FxHashMap<usize, ProcessTable>,
    /// When those of machines that records name were used last, by count.
    used: FxHashMap<usize, u64>,
    turn: u64,
    /// What is known of the coalescer's nodes.
    nodes: Vec<Option<Node>>,
    /// Those that were read last, by their places.
    logs: Vec<Log>,
    /// Records come from this log, which was written before.
    log: Option<usize>,
    /// Image → the table that holds it, or held it; but for this machine's.
    holders: FxHashMap<u64, usize>,
    /// From so many on those that are held no longer are left out.
    most_holders: usize,
}

struct Log {
    name: String,
    turn: u64,
    /// Its last events, where they miss something.
    torn: Vec<Vec<u8>>,
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

/// What one segment hands to the next.
#[derive(Serialize, Deserialize)]
struct Carried<T> {
    /// Labels of the hints that the images name by number.
    hints: Vec<String>,
    is_import: bool,
    own: Option<T>,
    /// Version 1: of the log that was imported last.
    #[serde(default)]
    imported: Option<T>,
    named: Vec<(String, T)>,
    /// The one that was read last is the last.
    #[serde(default)]
    logs: Vec<CarriedLog<T>>,
}

#[derive(Serialize, Deserialize)]
struct CarriedLog<T> {
    name: String,
    table: Option<T>,
    /// A letter a byte: lines need not be text.
    torn: Vec<String>,
}

impl Tables {
    /// This machine's.
    pub(super) fn own(&mut self) -> &mut ProcessTable {
        self.at(OWN)
    }

    pub(super) fn own_ref(&self) -> Option<&ProcessTable> {
        self.tables.get(&OWN)
    }

    /// That of an event's machine, and what tells its images from those of others.
    ///
    /// A machine that forwards its records to itself names itself (auditd.conf(5) `name_format`): its table is this machine's.
    pub(super) fn of_node(
        &mut self,
        number: u32,
        name: &[u8],
        own_name: &str,
    ) -> (&mut ProcessTable, u64) {
        let at = number as usize;
        if self.nodes.len() <= at {
            self.nodes.resize(at + 1, None);
        }
        let known = self.nodes.get(at).copied().flatten();
        let node = known.unwrap_or_else(|| Node {
            is_own: name.is_empty() || is_same_machine(name, own_name.as_bytes()),
            salt: salt_of(name),
        });
        if let Some(place) = self.nodes.get_mut(at) {
            *place = Some(node);
        }
        match (node.is_own, self.log) {
            (true, None) => (self.at(OWN), 0),
            (true, Some(log)) => (self.at(LOGS + log), 0),
            (false, _) => (self.at_named(NAMED + at), node.salt),
        }
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
        let holds = |at: usize| self.tables.get(&at).is_some_and(|table| table.holds(image));
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
                .retain(|image, at| tables.get(at).is_some_and(|table| table.holds(*image)));
            self.most_holders = self.holders.len() * 2;
        }
        self.holders.insert(image, at);
    }

    /// Whether an event of this machine is of now and here: what it tells of can be looked at.
    pub(super) fn is_here(&self, number: u32) -> bool {
        let known = self.nodes.get(number as usize).copied().flatten();
        self.log.is_none() && known.is_none_or(|node| node.is_own)
    }

    /// The table that holds an image.
    pub(super) fn holder(&self, image: u64) -> Option<&ProcessTable> {
        let own = self.tables.get(&OWN).filter(|own| own.holds(image));
        own.or_else(|| self.tables.get(self.holders.get(&image)?))
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

    /// Records come from a log that was written before, or live again.
    pub(super) fn set_log(&mut self, name: Option<&str>) -> Entered {
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
            torn: Vec::new(),
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

    /// The last events of a log, where they miss something.
    pub(super) fn torn(&self, log: usize) -> &[Vec<u8>] {
        self.logs.get(log).map_or(&[], |log| &log.torn)
    }

    pub(super) fn keep_torn(&mut self, log: usize, torn: Vec<Vec<u8>>) {
        if let Some(log) = self.logs.get_mut(log) {
            log.torn = torn;
        }
    }

    pub(super) fn take_torn(&mut self, log: usize) -> Vec<Vec<u8>> {
        let log = self.logs.get_mut(log);
        log.map_or_else(Vec::new, |log| std::mem::take(&mut log.torn))
    }

    /// The tables as text (JSON), for the next segment.
    ///
    /// # Errors
    /// A table cannot be written as JSON: none is known.
    pub(super) fn save(
        &self,
        hints: Vec<String>,
        torn_now: impl Fn(usize) -> Vec<Vec<u8>>,
        name_of: impl Fn(u32) -> String,
    ) -> Result<String, serde_json::Error> {
        let named = self.in_order().into_iter();
        let mut logs: Vec<(usize, &Log)> = (0..).zip(&self.logs).collect();
        logs.sort_unstable_by_key(|(_, log)| log.turn);
        let text = |lines: &Vec<u8>| lines.iter().copied().map(char::from).collect();
        let carried = |(at, log): (usize, &Log)| CarriedLog {
            name: log.name.clone(),
            table: self.tables.get(&(LOGS + at)),
            torn: match self.log == Some(at) {
                true => torn_now(at).iter().map(text).collect(),
                false => log.torn.iter().map(text).collect(),
            },
        };
        serde_json::to_string(&Carried {
            hints,
            is_import: self.is_import(),
            own: self.tables.get(&OWN),
            imported: None,
            named: named
                .filter_map(|at| Some((name_of((at - NAMED) as u32), self.tables.get(&at)?)))
                .collect(),
            logs: logs.into_iter().map(carried).collect(),
        })
    }

    /// Take up what a segment before handed on. `log`: that was imported last, where it says so beside.
    ///
    /// # Errors
    /// It is not what `save` gives.
    pub(super) fn restore(
        &mut self,
        text: &str,
        log: Option<&str>,
        hint_of: impl Fn(&str) -> Option<u16>,
        mut number_of: impl FnMut(&str) -> Option<u32>,
    ) -> Result<(), serde_json::Error> {
        let carried: Carried<ProcessTable> = serde_json::from_str(text)?;
        (self.tables, self.used, self.holders) = Default::default();
        (self.logs, self.log) = Default::default();
        for (name, table) in carried.named {
            if let Some(number) = number_of(&name) {
                let at = NAMED + number as usize;
                *self.at_named(at) = table;
            }
        }
        self.set_shares();
        self.tables.extend(carried.own.map(|table| (OWN, table)));
        let first = carried.imported.map(|table| CarriedLog {
            name: log.unwrap_or_default().to_owned(),
            table: Some(table),
            torn: Vec::new(),
        });
        for one in first.into_iter().chain(carried.logs) {
            self.set_log(Some(&one.name));
            let at = self.log.unwrap_or_default();
            let bytes = |line: String| line.chars().map(|c| u8::try_from(c).ok()).collect();
            self.keep_torn(at, one.torn.into_iter().filter_map(bytes).collect());
            match one.table {
                Some(table) => self.tables.insert(LOGS + at, table),
                None => self.tables.remove(&(LOGS + at)),
            };
        }
        self.log = self.log.filter(|_| carried.is_import);
        let labels = carried.hints;
        for table in self.tables.values_mut() {
            table.renumber_hints(|hint| hint_of(labels.get(hint as usize)?));
        }
        for (at, table) in self.tables.iter().filter(|(at, _)| **at != OWN) {
            self.holders.extend(table.ids().map(|image| (image, *at)));
        }
        Ok(())
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
                self.tables.remove(&at);
            }
        }
        if (self.used.len() - 1).is_power_of_two() {
            self.set_shares();
        }
    }

    fn set_shares(&mut self) {
        let share = self.share();
        for at in self.used.keys() {
            self.tables.entry(*at).or_default().set_most(share);
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
        self.tables.entry(at).or_default()
    }
}

/// Whether a record's node is this machine: the same name, or one of them with the domain and the other without.
fn is_same_machine(name: &[u8], own: &[u8]) -> bool {
    let short = |name: &[u8]| name.iter().position(|byte| *byte == b'.');
    match (short(name), short(own)) {
        (Some(end), None) => name.get(..end) == Some(own),
        (None, Some(end)) => own.get(..end) == Some(name),
        _ => name == own,
    }
}

/// Twenty bits of a machine's name (FNV-1a).
fn salt_of(name: &[u8]) -> u64 {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 20 ^ hash >> 40) & 0xF_FFFF
}
