//! The process table: who was forked by whom, which image runs, what has ended.
//!
//! A process is (pid, generation); an image is one exec in it. A pid that is known to have ended, or whose parent is another than
//! was known, is a new generation: a stale entry never becomes anybody's parent.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Images of processes that ended longer ago than this (event time) are forgotten.
const KEEP_ENDED_MS: u64 = 600_000;
/// Most images kept.
const MAX_IMAGES: usize = 65_536;
/// Exits that arrived before the exec they belong to are remembered this long.
const KEEP_EXIT_MS: u64 = 10_000;
/// Audit stamps events with the kernel's coarse clock, the connector with the fine one.
pub const CLOCK_SLACK_MS: u64 = 20;

/// A map of numbers that come in order (process ids, images): neighbours lie side by side, so that one is in the cache with the other.
type NearMap<K, V> = HashMap<K, V, BuildHasherDefault<Near>>;

/// A number is its own place in the table; the seven bits that tell entries apart are mixed.
#[derive(Default)]
struct Near(u64);

impl Hasher for Near {
    fn finish(&self) -> u64 {
        const TAG: u64 = 0x7f << 57;
        let mixed = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (self.0 & !TAG) | (mixed & TAG)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// One exec in a process.
#[derive(Clone, Debug)]
pub struct Image {
    pub id: u64,
    pub pid: u32,
    pub ppid: u32,
    pub parent: Option<u64>,
    pub tracked: Option<u64>,
    pub hint: Option<u16>,
    pub time_ms: u64,
    pub serial: u64,
    pub uid: Option<u32>,
    pub auid: Option<u32>,
    pub ses: Option<u32>,
    /// Processes seen at or below it.
    pub processes: u32,
    pub ended_ms: Option<u64>,
    /// How its process ended: exit code, signal.
    pub end: (Option<i32>, Option<i32>),
    /// `comm` of the task (TASK_COMM_LEN).
    pub comm: [u8; 16],
}

#[derive(Clone, Debug)]
struct Process {
    ppid: u32,
    born_ms: u64,
    image: Option<u64>,
    /// Image that it was forked from.
    parent: Option<u64>,
    ended_ms: Option<u64>,
    /// When the pid's holder before it was last known to be there.
    before_ms: Option<u64>,
}

/// What is told of a process of a tracked tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEvent {
    pub is_exit: bool,
    pub time_ms: u64,
    pub pid: u32,
    pub ppid: u32,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub image: Option<u64>,
}

/// Where an exec stands in the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub image: Option<u64>,
    pub parent: Option<u64>,
    pub tracked: Option<u64>,
}

/// What an exec event says.
pub struct Exec<'a> {
    pub comm: &'a [u8],
    pub id: u64,
    pub pid: u32,
    pub ppid: u32,
    pub hint: Option<u16>,
    pub time_ms: u64,
    pub serial: u64,
    pub uid: Option<u32>,
    pub auid: Option<u32>,
    pub ses: Option<u32>,
}

/// All processes of one machine since boot, as far as they were seen.
#[derive(Default)]
pub struct ProcessTable {
    processes: NearMap<u32, Process>,
    images: NearMap<u64, Image>,
    early_exits: NearMap<u32, ProcessEvent>,
    newest_ms: u64,
    changes: usize,
}

impl ProcessTable {
    /// A process was forked (process connector).
    pub fn fork(&mut self, time_ms: u64, pid: u32, ppid: u32) -> Option<ProcessEvent> {
        self.note(time_ms);
        let parent = self.image_at(ppid, time_ms);
        self.early_exits.remove(&pid);
        // Two sockets: the exec's record may have come before the fork's event. Then it is the same process, born now.
        let is_known = self.processes.get(&pid).is_some_and(|process| {
            process.ppid == ppid
                && process.born_ms + CLOCK_SLACK_MS >= time_ms
                && process
                    .ended_ms
                    .is_none_or(|ended| ended + CLOCK_SLACK_MS >= time_ms)
        });
        if is_known {
            if let Some(process) = self.processes.get_mut(&pid) {
                process.born_ms = time_ms;
            }
            return None;
        }
        self.begin(pid, ppid, time_ms, None, parent);
        let tracked = parent.and_then(|id| self.images.get(&id)?.tracked);
        tracked?;
        self.count_process(parent);
        Some(ProcessEvent {
            is_exit: false,
            time_ms,
            pid,
            ppid,
            exit_code: None,
            signal: None,
            image: parent,
        })
    }

    /// A process ended (process connector). Told on when it is of a tracked tree and was not known to have ended.
    pub fn exit(
        &mut self,
        time_ms: u64,
        pid: u32,
        exit_code: Option<i32>,
        signal: Option<i32>,
    ) -> Option<ProcessEvent> {
        self.note(time_ms);
        let mut event = ProcessEvent {
            is_exit: true,
            time_ms,
            pid,
            ppid: 0,
            exit_code,
            signal,
            image: None,
        };
        self.early_exits.insert(pid, event.clone());
        let process = self.processes.get_mut(&pid)?;
        if process.born_ms > time_ms + CLOCK_SLACK_MS {
            return None;
        }
        process.ended_ms.get_or_insert(time_ms);
        event.ppid = process.ppid;
        let image = process.image.or(process.parent);
        if let Some(image) = process.image.and_then(|id| self.images.get_mut(&id)) {
            image.ended_ms.get_or_insert(time_ms);
            image.end = (exit_code, signal);
        }
        event.image = process_image(image, &self.images)?;
        Some(event)
    }

    /// An `exit_group` record: the end, and for a subshell that never exec'ed the only sight, of a process.
    pub fn exit_record(
        &mut self,
        time_ms: u64,
        pid: u32,
        ppid: u32,
        exit_code: Option<i32>,
    ) -> Place {
        self.note(time_ms);
        if !self.is_current(pid, ppid, time_ms) {
            let parent = self.image_at(ppid, time_ms);
            self.begin(pid, ppid, time_ms, None, parent);
        }
        let place = self.place_of(pid);
        if let Some(process) = self.processes.get_mut(&pid) {
            process.ended_ms.get_or_insert(time_ms);
        }
        if let Some(image) = place.image.and_then(|id| self.images.get_mut(&id)) {
            if image.pid == pid {
                image.ended_ms.get_or_insert(time_ms);
                image.end = (exit_code, None);
            }
        }
        place
    }

    /// A program was executed. Gives its place, and its end where that had arrived before.
    pub fn exec(&mut self, exec: &Exec<'_>) -> (Place, Option<ProcessEvent>) {
        self.note(exec.time_ms);
        let same_process = self.is_current(exec.pid, exec.ppid, exec.time_ms);
        let parent = if same_process {
            self.forked_from(exec.pid)
        } else {
            self.image_at(exec.ppid, exec.time_ms)
        };
        let inherited = parent.and_then(|id| self.images.get(&id)?.tracked);
        let tracked = inherited.or(exec.hint.map(|_| exec.id));
        if same_process {
            if let Some(process) = self.processes.get_mut(&exec.pid) {
                process.image = Some(exec.id);
                process.ppid = exec.ppid;
            }
        } else {
            self.begin(exec.pid, exec.ppid, exec.time_ms, Some(exec.id), parent);
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
                uid: exec.uid,
                auid: exec.auid,
                ses: exec.ses,
                processes: 1,
                ended_ms: None,
                end: (None, None),
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
        let told = match (early.cloned(), tracked) {
            (Some(mut exit), Some(_)) => {
                exit.image = Some(exec.id);
                exit.ppid = exec.ppid;
                self.early_exits.remove(&exec.pid);
                Some(exit)
            }
            _ => None,
        };
        if told.is_some() {
            self.end(exec.pid, exec.time_ms);
        }
        self.collect();
        (place, told)
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
        match process.image.and_then(|id| self.images.get(&id)) {
            Some(image) => Place {
                image: Some(image.id),
                parent: image.parent,
                tracked: image.tracked,
            },
            None => Place {
                image: process.parent,
                parent: process.parent.and_then(|id| self.images.get(&id)?.parent),
                tracked: process.parent.and_then(|id| self.images.get(&id)?.tracked),
            },
        }
    }

    /// An event by a process: its place, when the table's entry is of the same generation.
    pub fn place_at(&self, pid: u32, ppid: u32, time_ms: u64) -> Place {
        if self.is_current(pid, ppid, time_ms)
            || self
                .processes
                .get(&pid)
                .is_some_and(|p| p.ppid == ppid && p.born_ms <= time_ms + CLOCK_SLACK_MS)
        {
            self.place_of(pid)
        } else {
            Place::default()
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
            if let Some(image) = process.image.and_then(|id| self.images.get_mut(&id)) {
                image.ended_ms.get_or_insert(time_ms);
            }
        }
    }

    /// Whether the entry of `pid` is the process that an event of (`pid`, `ppid`, time) speaks of.
    fn is_current(&self, pid: u32, ppid: u32, time_ms: u64) -> bool {
        let Some(process) = self.processes.get(&pid) else {
            return false;
        };
        if process.born_ms > time_ms + CLOCK_SLACK_MS
            || process.ended_ms.is_some_and(|ended| ended < time_ms)
        {
            return false;
        }
        // A parent that has ended leaves its children to init or a subreaper.
        process.ppid == ppid
            || ppid == 1
            || self
                .processes
                .get(&process.ppid)
                .is_some_and(|parent| parent.ended_ms.is_some())
    }

    /// The image of the pid's only holder within the time before a moment; None when there was none, or more than one.
    pub fn holder_of(&self, pid: u32, until_ms: u64, within_ms: u64) -> Option<u64> {
        let process = self.processes.get(&pid)?;
        let is_recent = |at_ms: u64| at_ms + within_ms >= until_ms;
        if process.before_ms.is_some_and(is_recent) || !process.ended_ms.is_none_or(is_recent) {
            return None;
        }
        let moment = process.ended_ms.unwrap_or(until_ms).min(until_ms);
        self.image_at(pid, moment)
    }

    /// The image that ran in a process at a moment; None when the process had ended before.
    pub fn image_at(&self, pid: u32, time_ms: u64) -> Option<u64> {
        let process = self.processes.get(&pid)?;
        if process.born_ms > time_ms + CLOCK_SLACK_MS
            || process
                .ended_ms
                .is_some_and(|ended| ended + CLOCK_SLACK_MS < time_ms)
        {
            return None;
        }
        // An exec's record may have come before the event of a fork that was earlier: then it is an image before the newest.
        let mut found = process.image.and_then(|id| self.images.get(&id));
        while let Some(image) = found.filter(|image| image.pid == pid && image.time_ms > time_ms) {
            found = image.parent.and_then(|id| self.images.get(&id));
        }
        found.map(|image| image.id).or(process.parent)
    }

    /// The image that an exec in a known process follows: the one before it in the process, else the one that the parent ran
    /// when it forked.
    fn forked_from(&self, pid: u32) -> Option<u64> {
        let process = self.processes.get(&pid)?;
        process.image.or_else(|| {
            self.image_at(process.ppid, process.born_ms)
                .or(process.parent)
        })
    }

    /// A new process under this pid; when the holder before it was last known to be there is kept.
    fn begin(
        &mut self,
        pid: u32,
        ppid: u32,
        born_ms: u64,
        image: Option<u64>,
        parent: Option<u64>,
    ) {
        let before = self.processes.get(&pid);
        let before_ms = before.map(|process| process.ended_ms.unwrap_or(process.born_ms));
        let process = Process {
            ppid,
            born_ms,
            image,
            parent,
            ended_ms: None,
            before_ms,
        };
        self.processes.insert(pid, process);
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
        if self.changes < self.images.len().max(4096) && self.images.len() < MAX_IMAGES {
            return;
        }
        self.changes = 0;
        let horizon = self.newest_ms.saturating_sub(KEEP_ENDED_MS);
        self.images
            .retain(|_, image| image.ended_ms.is_none_or(|ended| ended >= horizon));
        if self.images.len() >= MAX_IMAGES {
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

fn short(comm: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(comm) {
        *to = *from;
    }
    out
}

fn process_image(image: Option<u64>, images: &NearMap<u64, Image>) -> Option<Option<u64>> {
    let id = image?;
    images.get(&id)?.tracked?;
    Some(Some(id))
}

#[cfg(test)]
mod tests;
