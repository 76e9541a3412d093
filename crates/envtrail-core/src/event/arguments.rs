//! Arguments of an exec, from the parts that EXECVE records hold.

use super::kind::HAS_EXECVE;
use super::records::number;
use super::Event;
use crate::parse::{digits, Field, Fields, Value};
use memchr::memchr;

/// From here on a title may be cut.
const MOST_TITLE: usize = 127;

/// Empty arguments that are put back in one event; more were never left out, they are lost.
const MOST_LEFT_OUT: usize = 1024;

impl Event {
    /// `body` is part of `bytes`: an argument is kept as its place there.
    pub(super) fn read_execve(&mut self, bytes: &[u8], body: &[u8]) {
        self.has |= HAS_EXECVE;
        let base = bytes.as_ptr() as usize;
        for Field {
            key,
            value,
            enriched,
            ..
        } in Fields::new(body)
        {
            if enriched {
                break;
            }
            let start = value.raw.as_ptr() as usize - base;
            let end = start + value.raw.len();
            if key == b"argc" {
                self.argc = number(value);
                self.argc_end = Some(end);
            } else if let Some((index, part)) = argument_position(key) {
                self.arguments
                    .push((index, part, value.quoted, (start, end)));
            }
        }
    }

    /// Put the parts of the arguments in order and decode them.
    pub(super) fn order_arguments(&mut self, bytes: &[u8]) {
        let mut arguments = std::mem::take(&mut self.arguments);
        if arguments
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if (a.0, a.1) >= (b.0, b.1)))
        {
            arguments.sort_by_key(|argument| (argument.0, argument.1));
            arguments.dedup_by_key(|argument| (argument.0, argument.1));
        }
        let mut expected = (0, 0);
        let mut before = self.argc_end;
        for (at, (index, part, quoted, (start, end))) in arguments.iter().enumerate() {
            if (*index, *part) != expected {
                let is_whole = expected.1 == 0
                    && *part == 0
                    && before.is_some_and(|before| is_one_record(bytes, before, *start));
                if !(is_whole && self.put_back(expected.0, *index)) {
                    self.missing |= HAS_EXECVE;
                }
            }
            before = Some(*end);
            let raw = bytes.get(*start..*end).unwrap_or_default();
            Value {
                raw,
                quoted: *quoted,
            }
            .decode_into(&mut self.argv.bytes);
            let continues = arguments.get(at + 1).is_some_and(|next| next.0 == *index);
            if continues {
                expected = (*index, part.saturating_add(1));
            } else {
                self.argv.close();
                expected = (index.saturating_add(1), 0);
            }
        }
        let said = self.argc.map_or(self.argv.len(), |argc| argc as usize);
        if said > self.argv.len() && self.is_title_of_arguments() {
            // Nothing but NULs, which the kernel cuts off, follows these in the title.
            let first = u32::try_from(self.argv.len()).unwrap_or(u32::MAX);
            self.put_back(first, u32::try_from(said).unwrap_or(u32::MAX));
        }
        if said != self.argv.len() {
            self.missing |= HAS_EXECVE;
        }
        self.arguments = arguments;
    }

    /// Kernels 4.8 to 4.20 write no empty argument: what lacks between two of one record is one. False when there are too many.
    ///
    /// Reference: `audit_log_execve_info()`, kernel commit "audit: print empty EXECVE args"
    fn put_back(&mut self, first: u32, end: u32) -> bool {
        let count = end.saturating_sub(first) as usize;
        if self.left_out.len().saturating_add(count) > MOST_LEFT_OUT {
            return false;
        }
        self.left_out.extend(first..end);
        (first..end).for_each(|_| self.argv.close());
        true
    }

    /// Whether the title is whole, and is these arguments joined by NUL.
    ///
    /// References: MAX_PROCTITLE_AUDIT_LEN and `audit_proctitle_rtrim()` in kernel/auditsc.c
    fn is_title_of_arguments(&self) -> bool {
        let Some(title) = self.slice(self.proctitle) else {
            return false;
        };
        let joined = self.argv.bytes.len() + self.argv.len().saturating_sub(1);
        !title.is_empty()
            && title.len() < MOST_TITLE
            && title.len() == joined
            && self.repeats_arguments(title)
    }

    /// Say which arguments were put back.
    pub(super) fn mark_left_out(&mut self) {
        if self.left_out.is_empty() {
            return;
        }
        let names: Vec<String> = self.left_out.iter().map(|at| format!("a{at}")).collect();
        let raw = names.join(" ");
        let raw = raw.as_bytes();
        self.add_field(b"left_out", Value { raw, quoted: true });
    }
}

/// Whether two places lie in one record, the first before the second.
fn is_one_record(bytes: &[u8], before: usize, after: usize) -> bool {
    bytes
        .get(before..after)
        .is_some_and(|between| memchr(b'\n', between).is_none())
}

/// `a12` → (12, 0), `a12[3]` → (12, 3); None for `a12_len` and anything else.
fn argument_position(key: &[u8]) -> Option<(u32, u32)> {
    if let [b'a', digit @ b'0'..=b'9'] = key {
        return Some((u32::from(digit - b'0'), 0));
    }
    let (index, rest) = digits(key.strip_prefix(b"a")?)?;
    let part = match rest {
        [] => 0,
        [b'[', part @ .., b']'] => digits(part).filter(|(_, rest)| rest.is_empty())?.0,
        _ => return None,
    };
    Some((u32::try_from(index).ok()?, u32::try_from(part).ok()?))
}
