//! What came first, where stamps do not say it: a clock may be set back, and a log may be read in parts, an older one after a newer one.
//!
//! The kernel numbers events as it writes them: of one boot the serials say the order. What is read of a log in one command is one *reading*.
//! Whether anything is missing between two readings is known by their serials; what may be missing there is not passed over.

use super::entries::{Image, Process};
use super::{ProcessTable, CLOCK_SLACK_MS};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Ends that are kept of one reading, its first ones, and of all.
const MOST_ENDS: usize = 4096;
const MOST_ENDS_OF_ALL: usize = 2 * MOST_ENDS;
/// Serials that are kept apart.
const MOST_SPANS: usize = 64;
/// A serial that is lower by more than this is of another boot: cores mix their records less.
const MIXED: u64 = 10_000;
/// So many times the usual distance between two events of a log may lie between two of its parts.
const JOINED_WITHIN: u64 = 128;

/// When an event was, and its number; 0: of the process connector, which has none.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub time_ms: u64,
    pub serial: u64,
}

/// Serials that were read without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Span {
    reading: u32,
    first: u64,
    last: u64,
    events: u64,
}

impl Span {
    fn most_missing(&self) -> u64 {
        JOINED_WITHIN * ((self.last - self.first) / self.events.max(1)).max(1)
    }

    fn holds(&self, serial: u64) -> bool {
        self.first <= serial && serial <= self.last
    }

    fn is_joined(&self, other: &Span) -> bool {
        let missing = self.first.max(other.first);
        let missing = missing.saturating_sub(self.last.min(other.last));
        missing <= self.most_missing().max(other.most_missing())
    }
}

/// The end of a process of which nothing was known: what it ran may stand in an older part of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FoundEnd {
    reading: u32,
    pid: u32,
    ppid: u32,
    time_ms: u64,
    serial: u64,
    segment: u64,
    exit_code: Option<i32>,
}

/// The end of an image, read before its exec was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateEnd {
    pub image: u64,
    pub time_ms: u64,
    pub exit_code: Option<i32>,
    /// Of the exit's event.
    pub serial: u64,
    pub segment: u64,
}

impl ProcessTable {
    /// The records that follow are of this reading; 0: live.
    pub fn set_reading(&mut self, reading: u32) {
        self.reading = reading;
    }

    /// Whether its newest records are of this reading.
    pub fn is_of(&self, reading: u32) -> bool {
        self.reading == reading
    }

    /// An event of a log was read.
    pub fn note_serial(&mut self, serial: u64) {
        if self.reading == 0 {
            return;
        }
        if let Some(span) = self.spans.last_mut() {
            if span.reading == self.reading && serial + MIXED >= span.last {
                span.first = span.first.min(serial);
                span.last = span.last.max(serial);
                span.events += 1;
                return;
            }
        }
        self.join_spans();
        self.spans.push(Span {
            reading: self.reading,
            first: serial,
            last: serial,
            events: 1,
        });
    }

    /// What lies side by side is one.
    fn join_spans(&mut self) {
        let mut at = 0;
        while at < self.spans.len() {
            let Some(span) = self.spans.get(at).copied() else {
                break;
            };
            let before = self.spans.get_mut(..at).unwrap_or_default();
            match before.iter_mut().find(|before| before.is_joined(&span)) {
                Some(before) => {
                    before.first = before.first.min(span.first);
                    before.last = before.last.max(span.last);
                    before.events += span.events;
                    self.spans.remove(at);
                    at = 0;
                }
                None => at += 1,
            }
        }
        let more = self.spans.len().saturating_sub(MOST_SPANS - 1);
        self.spans.drain(..more);
    }

    /// Whether nothing is missing between two events of a log.
    fn is_joined(&self, one: u64, other: u64) -> bool {
        let mut left: Vec<&Span> = self.spans.iter().collect();
        let (mut next, others) = left.into_iter().partition(|span| span.holds(one));
        left = others;
        while let Some(span) = Vec::pop(&mut next) {
            if span.holds(other) {
                return true;
            }
            let (more, others): (Vec<_>, _) = left.into_iter().partition(|one| one.is_joined(span));
            next.extend(more);
            left = others;
        }
        false
    }

    /// Whether something of the log may be missing between what is known of a process and an event of now.
    fn is_apart(&self, process: &Process, at: Moment) -> bool {
        process.reading != self.reading
            && process.reading > 0
            && self.reading > 0
            && !self.is_joined(process.serial, at.serial)
    }

    /// Whether the serials say that an event of now came after what is known under `serial` of a reading.
    fn follows(&self, reading: u32, serial: u64, at: Moment) -> bool {
        reading == self.reading && serial > 0 && at.serial > serial
    }

    /// Whether a process had begun when an event was.
    pub(super) fn begins_before(&self, process: &Process, at: Moment) -> bool {
        let is_before = process.born_ms <= at.time_ms + CLOCK_SLACK_MS
            || (!process.is_reported && self.follows(process.reading, process.serial, at));
        is_before && !self.is_apart(process, at)
    }

    /// Whether the serials say that a process had ended when an event was, though its stamp is earlier: the clock was set back.
    pub(super) fn is_over(&self, process: &Process, at: Moment) -> bool {
        let ended_ms = process.ended_ms.unwrap_or_default();
        ended_ms > at.time_ms + CLOCK_SLACK_MS
            && self.follows(process.reading, process.ended_serial, at)
    }

    /// Whether a part of the log that was read before shows another process under this pid, between what is known of it and an event.
    pub(super) fn is_reused(&self, pid: u32, at: Moment) -> bool {
        let process = self.processes.get(&pid);
        let process = process.filter(|process| process.reading != self.reading);
        let Some(process) = process.filter(|process| process.reading > 0 && self.reading > 0)
        else {
            return false;
        };
        let is_between = |serial: u64| process.serial < serial && serial < at.serial;
        let mut ends = self.found_ends.iter();
        let mut images = self.images.values();
        ends.any(|end| end.pid == pid && is_between(end.serial))
            || images.any(|image| image.pid == pid && is_between(image.serial))
    }

    /// Whether the serials of a log say that an image began before an event. Live, the connector reports what an exec was forked from.
    pub(super) fn image_follows(&self, image: &Image, at: Moment) -> bool {
        self.reading > 0 && self.follows(image.reading, image.serial, at)
    }

    /// Keep an end of a process of which nothing is known.
    pub(super) fn keep_end(
        &mut self,
        at: Moment,
        pid: u32,
        ppid: u32,
        exit_code: Option<i32>,
        segment: u64,
    ) {
        // In the order of their readings.
        let before = self
            .found_ends
            .partition_point(|end| end.reading < self.reading);
        let own = self.found_ends.len() - before;
        if self.reading == 0 || own >= MOST_ENDS.min(self.most()) {
            return;
        }
        if self.found_ends.len() >= MOST_ENDS_OF_ALL.min(self.most()) {
            self.found_ends.pop_front();
        }
        self.found_ends.push_back(FoundEnd {
            reading: self.reading,
            pid,
            ppid,
            time_ms: at.time_ms,
            serial: at.serial,
            segment,
            exit_code,
        });
    }

    /// A reading has ended: what runs in it may have ended in a part of the log that was read before.
    pub fn find_ends(&mut self) -> Vec<LateEnd> {
        let mut images: HashMap<u32, Vec<&Image>> = HashMap::new();
        for end in &self.found_ends {
            images.entry(end.pid).or_default();
        }
        for image in self.images.values() {
            if let Some(same) = images.get_mut(&image.pid) {
                same.push(image);
            }
        }
        let mut found: Vec<LateEnd> = images
            .values()
            .flat_map(|same| {
                same.iter()
                    .filter_map(|image| self.end_of_image(image, same))
            })
            .collect();
        found.sort_unstable_by_key(|end| end.image);
        for end in &found {
            if let Some(image) = self.images.get_mut(&end.image) {
                image.ended_ms = Some(end.time_ms);
                image.end = (end.exit_code, None);
                let pid = image.pid;
                let process = self.processes.get_mut(&pid);
                if let Some(process) = process.filter(|process| process.image == Some(end.image)) {
                    process.ended_ms.get_or_insert(end.time_ms);
                    process.ended_serial = end.serial;
                }
            }
        }
        self.found_ends
            .retain(|kept| found.iter().all(|end| end.serial != kept.serial));
        found
    }

    /// The first end under its pid since an image began, if it is its own. `same`: images under this pid.
    fn end_of_image(&self, image: &Image, same: &[&Image]) -> Option<LateEnd> {
        if image.ended_ms.is_some() || image.tracked.is_none() || image.reading == 0 {
            return None;
        }
        let later = self.found_ends.iter();
        let later = later.filter(|end| end.pid == image.pid && end.serial > image.serial);
        let end = later.min_by_key(|end| end.serial)?;
        // Whatever the process ran until then goes on; another process under its pid has shown that its end was not recorded.
        let is_its = |other: &&Image| {
            other.serial <= image.serial
                || other.serial >= end.serial
                || (other.ended_ms.is_none() && other.ppid == image.ppid)
        };
        let is_own = end.ppid == image.ppid
            && end.time_ms + CLOCK_SLACK_MS >= image.time_ms
            && same.iter().all(is_its)
            && self.is_joined(image.serial, end.serial);
        is_own.then_some(LateEnd {
            image: image.id,
            time_ms: end.time_ms,
            exit_code: end.exit_code,
            serial: end.serial,
            segment: end.segment,
        })
    }
}
