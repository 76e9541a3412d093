//! One process table a machine: this one's, that of logs that name no machine, and those that records name.

use crate::process::ProcessTable;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Process tables by machine.
#[derive(Default)]
pub(super) struct Tables {
    own: Option<ProcessTable>,
    /// That of imported logs that name no machine.
    imported: Option<ProcessTable>,
    named: FxHashMap<usize, ProcessTable>,
    /// When those of machines that records name were used last, by count.
    used: FxHashMap<usize, u64>,
    turn: u64,
    /// What is known of the coalescer's nodes.
    nodes: Vec<Option<Node>>,
    /// Records come from a log that was written before.
    is_import: bool,
}

#[derive(Clone, Copy)]
struct Node {
    is_own: bool,
    salt: u64,
}

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
    imported: Option<T>,
    named: Vec<(String, T)>,
}

impl Tables {
    /// This machine's.
    pub(super) fn own(&mut self) -> &mut ProcessTable {
        self.own.get_or_insert_default()
    }

    pub(super) fn own_ref(&self) -> Option<&ProcessTable> {
        self.own.as_ref()
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
        match (node.is_own, self.is_import) {
            (true, false) => (self.own(), 0),
            (true, true) => (self.imported.get_or_insert_default(), 0),
            (false, _) => (self.at_named(at), node.salt),
        }
    }

    /// Whether an event of this machine is of now and here: what it tells of can be looked at.
    pub(super) fn is_here(&self, number: u32) -> bool {
        let known = self.nodes.get(number as usize).copied().flatten();
        !self.is_import && known.is_none_or(|node| node.is_own)
    }

    /// The table that holds an image.
    pub(super) fn holder(&self, image: u64) -> Option<&ProcessTable> {
        let all = self.own.iter().chain(&self.imported);
        let mut all = all.chain(self.named.values());
        all.find(|table| table.holds(image))
    }

    /// This machine has another name from now on.
    pub(super) fn forget_names(&mut self) {
        self.nodes.clear();
    }

    pub(super) fn is_import(&self) -> bool {
        self.is_import
    }

    /// Records come from a log that was written before, or live again.
    pub(super) fn set_import(&mut self, is_import: bool, continues: bool) {
        self.is_import = is_import;
        if is_import && !continues {
            self.imported.get_or_insert_default().forget();
        }
    }

    /// The tables as text (JSON), for the next segment.
    ///
    /// # Errors
    /// A table cannot be written as JSON: none is known.
    pub(super) fn save(
        &self,
        hints: Vec<String>,
        name_of: impl Fn(u32) -> String,
    ) -> Result<String, serde_json::Error> {
        let named = self.in_order().into_iter();
        serde_json::to_string(&Carried {
            hints,
            is_import: self.is_import,
            own: self.own.as_ref(),
            imported: self.imported.as_ref(),
            named: named
                .filter_map(|at| Some((name_of(at as u32), self.named.get(&at)?)))
                .collect(),
        })
    }

    /// Take up what a segment before handed on.
    ///
    /// # Errors
    /// It is not what `save` gives.
    pub(super) fn restore(
        &mut self,
        text: &str,
        hint_of: impl Fn(&str) -> Option<u16>,
        mut number_of: impl FnMut(&str) -> Option<u32>,
    ) -> Result<(), serde_json::Error> {
        let carried: Carried<ProcessTable> = serde_json::from_str(text)?;
        self.is_import = carried.is_import;
        (self.named, self.used) = Default::default();
        for (name, table) in carried.named {
            if let Some(number) = number_of(&name) {
                *self.at_named(number as usize) = table;
            }
        }
        self.set_shares();
        (self.own, self.imported) = (carried.own, carried.imported);
        let labels = carried.hints;
        let all = self.own.iter_mut().chain(&mut self.imported);
        for table in all.chain(self.named.values_mut()) {
            table.renumber_hints(|hint| hint_of(labels.get(hint as usize)?));
        }
        Ok(())
    }

    /// That of a machine that records name.
    fn at_named(&mut self, at: usize) -> &mut ProcessTable {
        self.turn += 1;
        if self.used.insert(at, self.turn).is_none() {
            self.make_room();
            let share = self.share();
            self.named.entry(at).or_default().set_most(share);
        }
        self.named.entry(at).or_default()
    }

    /// One machine more was heard of. Past the bound, those that were heard of longest ago are forgotten.
    fn make_room(&mut self) {
        if self.used.len() > MOST_NAMED {
            for at in self.in_order().into_iter().take(MOST_NAMED / 2) {
                self.used.remove(&at);
                self.named.remove(&at);
            }
        }
        if (self.used.len() - 1).is_power_of_two() {
            self.set_shares();
        }
    }

    fn set_shares(&mut self) {
        let share = self.share();
        for at in self.used.keys() {
            self.named.entry(*at).or_default().set_most(share);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Exec;

    #[test]
    fn whoever_writes_names_into_a_log_fills_no_memory() {
        let mut tables = Tables::default();
        for number in 0..40_000_u32 {
            let node = 1 + number * 7 % 20_000;
            let (table, _) = tables.of_node(node, format!("n{node}").as_bytes(), "gpu1");
            for pid in 0..80 {
                table.exec(&exec(u64::from(number) * 100 + u64::from(pid), pid));
            }
        }
        assert!(tables.named.len() <= MOST_NAMED);
        let text = tables.save(Vec::new(), |number| number.to_string());
        let images = text.unwrap().matches("\"comm\"").count();
        assert!(
            (MOST_IMAGES / 4..=MOST_IMAGES).contains(&images),
            "{images}"
        );
        // The machine that was heard of last is known, whatever the others do.
        assert!(tables.holder(39_999 * 100 + 79).is_some());
    }

    fn exec(id: u64, pid: u32) -> Exec<'static> {
        Exec {
            comm: b"x",
            id,
            pid,
            ppid: 1,
            hint: None,
            time_ms: id,
            serial: id,
            segment: 0,
            uid: None,
            auid: None,
            ses: None,
        }
    }
}
