//! The process table: who was forked by whom, which image runs, what has ended.
//!
//! A process is (pid, generation); an image is one exec in it. A pid that is known to have ended is a new generation, and one whose
//! parent is another than was known, unless the connector would have reported its end: a stale entry never becomes anybody's parent.

mod ends;
mod entries;
mod forks;
mod near;
mod order;
#[cfg(test)]
mod tests;

pub use entries::{Exec, Image, Place, ProcessEvent};

pub use order::{LateEnd, Moment};

use entries::{short, Process};
use near::NearMap;
use order::{FoundEnd, Span};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Images of processes that ended longer ago than this (event time) are forgotten.
const KEEP_ENDED_MS: u64 = 600_000;
/// Most images kept.
const MAX_IMAGES: usize = 65_536;
/// Exits that arrived before the exec they belong to are remembered this long.
const KEEP_EXIT_MS: u64 = 10_000;
/// Audit stamps events with the kernel's coarse clock, the connector with the fine one.
pub const CLOCK_SLACK_MS: u64 = 20;

/// All processes of one machine since boot, as far as they were seen.
#[derive(Default, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessTable {
    processes: NearMap<u32, Process>,
    images: NearMap<u64, Image>,
    early_exits: NearMap<u32, ProcessEvent>,
    /// (time, pid) of the newest forks.
    forks: VecDeque<(u64, u32)>,
    /// Between these, forks and exits may have been missed.
    doubted_ms: Option<(u64, u64)>,
    newest_ms: u64,
    changes: usize,
    /// In which the records are read now.
    #[serde(default)]
    reading: u32,
    /// Serials of logs that were read.
    #[serde(default)]
    spans: Vec<Span>,
    /// Ends in logs of processes of which nothing was known.
    #[serde(default)]
    found_ends: VecDeque<FoundEnd>,
    /// By how many `MAX_IMAGES` is too much.
    #[serde(skip)]
    fewer: usize,
}

impl ProcessTable {
    /// A program was executed. Gives its place, and what is to be reported of processes only now that it is known.
    pub fn exec(&mut self, exec: &Exec<'_>) -> (Place, Vec<ProcessEvent>) {
        self.note(exec.time_ms);
        let at = Moment {
            time_ms: exec.time_ms,
            serial: exec.serial,
        };
        let mut reported = Vec::new();
        // Read again: what was missing of its event has arrived.
        let known = self.images.get(&exec.id);
        let known = known.filter(|image| image.pid == exec.pid).cloned();
        let same_process = known.is_some()
            || (self.is_current(exec.pid, exec.ppid, at) && !self.is_reused(exec.pid, at));
        let forked_ms = self
            .processes
            .get(&exec.pid)
            .map(|process| process.forked_ms);
        let parent = if let Some(known) = &known {
            known.parent
        } else if same_process {
            self.processes
                .get(&exec.pid)
                .and_then(|process| process.image.or(process.parent))
        } else {
            self.image_at(exec.ppid, at)
        };
        let inherited = parent.and_then(|id| self.images.get(&id)?.tracked);
        let tracked = inherited.or(exec.hint.map(|_| exec.id));
        if same_process && inherited.is_none() && tracked.is_some() {
            self.report_origin(exec.pid, &mut reported);
        }
        if known.is_some() {
            // Its process may run another image by now, or have ended.
        } else if same_process {
            if let Some(process) = self.processes.get_mut(&exec.pid) {
                process.image = Some(exec.id);
                (process.reading, process.serial) = (self.reading, exec.serial);
                if process.ended_ms.is_none() {
                    process.end = (None, None);
                }
                if !process.is_reported {
                    process.ppid = exec.ppid;
                }
            }
        } else {
            self.begin(exec.pid, exec.ppid, at, Some(exec.id), parent);
            self.count_process(parent);
        }
        self.images.insert(
            exec.id,
            Image {
                id: exec.id,
                pid: exec.pid,
                ppid: exec.ppid,
                parent,
                tracked,
                hint: exec.hint,
                time_ms: exec.time_ms,
                serial: exec.serial,
                segment: exec.segment,
                reading: self.reading,
                uid: exec.uid,
                auid: exec.auid,
                ses: exec.ses,
                processes: known.as_ref().map_or(1, |known| known.processes),
                ended_ms: known.as_ref().and_then(|known| known.ended_ms),
                end: known.map_or((None, None), |known| known.end),
                comm: short(exec.comm),
            },
        );
        let place = Place {
            image: Some(exec.id),
            parent,
            tracked,
        };
        let early = self.early_exits.get(&exec.pid).filter(|exit| {
            exit.time_ms + CLOCK_SLACK_MS >= exec.time_ms
                && exit.time_ms < exec.time_ms + KEEP_EXIT_MS
        });
        if let (Some(mut exit), Some(_)) = (early.cloned(), tracked) {
            exit.image = Some(exec.id);
            exit.ppid = exec.ppid;
            self.early_exits.remove(&exec.pid);
            reported.push(exit);
            self.end(exec.pid, exec.time_ms);
        }
        let ended = self.processes.get(&exec.pid);
        let ended = ended.filter(|process| process.image == Some(exec.id));
        if let Some((time_ms, end)) =
            ended.and_then(|process| Some((process.ended_ms?, process.end)))
        {
            self.end_images(exec.pid, exec.id, time_ms, end);
        }
        if forked_ms.is_none_or(|newest| newest >= exec.time_ms) {
            self.correct_forks(exec.time_ms, &mut reported);
        }
        self.collect();
        (place, reported)
    }

    /// A process that was there before the trail began (from /proc).
    pub fn seed(&mut self, exec: &Exec<'_>) {
        let _ = self.exec(exec);
    }

    /// The image that runs in a process now.
    pub fn image_of(&self, pid: u32) -> Option<u64> {
        self.processes
            .get(&pid)
            .filter(|process| process.ended_ms.is_none())
            .and_then(|process| process.image.or(process.parent))
    }

    /// Where an event of this process belongs.
    pub fn place_of(&self, pid: u32) -> Place {
        let Some(process) = self.processes.get(&pid) else {
            return Place::default();
        };
        let id = process.image.or(process.parent);
        let image = id.and_then(|id| self.images.get(&id));
        Place {
            image: id,
            parent: image.and_then(|image| image.parent),
            tracked: image.and_then(|image| image.tracked),
        }
    }

    /// An event by a process: its place, when the table's entry is of the same generation.
    pub fn place_at(&self, pid: u32, ppid: u32, at: Moment) -> Place {
        if self.is_current(pid, ppid, at)
            || self
                .processes
                .get(&pid)
                .is_some_and(|p| p.ppid == ppid && self.begins_before(p, at))
        {
            self.place_of(pid)
        } else {
            Place::default()
        }
    }

    /// From now on it holds so many images at most.
    pub fn set_most(&mut self, most: usize) {
        self.fewer = MAX_IMAGES.saturating_sub(most);
        while self.images.len() >= self.most() {
            self.collect();
        }
    }

    fn most(&self) -> usize {
        MAX_IMAGES - self.fewer
    }

    /// Whether it holds this image.
    pub fn holds(&self, image: u64) -> bool {
        self.images.contains_key(&image)
    }

    /// The images that it holds.
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.images.keys().copied()
    }

    /// Give every hint of an image another number, or none.
    pub fn renumber_hints(&mut self, number_of: impl Fn(u16) -> Option<u16>) {
        for image in self.images.values_mut() {
            image.hint = image.hint.and_then(&number_of);
        }
    }

    /// The image and its ancestors, itself first.
    pub fn lineage(&self, image: u64) -> Vec<&Image> {
        let mut out: Vec<&Image> = Vec::new();
        let mut next = self.images.get(&image);
        while let Some(image) = next {
            if out.len() > 256 || out.iter().any(|seen| seen.id == image.id) {
                break;
            }
            out.push(image);
            // A parent that was not known at the exec may have shown itself since (a subshell's exit record).
            let parent = image.parent.or_else(|| {
                self.processes
                    .get(&image.ppid)
                    .filter(|process| process.born_ms <= image.time_ms || process.image.is_none())
                    .and_then(|process| process.image.or(process.parent))
            });
            next = parent.and_then(|id| self.images.get(&id));
        }
        out
    }

    /// Processes seen at or below an image.
    pub fn descendants(&self, image: u64) -> u32 {
        self.images.get(&image).map_or(0, |image| image.processes)
    }

    /// Between these moments forks and exits may have been missed: of a process that was known before, an event after them need not be.
    pub fn doubt(&mut self, since_ms: u64, until_ms: u64) {
        if self.doubted_ms.is_none_or(|(_, newest)| until_ms >= newest) {
            self.doubted_ms = Some((since_ms, until_ms));
        }
    }

    /// Forget everything: another boot, another machine.
    pub fn forget(&mut self) {
        *self = ProcessTable::default();
    }

    fn note(&mut self, time_ms: u64) {
        self.newest_ms = self.newest_ms.max(time_ms);
    }

    fn end(&mut self, pid: u32, time_ms: u64) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.ended_ms.get_or_insert(time_ms);
        }
    }

    /// Whether the entry of `pid` is the process that an event of (`pid`, `ppid`, time, serial) is about.
    fn is_current(&self, pid: u32, ppid: u32, at: Moment) -> bool {
        let Some(process) = self.processes.get(&pid) else {
            return false;
        };
        if !self.begins_before(process, at)
            || process.ended_ms.is_some_and(|ended| ended < at.time_ms)
            || self.is_over(process, at)
        {
            return false;
        }
        // A parent that has ended leaves its children to init or a subreaper. An event has the time at which its system call was
        // entered and the parent at which it was left: the parent's end, in between, may be reported after it.
        process.ppid == ppid
            || ppid == 1
            || (process.is_reported && !self.is_doubtful(process, at.time_ms))
            || self
                .processes
                .get(&process.ppid)
                .is_some_and(|parent| parent.ended_ms.is_some())
    }

    fn is_doubtful(&self, process: &Process, time_ms: u64) -> bool {
        self.doubted_ms
            .is_some_and(|(since_ms, until_ms)| process.born_ms <= until_ms && time_ms > since_ms)
    }

    /// The image of the pid's only holder within the time before a moment; None when there was none, or more than one.
    pub fn holder_of(&self, pid: u32, until_ms: u64, within_ms: u64) -> Option<u64> {
        let process = self.processes.get(&pid)?;
        let is_recent = |at_ms: u64| at_ms + within_ms >= until_ms;
        if process.before_ms.is_some_and(is_recent) || !process.ended_ms.is_none_or(is_recent) {
            return None;
        }
        let moment = process.ended_ms.unwrap_or(until_ms).min(until_ms);
        let at = Moment {
            time_ms: moment,
            serial: 0,
        };
        self.image_at(pid, at)
    }

    /// A new process under this pid; when the holder before it was last known to be there is kept.
    fn begin(
        &mut self,
        pid: u32,
        ppid: u32,
        at: Moment,
        image: Option<u64>,
        parent: Option<u64>,
    ) -> &mut Process {
        let before = self.processes.get(&pid);
        let before_ms = before.map(|process| process.ended_ms.unwrap_or(process.born_ms));
        let process = Process {
            ppid,
            born_ms: at.time_ms,
            image,
            parent,
            ended_ms: None,
            end: (None, None),
            before_ms,
            is_reported: false,
            is_kept: false,
            threads: 0,
            forked_ms: 0,
            reading: self.reading,
            serial: at.serial,
            ended_serial: 0,
        };
        self.processes.entry(pid).insert_entry(process).into_mut()
    }

    fn count_process(&mut self, parent: Option<u64>) {
        let mut next = parent;
        for _ in 0..256 {
            let Some(image) = next.and_then(|id| self.images.get_mut(&id)) else {
                return;
            };
            image.processes += 1;
            next = image.parent;
        }
    }

    /// Forget what ended long ago; past the bound, the oldest images whatever they are.
    fn collect(&mut self) {
        self.changes += 1;
        // As many changes as there are images: looking at all of them costs each change the same, however many there are.
        if self.changes < self.images.len().max(4096) && self.images.len() < self.most() {
            return;
        }
        self.changes = 0;
        let horizon = self.newest_ms.saturating_sub(KEEP_ENDED_MS);
        self.images
            .retain(|_, image| image.ended_ms.is_none_or(|ended| ended >= horizon));
        if self.images.len() >= self.most() {
            let mut times: Vec<u64> = self
                .images
                .values()
                .map(|image| image.ended_ms.unwrap_or(image.time_ms))
                .collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            self.images
                .retain(|_, image| image.ended_ms.unwrap_or(image.time_ms) > median);
        }
        let images = &self.images;
        self.processes.retain(|_, process| match process.ended_ms {
            Some(ended) => ended >= horizon,
            None => {
                process
                    .image
                    .or(process.parent)
                    .is_none_or(|id| images.contains_key(&id))
                    && process.born_ms + 86_400_000 > horizon
            }
        });
        let newest = self.newest_ms;
        self.early_exits
            .retain(|_, exit| exit.time_ms + KEEP_EXIT_MS >= newest);
    }
}
