//! Blocks of a log, cut into lines.

use super::Assembler;
use crate::fault::FaultKind;
use crate::parse::{is_daemon_line, split};
use memchr::memchr;

impl Assembler {
    /// Take a block of lines; it may end inside one.
    pub fn push(&mut self, mut block: &[u8]) {
        if !self.partial.is_empty() {
            let Some(end) = memchr(b'\n', block) else {
                return self.hold(block);
            };
            self.hold(block.get(..end).unwrap_or_default());
            self.take_partial();
            block = block.get(end + 1..).unwrap_or_default();
        }
        while let Some(end) = memchr(b'\n', block) {
            let (line, rest) = split(block, end);
            self.take_line(line);
            let taken = self.take_more(rest);
            block = rest.get(taken..).unwrap_or_default();
        }
        self.partial.extend_from_slice(block);
    }

    /// Keep more of a line that has not ended. Nothing is joined to a line of which something was left out.
    fn hold(&mut self, piece: &[u8]) {
        let fits = self.partial.len() + piece.len() <= self.options.limits.max_event_bytes;
        if fits && self.cut == 0 {
            self.partial.extend_from_slice(piece);
        } else {
            self.cut += piece.len() as u64;
        }
    }

    pub(super) fn take_partial(&mut self) {
        let mut line = std::mem::take(&mut self.partial);
        let cut = std::mem::take(&mut self.cut);
        if cut == 0 {
            self.take_line(&line);
        } else {
            self.consumed += line.len() as u64 + cut + 1;
            self.fault(FaultKind::EventTooLong, &line);
        }
        line.clear();
        self.partial = line;
    }

    fn take_line(&mut self, line: &[u8]) {
        self.coalescer.set_position(self.consumed);
        self.consumed += line.len() as u64 + 1;
        let line = without_cr(line);
        if line.is_empty() {
            let mut ended = std::mem::take(&mut self.ended);
            self.coalescer.take_empty(&mut ended);
            return self.emit(ended);
        }
        match self.coalescer.take_line(line, &mut self.ended) {
            // Of a log that was written before it is not known whether it had all.
            Ok(Some(key)) if !is_daemon_line(line) && !self.tables.is_import() => {
                self.serials
                    .see(key.node, key.time_ms, key.serial, self.coalescer.now_ms());
            }
            Ok(_) => {}
            Err(kind) => self.fault(kind, line),
        }
        self.emit_ended();
    }

    /// Take the lines at the beginning of a block that go on with the event of the last one; gives how many bytes they are.
    fn take_more(&mut self, block: &[u8]) -> usize {
        let taken = self.coalescer.take_more(block, &mut self.ended);
        self.consumed += taken as u64;
        self.emit_ended();
        taken
    }
}

/// A line without what is left of its end, however often it was converted.
pub(super) fn without_cr(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r'] = line {
        line = rest;
    }
    line
}
