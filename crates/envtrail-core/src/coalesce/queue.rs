//! What waits of one node, and for how long.

use super::{Gathered, Limits};
use std::collections::VecDeque;

/// Lines of its node that an event waits for its EOE after its PROCTITLE, and a record that may come alone (LOGIN, USER_START,
/// CONFIG_CHANGE, AVC) for its system call.
const ENDS_WITHIN_LINES: u64 = 64;
/// Wall time that they wait.
const ENDS_WITHIN_MS: u64 = 50;
/// Lines of its node after which a system call without an end is given out: the cores of a large machine mix their records far less.
pub const ARRIVES_WITHIN_LINES: u64 = 1024;
/// Events of one node that were not given out yet, in the order of their first records.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) events: VecDeque<Gathered>,
    /// Number of the front; those behind it count on.
    pub(super) first: u64,
    pub(super) lines: u64,
}

impl Queue {
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Gathered> {
        let at = number.checked_sub(self.first)?;
        self.events.get_mut(usize::try_from(at).ok()?)
    }

    pub(super) fn pop(&mut self) -> Option<Gathered> {
        let front = self.events.pop_front()?;
        self.first += 1;
        Some(front)
    }

    /// Whether what is at the front is complete.
    #[inline]
    pub(super) fn is_due(&self, limits: &Limits, now_ms: u64) -> bool {
        let Some(front) = self.events.front() else {
            return false;
        };
        let is_awaited = front.has_call && !front.has_proctitle;
        let (lines, wait_ms) = if is_awaited {
            (ARRIVES_WITHIN_LINES, limits.timeout_ms)
        } else {
            (ENDS_WITHIN_LINES, ENDS_WITHIN_MS)
        };
        front.is_ended
            || front.read_line + lines < self.lines
            || (front.read_ms > 0 && front.read_ms + wait_ms <= now_ms)
    }
}
