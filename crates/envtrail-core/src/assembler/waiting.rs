//! What the process connector reported and has not taken effect yet.

use crate::process::{ProcessEvent, ProcessTable, CLOCK_SLACK_MS};
use crate::procevent::Frame;
use std::collections::VecDeque;

/// The connector reports at once; a record of what happened before may come this much later, through a kernel thread (kauditd).
const LATE_RECORD_MS: u64 = 50;

/// Frames in the order of their times; whether each is to be passed on.
#[derive(Default)]
pub(super) struct Waiting(VecDeque<(Frame, bool)>);

impl Waiting {
    /// The connector reported it.
    pub(super) fn push(&mut self, frame: Frame) {
        self.0.push_back((frame, true));
    }

    /// It was reported before, maybe late.
    pub(super) fn replay(&mut self, frame: Frame) {
        let is_later = |(waiting, _): &&(Frame, bool)| waiting.time_ms() > frame.time_ms();
        let later = self.0.iter().rev().take_while(is_later).count();
        self.0.insert(self.0.len() - later, (frame, false));
    }

    /// How many take effect before an event: those before it, and the fork of the event's process, which is earlier also where the
    /// coarse clock stamps the event before it. What that process did after the event is not reported before it.
    pub(super) fn due(&self, time_ms: u64, pid: Option<u32>) -> usize {
        if self.0.is_empty() {
            return 0;
        }
        let until = |until_ms: u64| move |(frame, _): &&(Frame, bool)| frame.time_ms() <= until_ms;
        let before = self.0.iter().take_while(until(time_ms)).count();
        let near = self.0.iter().take_while(until(time_ms + CLOCK_SLACK_MS));
        let own = near.skip(before).position(
            |(frame, _)| matches!(frame, Frame::Fork { pid: forked, .. } if Some(*forked) == pid),
        );
        before + own.map_or(0, |at| at + 1)
    }

    /// How many no record is to be expected before, at a moment of the wall clock (which may have been set back since).
    pub(super) fn settled(&self, now_ms: u64) -> usize {
        let is_settled =
            |(frame, _): &&(Frame, bool)| frame.time_ms().abs_diff(now_ms) >= LATE_RECORD_MS;
        self.0.iter().take_while(is_settled).count()
    }

    /// Let so many take effect. Gives what is to be passed on.
    pub(super) fn apply<'a>(
        &'a mut self,
        count: usize,
        processes: &'a mut ProcessTable,
    ) -> impl Iterator<Item = ProcessEvent> + 'a {
        self.0.drain(..count).filter_map(move |(frame, is_new)| {
            let reported = match frame {
                Frame::Fork { time_ms, pid, ppid } => processes.fork(time_ms, pid, ppid, is_new),
                Frame::Thread { pid, .. } => {
                    processes.thread(pid);
                    None
                }
                Frame::Exit {
                    time_ms,
                    pid,
                    is_first,
                    exit_code,
                    signal,
                } => processes.exit(time_ms, pid, is_first, exit_code, signal),
                Frame::Other => None,
            };
            reported.filter(|_| is_new)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
