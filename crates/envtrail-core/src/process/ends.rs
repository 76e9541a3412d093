//! How processes end: with their last thread, or by an `exit_group` record.

use super::entries::{End, Place, Process, ProcessEvent};
use super::{Moment, ProcessTable, CLOCK_SLACK_MS};

impl ProcessTable {
    /// A thread was begun beside the process's first (process connector).
    pub fn thread(&mut self, pid: u32) {
        if let Some(process) = self.threads_of(pid) {
            process.threads += 1;
        }
    }

    /// A thread ended (process connector), and with the last one the process: passed on when it is of a tracked tree, or its fork was.
    ///
    /// That the first thread ended says little: another that execs takes over its number (`de_thread`, fs/exec.c). A thread that had
    /// ended by itself may be reported last; how the process ended is what another said then (`signal->group_exit_code`).
    pub fn exit(
        &mut self,
        time_ms: u64,
        pid: u32,
        is_first: bool,
        exit_code: Option<i32>,
        signal: Option<i32>,
    ) -> Option<ProcessEvent> {
        self.note(time_ms);
        let (exit_code, signal) = match self.threads_of(pid) {
            Some(process) => {
                process.threads -= 1;
                if (exit_code, signal) != (Some(0), None) || process.end == (None, None) {
                    process.end = (exit_code, signal);
                }
                if process.threads > 0 {
                    return None;
                }
                process.end
            }
            None if is_first => (exit_code, signal),
            None => return None,
        };
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
        process.end = (exit_code, signal);
        event.ppid = process.ppid;
        event.image = process.image.or(process.parent);
        if let Some(newest) = process.image {
            self.end_images(pid, newest, time_ms, (exit_code, signal));
        }
        let is_tracked = |id| {
            self.images
                .get(&id)
                .is_some_and(|image| image.tracked.is_some())
        };
        let is_kept = self
            .processes
            .get(&pid)
            .is_some_and(|process| process.is_kept);
        (is_kept || event.image.is_some_and(is_tracked)).then_some(event)
    }

    /// A process all of whose threads were reported.
    fn threads_of(&mut self, pid: u32) -> Option<&mut Process> {
        let until_ms = self.doubted_ms.map_or(0, |(_, until_ms)| until_ms);
        self.processes.get_mut(&pid).filter(|process| {
            process.is_reported && process.born_ms > until_ms && process.threads > 0
        })
    }

    /// An `exit_group` record: the end, and for a subshell that never exec'ed the only sight, of a process.
    pub fn exit_record(
        &mut self,
        at: Moment,
        pid: u32,
        ppid: u32,
        exit_code: Option<i32>,
        segment: u64,
    ) -> Place {
        let time_ms = at.time_ms;
        self.note(time_ms);
        if !self.is_current(pid, ppid, at) || self.is_reused(pid, at) {
            self.keep_end(at, pid, ppid, exit_code, segment);
            let parent = self.image_at(ppid, at);
            self.begin(pid, ppid, at, None, parent);
        }
        let place = self.place_of(pid);
        if let Some(process) = self.processes.get_mut(&pid) {
            process.ended_ms.get_or_insert(time_ms);
            (process.reading, process.ended_serial) = (self.reading, at.serial);
        }
        if let Some(newest) = place.image {
            self.end_images(pid, newest, time_ms, (exit_code, None));
        }
        place
    }

    /// A process has ended, and with it all that it ran: the newest of its images and those before it.
    pub(super) fn end_images(&mut self, pid: u32, newest: u64, time_ms: u64, end: End) {
        let mut next = Some(newest);
        while let Some(image) = next.and_then(|id| self.images.get_mut(&id)) {
            if image.pid != pid {
                break;
            }
            image.ended_ms.get_or_insert(time_ms);
            image.end = end;
            next = image.parent;
        }
    }
}
