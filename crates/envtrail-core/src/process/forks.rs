//! Who was forked from which image: two sockets report it, each in its own time.

use super::entries::{end_of, fork_of, Image, Process, ProcessEvent};
use super::{Moment, ProcessTable, CLOCK_SLACK_MS};

/// A fork may be reported this long before the exec that it followed: two sockets.
const KEEP_FORK_MS: u64 = 2_000;
/// Forks without an exec between them that are reported with the exec that follows.
const MAX_ORIGIN: usize = 16;

/// A moment of the process connector.
fn unnumbered(time_ms: u64) -> Moment {
    Moment { time_ms, serial: 0 }
}

impl ProcessTable {
    /// A process was forked (process connector); of one that was forked live, every thread is reported from now on.
    pub fn fork(
        &mut self,
        time_ms: u64,
        pid: u32,
        ppid: u32,
        is_live: bool,
    ) -> Option<ProcessEvent> {
        self.note(time_ms);
        let parent = self.image_at(ppid, unnumbered(time_ms));
        if let Some(forker) = self.processes.get_mut(&ppid) {
            forker.forked_ms = forker.forked_ms.max(time_ms);
        }
        self.early_exits.remove(&pid);
        // Two sockets: the exec's record may have come before the fork's event. Then it is the same process, born now.
        let is_known = self.processes.get(&pid).is_some_and(|process| {
            (process.ppid == ppid || !process.is_reported || process.born_ms == time_ms)
                && process.born_ms + CLOCK_SLACK_MS >= time_ms
                && process
                    .ended_ms
                    .is_none_or(|ended| ended + CLOCK_SLACK_MS >= time_ms)
        });
        if is_known {
            self.complete(pid, ppid, time_ms, parent, is_live);
            return None;
        }
        let process = self.begin(pid, ppid, unnumbered(time_ms), None, parent);
        process.is_reported = true;
        process.threads = u32::from(is_live);
        // By time: a rebuild receives some late.
        let later = self
            .forks
            .iter()
            .rev()
            .take_while(|(forked_ms, _)| *forked_ms > time_ms);
        let at = self.forks.len() - later.count();
        self.forks.insert(at, (time_ms, pid));
        let is_old = |(forked_ms, _): &(u64, u32)| forked_ms + KEEP_FORK_MS < self.newest_ms;
        while self.forks.front().is_some_and(is_old) {
            self.forks.pop_front();
        }
        self.report_fork(pid)
    }

    /// The fork of a process that was known by an exec before.
    fn complete(&mut self, pid: u32, ppid: u32, born_ms: u64, parent: Option<u64>, is_live: bool) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        process.born_ms = born_ms;
        if std::mem::replace(&mut process.is_reported, true) {
            return;
        }
        process.threads = u32::from(is_live);
        if parent.is_none() {
            return;
        }
        process.ppid = ppid;
        process.parent = parent;
        let mut next = process.image;
        while let Some(id) = next {
            let before = self.images.get(&id).and_then(|image| image.parent);
            next = before.filter(|id| self.images.get(id).is_some_and(|image| image.pid == pid));
            if next.is_none() {
                if let Some(first) = self.images.get_mut(&id) {
                    first.parent = parent;
                }
            }
        }
    }

    /// A process that was forked and has exec'ed nothing yet; passed on, once, when it is of a tracked tree.
    fn report_fork(&mut self, pid: u32) -> Option<ProcessEvent> {
        let process = self.processes.get_mut(&pid)?;
        self.images.get(&process.parent?)?.tracked?;
        if std::mem::replace(&mut process.is_kept, true) {
            return None;
        }
        let event = fork_of(pid, process);
        self.count_process(event.image);
        Some(event)
    }

    /// The first exec of a tracked tree: its fork, and those before it, were of an untracked tree and have not been passed on. The exec's
    /// own record says who has taken it in, not whose child it is.
    pub(super) fn report_origin(&mut self, pid: u32, reported: &mut Vec<ProcessEvent>) {
        let mut next = self.processes.get(&pid).map(|process| (pid, process));
        while let Some((pid, process)) = next.filter(|_| reported.len() < MAX_ORIGIN) {
            if !process.is_reported || process.is_kept {
                break;
            }
            reported.push(fork_of(pid, process));
            next = self
                .holder_at(process.ppid, unnumbered(process.born_ms))
                .filter(|holder| holder.born_ms <= process.born_ms)
                .map(|holder| (process.ppid, holder));
        }
        reported.reverse();
        let mut ends = Vec::new();
        for fork in reported.iter() {
            if let Some(process) = self.processes.get_mut(&fork.pid) {
                process.is_kept = true;
                ends.extend(end_of(fork.pid, process).filter(|_| fork.pid != pid));
            }
        }
        reported.extend(ends);
    }

    /// Forks that were reported before the exec that they followed, and their own, have its image as parent.
    pub(super) fn correct_forks(&mut self, time_ms: u64, reported: &mut Vec<ProcessEvent>) {
        let first = self
            .forks
            .iter()
            .rposition(|(forked_ms, _)| *forked_ms < time_ms)
            .map_or(0, |at| at + 1);
        for at in first..self.forks.len() {
            let Some((forked_ms, pid)) = self.forks.get(at).copied() else {
                break;
            };
            let Some(process) = self
                .processes
                .get(&pid)
                .filter(|process| process.born_ms == forked_ms && process.image.is_none())
            else {
                continue;
            };
            let parent = self.image_at(process.ppid, unnumbered(forked_ms));
            if parent.is_none() || parent == process.parent {
                continue;
            }
            if let Some(process) = self.processes.get_mut(&pid) {
                process.parent = parent;
            }
            if let Some(fork) = self.report_fork(pid) {
                reported.push(fork);
                reported.extend(
                    self.processes
                        .get(&pid)
                        .and_then(|process| end_of(pid, process)),
                );
            }
        }
    }

    /// The image that ran in a process at a moment; None when the process had ended before.
    pub fn image_at(&self, pid: u32, at: Moment) -> Option<u64> {
        let process = self.holder_at(pid, at)?;
        match process.image {
            Some(newest) => self.image_before(newest, pid, at),
            None => process.parent,
        }
    }

    /// The process that had this pid at a moment, as far as the newest is it.
    fn holder_at(&self, pid: u32, at: Moment) -> Option<&Process> {
        self.processes.get(&pid).filter(|process| {
            self.begins_before(process, at)
                && process
                    .ended_ms
                    .is_none_or(|ended| ended + CLOCK_SLACK_MS >= at.time_ms)
                && !self.is_over(process, at)
        })
    }

    /// What a process ran at a moment: its newest image or one before it. An exec's record may have come before the event of a fork
    /// that was earlier.
    fn image_before(&self, newest: u64, pid: u32, at: Moment) -> Option<u64> {
        let newest = self.images.get(&newest);
        let mut found = newest;
        let mut is_later = |image: &&Image| image.pid == pid && image.time_ms > at.time_ms;
        while let Some(image) = found.filter(&mut is_later) {
            found = image.parent.and_then(|id| self.images.get(&id));
        }
        // All that it ran is stamped later: the clock was set back.
        let is_its = |image: &&Image| image.pid == pid;
        let after = || newest.filter(|image| self.image_follows(image, at));
        found
            .filter(is_its)
            .or_else(after)
            .or(found)
            .map(|image| image.id)
    }
}
