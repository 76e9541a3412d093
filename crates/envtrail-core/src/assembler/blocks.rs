//! Blocks of a log, cut into lines.

use super::Assembler;
use crate::fault::FaultKind;

impl Assembler {
    /// Take a block of lines; it may end inside one.
    pub fn push(&mut self, mut block: &[u8]) {
        if !self.partial.is_empty() {
            let Some(end) = memchr::memchr(b'\n', block) else {
                return self.hold(block);
            };
            self.hold(block.get(..end).unwrap_or_default());
            self.take_partial();
            block = block.get(end + 1..).unwrap_or_default();
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', block) {
            self.take_line(block.get(start..end).unwrap_or_default());
            start = end + 1;
        }
        self.partial
            .extend_from_slice(block.get(start..).unwrap_or_default());
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
}
