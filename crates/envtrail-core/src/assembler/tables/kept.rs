//! The process tables by their places: those of this machine and of logs, of which there are few, and those of machines that records name.

use super::NAMED;
use crate::process::ProcessTable;
use rustc_hash::FxHashMap;

const FEW: usize = NAMED + 1;

#[derive(Default)]
pub(super) struct Kept {
    /// Nearly every event is of one of these.
    few: [Option<ProcessTable>; FEW],
    named: FxHashMap<usize, ProcessTable>,
}

impl Kept {
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&ProcessTable> {
        match self.few.get(at) {
            Some(table) => table.as_ref(),
            None => self.named.get(&at),
        }
    }

    /// A new one where there is none.
    #[inline]
    pub(super) fn at(&mut self, at: usize) -> &mut ProcessTable {
        match self.few.get_mut(at) {
            Some(table) => table.get_or_insert_default(),
            None => self.named.entry(at).or_default(),
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        match self.few.get_mut(at) {
            Some(table) => *table = None,
            None => drop(self.named.remove(&at)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &ProcessTable)> {
        let few = self.few.iter().enumerate();
        let few = few.filter_map(|(at, table)| Some((at, table.as_ref()?)));
        few.chain(self.named.iter().map(|(at, table)| (*at, table)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut ProcessTable)> {
        let few = self.few.iter_mut().enumerate();
        let few = few.filter_map(|(at, table)| Some((at, table.as_mut()?)));
        few.chain(self.named.iter_mut().map(|(at, table)| (*at, table)))
    }
}
