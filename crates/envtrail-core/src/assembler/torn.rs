//! The events in which a log ended before they were whole: what is missing of them may stand in its next part.

use crate::coalesce::{Gathered, ARRIVES_WITHIN_LINES};
use std::collections::VecDeque;

/// Bytes that are kept of one log.
const MOST_BYTES: usize = 1 << 20;

/// The newest events of the log that is read, as many as can still have been in the making when it ends.
#[derive(Default)]
pub(super) struct Newest {
    events: VecDeque<(Gathered, bool)>,
    lines: usize,
}

impl Newest {
    /// Keep one, with whether it misses something; gives one back that is too old.
    pub(super) fn keep(&mut self, gathered: Gathered, is_torn: bool) -> Option<Gathered> {
        self.lines += gathered.records.len();
        self.events.push_back((gathered, is_torn));
        let rest = self.lines - self.events.front()?.0.records.len();
        if (rest as u64) < ARRIVES_WITHIN_LINES {
            return None;
        }
        self.lines = rest;
        self.events.pop_front().map(|(oldest, _)| oldest)
    }

    /// What is torn of a log that ends here, with what was torn before and has not been made whole since.
    pub(super) fn torn(&self, before: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let read_again = |lines: &Vec<u8>| {
            let known = identity_of(lines);
            let mut events = self.events.iter();
            events.any(|(gathered, _)| identity_of(&gathered.bytes) == known)
        };
        let old = before.iter().filter(|lines| !read_again(lines)).cloned();
        let torn = self.events.iter().filter(|(_, is_torn)| *is_torn);
        let mut all: Vec<Vec<u8>> = old
            .chain(torn.map(|(gathered, _)| gathered.bytes.clone()))
            .collect();
        let mut left = MOST_BYTES;
        let fitting = all.iter().rev().take_while(|lines| {
            let fits = lines.len() <= left;
            left = left.saturating_sub(lines.len());
            fits
        });
        let kept = fitting.count();
        all.split_off(all.len() - kept)
    }

    pub(super) fn clear(&mut self) {
        *self = Newest::default();
    }
}

/// Node, time and serial of an event, as its first line has them.
fn identity_of(lines: &[u8]) -> (&[u8], &[u8]) {
    let line = lines
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let node = match line.starts_with(b"node=") {
        true => line.split(|byte| *byte == b' ').next().unwrap_or_default(),
        false => &[],
    };
    let stamp = memchr::memmem::find(line, b"audit(").map_or(0, |at| at + 6);
    let end = memchr::memchr(b')', line.get(stamp..).unwrap_or_default()).unwrap_or(0);
    (node, line.get(stamp..stamp + end).unwrap_or_default())
}
