//! Records that a CR alone joins to one line (a copy that lost its line feeds): the first is read, the others are left out and counted.
//! The kernel writes no CR into a record, but a program may into its message: it must not make another record by that.

use super::LineReader;
use crate::heads::NoRecord;
use memchr::{memchr, memchr_iter};
use std::borrow::Cow;

const BEGINNINGS: [&[u8]; 2] = [b"type=", b"node="];

impl LineReader {
    /// Take a block, which may end inside a line. The blocks given back may too.
    pub fn read<'a>(&mut self, block: &'a [u8]) -> Cow<'a, [u8]> {
        let is_within = self.leaving_out || !self.tail.is_empty();
        if (!is_within && joint_in(block).is_none()) || self.export.is_some() {
            return self.read_lines(block);
        }
        let mut whole = std::mem::take(&mut self.tail);
        whole.extend_from_slice(block);
        let mut out = Vec::new();
        let mut rest = whole.as_slice();
        while !rest.is_empty() {
            if self.leaving_out {
                let end = memchr(b'\n', rest);
                self.leaving_out = end.is_none();
                rest = rest.get(end.unwrap_or(rest.len())..).unwrap_or_default();
                continue;
            }
            let (at, is_sure) = joint_in(rest).unwrap_or((rest.len(), false));
            let (before, after) = rest.split_at(at);
            out.extend_from_slice(&self.read_lines(before));
            if self.export.is_some() {
                // The journal's own form may hold any byte.
                out.extend_from_slice(&self.read_lines(after));
                break;
            }
            if !is_sure {
                self.tail = after.to_vec();
                break;
            }
            let shown = after.get(..6).unwrap_or_default();
            self.fault(NoRecord::Joined, self.figures.lines + 1, shown);
            self.leaving_out = true;
            rest = after;
        }
        Cow::Owned(out)
    }
}

/// Where a CR is before a record; and whether it is sure, or the bytes end before that can be said.
fn joint_in(bytes: &[u8]) -> Option<(usize, bool)> {
    memchr_iter(b'\r', bytes).find_map(|at| {
        let after = bytes.get(at + 1..).unwrap_or_default();
        let is_sure = BEGINNINGS.iter().any(|begin| after.starts_with(begin));
        let may_be = BEGINNINGS.iter().any(|begin| begin.starts_with(after));
        (is_sure || may_be).then_some((at, is_sure))
    })
}
